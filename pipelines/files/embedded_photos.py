"""The photographs that scikit-image ships: for demonstrations, calibration and checks."""

import numpy as np

# Two disjoint sets, so that what was trained or calibrated on one is judged on the other.
FIRST_SET = (
    "astronaut",
    "colorwheel",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "stereo_motorcycle",
)
SECOND_SET = ("cat", "coffee", "rocket")
LARGEST_SIDE = 512


def embedded_photo(name: str) -> np.ndarray:
    """One photograph by its name in `skimage.data`.

    Returns:
        uint8 [H, W, 3], sides of at most 512 pixels: the middle of larger ones.
    """
    import skimage.data

    photo = getattr(skimage.data, name)()
    photo = photo[0] if isinstance(photo, tuple) else photo  # of a stereo pair the left one
    top, left = ((max(0, side - LARGEST_SIDE)) // 2 for side in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE, :3])
