"""Images that a training run never sees, for an early look at how it does on others."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

LEAST = 20  # images in a folder below which none is held out unasked
SHARE = 0.03
_STACK = re.compile(r"\[\d+\]$")  # how `ImageFolder` numbers the images of one file
MOST = 64  # held out unasked: as many are scored in seconds


def choose_held_out(names: Sequence[str], share: float | None, seed: int) -> list[str]:
    """Which images are held out.

    Args:
        names: list of the images' names.
        share: float in [0, 1), of the images, at least one if above 0; None: 3 % of 20 or more
            images, at most 64; none of fewer.
        seed: int.

    Returns:
        sorted list of names; the choice hangs on names and seed alone, not on their order. Images
        of one file, the planes of a stack, are held out together or not at all: neighbours are too
        alike to tell how a network does on others.

    Raises:
        ValueError: if no image would be left to train on.
    """
    files = {}
    for name in names:
        files.setdefault(_STACK.sub("", name), []).append(name)
    count = round((SHARE if share is None else share) * len(names))
    if share is None:
        count = min(max(count, 1), MOST) if len(names) >= LEAST else 0
        count = count if len(files) > 1 else 0
    elif share:
        count = max(count, 1)
    if count >= len(names) or (count and len(files) == 1):
        raise ValueError(f"--holdout={share}: leaves none of {len(names)} images to train on.")

    def key(name):
        return hashlib.sha256(f"{seed}/held out/{name}".encode(errors="surrogatepass")).digest()

    held_out = []
    for name in sorted(files, key=key):
        if len(held_out) >= count or len(held_out) + len(files[name]) >= len(names):
            break
        held_out += files[name]
    return sorted(held_out)


class Subset:
    """Some of a folder's images; it is read like the folder itself by `training_batches`.

    Args:
        images: `ImageFolder` or one of `n2n_tf.pipelines.training.sources`.
        names: names of those to be kept.

    Attributes:
        whole: all images. failure: the last error in reading one: TensorFlow, which reads images
            in threads of its own, passes only its text on.
    """

    def __init__(self, images: Any, names: Iterable[str]) -> None:
        kept = set(names)
        self.whole, self.channels, self.failure = images, images.channels, None
        self._indices = [i for i, name in enumerate(images.names) if name in kept]
        self.names = [images.names[i] for i in self._indices]
        self.sizes = [images.sizes[i] for i in self._indices]

    def __len__(self) -> int:
        return len(self.names)

    def rest(self) -> "Subset":
        """The subset of all other images."""
        kept = set(self.names)
        return Subset(self.whole, [name for name in self.whole.names if name not in kept])

    @property
    def noise_profiles(self) -> np.ndarray:
        """Those of `RawFolder`, of the images kept."""
        return self.whole.noise_profiles[self._indices]

    def crop(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width, channels], as the whole folder's."""
        try:
            return self.whole.crop(self._indices[index], top, left, height, width)
        except (OSError, ValueError) as error:
            self.failure = error
            raise
