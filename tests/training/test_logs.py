"""TensorBoard's files: one for each epoch of the history, and nobody else's removed."""

import types

from n2n_tf.training.logs import TensorBoardLog


def test_only_the_files_of_epochs_are_replaced_or_removed(tmp_path):
    others = ("events.out.tfevents.1700000000.host.1.v2", "events.out.tfevents.x", "notes.txt")
    for name in (*others, "events.out.tfevents.000009"):  # an epoch that is not in the history
        (tmp_path / name).write_text("before")
    checkpoint = types.SimpleNamespace(
        history=[{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}], step=25, per_epoch=10
    )
    said = []
    TensorBoardLog(tmp_path, checkpoint, None, said.append).on_train_begin()
    epochs = {f"events.out.tfevents.00000{n}" for n in (1, 2)}
    assert {path.name for path in tmp_path.iterdir()} == {*others, *epochs} and not said
    assert all((tmp_path / name).read_text() == "before" for name in others)
