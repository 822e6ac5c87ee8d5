"""`.tflite` files: what is told of those that other programs wrote."""

import zipfile

import pytest

from n2n_tf.model_files.info import ModelError, ModelInfo
from n2n_tf.model_files.tflite_file import read_tflite_info, write_tflite

INFO = ModelInfo(**{"channels": 3, "size_multiple": 32, "halo": 160})


def test_a_file_needs_no_companion(tmp_path):
    write_tflite(tmp_path / "a.tflite", b"\x1c\0\0\0TFL3" + bytes(99), INFO)
    (tmp_path / "a.tflite.json").unlink()
    assert read_tflite_info(tmp_path / "a.tflite") == INFO


def test_files_of_others_are_not_told_of_a_companion(tmp_path):
    path = tmp_path / "mobilenet.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99))
    with pytest.raises(
        ModelError, match=r"mobilenet\.tflite: is not a \.tflite file of n2n-export"
    ):
        read_tflite_info(path)
    with zipfile.ZipFile(path, "a") as archive:  # TFLite's metadata has its files there too
        archive.writestr("labelmap.txt", "cat\n")
    with pytest.raises(ModelError, match=r"of other programs cannot be used") as caught:
        read_tflite_info(path)
    assert ".json beside" not in str(caught.value) and "copy both" not in str(caught.value)
