"""What the terminal hears: jobs read from their logs, short reasons, verdicts at the end, calm after Ctrl-C."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from tacit import runlog, store, terminal, watch
from tacit.studies import ledger
from tacit.studies.tables import MissingRunsError


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """A folder with logs of jobs, as jobs write them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "logs"

    def log(name, *lines):
        path = folder / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"2026-01-01 00:00:00,000 {line}\n" for line in lines), encoding="utf-8")
        return path

    return log


def test_jobs_under_way_are_read_from_their_logs(logs):
    logs("demo/a/seed~0", "INFO code 12", "INFO training: 3 of 12 epochs, 0.5 epochs/s, loss 0.1")
    logs("demo/a/seed~1", "INFO code 12", "INFO compiling tacit.data.kernel")
    logs("demo/a/seed~2", "INFO training: 12 of 12 epochs, 0.5 epochs/s", "INFO done in 24.0 s")
    logs("demo/a/seed~3", "INFO training: 2 of 12 epochs, 0.5 epochs/s", "ERROR failed", "Traceback")
    logs("demo/a/seed~4", "WARNING asked to end; saved after 3 steps of epoch 2")
    logs("slurm/rule_x/1", "INFO training: 2 of 12 epochs, 0.5 epochs/s")
    old = logs("demo/a/seed~5", "INFO training: 2 of 12 epochs, 0.5 epochs/s")
    os.utime(old, (1, 1))
    first, second = watch.running(since=100)
    assert (first.done, first.total, first.unit, first.seconds_left) == (3, 12, "epoch", 18)
    assert (second.done, second.said) == (None, "compiling tacit.data.kernel")
    said = watch.line([first, second])
    assert said == (
        "2 running: demo/a/seed~0, epoch 3 of 12, 2 s an epoch, at most 18 s left; "
        "demo/a/seed~1, compiling tacit.data.kernel"
    )
    assert (
        watch.line([first] * 6, most=1)
        == "6 running: demo/a/seed~0, epoch 3 of 12, 2 s an epoch, at most 18 s left; and 5 more"
    )
    assert watch.lines([first]) == [
        "[#####...............] demo/a/seed~0, epoch 3 of 12, 2 s an epoch, at most 18 s left"
    ]


@pytest.mark.parametrize(
    ("rate", "unit", "said"),
    [(12.34, "step", "12.3 steps/s"), (0.5, "epoch", "2 s an epoch"), (0.03, "row", "33.3 s a row")],
)
def test_rates_are_said_as_people_do(rate, unit, said):
    assert watch.pace(rate, unit) == said


def test_lines_are_no_wider_than_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    times = iter([0.0, 0.0, None])
    monkeypatch.setattr(watch, "started", lambda: next(times))
    monkeypatch.setattr(watch, "running", lambda *, since: [watch.Running("logs/" + "a" * 300 + ".log", "starting")])
    monkeypatch.setattr(watch.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(watch.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    watch.follow(every=0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines[0]) == 79 and lines[0].endswith("…")


def test_a_call_that_is_just_made_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    times = iter([None, None, 0.0, 0.0, None])
    monkeypatch.setattr(watch, "started", lambda: next(times))
    monkeypatch.setattr(watch, "running", lambda *, since: [watch.Running("logs/a.log", "starting")])
    watch.follow(every=0)
    assert "a, starting" in capsys.readouterr().out


def test_what_jobs_write_is_what_is_read(tmp_path, monkeypatch):
    """The line of progress itself, not one that looks like it."""
    monkeypatch.chdir(tmp_path)
    with runlog.to("logs/demo/job.log"):
        progress = runlog.Progress(40, what="fitting the tensor", unit="iteration", every=0)
        progress.advance(10, note="loss 0.5")
        (job,) = watch.running(since=0)
        assert (job.name, job.done, job.total, job.unit) == ("demo/job", 10, 40, "iteration")
        progress.close()
    assert watch.running(since=0) == []


@pytest.mark.parametrize(
    ("seconds", "said"), [(9.4, "9 s"), (130, "2 min 10 s"), (3600 * 3 + 300, "3 h 5 min"), (59.6, "1 min 0 s")]
)
def test_times_are_said_as_people_do(seconds, said):
    assert watch.duration(seconds) == said


@pytest.fixture
def said():
    """A logger as Snakemake's, and what it says."""
    logger = logging.Logger("snakemake")
    lines = []

    class Handler(logging.Handler):
        def emit(self, record):
            lines.append(record)

    logger.addHandler(Handler())
    return logger, lines


def job_info(**changes):
    given = {
        "event": LogEvent.JOB_INFO,
        "reason": "Missing output files: x",
        "rule_msg": "train",
        "log": ["logs/a.log"],
    }
    return given | {"input": ["a"], "output": ["b"]} | changes


def test_reasons_are_short_and_logs_are_named(said):
    logger, lines = said
    terminal.Terminal(logger)
    many = "Input files updated by another job: " + ", ".join(f"results/seed~{seed}.h5" for seed in range(1000))
    params = "Params have changed since last execution: Union of exclusive params before and now: before: {'a': 1}"
    for reason in (many, params, "Missing output files: x", f"Missing output files: x; {params}; Code has changed"):
        logger.info("job", extra=job_info(reason=reason, input=[str(number) for number in range(900)]))
    first, *others = (line.reason for line in lines)
    assert len(first) < 250
    shown = first.count("results/")
    assert first.endswith(f", and {1000 - shown} more")
    assert others == [
        "settings or code changed",
        "Missing output files: x",
        "Missing output files: x; settings or code changed; Code has changed",
    ]
    assert terminal.shortened("x" * 300) == "x" * 200 + " ..."
    assert lines[0].rule_msg == "train  (log: logs/a.log)"
    assert lines[0].input == ["0", "1", "2", "3", "4", "and 895 more"]


def test_what_is_running_is_told_until_the_end(said, logs, monkeypatch):
    logger, lines = said
    monkeypatch.setattr(terminal, "INTERVALS", (0.02,))
    heard = terminal.Terminal(logger)
    heard.begin()
    log = logs("demo/a", "INFO training: 3 of 12 epochs, 0.5 epochs/s")
    os.utime(log, (time.time() + 5, time.time() + 5))
    deadline = time.monotonic() + 10
    while not lines and time.monotonic() < deadline:
        time.sleep(0.01)
    heard.end(drawn=[], judged=[])
    time.sleep(0.1)
    assert [line.getMessage() for line in lines] == [
        "1 running: demo/a, epoch 3 of 12, 2 s an epoch, at most 18 s left"
    ], "once, as it is"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tacit")]


def test_at_the_end_stand_paths_and_verdicts(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger, lines = said
    heard = terminal.Terminal(logger)
    book = ledger.Ledger("study", missing=0)
    book.judge("falls", "Paper", "Accuracy falls", ledger.mean([1.0, 1.1, 1.2]), above=0, unit="points")
    book.judge("rises", "Paper", "Accuracy rises", None, above=0, unit="points")
    table = Path("results/tiny/study/claims.csv")
    table.parent.mkdir(parents=True)
    store.write_table(table, book.table())
    old = tmp_path / "old.pdf"
    old.touch()
    os.utime(old, (1, 1))
    (tmp_path / "new.pdf").touch()
    heard.end(drawn=["new.pdf", "old.pdf", "none.pdf"], judged=[str(table), "results/tiny/none/claims.csv"])
    (line,) = [line.getMessage().splitlines() for line in lines]
    assert line[1] == "drawn: new.pdf"
    told = f"({table}; python -m tacit claims --scale tiny prints them)"
    assert line[2] == f"claims: 1 held, 0 not held, 1 undecided  {told}"
    assert line[3].split(maxsplit=1) == ["held", "Accuracy falls"]
    assert line[4].startswith("after ")
    assert len(line) == 5


@pytest.mark.parametrize("again", [False, True])
def test_after_ctrl_c_there_are_no_errors_that_are_none(said, tmp_path, monkeypatch, again):
    monkeypatch.chdir(tmp_path)
    logger, lines = said
    before = signal.getsignal(signal.SIGINT)
    calls = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        heard = terminal.Terminal(logger)
        heard.begin()
        logger.error("an error")
        os.kill(os.getpid(), signal.SIGINT)
        assert calls == [signal.SIGINT], "as it would have been without"
        logger.error("CalledProcessError")
        logger.info("Terminating processes on user request")
        if again:
            # Snakemake ends then, and calls nobody.
            os.kill(os.getpid(), signal.SIGINT)
        heard.fail()
    finally:
        signal.signal(signal.SIGINT, before)
    first, second, third = (line.getMessage() for line in lines)
    assert (first, second) == ("an error", "Terminating processes on user request")
    assert "the same command goes on" in third


def test_a_failure_that_was_no_ctrl_c_is_left_alone(said):
    logger, lines = said
    heard = terminal.Terminal(logger)
    heard.fail()
    assert lines == []


def test_the_ledger_is_printed(tmp_path, capsys, monkeypatch):
    from tacit import __main__ as command

    monkeypatch.chdir(tmp_path)
    for study in ("one", "other"):
        (tmp_path / "config/scales/demo").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"config/scales/demo/{study}.yaml").touch()
    for words, said in (
        (["--scale", "demos"], "no scale demos; allowed: demo"),
        (["--scale", "../demo"], "no scale ../demo; allowed: demo"),
        (["one", "Other", "--scale", "demo"], "no study Other; allowed: one, other"),
    ):
        monkeypatch.setattr("sys.argv", ["tacit", "claims", *words])
        assert command.main() == 1
        assert said in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["tacit", "claims", "--scale", "demo"])
    assert command.main() == 1
    assert "no claims of any study are judged in results/demo yet" in capsys.readouterr().err
    for study in ("one", "other"):
        book = ledger.Ledger(study, missing=2)
        book.judge("falls", "Paper", f"{study} falls", ledger.mean([1.0, 1.1, 1.2]), above=0, unit="points")
        store.write_table(f"results/demo/{study}/claims.csv", book.table())
    monkeypatch.setattr("sys.argv", ["tacit", "claims", "other", "--scale", "demo", "--how"])
    assert command.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "other"
    assert lines[1].split(maxsplit=1) == ["held", "other falls"]
    assert lines[2].strip() == "1.1 (0.852 to 1.35), claimed above 0 points, 3 seeds; PARTIAL: 2 runs missing"
    assert "Student's t" in lines[3]
    both = ledger.find("results/demo")
    assert both["study"].tolist() == ["one", "other"]
    assert isinstance(both, pd.DataFrame)


def test_a_damaged_table_of_another_study_is_nobody_elses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for study in ("one", "other"):
        book = ledger.Ledger(study, missing=0)
        book.judge("falls", "Paper", "it falls", None, above=0, unit="points")
        store.write_table(f"results/demo/{study}/claims.csv", book.table())
    Path("results/demo/one/claims.csv").write_text("damaged")
    assert ledger.find("results/demo", ["other"])["study"].tolist() == ["other"]
    with pytest.raises(store.StoreError, match="damaged"):
        ledger.find("results/demo")
    with pytest.raises(MissingRunsError, match="no claims of third"):
        ledger.find("results/demo", ["other", "third"])


def test_a_job_that_is_asked_to_end_before_it_heeds_that_says_so_in_one_line(tmp_path, capfd):
    with pytest.raises(SystemExit) as ended, runlog.to(tmp_path / "a.log"):
        raise KeyboardInterrupt
    assert ended.value.code == 1
    text = (tmp_path / "a.log").read_text(encoding="utf-8")
    assert watch.end_of(text) == "asked to end" and "Traceback" not in text
    assert capfd.readouterr() == ("", "")


def test_a_call_that_was_killed_is_not_under_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert watch.started() is None
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    assert watch.started() is not None, "of a call of which nothing is known"
    code = "import sys, time; from tacit import watch; note = watch.hold(); print(flush=True); time.sleep(60)"
    call = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        call.stdout.readline()
        assert watch.started() is not None
    finally:
        call.kill()
        call.wait()
    assert watch.started() is None
    watch.follow(every=0)
    assert "the last one was killed: snakemake --unlock" in capsys.readouterr().out
    # Another one has begun since, of which nothing is known.
    later = time.time() + 5
    os.utime(locks / "0.output.lock", (later, later))
    assert watch.started() == pytest.approx(later)
    # It has begun on another machine, where nobody can look.
    os.utime(locks / "0.output.lock", (1, 1))
    monkeypatch.setattr(watch.platform, "node", lambda: "elsewhere")
    assert watch.started() == 1


def test_what_is_followed_is_written_once_where_there_is_no_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    times = iter([0.0, 0.0, 0.0, 0.0, None])
    said = iter([[], [watch.Running("logs/a.log", "starting")], [watch.Running("logs/a.log", "starting")]])
    monkeypatch.setattr(watch, "started", lambda: next(times))
    monkeypatch.setattr(watch, "running", lambda *, since: next(said))
    watch.follow(every=0)
    out = capsys.readouterr().out
    assert out.count("a, starting") == 1
    assert "\033" not in out
