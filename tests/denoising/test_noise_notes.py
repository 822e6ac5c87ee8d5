"""Noise in words."""

import numpy as np
import pytest

from n2n_tf.denoising.noise_level import NoiseEstimate
from n2n_tf.denoising.noise_notes import TABLE_HEAD, notes_on, parse_law, table_rows

PLAIN = NoiseEstimate((0.0,), (9.0,))


def test_laws_are_read():
    assert parse_law("auto") == "auto" and parse_law("none") == "none"
    assert parse_law("gauss:3") == PLAIN
    assert parse_law("poisson_gaussian:0.5,-20") == NoiseEstimate((0.5,), (-20.0,))


@pytest.mark.parametrize(
    "text", ["", "gauss", "gauss:", "gauss:-1", "gauss:nan", "gauss:1,2", "poisson_gaussian:1",
             "poisson_gaussian:0,0", "poisson_gaussian:inf,1", "blind", "gauss5"]
)  # fmt: skip
def test_other_laws_are_refused(text):
    with pytest.raises(ValueError, match=f"Unknown noise '{text}': it must be auto"):
        parse_law(text)


def test_what_is_as_it_should_be_needs_no_words():
    assert notes_on([]) == notes_on([(PLAIN, 0.2)] * 3) == []


def test_each_thing_is_said_once_for_all_planes():
    none = NoiseEstimate((0.0,), (0.0,))
    assert notes_on([(none, 0.0)]) == [
        "seems to be without noise and stays as it is; otherwise give --noise"
    ]
    guess = NoiseEstimate((0.0,), (9.0,), 0.4, 0.1, ("it is small",))
    notes = notes_on([(guess, 0.9), (guess, 0.9), (none, 0.0)])
    assert notes[:2] == ["1 of 3 planes seem to be without noise", "it is small"]
    assert "0.40 between neighbours" in notes[2] and "raw file" in notes[2]
    assert notes[3].startswith("90 % of what the network took away") and len(notes) == 4


def test_the_table_has_a_line_for_each_channel():
    image = np.linspace(0, 100, 200).reshape(10, 10, 2)
    law = NoiseEstimate((0.0, 2.0), (25.0, 1.0), confidence=0.5)
    rows = table_rows(law, image)
    assert len(rows) == 2 and {len(row) for row in rows} == {len(TABLE_HEAD)}
    assert "5 at" in rows[0] and rows[0].endswith("0.50")
