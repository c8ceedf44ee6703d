"""What is wrong with a call of the workflow is said before anything is planned."""

import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from tacit import calls
from tacit.errors import UserError

ROOT = Path(__file__).parents[2]
RULES = ROOT / "workflow" / "rules"

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
