"""The table of shipped models beside the paper's figures."""

import json

import pytest

from n2n_tf.model_files import shipped
from n2n_tf.shipping import cards, paper


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A checkout's saved_models/ with an RGB model of two sets, one of one set, and a gray one."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "saved_models")
    rows = {
        "blind": [
            ("gauss5_50", "Kodak", 30.456),
            ("gauss25", "Kodak", 31.0),
            ("gauss25", "Set14", 29),
        ],
        "strong": [("gauss50", "Kodak", 27.0), ("poisson30", "Set14", 28.25)],
        "gray": [("gauss25", "Kodak", 33.3)],
    }
    for name, figures in rows.items():
        folder = shipped.SHIPPED / name
        folder.mkdir(parents=True)
        (folder / "network.keras").touch()
        info = {"channels": 1 if name == "gray" else 3, "size_multiple": 32, "halo": 160}
        (folder / "model.json").write_text(json.dumps(info | {"multiply_adds": 12_345}))
        results = [{"noise": n, "data": d, "psnr": p} for n, d, p in figures]
        (folder / "results.json").write_text(json.dumps({"results": results}))
    return shipped.SHIPPED


def test_each_model_stands_below_the_paper_under_the_noises_it_was_measured_with(store):
    assert paper.beside_the_paper().splitlines() == [
        "| noise | model | Kodak | Set14 | MAC/pixel |",
        "| --- | --- | --- | --- | --- |",
        "| gauss25 | *the paper's U-Net* | 32.08 | 31.09 | 297,074 |",
        "| | `blind` | 31.00 | 29.00 | 12,345 |",
        "| gauss5_50 | *the paper's U-Net* | 32.10 | 31.05 | 297,074 |",
        "| | `blind` | 30.46 | - | 12,345 |",
        "| poisson30 | *the paper's U-Net* | 31.44 | 30.29 | 297,074 |",
        "| | `strong` | - | 28.25 | 12,345 |",
        "| poisson5_50 | *the paper's U-Net* | 30.86 | 29.79 | 297,074 |",
    ]


def test_the_papers_cost_is_its_networks():
    from n2n_tf.networks.cost import multiply_adds
    from n2n_tf.networks.unet import unet

    assert round(multiply_adds(unet(channels=3))) == paper.PAPER_MULTIPLY_ADDS


def test_only_what_stands_between_the_marks_changes(store):
    text = f"before\n{paper.BEGIN}\nold\n{paper.END}\nafter\n"
    written = paper.with_table(text)
    assert written.startswith(f"before\n{paper.BEGIN}\n") and written.endswith(
        f"{paper.END}\nafter\n"
    )
    assert "old" not in written and paper.with_table(written) == written


def test_an_installation_without_a_readme_gets_none(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "saved_models")
    shipped.SHIPPED.mkdir()
    assert [path.name for path in cards.documents()] == ["README.md"]
    (tmp_path / "README.md").write_text(f"{paper.BEGIN}{paper.END}")
    assert tmp_path / "README.md" in cards.documents()
