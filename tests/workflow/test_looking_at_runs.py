"""Looking at runs: the figure of all that one recorded as a target, and the commands on what a run left."""

import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from project import CHECKOUT, descent_file, run_file, same_class_file, untied_file
from tacit import store
from tacit.figures import style
from tacit.studies import pathfinder

pytestmark = pytest.mark.slow

RUN = run_file(path_length=3, coefficient=1)
FIGURE, NUMBERS = RUN.replace(".h5", ".metrics.pdf"), RUN.replace(".h5", ".metrics.csv")


def command(project, *words):
    """What `python -m tacit` says in a project, if it succeeds."""
    call = [sys.executable, "-m", "tacit", *words]
    ended = subprocess.run(
        call, cwd=project.folder, env=project.environment, capture_output=True, encoding="utf-8", timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# The target.


def test_a_figure_of_a_run_plans_the_run_from_nothing(fresh):
    assert fresh.plan(FIGURE) == {
        "pathfinder_render": 2, "pathfinder_assemble": 1, "pathfinder_train": 1, "run_metrics": 1,
    }  # fmt: skip


def test_no_figure_of_a_run_is_drawn_unless_it_is_asked_for(smoke):
    assert not [path for path in smoke.outputs() if ".metrics." in path]
    assert "run_metrics" not in smoke.plan()


@pytest.fixture(scope="module")
def of_every_study(project):
    """Figures of one run of every folder of runs that has other axes, and what was said when they were drawn."""
    runs = {}
    for path in sorted(project.folder.glob("results/smoke/**/seed~*.h5")):
        contents = store.contents(path)
        factorization = contents.settings.get("factorization", "")
        runs.setdefault((contents.kind, factorization), str(path.relative_to(project.folder)))
    figures = [run.replace(".h5", ".metrics.pdf") for run in runs.values()]
    return runs, figures, project.run(*figures)


def test_all_that_a_run_recorded_is_drawn_whatever_its_study(project, of_every_study):
    runs, figures, call = of_every_study
    kinds = {kind for kind, _ in runs}
    assert len(kinds) >= 11
    assert {"pathfinder run", "matrix norms run", "depth limit run", "translations", "untied interpolation"} <= kinds
    assert call.plan == {"run_metrics": len(figures)}
    for (kind, _), figure in zip(runs, figures, strict=True):
        assert (project / figure).read_bytes().startswith(b"%PDF"), kind
        assert style.preview_of(project / figure).exists()
        assert len(pd.read_csv((project / figure).with_suffix(".csv"))) > 0, kind
        assert f"drawn: {figure}" in call.output


def test_figures_of_runs_are_drawn_once(project, of_every_study):
    _, figures, _ = of_every_study
    assert project.plan(*figures) == {}


def test_the_numbers_are_those_of_the_run(project, of_every_study):
    project.run(FIGURE)
    run = store.read(project / RUN, kind=pathfinder.RUN)
    table = pd.read_csv(project / NUMBERS)
    for name in ("train_loss", "test_accuracy"):
        assert list(table[table["quantity"] == name]["value"]) == pytest.approx(list(run.arrays[name]))
    # And the file says of which run they are.
    assert store.describe(project / NUMBERS).made_by[0][0] == "run_metrics.py"


def test_the_status_and_the_report_know_of_it(project, of_every_study):
    assert command(project, "status", FIGURE, "--config", "scale=smoke").startswith(f"{FIGURE}: drawn")
    report = project.call("figures/pathfinder.pdf", "--report", "report.html")
    assert report.code == 0, report.output


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (
            "results/smoke/pathfinder/path_length~3/coefficient~1.0/seed~0.metrics.pdf",
            ["coefficient~1.0 is written coefficient~1", f"ask for {FIGURE}"],
        ),
        (FIGURE.replace("seed~0", "seed~00"), ["seed~00.metrics.pdf is written seed~0.metrics.pdf"]),
        (FIGURE.replace("pathfinder", "pathfinders"), ["there is no such target"]),
        (FIGURE.replace("seed", "sed"), ["there is no such target"]),
        (FIGURE.replace("smoke", "demo"), ["it belongs to the scale demo"]),
    ],
)
def test_a_mistaken_name_is_refused_before_any_job(fresh, target, words):
    call = fresh.call("--cores", "1", target)
    assert call.code != 0
    assert [word for word in words if word not in call.output] == [], call.output
    assert "Traceback" not in call.output and "Job stats" not in call.output


def test_a_run_that_was_copied_from_another_is_not_drawn(project):
    """Snakemake has nothing against it; what the file says of itself is not what its path says."""
    moved = project / run_file(path_length=2, coefficient=1)
    whole = moved.read_bytes()
    target = run_file(path_length=2, coefficient=1).replace(".h5", ".metrics.pdf")
    try:
        shutil.copyfile(project / run_file(path_length=2, coefficient=0), moved)
        call = project.call("--cores", "1", target)
        assert call.code != 0
        assert "holds coefficient 0; was it copied or renamed?" in call.output
        assert not (project / target).exists()
    finally:
        moved.write_bytes(whole)


# The commands.


RUNS = [
    RUN,
    same_class_file(distance=8, coefficient=1),
    descent_file(factorization="hierarchical"),
    untied_file(network="lcn", split=1),
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.split("/")[2])
def test_a_run_is_shown(smoke, run):
    said = command(smoke, "show", run)
    contents = store.contents(smoke / run)
    assert said.startswith(f"{run}\n{contents.kind}, ")
    assert "_train.py" in said or "_continue.py" in said
    assert "recorded" in said and "train_loss" in said
    assert len(said.splitlines()) < 80


def test_everything_that_a_run_left_can_be_shown(smoke):
    paths = sorted(smoke.files("results/**/[!.]*.h5"))
    for path in (paths[: len(paths) // 2], paths[len(paths) // 2 :]):
        assert command(smoke, "show", *path).count("\nrecorded") == len(path)


def test_runs_are_plotted_from_what_lies_there(smoke, tmp_path):
    out = tmp_path / "out.pdf"
    runs = [str(path.relative_to(smoke.folder)) for path in smoke.folder.glob("results/smoke/pathfinder/**/seed~*.h5")]
    command(smoke, "plot", *runs, "--y", "test_accuracy", "--x", "path_length", "--factor", "100", "-o", str(out))
    table, collected = pd.read_csv(out.with_suffix(".csv")), pd.read_csv(smoke / "figures/pathfinder.csv")
    drawn = table.set_index(["coefficient", "x"])["value"].sort_index()
    expected = collected.set_index(["coefficient", "path_length"])["mean"].sort_index()
    assert list(drawn) == pytest.approx(list(expected))


def test_images_are_exported(smoke, tmp_path):
    (raw, *_) = smoke.files("results/data/pathfinder/**/raw/path_length~3/*.h5")
    command(smoke, "export", raw, str(tmp_path), "--first", "4")
    assert len(list(tmp_path.glob("curv_contour_length_3/imgs/*.png"))) == 4


def test_what_the_page_on_runs_says_can_be_typed(project):
    """Its commands, at the scale of the tests."""
    page = (CHECKOUT / "docs" / "runs.md").read_text(encoding="utf-8")
    (described,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.S) for line in block.splitlines()]
    assert len(lines) > 10
    (project / "looks").mkdir()
    (project / "looks" / "dynamics.yaml").write_text(at_smoke(described), encoding="utf-8")
    for line in map(at_smoke, lines):
        more = "scale=smoke" if "--config" in line else "--config scale=smoke"
        made = f"{line} {more}" if line.startswith("snakemake") else line
        made = re.sub("^(python -m tacit|snakemake)", lambda said: PROGRAMS[said[0]], made)
        ended = subprocess.run(
            ["bash", "-c", made], cwd=project.folder, env=project.environment, capture_output=True, encoding="utf-8"
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}{ended.stderr}"
        for name in re.findall(r"looks/\w+\.pdf|\S+\.metrics\.pdf", line):
            assert (project / name).exists(), line
    (log,) = project.folder.glob("logs/smoke/pathfinder/path_length~3/coefficient~0/seed~0.log")
    assert "going on from the end of a shorter training" in log.read_text(encoding="utf-8")
    assert (project / "raw/curv_contour_length_3/metadata.npy").exists()
    assert (project / "dataset/test/sample_0.png").exists()
    assert len(list((project / "pairs").glob("train/*.png"))) == 20


PROGRAMS = {"python -m tacit": f"'{sys.executable}' -m tacit", "snakemake": f"'{sys.executable}' -m snakemake"}


def at_smoke(text):
    text = text.replace("results/demo", "results/smoke").replace("path_length~5", "path_length~3")
    return text.replace("--cores 8", "--cores 2").replace("epochs: 20", "epochs: 4").replace("epochs: 40", "epochs: 6")
