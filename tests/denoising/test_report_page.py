"""The page that shows what was done: right numbers, no network, and a browser that runs it."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from n2n_tf.denoising.report_page import Report, look, neighbour_correlation

NAMES = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture
def pair(rng):
    """A gray picture with noise of 10, and without."""
    y, x = np.mgrid[:240, :320]
    clean = 100 + 60 * np.sin(x / 40) * np.cos(y / 50)
    noisy = clean + rng.normal(0, 10, clean.shape)
    return tuple(np.uint8(np.clip(i + 0.5, 0, 255))[..., None] for i in (noisy, clean))


def test_the_numbers_are_those_of_the_picture(pair):
    numbers = {text: float(value) for text, value in look("a", *pair).numbers}
    assert numbers["noise before"] == pytest.approx(10, rel=0.1)
    assert numbers["noise after"] < 0.5
    assert numbers["removed, rms"] == pytest.approx(10, rel=0.03)
    assert abs(numbers["removed, mean"]) < 0.2
    assert abs(numbers["removed, correlation of neighbours"]) <= 0.02
    assert abs(numbers["removed, correlation with the picture"]) <= 0.02


def test_correlation_of_neighbours_is_that_of_a_moving_mean(rng):
    noise = rng.normal(size=(300, 301, 1))
    mean = (noise[:, 1:] + noise[:, :-1]) / 2  # 0.5 along the rows, 0 along the columns
    assert neighbour_correlation(mean) == pytest.approx(0.25, abs=0.02)
    assert neighbour_correlation(np.zeros((4, 4, 1))) == 0


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.int32])
def test_pictures_of_any_type_and_range_are_shown(rng, dtype):
    pixels = (30000 + 5 * rng.normal(size=(40, 50, 1))).astype(dtype)
    one = look("a", pixels, pixels)
    assert all(picture.startswith(b"\xff\xd8") for picture in one.pictures)
    holes = pixels.astype(np.float32)
    holes[3:5] = np.nan
    look("a", holes, holes)


def test_a_page_asks_nothing_of_any_network(tmp_path, pair):
    report = Report(tmp_path / "new" / "folder")
    report.add("<script>alert(1)</script>.png", *pair)
    report.write()
    text = report.path.read_text()
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", text)
    assert "http:" not in text and "https:" not in text and "default-src 'none'" in text


SCRIPT = """<script>
window.onerror = (text) => { document.title = "error: " + text; };
window.onload = () => {
  const s = document.querySelector("section"), find = (n) => s.querySelector("." + n);
  const found = { before: getComputedStyle(find("after")).clipPath };
  find("slider").value = 20;
  find("slider").dispatchEvent(new Event("input"));
  found.after = getComputedStyle(find("after")).clipPath;
  found.sizes = [...s.querySelectorAll("img")].map((i) => [i.complete, i.naturalWidth]);
  const box = find("stack").getBoundingClientRect();
  find("stack").dispatchEvent(new PointerEvent("pointerdown",
    { buttons: 1, clientX: box.left + 0.75 * box.width, clientY: box.top + 9 }));
  found.dragged = [find("slider").value, find("line").style.left];
  find("in").click();
  found.zoom = find("zoom").textContent;
  found.width = find("before").getBoundingClientRect().width;
  find("noise").click();
  found.removed = getComputedStyle(find("removed")).visibility;
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
};
</script></head>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_moves_the_slider_zooms_and_shows_the_pictures(tmp_path, pair):
    report = Report(tmp_path)
    report.add("a.png", *pair)
    report.write()
    page = report.path.read_text().replace("</head>", SCRIPT, 1)
    (tmp_path / "tested.html").write_text(page)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*command, "--dump-dom", (tmp_path / "tested.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout)[1])
    assert found["before"] == "inset(0px 0px 0px 50%)"
    assert found["after"] == "inset(0px 0px 0px 20%)"
    assert found["dragged"] == ["75", "75%"]
    assert found["sizes"] == [[True, 320]] * 3
    assert (found["zoom"], found["width"], found["removed"]) == ("200 %", 640, "visible")
    assert "<title>Denoised</title>" in done.stdout  # an error would be the title
