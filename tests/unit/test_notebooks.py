"""The notebooks among the examples: clean, one for each name of the front, and each runs to its end."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tacit

FOLDER = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells(notebook, kind):
    return ["".join(cell["source"]) for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_stored(notebook):
    text = notebook.read_text()
    stored = json.loads(text)
    assert text == json.dumps(stored, indent=1, ensure_ascii=False) + "\n"
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert cells(notebook, "markdown")[0].startswith("# ") and "assert " in "".join(cells(notebook, "code"))


def test_each_name_has_one_and_the_list_has_them_all():
    code = [cell for notebook in NOTEBOOKS for cell in cells(notebook, "code")]
    used = {name for cell in code for name in re.findall(r"tacit\.(\w+)", cell)}
    assert used == set(tacit.__all__)
    listed = re.findall(r"\]\((\w+\.ipynb)\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [notebook.name for notebook in NOTEBOOKS]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_to_its_end(notebook):
    """Its cells are run one after the other, as a notebook does, without the kernel."""
    code = "\n\n".join(cells(notebook, "code"))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:tacit", "-c", code],
        cwd=FOLDER,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d", done.stdout)
