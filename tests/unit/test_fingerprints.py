import shutil
import textwrap
from pathlib import Path

import pytest

from tacit import fingerprints

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "workflow" / "scripts"


@pytest.fixture
def package(tmp_path):
    """A small package `tacit` and a script that uses a part of it."""
    files = {
        "tacit/__init__.py": "",
        "tacit/store.py": """
            LEVEL = 4

            def write(path):
                return path, LEVEL

            def read(path):
                return path
            """,
        "tacit/data/__init__.py": "",
        "tacit/data/images.py": """
            import numpy as np

            from tacit import store
            from tacit.data.shapes import Circle

            TABLE = {"circle": Circle}

            def draw(name):
                return TABLE[name]().area(), np.zeros(3)

            def other():
                return store.read("x")
            """,
        "tacit/data/shapes.py": """
            import warnings

            warnings.filterwarnings("ignore")
            warnings.SETTINGS["level"] = 1

            class Shape:
                def area(self):
                    return 1

            class Circle(Shape):
                def radius(self):
                    from tacit.deep import constant
                    return constant.VALUE

            class Square(Shape):
                pass
            """,
        "tacit/deep/__init__.py": "",
        "tacit/deep/constant.py": "VALUE = 3\nOTHER = 4\n",
        "tacit/runlog.py": "def to(path):\n    return path\n",
        "script.py": """
            from tacit import runlog, store
            from tacit.data import images

            def main():
                runlog.to("x")
                store.write(images.draw("circle"))
            """,
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    return tmp_path


def fingerprint(folder):
    return fingerprints.Sources(folder / "tacit").fingerprint(folder / "script.py")


def change(folder, name, old, new):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", '"circle"', '"square"'),
        ("tacit/store.py", "return path, LEVEL", "return LEVEL, path"),
        ("tacit/store.py", "LEVEL = 4", "LEVEL = 5"),
        ("tacit/data/images.py", "zeros(3)", "zeros(4)"),
        ("tacit/data/images.py", '"circle": Circle', '"square": Circle'),
        ("tacit/data/shapes.py", "return 1", "return 2"),
        ("tacit/data/shapes.py", '"ignore"', '"error"'),
        ("tacit/data/shapes.py", '["level"] = 1', '["level"] = 2'),
        ("tacit/deep/constant.py", "VALUE = 3", "VALUE = 4"),
        ("tacit/data/__init__.py", "", "print(1)\n"),
        ("tacit/data/images.py", "import numpy as np", "import scipy as np"),
        ("tacit/data/shapes.py", "import warnings", "import logging as warnings"),
    ],
)
def test_an_edit_of_what_the_script_reaches_changes_it(package, name, old, new):
    before = fingerprint(package)
    change(package, name, old, new)
    assert fingerprint(package) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tacit/store.py", "    return path\n", "    return path + path\n"),
        ("tacit/data/images.py", 'store.read("x")', 'store.read("y")'),
        ("tacit/data/shapes.py", "class Square(Shape):\n    pass", "class Square(Shape):\n    side = 1"),
        ("tacit/deep/constant.py", "OTHER = 4", "OTHER = 5"),
        ("tacit/runlog.py", "return path", "return None"),
    ],
)
def test_an_edit_of_anything_else_does_not(package, name, old, new):
    before = fingerprint(package)
    change(package, name, old, new)
    assert fingerprint(package) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tacit/store.py", "def write(path):", '# why\n\n\ndef write(  path ):\n    """Say what."""'),
        ("tacit/store.py", "LEVEL = 4", 'LEVEL = (4)  # bits\n"""A level."""'),
        ("tacit/data/images.py", "import numpy as np\n", '"""Images."""\nimport numpy as np\n'),
        ("tacit/data/shapes.py", "class Circle(Shape):", 'class Circle(Shape):\n    """Round."""\n'),
    ],
)
def test_comments_docstrings_and_layout_do_not(package, name, old, new):
    before = fingerprint(package)
    change(package, name, old, new)
    assert fingerprint(package) == before


def test_a_module_that_is_passed_around_counts_as_a_whole(package):
    change(package, "script.py", 'runlog.to("x")', "print(store)")
    before = fingerprint(package)
    change(package, "tacit/store.py", "    return path\n", "    return path + path\n")
    assert fingerprint(package) != before


def test_a_local_variable_is_not_the_function_of_that_name(package):
    change(package, "script.py", 'runlog.to("x")', "draw = read = 3\n    print(draw, read)")
    before = fingerprint(package)
    change(package, "tacit/store.py", "    return path\n", "    return path + path\n")
    assert fingerprint(package) == before


@pytest.mark.parametrize(
    "body",
    [
        "def inner():\n        store = 1\n    store.read(inner)",
        "print([store for store in ()])\n    store.read(1)",
        "global store\n    store = store.read(1)",
    ],
)
def test_a_variable_of_another_scope_hides_nothing(package, body):
    change(package, "script.py", 'runlog.to("x")', body)
    before = fingerprint(package)
    change(package, "tacit/store.py", "    return path\n", "    return path + path\n")
    assert fingerprint(package) != before


def test_a_default_is_looked_up_outside_the_function(package):
    change(package, "script.py", "def main():", "def main(store=store.read):")
    before = fingerprint(package)
    change(package, "tacit/store.py", "    return path\n", "    return path + path\n")
    assert fingerprint(package) != before


def test_a_missing_module_is_named(package):
    (package / "tacit" / "deep" / "constant.py").unlink()
    change(package, "tacit/data/shapes.py", "from tacit.deep import constant", "from tacit.deeper import constant")
    with pytest.raises(ModuleNotFoundError, match=r"tacit\.deeper"):
        fingerprint(package)


STAGES = {
    "render": ("pathfinder_render.py", ""),
    "assemble": ("pathfinder_assemble.py", ""),
    "train": ("pathfinder_train.py", ""),
    "collect": ("collect.py", "tacit.studies.pathfinder.tables"),
    "plot": ("plot.py", "tacit.figures.pathfinder.ACCURACY"),
}


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        ("data/pathfinder_kernel.py", "if total < _LEAST_WEIGHT", "if total <= _LEAST_WEIGHT", {"render"}),
        ("data/strokes.py", "fill=255", "fill=254", {"render"}),
        ("training/engine.py", "self.optimizer.zero_grad()", "self.network.zero_grad()", {"train"}),
        ("training/networks.py", "least=1.0", "least=0.99", {"train"}),
        ("nn/resnets.py", "kernel_size=7", "kernel_size=5", {"train"}),
        ("optim/long_range.py", ".roll(-1", ".roll(1", {"train"}),
        ("figures/accuracy.py", "style.COLUMN, 2.6", "style.COLUMN, 2.7", {"plot"}),
        ("studies/pathfinder.py", "Image.Resampling.BILINEAR", "Image.Resampling.BICUBIC", {"assemble"}),
        ("studies/tables.py", "groups.std(ddof=1)", "groups.std(ddof=0)", {"plot"}),
        ("studies/ledger.py", "CONFIDENCE = 0.95", "CONFIDENCE = 0.99", {"collect"}),
        ("runlog.py", "every: float = 10.0", "every: float = 20.0", set()),
        ("compiled.py", "_POLL_SECONDS = 0.2", "_POLL_SECONDS = 0.3", set()),
        ("status.py", '"drawn"', '"done"', set()),
    ],
)
def test_edits_of_this_package_reach_the_stages_that_depend_on_them(tmp_path, name, old, new, stages):
    shutil.copytree(ROOT / "src" / "tacit", tmp_path / "tacit")

    def found():
        sources = fingerprints.Sources(tmp_path / "tacit")
        return {stage: sources.fingerprint(SCRIPTS / script, uses) for stage, (script, uses) in STAGES.items()}

    before = found()
    change(tmp_path / "tacit", name, old, new)
    after = found()
    assert {stage for stage in STAGES if before[stage] != after[stage]} == stages


# What is kept of them.


def kept(package, **options):
    sources = fingerprints.Sources(package / "tacit", cache=package / "cache", **options)
    found = sources.fingerprint(package / "script.py"), sources.modules(package / "script.py")
    sources.save()
    return found


def test_fingerprints_are_kept_and_parse_nothing(package, monkeypatch):
    plain = fingerprints.Sources(package / "tacit")
    expected = plain.fingerprint(package / "script.py"), plain.modules(package / "script.py")
    assert kept(package) == expected
    assert len(list((package / "cache").iterdir())) == 1
    monkeypatch.setattr(fingerprints.ast, "parse", lambda *_, **__: pytest.fail("parsed"))
    assert kept(package) == expected


@pytest.mark.parametrize("edited", ["tacit/store.py", "tacit/data/shapes.py", "script.py"])
def test_what_is_kept_is_of_exactly_these_sources(package, edited):
    before = kept(package)[0]
    text = (package / edited).read_text()
    (package / edited).write_text(f"{text}\n\ndef main():\n    return 'another'\n\n\nread = main\n")
    plain = fingerprints.Sources(package / "tacit").fingerprint(package / "script.py")
    assert kept(package)[0] == plain
    (package / edited).write_text(text)
    assert kept(package)[0] == before
    # Of other sources nothing stays.
    assert len(list((package / "cache").iterdir())) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 1}', '{"x": ["a"]}', "\0"])
def test_a_damaged_account_is_made_again(package, content):
    expected = kept(package)
    (file,) = (package / "cache").iterdir()
    file.write_text(content)
    assert kept(package) == expected
    assert kept(package) == expected


def test_where_nothing_can_be_kept_nothing_is(package):
    (package / "cache").write_text("a file")
    assert kept(package) == kept(package)
    # A file that no script needs may be anything.
    (package / "cache").unlink()
    (package / "tacit" / "other.py").write_bytes(b"\xff")
    assert kept(package) == kept(package)
    assert not (package / "cache").exists()


def test_what_a_script_is_told_to_use_counts(package):
    sources = fingerprints.Sources(package / "tacit")
    plain, told = (sources.fingerprint(package / "script.py", uses) for uses in ("", "tacit.data.shapes.Square"))
    assert plain != told
    assert "tacit.data.shapes" in sources.modules(package / "script.py", "tacit.data.shapes.Square")
    with pytest.raises(ModuleNotFoundError, match=r"tacit\.data\.shapes\.Triangle"):
        sources.fingerprint(package / "script.py", "tacit.data.shapes.Triangle")
