"""What is wrong with a call of the workflow is said before anything is planned."""

import ast
import math
import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tacit import calls
from tacit.errors import UserError
from tacit.provenance import axis_text

ROOT = Path(__file__).parents[2]
RULES = ROOT / "workflow" / "rules"


def of_rules(*names):
    """Functions and constants of common.smk that need nothing of Snakemake, by name."""
    text = (RULES / "common.smk").read_text(encoding="utf-8")
    # The first directive ends the part that is Python alone.
    tree = ast.parse(re.split(r"^wildcard_constraints:", text, flags=re.M)[0])
    wanted = [
        node
        for node in tree.body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) in names)
    ]
    found = {"axis_text": axis_text, "math": math}
    exec(compile(ast.Module(wanted, []), "common.smk", "exec"), found)
    return found


PATHS = of_rules("whole", "wholes", "decimal", "CANONICAL", "WHOLE", "DECIMAL")
CANONICAL = PATHS["CANONICAL"]


# Values in paths.


@given(st.floats(0, 1e30) | st.integers(0, 10**9).map(float))
@example(1234567.0)
@example(1e16)
@example(1e-5)
@example(0.1)
@example(-0.0)
def test_every_number_has_one_name_that_rules_match(number):
    name = axis_text(number)
    assert re.fullmatch(PATHS["DECIMAL"], name)
    assert CANONICAL["coefficient"](name) == name
    assert float(name) == number


@pytest.mark.parametrize("other", ["1.0", "01", "1.50", "1e5", "1E-05", "+1", "-0", "1e-5", ".5", "1."])
def test_no_rule_matches_another_name(other):
    assert not re.fullmatch(PATHS["DECIMAL"], other)
    assert CANONICAL["coefficient"](other) != other


@pytest.mark.parametrize("other", ["00", "01", "-1", "1.0", ""])
def test_no_rule_matches_another_name_of_a_whole_number(other):
    assert not re.fullmatch(PATHS["WHOLE"], other)


def test_another_name_is_refused_with_the_right_one():
    run = "results/demo/pathfinder/path_length~3/coefficient~{}/seed~{}.h5"
    calls.check_axes(run.format("1", "0"), CANONICAL)
    calls.check_axes("figures/coefficient~x/seed~y.pdf", CANONICAL)
    for wrong in (run.format("1.0", "0"), run.format("1", "00"), run.format("01", "0")):
        with pytest.raises(calls.CallError, match=re.escape(f"ask for {run.format('1', '0')}")):
            calls.check_axes(wrong, CANONICAL)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("raw/images~00-95.h5", "raw/images~0-95.h5"),
        ("origin~cnn/target~fcn-01/seed~0.h5", "origin~cnn/target~fcn-1/seed~0.h5"),
        ("size~032/train~128/test~064.h5", "size~32/train~128/test~64.h5"),
    ],
)
def test_another_name_in_the_middle_of_a_path_is_refused_too(wrong, right):
    with pytest.raises(calls.CallError, match=re.escape(f"ask for results/{right}")):
        calls.check_axes(f"results/{wrong}", CANONICAL)


@pytest.mark.parametrize("path", ["images~0012345678/seed~0.h5", "coefficient~1e999/seed~0.h5", "origin~cnn/x.h5"])
def test_what_is_no_number_is_left_alone(path):
    calls.check_axes(path, CANONICAL)


# The command line.


@pytest.mark.parametrize(
    ("words", "forgotten", "advice"),
    [
        ("--config scale=paper -n --config device=cpu", "scale=paper", "--config scale=paper device=cpu"),
        ("-C scale=paper --config device=cpu --cores 1", "scale=paper", "--config scale=paper device=cpu"),
        ("--config=scale=paper --config device=cpu", "--config=scale=paper", "--config"),
        ("--configfile a.yaml --configfile b.yaml", "a.yaml", "--configfile a.yaml b.yaml"),
        ("--configfile a.yaml --configfiles b.yaml", "a.yaml", "--configfile a.yaml b.yaml"),
    ],
)
def test_what_snakemake_would_forget_is_refused(words, forgotten, advice):
    with pytest.raises(calls.CallError, match=f"forgets {re.escape(forgotten)}.*{re.escape(advice)}"):
        calls.check_given_once(words.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "scale=smoke", "scale=demo"], "scale is named twice behind --config.*forgets scale=smoke"),
        (["-n", "--config", "a={x: 1}", "b=2", "a={y: 2}", "--cores", "1"], "a is named twice.*forgets a={x: 1}"),
        (["--config", "a={x: 1, x: 2}"], "x: given twice"),
        (["-Cscale=smoke", "scale=demo"], "scale is named twice behind --config.*forgets scale=smoke"),
        (["--config", "a=[1, 010]"], "010: YAML reads numbers with leading zeros as octal"),
    ],
)
def test_what_is_named_twice_behind_one_config_is_refused(words, said):
    with pytest.raises(UserError, match=said):
        calls.check_named_once(words)


@pytest.mark.parametrize(
    "words", [[], ["--config", "a={x: 1}", "b=2"], ["--config", "a=1", "--configfile", "x.yaml", "a=b"], ["a=1", "a=1"]]
)
def test_what_is_named_once_is_left_alone(words):
    calls.check_named_once(words)


def test_what_the_command_line_takes_from_a_profile_is_refused():
    profile = {"config": ["scale=paper"], "cores": 2}
    with pytest.raises(calls.CallError, match=r"config in the profile .* forgets the latter .*scale=paper"):
        calls.check_given_once(["--config", "device=cpu"], profile)
    calls.check_given_once(["--cores", "1"], profile)
    calls.check_given_once(["--config", "device=cpu"], {"cores": 2})


@pytest.mark.parametrize("words", ["", "--config a=1 b=2", "--config a=1 --configfile x.yaml", "-c 1 --cores 2"])
def test_other_calls_are_left_alone(words):
    calls.check_given_once(words.split())


NAMES = ["pathfinder", "figures/pathfinder.pdf", "results/demo/pathfinder/runs.csv", "figures/untied.pdf"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("figures/pathfindr.pdf", "nearest that there is: figures/pathfinder.pdf"),
        ("pathfindr", "nearest that there is: pathfinder"),
        ("results/paper/pathfinder/runs.csv", "scale paper, and the scale is demo: add  --config scale=paper"),
        ("results/paper/pathfinder/runs.csv", "nearest that there is: results/demo/pathfinder/runs.csv"),
        ("results/data/images/x.h5", "named by the settings they are made with"),
        ("/home/me/figures/untied.pdf", "named relative to the folder of results"),
        ("qqq", "snakemake --list-target-rules"),
    ],
)
def test_a_target_that_does_not_exist_is_refused_with_what_does(target, expected):
    error = calls.no_such_target(target, NAMES, scale="demo", scales=["smoke", "demo", "paper"])
    assert expected in str(error)
    assert str(error).startswith(f"{target}: there is no such target; ")


# Places.


@pytest.fixture
def clones(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    return tmp_path / "first", tmp_path / "second"


def test_of_two_folders_that_share_results_the_second_is_refused(clones):
    first, second = clones
    calls.take_possession(first)
    (second / "results").symlink_to(first / "results")
    calls.check_owner(first)
    with pytest.raises(calls.CallError, match=f"also that of the workflow in {re.escape(str(first))}"):
        calls.check_owner(second)


def test_of_two_folders_that_link_to_a_third_the_second_is_refused(clones, tmp_path):
    first, second = clones
    (tmp_path / "scratch").mkdir()
    for clone in clones:
        (clone / "results").symlink_to(tmp_path / "scratch")
        calls.check_owner(clone)
    calls.take_possession(first)
    calls.check_owner(first)
    with pytest.raises(calls.CallError, match=str(first)):
        calls.check_owner(second)


def test_results_that_were_moved_or_copied_belong_to_where_they_are(clones):
    first, second = clones
    calls.take_possession(first)
    shutil.copytree(first / "results", second / "results")
    calls.check_owner(second)
    calls.take_possession(second)
    shutil.rmtree(first / "results")
    (second / "results").rename(first / "results")
    calls.check_owner(first)
    calls.take_possession(first)
    calls.check_owner(first)


def test_a_mark_that_cannot_be_read_or_written_stops_nobody(clones):
    first, _ = clones
    (first / "results").write_text("no folder")
    calls.take_possession(first)
    calls.check_owner(first)
    (first / "results").unlink()
    (first / "results" / calls.OWNER).mkdir(parents=True)
    calls.take_possession(first)
    calls.check_owner(first)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    calls.check_place(tmp_path)
    for name in ("{wildcards.seed}", "a{{b", "x{}", "{y:d}", "x}"):
        with pytest.raises(calls.CallError, match="has braces in its name"):
            (tmp_path / name).mkdir()
            calls.check_place(tmp_path / name)
    # As for root every folder can be written to, unless its file system is mounted without.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(calls.CallError, match=r"cannot be written to.*snakemake --directory FOLDER"):
        calls.check_place(tmp_path)


# Python.


def test_the_versions_of_python_are_the_same_wherever_they_stand():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.14"
    for file in (ROOT / "setup.py", RULES / "common.smk"):
        assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in file.read_text(encoding="utf-8"), file
