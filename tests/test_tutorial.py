"""The tutorial notebook runs from its first cell to its last, and the network learns."""

import pathlib
import re

import nbclient
import nbformat
import pytest

NOTEBOOK = pathlib.Path(__file__).resolve().parents[1] / "docs/tutorial.ipynb"


def scores(notebook):
    """PSNR in dB by name, as the notebook prints it."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", ())]
    text = "".join(o.get("text", "") for o in outputs if o.get("name") == "stdout")
    return {name: float(score) for name, score in re.findall(r"^(\w.*?) +([\d.]+) dB$", text, re.M)}


@pytest.mark.slow
def test_the_tutorial_runs_as_printed(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    printed = scores(notebook)
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    found = scores(notebook)
    assert found["noisy"] == pytest.approx(printed["noisy"], abs=0.01)
    assert found["trained here"] > found["noisy"] + 5
    assert found["shipped model"] > found["trained here"]
    assert (tmp_path / "tutorial_output/comparison.png").exists()


def test_its_outputs_are_of_one_clean_run():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {o.output_type for cell in code for o in cell.outputs}
    assert "error" not in kinds and "stderr" not in {
        o.get("name") for cell in code for o in cell.outputs
    }
    assert NOTEBOOK.stat().st_size < 500_000
