"""Called from elsewhere, by others, or as a part of another workflow, it plans, or says in a sentence why not."""

import os
import subprocess
import sys

import pytest

from project import FIGURE, Call, pathfinder

pytestmark = pytest.mark.slow

PLAN = pathfinder(render=4, assemble=2, train=4, collect=1, plot=1)
"""Of the figure at smoke scale, from nothing."""

NAMELESS = """
import pwd

def missing(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = missing
"""


def call(project, *arguments, folder, program=("-m", "snakemake"), environment=None, without=()):
    """Call Snakemake with the code of `project` from another folder."""
    variables = {name: value for name, value in project.environment.items() if name not in without}
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env=variables | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
    )
    return Call(done.returncode, done.stdout)


def planned(called):
    assert called.code == 0, called.output
    return called.plan


def assert_refused(called, *words):
    assert called.code != 0, called.output
    assert [word for word in words if word not in called.output] == [], called.output
    assert "Traceback" not in called.output, called.output


SMOKE = ("--config", "scale=smoke")
CONTINUED = "results/smoke/untied/continued/network~fcn/cnn_learning_rate~0.05"
WAY = "results/smoke/untied/interpolation/cnn_learning_rate~0.05/learning_rate~0.01"


def test_results_may_go_to_another_folder(fresh, tmp_path):
    assert planned(call(fresh, "-n", FIGURE, "--directory", str(tmp_path), *SMOKE, folder=fresh.folder)) == PLAN
    assert planned(call(fresh, "-n", FIGURE, "--snakefile", fresh / "Snakefile", *SMOKE, folder=tmp_path)) == PLAN
    assert sorted(path.name for path in tmp_path.iterdir()) == [".snakemake"]


def test_braces_in_the_name_of_the_folder_are_no_wildcards(fresh, tmp_path):
    (tmp_path / "x{y}z").mkdir()
    project = fresh.copy(tmp_path / "x{y}z" / "code")
    assert planned(call(project, "-n", FIGURE, *SMOKE, folder=project.folder)) == PLAN
    project = fresh.copy(tmp_path / "{wildcards.seed}")
    assert planned(call(project, "-n", FIGURE, "--snakefile", project / "Snakefile", *SMOKE, folder=tmp_path)) == PLAN
    assert_refused(call(project, "-n", FIGURE, folder=project.folder), "has braces in its name")


MODULE = """
module tacit:
    snakefile: "{snakefile}"
    {more}

use rule * from tacit as tacit_*

rule everything:
    default_target: True
    input: "{figure}"
"""


@pytest.mark.parametrize(
    ("more", "figure"),
    [
        ("config: {'scale': 'smoke'}", FIGURE),
        ("config: {'scale': 'smoke'}\n    prefix: 'part'", f"part/{FIGURE}"),
    ],
    ids=["as it is", "under a prefix"],
)
def test_it_may_be_a_module_of_another_workflow(fresh, tmp_path, more, figure):
    text = MODULE.format(snakefile=fresh / "Snakefile", more=more, figure=figure)
    (tmp_path / "Snakefile").write_text(text, encoding="utf-8")
    expected = {f"tacit_{rule}": count for rule, count in PLAN.items()} | {"everything": 1}
    assert planned(call(fresh, "-n", folder=tmp_path)) == expected


def test_wrong_settings_of_a_module_are_refused(fresh, tmp_path):
    more = "config: {'scale': 'smoke', 'pathfinder': {'seeds': 0}}"
    text = MODULE.format(snakefile=fresh / "Snakefile", more=more, figure=FIGURE)
    (tmp_path / "Snakefile").write_text(text, encoding="utf-8")
    assert_refused(call(fresh, "-n", folder=tmp_path), "config of the module: pathfinder.seeds = 0")


def test_two_clones_do_not_share_results(fresh, copy_of, tmp_path):
    first, second = copy_of(fresh), copy_of(fresh)
    target = "results/data/images/source~digits/size~8.h5"
    first.run(target, cores=1)
    (second / "results").symlink_to(first / "results")
    called = second.call("-n", FIGURE)
    assert_refused(called, str(first.folder), "two that share results delete what the other is making")
    assert first.plan(target) == {}


def test_a_user_without_a_name_can_work(fresh, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NAMELESS, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), fresh.environment["PYTHONPATH"]])
    names = ("USER", "LOGNAME", "USERNAME", "LNAME")
    called = call(fresh, "-n", FIGURE, *SMOKE, folder=fresh.folder, environment={"PYTHONPATH": path}, without=names)
    assert planned(called) == PLAN


def test_without_a_home_another_folder_for_caches_helps(fresh, tmp_path):
    """As README says; without it Snakemake fails before it reads the workflow."""
    home = {"HOME": "/dev/null"}
    failed = call(fresh, "-n", FIGURE, *SMOKE, folder=fresh.folder, environment=home, without=("XDG_CACHE_HOME",))
    assert failed.code != 0
    assert "NotADirectoryError" in failed.output
    helped = call(
        fresh, "-n", FIGURE, *SMOKE, folder=fresh.folder, environment=home | {"XDG_CACHE_HOME": str(tmp_path)}
    )
    assert planned(helped) == PLAN


@pytest.mark.parametrize("version", ["3, 10, 13", "3, 14, 0"])
def test_another_python_is_refused_by_its_number(fresh, version):
    pretended = (
        "import sys, tokenize; from snakemake.cli import main; tokenize.FSTRING_START = tokenize.FSTRING_END = -2; "
        f"sys.version_info = ({version}, 'final', 0); "
        f"sys.argv[0] = 'snakemake'; main(['-n', '{FIGURE}'])"
    )
    called = call(fresh, folder=fresh.folder, program=("-c", pretended))
    said = ".".join(version.split(", ")[:2])
    assert_refused(called, f"Tacit runs under Python 3.11 to 3.13, and this is {said}")


# What is asked for.


def test_a_mistaken_target_is_answered_with_the_nearest(fresh):
    called = call(fresh, "-n", "figures/pathfindr.pdf", *SMOKE, folder=fresh.folder)
    assert_refused(called, "figures/pathfindr.pdf: there is no such target", "the nearest that there is: " + FIGURE)


def test_the_target_of_another_scale_is_answered_with_the_scale(fresh):
    called = call(fresh, "-n", "results/paper/pathfinder/runs.csv", *SMOKE, folder=fresh.folder)
    assert_refused(called, "the scale is smoke: add  --config scale=paper")


def test_another_name_of_a_run_is_refused(fresh):
    run = "results/smoke/pathfinder/path_length~2/coefficient~{}/seed~0.h5"
    called = call(fresh, "-n", run.format("1.0"), *SMOKE, folder=fresh.folder)
    assert_refused(called, "coefficient~1.0 is written coefficient~1", f"ask for {run.format('1')}")
    assert "pathfinder_train" in planned(call(fresh, "-n", run.format("1"), *SMOKE, folder=fresh.folder))


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("results/smoke/same_class/distance~999/coefficient~1/seed~0.h5", "distance~999: two images of 8 px"),
        ("results/smoke/pathfinder/path_length~0/coefficient~1/seed~0.h5", "there is no such target"),
        (f"{CONTINUED}/split~99/learning_rate~0.01/seed~0.h5", "split~99: the CNN ends with epoch 3"),
        (f"{WAY}/origin~cnn/target~cnn/seed~0.h5", "target~cnn: there is no path from a network to itself"),
        (f"{WAY}/origin~cnn/target~fcn-01/seed~0.h5", "target~fcn-01 is written target~fcn-1"),
        ("results/data/images/source~digits/size~99999999.h5", "size = 99999999: input should be less than"),
    ],
)
def test_a_target_beyond_what_there_can_be_is_refused_in_words(fresh, target, words):
    called = call(fresh, "-n", target, *SMOKE, folder=fresh.folder)
    assert called.code != 0
    assert words in called.output, called.output


def test_completing_what_is_all_observed_is_refused(fresh, smoke):
    (file,) = smoke.folder.glob("results/smoke/norms/tensor/*/num_observations~40/init_std~0.01/seed~0.h5")
    run = str(file.relative_to(smoke.folder))
    called = call(fresh, "-n", run.replace("num_observations~40", "num_observations~999"), *SMOKE, folder=fresh.folder)
    assert called.code != 0
    assert "num_observations~999: at least 1, and fewer than all 64 entries" in called.output, called.output


def test_a_name_given_twice_behind_one_config_is_refused(fresh):
    given = ("--config", "scale=smoke", "pathfinder={seeds: 3}", "pathfinder={coefficients: [0]}")
    called = call(fresh, "-n", FIGURE, *given, folder=fresh.folder)
    assert_refused(called, "pathfinder is named twice behind --config", "forgets pathfinder={seeds: 3}")


@pytest.mark.parametrize(
    "target", ["pathfinder", f"./{FIGURE}", "results/smoke/pathfinder/path_length~5/coefficient~0.5/seed~7.h5"]
)
def test_targets_that_exist_are_left_alone(fresh, target):
    assert planned(call(fresh, "-n", target, *SMOKE, folder=fresh.folder))


# How settings are given.


def test_a_second_config_is_refused(fresh):
    called = call(fresh, "-n", FIGURE, "--config", "scale=paper", "--config", "device=cpu", folder=fresh.folder)
    assert_refused(called, "--config is given twice", "forgets scale=paper", "--config scale=paper device=cpu")


def test_a_config_beside_that_of_a_profile_is_refused(fresh, tmp_path):
    (tmp_path / "config.yaml").write_text("config: ['scale=paper']\n", encoding="utf-8")
    called = call(fresh, "-n", FIGURE, "--profile", str(tmp_path), "--config", "device=cpu", folder=fresh.folder)
    assert_refused(called, "config in the profile as well", "scale=paper")


def test_a_configfile_is_read_as_strictly_as_the_others(fresh, tmp_path):
    (tmp_path / "mine.yaml").write_text("pathfinder:\n  seeds: 010\n", encoding="utf-8")
    called = call(fresh, "-n", FIGURE, "--configfile", str(tmp_path / "mine.yaml"), *SMOKE, folder=fresh.folder)
    assert_refused(called, "mine.yaml, line 2: 010: YAML reads numbers with leading zeros as octal")


def test_what_snakemake_stumbles_over_is_said_by_the_check(fresh, tmp_path):
    """Of a file that is not UTF-8 Snakemake says no line, before it reads the workflow."""
    (tmp_path / "mine.yaml").write_bytes(b"scale: smoke\npathfinder: {} # \xe9\n")
    check = ("-m", "tacit", "check")
    called = call(fresh, str(tmp_path / "mine.yaml"), folder=fresh.folder, program=check)
    assert_refused(called, "mine.yaml, line 2: not readable as YAML: not UTF-8")
    (tmp_path / "mine.yaml").write_text("scale: smoke\npathfinder.seeds: 5\n", encoding="utf-8")
    called = call(fresh, str(tmp_path / "mine.yaml"), folder=fresh.folder, program=check)
    assert_refused(called, "--config 'pathfinder={seeds: ...}'")
    assert_refused(
        call(fresh, folder=tmp_path, program=check), "There is no config/config.yaml in ", "workflow's folder"
    )
    assert call(fresh, folder=fresh.folder, program=check).output == "The settings are right, at scale demo.\n"
