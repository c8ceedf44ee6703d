"""What files say of where they come from, and who compares it."""

import json
import os
import py_compile
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from project import CHECKOUT
from tacit import checkpoints, imports, jobs, provenance, store

SCRIPTS = CHECKOUT / "workflow" / "scripts"
CPU = torch.device("cpu")
KIND = store.Kind("test run", {"x": store.Array("float", "n")})
TABLE = store.Table(keys=["seed"], numbers=["x"])
CODE = {"train.py": "aaaa", "collect.py": "bbbb"}


@pytest.fixture(autouse=True)
def planned(monkeypatch):
    """A plan, and no job before or after a test."""
    monkeypatch.setenv(provenance.CODE_VARIABLE, json.dumps(CODE))
    provenance.begin(provenance.Origin())
    yield
    provenance.begin(provenance.Origin())


def write_run(folder, *, seed, code="aaaa", path=None, **settings):
    """A run as its job writes it."""
    path = path or folder / f"seed~{seed}.h5"
    provenance.begin(provenance.gather("train.py", code, {}, asked=[], accept_older=False))
    store.write(path, {"x": np.zeros(2)}, kind=KIND, settings={"seed": seed, "epochs": 3, **settings})
    provenance.begin(provenance.Origin())
    return path


def read_by(script, *paths, asked=(), accept_older=False, **options):
    files = {str(path): store.describe(path) for path in paths}
    origin = provenance.gather(script, CODE[script], files, asked=asked, accept_older=accept_older, **options)
    provenance.begin(origin)
    return origin


def refused(script, *paths, **options):
    with pytest.raises(provenance.ProvenanceError) as refusal:
        read_by(script, *paths, **options)
    return str(refusal.value)


def test_a_file_says_what_made_it_and_what_it_was_made_from(tmp_path):
    run = write_run(tmp_path, seed=0)
    described = store.describe(run)
    assert described.made_by == (("train.py", "aaaa"),)
    assert described.digest == store.read(run, kind=KIND).digest
    origin = read_by("collect.py", run)
    assert origin.made_by == (("collect.py", "bbbb"), ("train.py", "aaaa"))
    assert origin.inputs == (described.digest,)
    store.write(tmp_path / "next.h5", {"x": np.ones(1)}, kind=KIND, settings={})
    assert store.describe(tmp_path / "next.h5").made_by == origin.made_by
    attributes = store.read(tmp_path / "next.h5", kind=KIND).attributes
    assert json.loads(attributes["inputs"]) == [described.digest]


def test_equal_jobs_write_equal_bytes(tmp_path):
    first = write_run(tmp_path, seed=0).read_bytes()
    assert write_run(tmp_path, seed=0).read_bytes() == first


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"epochs": 777}, "epochs = 3, asked is 777"),
        ({"epochs": 3, "missing": 1}, "missing = null, asked is 1"),
        ({"network": {"width": 8}}, "network.width = 4, asked is 8"),
        ({"rates": [0.1]}, "rates = [0.1, 0.2], asked is [0.1]"),
    ],
)
def test_settings_that_differ_are_named(tmp_path, asked, words):
    run = write_run(tmp_path, seed=0, network={"width": 4, "name": "a"}, rates=[0.1, 0.2])
    message = refused("collect.py", run, asked=[({}, asked)])
    assert f"{run}: made with {words}" in message
    assert "accept_older_code" not in message


def test_images_that_are_missing_are_named_where_runs_of_others_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(provenance.SHORTAGE_VARIABLE, "MNIST is not complete")
    message = refused("collect.py", write_run(tmp_path, seed=0), asked=[({}, {"epochs": 777})])
    assert "as these are missing: MNIST is not complete" in message


def test_settings_that_agree_are_not(tmp_path):
    run = write_run(tmp_path, seed=0, network={"width": 4, "name": "a"}, rates=[0.1, 0.2])
    read_by("collect.py", run, asked=[({}, {"epochs": 3, "network": {"width": 4}, "rates": [0.1, 0.2]})])


def test_what_is_asked_may_depend_on_the_axes_of_the_path(tmp_path):
    run = write_run(tmp_path, seed=0, path=tmp_path / "network~cnn" / "seed~0.h5")
    other = ({"network": "fcn"}, {"epochs": 5})
    read_by("collect.py", run, asked=[other, ({"network": "cnn", "split": None}, {"epochs": 3}), ({}, {"epochs": 9})])
    assert "asked is 9" in refused("collect.py", run, asked=[other, ({"split": "1"}, {}), ({}, {"epochs": 9})])
    read_by("collect.py", run, asked=[other])


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("seed~1", {}, "seed 0"),
        ("coefficient~0.1/seed~0", {"coefficient": 0.25}, "coefficient 0.25"),
        ("balanced~true/seed~0", {"variant": {"balanced": False}}, "balanced false"),
        ("raw/images~0-95", {"images": "96-191"}, "images 96-191"),
        ("train~128/test~64", {"num_train": 128, "num_test": 65}, "test 65"),
    ],
)
def test_a_file_in_the_place_of_another_is_refused(tmp_path, name, settings, words):
    run = write_run(tmp_path, seed=0, path=tmp_path / f"{name}.h5", **settings)
    assert f"holds {words}; was it copied or renamed?" in refused("collect.py", run)


def test_a_file_in_its_own_place_is_not(tmp_path):
    axes = "problem~0ab/coefficient~1e-05/depth~3/rate~3/balanced~true"
    run = write_run(
        tmp_path,
        seed=0,
        path=tmp_path / axes / "seed~0.h5",
        coefficient=1e-5,
        problem={"rank": 2},
        variant={"depth": 3, "rate": 3.0, "balanced": True},
    )
    read_by("collect.py", run)


def test_older_code_is_refused_or_counted_also_behind_other_files(tmp_path):
    old, new = write_run(tmp_path, seed=0, code="0000"), write_run(tmp_path, seed=1)
    message = refused("collect.py", old, new)
    assert f"{old}: made by other code of train.py" in message
    assert str(new) not in message
    assert "accept_older_code" in message
    assert read_by("collect.py", old, new, accept_older=True).older == 1
    store.write_table(tmp_path / "runs.csv", pd.DataFrame({"seed": [0], "x": [1.0]}))
    assert "runs.csv: made by other code of train.py" in refused("collect.py", tmp_path / "runs.csv")
    assert read_by("collect.py", tmp_path / "runs.csv", accept_older=True).older == 1


def test_runs_of_a_table_are_counted_by_the_code_as_it_is_when_they_are_drawn(tmp_path, monkeypatch):
    read_by("collect.py", *(write_run(tmp_path, seed=seed) for seed in range(3)))
    store.write_table(tmp_path / "runs.csv", pd.DataFrame({"seed": [0], "x": [1.0]}))
    assert read_by("collect.py", tmp_path / "runs.csv").older == 0
    monkeypatch.setenv(provenance.CODE_VARIABLE, json.dumps(CODE | {"train.py": "dddd"}))
    refused("collect.py", tmp_path / "runs.csv")
    assert read_by("collect.py", tmp_path / "runs.csv", accept_older=True).older == 3


def test_code_of_what_was_read_counts_too(tmp_path):
    read_by("train.py", write_run(tmp_path, seed=0))
    store.write(tmp_path / "next.h5", {"x": np.ones(1)}, kind=KIND, settings={})
    (tmp_path / "seed~0.h5").unlink()
    read_by("collect.py", tmp_path / "next.h5")
    assert ("train.py", "aaaa") in store.describe(tmp_path / "next.h5").made_by


def test_a_table_says_what_was_asked_when_it_was_collected(tmp_path):
    table = tmp_path / "runs.csv"
    asked = [({"network": "cnn"}, {"epochs": 3, "sgd": {"rate": 0.1}}), ({}, {"epochs": 5})]
    read_by(
        "collect.py",
        write_run(tmp_path, seed=0, path=tmp_path / "network~cnn" / "seed~0.h5", sgd={"rate": 0.1}),
        asked=asked,
    )
    store.write_table(table, pd.DataFrame({"seed": [0], "x": [1.0]}))
    read_by("collect.py", table, asked=json.loads(json.dumps(asked)))
    assert store.read_table(table, expected=TABLE)["x"].tolist() == [1.0]
    message = refused("collect.py", table, asked=[({"network": "cnn"}, {"epochs": 3, "sgd": {"rate": 0.2}}), asked[1]])
    assert "collected from runs with network cnn.sgd.rate = 0.1, asked is 0.2" in message
    assert "epochs = 5, asked is 6" in refused("collect.py", table, asked=[asked[0], ({}, {"epochs": 6})])


@pytest.mark.parametrize(
    ("asked", "partial", "words"),
    [
        ([0, 1], False, None),
        ([0, 1, 2], True, None),
        ([0, 1, 2], False, "collected without 1 of 3 runs that are asked for, such as {}/seed~2.h5"),
        ([0, 2], False, "collected from 1 runs that are not asked for, such as {}/seed~1.h5"),
        ([0, 2], True, "collected from 1 runs that are not asked for, such as {}/seed~1.h5"),
    ],
)
def test_a_table_is_of_the_runs_that_are_asked_for(tmp_path, asked, partial, words):
    table = tmp_path / "runs.csv"
    read_by("collect.py", *(write_run(tmp_path, seed=seed) for seed in range(2)))
    store.write_table(table, pd.DataFrame({"seed": [0, 1], "x": [1.0, 2.0]}))
    collected = {"runs": [str(tmp_path / f"seed~{seed}.h5") for seed in asked], "partial": partial}
    if words is None:
        assert read_by("collect.py", table, collected=collected).missing == len(asked) - 2
    else:
        message = refused("collect.py", table, collected=collected)
        assert f"{table}: {words.format(tmp_path)}" in message
        assert f"--forcerun {table} " in message


def test_a_damaged_file_is_not_taken_at_its_word(tmp_path):
    """A flipped bit in its settings is neither another seed nor another setting."""
    for seed, asked in ((0, {}), (3, {"epochs": 3})):
        run = write_run(tmp_path, seed=seed, path=tmp_path / "seed~0.h5")
        content = bytearray(run.read_bytes())
        place = content.index(b'"seed": ') + 8 if seed == 0 else content.index(b'"epochs": ') + 10
        content[place] ^= 1
        run.write_bytes(content)
        with pytest.raises(store.StoreError, match=r"seed~0\.h5: damaged"):
            read_by("collect.py", run, asked=[({}, asked)])


def test_older_code_is_offered_only_where_it_is_a_choice(tmp_path):
    old = write_run(tmp_path, seed=0, code="0000")
    assert "accept_older_code" in refused("collect.py", old)
    assert "accept_older_code" not in refused("train.py", old, accept_older=None)


@pytest.mark.parametrize("change", ["code", "input", "settings"])
def test_a_checkpoint_of_other_code_or_inputs_is_not_gone_on_from(tmp_path, caplog, change):
    run = write_run(tmp_path, seed=0)
    read_by("train.py", run)
    settings = {"epochs": 3}
    checkpoints.save(tmp_path / "c.pt", {"epoch": 2}, settings=settings)
    assert checkpoints.load(tmp_path / "c.pt", settings=settings, device=CPU) == {"epoch": 2}
    if change == "code":
        files = {str(run): store.describe(run)}
        provenance.begin(provenance.gather("train.py", "cccc", files, asked=[], accept_older=False))
    elif change == "input":
        # The same settings, other content.
        read_by("train.py", write_run(tmp_path, seed=0, note="x"))
    else:
        settings = {"epochs": 4}
    with caplog.at_level("WARNING", logger="tacit"):
        assert checkpoints.load(tmp_path / "c.pt", settings=settings, device=CPU) is None
    assert {"code": "code", "input": "inputs", "settings": "epochs"}[change] in caplog.text


# Jobs.


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package in place of this one, as far as fingerprints go, and a script that uses a part of it."""
    (tmp_path / "tacit").mkdir()
    (tmp_path / "tacit" / "__init__.py").write_text("")
    (tmp_path / "tacit" / "work.py").write_text("def work():\n    return 1\n")
    script = tmp_path / "script.py"
    script.write_text("from tacit import work\n\ndef main():\n    return work.work()\n")
    real = jobs.Sources
    monkeypatch.setattr(jobs, "Sources", lambda **texts: real(tmp_path / "tacit", **texts))
    monkeypatch.setattr(imports, "sources", {})
    monkeypatch.setattr(jobs.Program, "import_all", lambda program, sources: None)
    return tmp_path


def start(package, code, **params):
    params = {"code": code, **params}
    return jobs.started(
        package / "script.py", SimpleNamespace(log=[package / "logs" / "job.log"], input=[], params=params)
    )


def test_a_job_whose_code_is_not_the_planned_one_refuses_at_its_start(package, capfd):
    begun = []
    with pytest.raises(SystemExit), start(package, "0123456789abcdef"):
        begun.append(True)
    assert not begun
    assert "the code was changed since this job was planned" in capfd.readouterr().err


def another_module_of_that_name(module):
    module.with_suffix("").mkdir()
    module.with_suffix("").joinpath("__init__.py").write_text("def work():\n    return 2\n")


CHANGES = {
    "an edit": lambda module: module.write_text("def work():\n    return 2\n"),
    "half an edit": lambda module: module.write_text("def work(:\n"),
    "another encoding": lambda module: module.write_bytes("# Prüfung\n".encode("latin-1")),
    "a module less": lambda module: module.unlink(),
    "another module of that name": another_module_of_that_name,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_job_whose_code_changes_under_way_refuses_and_keeps_its_checkpoint(package, capfd, change):
    code = jobs.Sources().fingerprint(package / "script.py")
    checkpoint = package / "run.pt"
    checkpoint.write_bytes(b"x")
    with pytest.raises(SystemExit), start(package, code, checkpoint=str(checkpoint)):
        change(package / "tacit" / "work.py")
    said = capfd.readouterr().err
    assert "the code was changed since this job was planned" in said and "run the same command again" in said
    assert checkpoint.exists()


def test_a_job_whose_code_changes_while_it_is_imported_refuses_at_its_start(package, capfd, monkeypatch):
    code = jobs.Sources().fingerprint(package / "script.py")
    change = CHANGES["an edit"]
    monkeypatch.setattr(jobs.Program, "import_all", lambda program, sources: change(package / "tacit" / "work.py"))
    begun = []
    with pytest.raises(SystemExit), start(package, code):
        begun.append(True)
    assert not begun
    assert "the code was changed since this job was planned" in capfd.readouterr().err


def test_a_job_that_imported_what_was_there_for_a_moment_refuses_at_its_start(package, capfd):
    code, begun = jobs.Sources().fingerprint(package / "script.py"), []
    imports.sources[package / "tacit" / "work.py"] = "def work():\n    return 2\n"
    with pytest.raises(SystemExit), start(package, code):
        begun.append(True)
    assert not begun
    assert "the code was changed since this job was planned" in capfd.readouterr().err
    imports.sources[package / "tacit" / "work.py"] = "# A comment.\ndef work():\n    return 1\n"
    with start(package, code):
        begun.append(True)
    assert begun


def test_modules_are_imported_from_their_source_and_it_is_remembered(tmp_path):
    """Python takes what it compiled for that of any source of the same size and second."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("from tacit import imports\nimports.watch(__name__)\n")
    module = tmp_path / "package" / "module.py"
    program = """
        from package import module
        from tacit import imports
        print(module.VALUE, [text for path, text in imports.sources.items() if path.name == "module.py"])
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for value in (1, 2):
        text = f"VALUE = {value}\n"
        module.write_text(text)
        os.utime(module, (10**9, 10**9))
        # As Python would leave it where nobody watches.
        if value == 1:
            py_compile.compile(str(module))
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"{value} {[text]}\n"


def test_what_a_job_imports_is_remembered():
    assert imports.sources[Path(store.__file__)] == Path(store.__file__).read_text(encoding="utf-8")


def test_a_job_whose_code_stays_discards_its_checkpoint_at_the_end(package):
    code = jobs.Sources().fingerprint(package / "script.py")
    checkpoint = package / "run.pt"
    checkpoint.write_bytes(b"x")
    with start(package, code, checkpoint=str(checkpoint)) as origin:
        (package / "tacit" / "work.py").write_text("# A comment.\ndef work():\n    return 1\n")
        assert checkpoint.exists()
    assert origin.made_by == (("script.py", code),)
    assert not checkpoint.exists()
    assert f"code {code}" in (package / "logs" / "job.log").read_text()


def test_a_job_imports_everything_that_it_can_reach_before_it_works(tmp_path):
    script = SCRIPTS / "pathfinder_train.py"
    program = """
        import sys
        from tacit import jobs
        jobs.Program(jobs.Path(sys.argv[1]), "", "").import_all(jobs.Sources())
        print(*sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    # Both are imported within functions alone.
    assert {"tacit.training.networks", "tacit.optim.long_range", "tacit.nn.resnets"} <= loaded
    assert "tacit.training.descent" not in loaded


def test_jobs_that_need_no_torch_do_not_import_it():
    """They are many, and end before its import would."""
    program = """
        import sys
        from tacit import jobs
        for program in sys.argv[1:]:
            script, _, uses = program.partition(" ")
            jobs.Program(jobs.Path(script), uses, "").import_all(jobs.Sources())
        print("tacit.training.matrix_descent" in sys.modules, "torch" in sys.modules)
    """
    rules = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS.parent.glob("rules/*.smk"))
    told = re.findall(r'fingerprint\("(\w+\.py)", "([\w.]+)"\)', rules)
    without = [f"{SCRIPTS / name} {uses}" for name, uses in told]
    assert len(without) > 15
    without += map(str, SCRIPTS.glob("pathfinder_[ra]*.py"))
    names = ("matrix_norms_train", "tensor_completion_linear", "images_convert", "same_class_pair")
    without += [str(SCRIPTS / f"{name}.py") for name in names]
    command = [sys.executable, "-c", textwrap.dedent(program), *without]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["True", "False"]


def test_the_revision_is_that_of_the_code_and_none_where_there_is_none(tmp_path):
    assert jobs.git_revision(tmp_path) is None

    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", "-C", tmp_path, *names, *arguments], check=True, capture_output=True, text=True)

    git("init", "-q")
    (tmp_path / "__init__.py").write_text("")
    assert jobs.git_revision(tmp_path) is None
    git("add", ".")
    git("commit", "-qm", "x")
    revision = git("rev-parse", "HEAD").stdout.strip()[:12]
    assert jobs.git_revision(tmp_path) == revision
    (tmp_path / "__init__.py").write_text("x = 1\n")
    assert jobs.git_revision(tmp_path) == f"{revision}-dirty"
