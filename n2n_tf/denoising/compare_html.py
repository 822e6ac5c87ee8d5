"""What pages that compare pictures share: no other file, no network, one picture over another."""

import base64

# Nothing is fetched from anywhere, whatever a file name or a picture may hold.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"
    '<link rel="icon" href="data:,">'
)
# In an element of the class "compare" the input "slider" uncovers the picture "after", which lies
# over another of the same size.
STYLE = """
.after { position: absolute; left: 0; top: 0; clip-path: inset(0 0 0 var(--at, 50%)) }
"""
SCRIPT = """
for (const slider of document.querySelectorAll(".compare .slider")) {
  const box = slider.closest(".compare");
  const move = () => box.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", move);
  move();
}
"""


def slider(label: str) -> str:
    """The slider itself; `label` is read aloud to those who do not see it."""
    return f'<input type="range" min="0" max="100" value="50" class="slider" aria-label="{label}">'


def data_uri(data: bytes, kind: str) -> str:
    """A picture as an address that holds it.

    Args:
        data: the bytes of its file.
        kind: "jpeg" or "png".

    Example:
        >>> data_uri(b"abc", "png")
        'data:image/png;base64,YWJj'
    """
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
