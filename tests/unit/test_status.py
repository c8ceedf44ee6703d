"""What is said of figures: done, running, to do and failed."""

import pytest

from tacit import status
from tacit.status import File

RUNS = ["results/a/seed~0.h5", "results/a/seed~1.h5", "results/a/seed~2.h5"]
TABLE, FIGURE = "results/a/runs.csv", "figures/a.pdf"


def log_of(path):
    return path.replace("results", "logs", 1).replace(".h5", ".log")


def files(*planned):
    """A study whose figure needs a table of three runs; those in `planned` would be made anew."""
    found = [File(run, "train", "ok", run in planned, ("results/data.h5",), (log_of(run),)) for run in RUNS]
    found.append(File(TABLE, "collect", "ok", TABLE in planned, tuple(RUNS), ("logs/a/runs.log",)))
    state = "missing" if FIGURE in planned else "ok"
    found.append(File(FIGURE, "plot", state, FIGURE in planned, (TABLE,), ("logs/figures/a.log",)))
    other = File("figures/b.pdf", "plot_other", "missing", True, (TABLE,), ("logs/figures/b.log",))
    return [other, *found]


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Returns what is said of the figure when these files are planned, with these logs, in a folder that is locked."""
    monkeypatch.chdir(tmp_path)

    def ask(*planned, logs=None, locked=False, figures=(FIGURE,)):
        for path, text in (logs or {}).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        if locked:
            (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
            (tmp_path / ".snakemake" / "locks" / "0.output.lock").touch()
        monkeypatch.setattr(status, "_summary", lambda arguments: files(*planned))
        return status.statuses(figures)

    return ask


DONE = "2026-01-01 00:00:00,000 INFO code x\n2026-01-01 00:00:00,000 INFO done in 1.0 s\n"
FAILED = "2026-01-01 00:00:00,000 INFO code x\n2026-01-01 00:00:00,000 ERROR failed\nTraceback\nX: y\n"
BEGUN = "2026-01-01 00:00:00,000 INFO code x\n"


def test_a_figure_that_is_there_is_drawn(asked):
    (figure,) = asked()
    assert figure.state == "drawn"
    assert [(stage.rule, stage.done, stage.total) for stage in figure.stages] == [
        ("train", 3, 3), ("collect", 1, 1), ("plot", 1, 1),
    ]  # fmt: skip


def test_what_runs_and_what_failed_is_told_by_the_logs(asked):
    logs = {log_of(RUNS[0]): DONE, log_of(RUNS[1]): BEGUN, log_of(RUNS[2]): FAILED}
    (figure,) = asked(*RUNS[1:], TABLE, FIGURE, logs=logs, locked=True)
    assert figure.state == "running"
    train = figure.stages[0]
    assert (train.done, train.total) == (1, 3)
    assert (train.running, train.failed) == ((log_of(RUNS[1]),), (log_of(RUNS[2]),))
    said = status.report([figure])
    assert "1 done, 1 running, 0 to do, 1 failed" in said
    assert f"see {log_of(RUNS[1])}" in said and f"see {log_of(RUNS[2])}" in said


def test_nothing_runs_where_no_snakemake_is_at_work(asked):
    (figure,) = asked(RUNS[1], TABLE, FIGURE, logs={log_of(RUNS[1]): BEGUN})
    assert figure.state == "incomplete"
    assert figure.stages[0].running == ()


def test_a_failure_is_said_until_the_job_is_done(asked):
    logs = {log_of(RUNS[1]): FAILED}
    assert asked(RUNS[1], TABLE, FIGURE, logs=logs)[0].state == "failed"
    assert asked(logs=logs)[0].state == "drawn"


def test_a_figure_that_would_be_drawn_again_is_out_of_date(asked, monkeypatch):
    monkeypatch.setattr(status, "_summary", lambda arguments: [file._replace(planned=True) for file in files()])
    assert status.statuses([FIGURE])[0].state == "out of date"


def test_of_no_figures_in_particular_all_are_told(asked):
    assert [(figure.figure, figure.state) for figure in asked(figures=())] == [
        ("figures/b.pdf", "incomplete"), (FIGURE, "drawn"),
    ]  # fmt: skip


def test_of_a_figure_that_was_never_drawn_all_that_is_planned_for_it_is_told(monkeypatch):
    """Snakemake does not say what a file is made from before it was made, but what it plans to make it from."""
    planned = (*RUNS[1:], TABLE, FIGURE)
    made = {file.path: file.inputs for file in files()}

    def summary(arguments):
        return [file._replace(inputs=() if file.planned else file.inputs) for file in files(*planned)]

    monkeypatch.setattr(status, "_summary", summary)
    monkeypatch.setattr(status, "_planned_inputs", lambda arguments: {path: made[path] for path in planned})
    (figure,) = status.statuses([FIGURE])
    assert figure.state == "incomplete"
    assert [(stage.rule, stage.done, stage.total) for stage in figure.stages] == [
        ("train", 1, 3), ("collect", 0, 1), ("plot", 0, 1),
    ]  # fmt: skip


def test_a_rule_is_no_figure(asked):
    with pytest.raises(status.StatusError, match="all is no file; name figures"):
        asked(figures=["all"])


def test_what_snakemake_says_is_handed_on(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(status.StatusError, match="Snakefile"):
        status.statuses()
