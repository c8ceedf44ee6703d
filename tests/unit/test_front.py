"""The names of `tacit` itself: there, light, and as their docstrings say."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tacit
from tacit import fingerprints
from tacit.analysis import p_variation

SOURCE = Path(tacit.__file__)


def test_importing_the_package_imports_no_torch():
    said = "import sys, tacit; print(sorted({'torch', 'numpy', 'h5py', 'pydantic'} & set(sys.modules)), dir(tacit))"
    found = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout
    assert found.startswith("[] ") and "'to_local'" in found


@pytest.mark.parametrize("name", tacit.__all__)
def test_each_name_is_there_and_documented_by_an_example_that_holds(name):
    found = getattr(tacit, name)
    assert found is getattr(tacit, name) and vars(tacit)[name] is found
    examples = doctest.DocTestFinder(recurse=False).find(found, name, module=False)
    assert (
        [example for test in examples for example in test.examples]
        or ".. code" in found.__doc__
        or "    path" in found.__doc__
    )
    for test in examples:
        assert doctest.DocTestRunner().run(test).failed == 0


def test_types_are_looked_up_where_the_names_are():
    """What type checkers are told is what is imported."""
    tree = ast.parse(SOURCE.read_text())
    told = {
        alias.asname or alias.name: f"{statement.module}.{alias.name}"
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        for alias in statement.names
    }
    assert set(told) == set(tacit.__all__) == set(tacit._PLACES)
    for name, place in tacit._PLACES.items():
        module, _, there = place.partition(":")
        assert told[name] == f"{module}.{there or name}"


def test_other_names_are_no_attributes_and_modules_still_are():
    with pytest.raises(AttributeError, match="no attribute 'LongRange'"):
        _ = tacit.LongRange
    from tacit import store

    assert store.__name__ == "tacit.store"


def test_the_front_is_no_part_of_any_fingerprint(tmp_path):
    """No script reaches it, and what the package does on import is what it did."""
    scripts = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))
    sources = fingerprints.Sources()
    reached = set().union(*(sources.modules(script) for script in scripts))
    assert "tacit.nn.local" in reached and not [name for name in reached if name.startswith("tacit.front")]
    before = sources.fingerprint(scripts[0])
    script = "from tacit import store\nstore.read\n"
    (tmp_path / "own.py").write_text(script)
    text = SOURCE.read_text()
    without = text[: text.index("if TYPE_CHECKING")] + "imports.watch(__name__)\n"
    changed = fingerprints.Sources(texts={SOURCE: without})
    assert changed.fingerprint(scripts[0]) == before
    assert changed.fingerprint(tmp_path / "own.py") == sources.fingerprint(tmp_path / "own.py")


PATH = np.random.default_rng(0).normal(size=(6, 3, 2))


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        torch.tensor(PATH, requires_grad=True),
        list(PATH),
        [torch.nn.Parameter(torch.tensor(point)) for point in PATH],
        PATH.tolist(),
    ],
)
def test_paths_may_be_tensors_or_lists_of_them(path):
    assert tacit.p_variation(path, 1.7) == p_variation.p_variation(PATH, 1.7)
    np.testing.assert_array_equal(tacit.p_variation(path, [1, 2]), p_variation.p_variation(PATH, [1, 2]))


@pytest.mark.parametrize(
    ("path", "p", "said"),
    [
        ([torch.zeros(2, 2), torch.zeros(3, 2)], 2, r"shapes \(2, 2\), \(3, 2\): a path has points of one shape"),
        (torch.tensor([0.0, float("nan")]), 2, "point 1 of the path"),
        ([0.0, 1.0], 0.5, "p >= 1"),
        ([], 2, "no points"),
        (3.0, 2, "single number"),
    ],
)
def test_what_has_no_variation_is_refused(path, p, said):
    with pytest.raises(ValueError, match=said):
        tacit.p_variation(path, p)
