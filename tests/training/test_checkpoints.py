"""A checkpoint folder: only a checkpoint's own files are read, kept in number, or removed."""

import json
import types

import keras
import pytest

from n2n_tf.training.checkpoints import Checkpoint
from n2n_tf.training.record import TrainingError

OTHERS = ("notes.json", "zz.json", "best.weights.h5", "1.weights.h5", ".hidden.json")


class Network(keras.Model):
    """Stands for a trainer: its weights are a file of a few bytes."""

    means, failure = types.MappingProxyType({}), None

    def save_weights(self, path, overwrite):
        path.write_bytes(b"weights")

    def load_weights(self, path):
        if self.failure:
            raise self.failure


def checkpoint_of(folder, steps=()):
    """The folder's checkpoint, after saving at these steps."""
    checkpoint = Checkpoint(folder, per_epoch=100, every="1")
    checkpoint.set_model(Network())
    for checkpoint.step in steps:
        checkpoint.save_within_epoch()
    return checkpoint


def test_files_of_others_are_neither_read_nor_counted_nor_removed(tmp_path):
    for name in OTHERS:
        (tmp_path / name).write_text("mine")
    (tmp_path / "000000007.weights.h5.d").mkdir()
    said = []
    assert not checkpoint_of(tmp_path).restore(Network(), said.append) and said == []
    checkpoint = checkpoint_of(tmp_path, steps=(1, 2, 3))
    (tmp_path / "000000009.weights.h5").touch()  # a killed process wrote no more
    checkpoint.clean()
    kept = {path.name for path in tmp_path.iterdir() if path.is_file()} - set(OTHERS)
    assert kept == {f"00000000{n}{end}" for n in (2, 3) for end in (".json", ".weights.h5")}
    assert all((tmp_path / name).read_text() == "mine" for name in OTHERS)
    assert checkpoint.restore(Network(), said.append) and checkpoint.step == 3


@pytest.mark.parametrize(
    "failure, message",
    [
        (
            ValueError("Layer 'first' expected 2 variables\nmore"),
            "does not fit the network .*first",
        ),
        (KeyError("Unable to open object"), "does not fit the network .*Unable to open object"),
        (RuntimeError("Unable to get group info"), "does not fit the network .*group info"),
        (AttributeError("no attribute 'x'"), "does not fit the network .*attribute"),
        (OSError(5, "Input/output error"), r"cannot be read \(Input/output error\)"),
    ],
)
def test_any_error_in_reading_a_checkpoint_is_told_in_one_line(tmp_path, failure, message):
    checkpoint_of(tmp_path, steps=(1,))
    network = Network()
    network.failure = failure
    with pytest.raises(TrainingError, match=message) as caught:
        checkpoint_of(tmp_path).restore(network, print)
    assert str(caught.value).startswith(f"{tmp_path / '000000001.weights.h5'}: ")
    assert "\n" not in str(caught.value)


def test_want_of_memory_is_not_told_as_a_misfit(tmp_path):
    checkpoint_of(tmp_path, steps=(1,))
    network = Network()
    network.failure = MemoryError()
    with pytest.raises(MemoryError):
        checkpoint_of(tmp_path).restore(network, print)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"step": 1}', "\x80"])
def test_a_checkpoint_that_is_no_record_counts_as_damaged(tmp_path, text):
    checkpoint_of(tmp_path, steps=(1, 2))
    (tmp_path / "000000002.json").write_bytes(text.encode("latin1"))
    said = []
    checkpoint = checkpoint_of(tmp_path)
    assert checkpoint.restore(Network(), said.append) and checkpoint.step == 1
    assert "000000002.json is damaged" in said[0]
    assert json.loads((tmp_path / "000000001.json").read_text())["step"] == 1
