"""Strips give the numbers of the whole, and errors of any strip are raised."""

import numpy as np
import pytest

from n2n_tf.denoising.strips import PIXELS, by_strips


@pytest.mark.parametrize("shape", [(1, 1), (3, PIXELS + 1), (1001, 257), (0, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strips_are_the_whole(shape, dtype, rng):
    one, other = rng.normal(size=(2, *shape))
    law = lambda a, b: np.sqrt(a * a + 1) / (b * b + 1)  # noqa: E731
    result = by_strips(law, one, other, dtype=dtype)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, law(one, other).astype(dtype))


def test_an_error_in_one_strip_is_raised():
    def refuse(values):
        if values.max() > 7:
            raise ValueError("too large")
        return values

    plane = np.zeros((10, PIXELS))
    plane[8] = 8
    with pytest.raises(ValueError, match="too large"):
        by_strips(refuse, plane)
