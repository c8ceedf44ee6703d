"""Compiled code is kept, made once by processes that start together, and never the end of a job."""

import ast
import hashlib
import importlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from torch import nn

import powerless
from tacit import compiled as keeping
from tacit import runlog
from tacit.data import pathfinder
from tacit.nn import double_backward
from tacit.settings.pathfinder import Rendering
from tacit.training import matrix_descent

# Each case is processes of its own, which start and compile.
pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parents[2] / "src"

MODULE = """
    from typing import NamedTuple
    import numpy as np
    from numba import njit
    from constants import FACTOR
    from tacit.compiled import kernel

    class Pair(NamedTuple):
        first: np.ndarray
        second: np.ndarray

    @njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
    def times(value):
        return value * FACTOR

    @kernel()
    def total(pair):
        out = 0.0
        for value in pair.first:
            out += times(value)
        return out - pair.second[0]
"""

MAIN = """
    import logging, os, sys, time
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    import numpy as np
    from module import Pair, total
    {before}
    print(total(Pair(first=np.arange(4.0), second=np.ones(1))))
"""


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Calls of a small kernel: their results and what is logged."""
    folder = tmp_path / "tacit compiled"
    folder.mkdir()
    yield Job(folder, monkeypatch)
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)


class Job:
    def __init__(self, folder, monkeypatch):
        self.folder, self.cache, self.monkeypatch = folder, folder / "cache", monkeypatch
        (folder / "code").mkdir()
        self.environment = {"NUMBA_CACHE_DIR": str(self.cache)}
        self.write()

    def write(self, constants="FACTOR = 2.0", module=MODULE):
        (self.folder / "code" / "module.py").write_text(textwrap.dedent(module))
        (self.folder / "code" / "constants.py").write_text(constants)

    def load(self, *, result=11.0):
        """Load the code anew in this process and call it; return the log. Quicker than a process of its own."""
        with self.monkeypatch.context() as patch:
            patch.setattr(numba.config, "CACHE_DIR", str(self.cache))
            patch.syspath_prepend(self.folder / "code")
            patch.setattr(sys, "dont_write_bytecode", True)
            patch.delitem(sys.modules, "module", raising=False)
            patch.delitem(sys.modules, "constants", raising=False)
            patch.setattr(runlog.log, "handlers", [lines := Lines()])
            patch.setattr(runlog.log, "level", logging.INFO)
            # A logger remembers which levels it is enabled for.
            patch.setattr(runlog.log, "_cache", {})
            keeping._warn.cache_clear()
            importlib.invalidate_caches()
            module = importlib.import_module("module")
            assert module.total(module.Pair(first=np.arange(4.0), second=np.ones(1))) == result
        return lines.said

    def start(self, before="", **options):
        own = {"PYTHONPATH": f"{self.folder / 'code'}:{SOURCE}", "PYTHONDONTWRITEBYTECODE": "1"}
        kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(MAIN).format(before=before)],
            env=kept | own | self.environment,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            **options,
        )

    def run(self, before="", *, result=11.0):
        """Let it end well with `result`; return its log."""
        return self.end(self.start(before), result=result)

    def end(self, process, *, result=11.0):
        *log, last = process.communicate(timeout=120)[0].splitlines() or [""]
        assert process.returncode == 0, log
        assert float(last) == result
        return log

    @property
    def files(self):
        return sorted(self.cache.glob("*.compiled"))


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(f"{record.levelname} {record.getMessage()}")


def compiled(log):
    return sum("compiling module.total" in line for line in log)


def warnings(log):
    return [line for line in log if line.startswith("WARNING")]


def test_what_was_compiled_is_loaded_by_the_next_process(job):
    assert compiled(job.run()) == 1
    (file,) = job.files
    assert file.name.startswith("module.total-")
    assert job.run() == []
    assert job.run("print(total.compiled.stats.cache_hits)")[0] == "Counter()"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:30],
        lambda content: content[:-100],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: b"something else" * 1000,
    ],
    ids=["empty", "in the digest", "truncated", "last bit", "first bit", "foreign"],
)
def test_a_damaged_file_is_replaced_with_a_warning(job, damage):
    job.load()
    (file,) = job.files
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    log = job.load()
    (warning,) = warnings(log)
    assert f"{file} cannot be used (it is damaged); going on without it" in warning
    assert compiled(log) == 1
    assert job.load() == []


def test_code_that_cannot_be_loaded_though_it_is_whole_is_replaced(job):
    """As it may be that a library writes in another way without a new version."""
    job.load()
    (file,) = job.files
    content = pickle.dumps(("no", "compiled", "code"))
    file.write_bytes(hashlib.blake2b(content).digest() + content)
    (warning,) = warnings(job.load())
    assert f"{file} cannot be used" in warning
    assert job.load() == []


def test_files_of_another_user_that_may_not_be_read_are_done_without(job):
    job.run()
    (file,) = job.files
    file.chmod(0)
    job.cache.chmod(0o555)
    log = job.run(powerless.STATEMENTS)
    assert any(f"{file} cannot be used" in line and "Permission denied" in line for line in warnings(log))
    assert any("compiled code cannot be kept" in line and "NUMBA_CACHE_DIR" in line for line in warnings(log))
    assert len(warnings(log)) == 2


def test_files_that_may_be_read_but_not_written_are_read(job):
    job.run()
    job.cache.chmod(0o555)
    assert job.run(powerless.STATEMENTS) == []


def test_a_folder_that_may_not_be_written_to_is_done_without(job):
    job.cache.mkdir()
    job.cache.chmod(0o555)
    for _ in range(2):
        log = job.run(powerless.STATEMENTS)
        (warning,) = warnings(log)
        assert "compiled code cannot be kept" in warning
        assert "Permission denied" in warning
        assert "so each job compiles anew; make room, or set NUMBA_CACHE_DIR" in warning


def test_a_disk_that_takes_nothing_more_is_done_without(job):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    (warning,) = warnings(job.run(full))
    assert "compiled code cannot be kept" in warning
    assert "File too large" in warning
    assert job.files == []
    assert list(job.cache.glob("*.part")) == []


def test_a_file_where_the_folder_should_be_is_done_without(job):
    job.cache.write_text("a file")
    (warning,) = warnings(job.run())
    assert "compiled code cannot be kept" in warning


def test_without_a_home_code_is_kept_beside_its_source(job):
    job.environment = {"HOME": "/dev/null/nobody"}
    assert compiled(job.run()) == 1
    assert job.run() == []
    assert list((job.folder / "code" / "__pycache__").glob("*.compiled"))


def test_with_a_home_copies_of_the_project_share_what_was_compiled(job):
    home = job.folder / "home"
    job.environment = {"HOME": str(home)}
    assert compiled(job.run()) == 1
    assert list((home / ".cache" / "tacit").glob("*.compiled"))
    assert not (job.folder / "code" / "__pycache__").exists()
    (job.folder / "code").rename(job.folder / "other")
    (job.folder / "code").mkdir()
    job.write()
    assert job.run() == []


@pytest.mark.parametrize("home", ["/dev/null/nobody", None], ids=["unusable", "no passwd entry"])
def test_without_any_place_each_job_compiles(job, home):
    (job.folder / "code" / "__pycache__").write_text("a file")
    job.environment = {} if home is None else {"HOME": home}
    # A user who is not in the list of users, as in many containers.
    unknown = "import pathlib; pathlib.Path.expanduser = lambda path: (_ for _ in ()).throw(RuntimeError('no home'))"
    for _ in range(2):
        log = job.run(unknown if home is None else "")
        (warning,) = warnings(log)
        assert "compiled code cannot be kept" in warning
        assert compiled(log) == 1
    assert sorted(path.name for path in job.folder.iterdir()) == ["code"], "no folder called ~"


TOGETHER = """
    open(f"ready {os.getpid()}", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
"""
"""What processes do that start together."""

SLOW = """
    from numba.core.dispatcher import _FunctionCompiler
    plain = _FunctionCompiler.compile
    def slow(self, *args):
        if self.py_func.__name__ == "total":
            open("compiling", "w").close()
            open(f"began {{os.getpid()}}", "w").write(str(time.monotonic()))
            time.sleep({seconds})
            open(f"ended {{os.getpid()}}", "w").write(str(time.monotonic()))
        return plain(self, *args)
    _FunctionCompiler.compile = slow
"""
"""A kernel that takes its time."""


def statements(text):
    """The lines of `text`, as they are put into MAIN."""
    return textwrap.dedent(text)


def together(job, count, before=""):
    """Start processes that call the kernel at the same time; return their logs."""
    processes = [job.start(before + statements(TOGETHER)) for _ in range(count)]
    wait_for(lambda: len(list(job.folder.glob("ready *"))) == count)
    (job.folder / "go").touch()
    return [job.end(process) for process in processes]


def wait_for(condition):
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < 60
        time.sleep(0.02)


def test_of_processes_that_start_together_one_compiles_and_the_others_wait(job):
    logs = together(job, 4, statements(SLOW.format(seconds=2)))
    assert sum(map(compiled, logs)) == 1
    assert sum("waiting for another job that compiles module.total" in " ".join(log) for log in logs) == 3
    assert not any(map(warnings, logs))


def test_where_nothing_can_be_locked_all_compile(job):
    no_locks = """
        import errno, fcntl
        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")
        fcntl.flock = flock
    """
    logs = together(job, 2, statements(SLOW.format(seconds=2)) + statements(no_locks))
    assert sum(map(compiled, logs)) == 2
    assert not any(map(warnings, logs))
    assert job.run() == []


def test_where_nothing_can_be_kept_no_job_waits_for_more_than_one_other(job):
    """Else the last of many would wait for all of them, one after the other."""
    full = """
        from tacit import files
        def write_bytes(*_):
            raise OSError(28, "No space left on device")
        files.write_bytes = write_bytes
    """
    logs = together(job, 4, statements(SLOW.format(seconds=4)) + statements(full))
    assert sum(map(compiled, logs)) == 4
    assert sum("waiting" in " ".join(log) for log in logs) == 3
    began, ended = (
        sorted(float(file.read_text()) for file in job.folder.glob(f"{word} *")) for word in ("began", "ended")
    )
    assert began[1] >= ended[0], "one at first, which might have kept it"
    assert began[3] < ended[1], "then all at once"


def test_a_job_that_is_killed_while_it_compiles_keeps_nobody_waiting(job):
    holder = job.start(statements(SLOW.format(seconds=600)))
    wait_for((job.folder / "compiling").exists)
    waiter = job.start()
    # Read in a line at a time, as the log of the first line tells that it waits.
    assert "waiting for another job" in waiter.stdout.readline()
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert compiled(job.end(waiter)) == 1
    assert job.run() == []


def test_a_kernel_that_does_not_compile_lets_others_go_on(job):
    """In a notebook, whose process lives on."""
    job.write(module=MODULE.replace("out = 0.0", 'out = "text"'))
    call = """
        try:
            total(Pair(np.ones(2), np.ones(2)))
        except Exception:
            print("failed", flush=True)
        input()
    """
    failing = job.start(statements(call), stdin=subprocess.PIPE)
    while "failed" not in failing.stdout.readline():
        assert failing.poll() is None
    job.write()
    assert "waiting" not in " ".join(job.run())
    failing.kill()
    failing.communicate()


@pytest.mark.parametrize(
    ("constants", "module", "result"),
    [
        ("FACTOR = 3.0", MODULE, 17.0),
        ("FACTOR = 2.0", MODULE.replace("value * FACTOR", "value + FACTOR"), 13.0),
        ("FACTOR = 2.0", MODULE.replace("out = 0.0", "out = 5.0"), 16.0),
        # The same types in the same order, under other names.
        (
            "FACTOR = 2.0",
            MODULE.replace("first: np", "later: np").replace("second: np", "first: np").replace("later", "second"),
            11.0,
        ),
        ("FACTOR = 2.0", MODULE.replace("@kernel()", "@kernel(fastmath=True)"), 11.0),
    ],
    ids=["constant of another module", "inner function", "constant", "order of fields", "option"],
)
def test_other_code_is_compiled_anew(job, constants, module, result):
    job.load()
    job.write(constants, module)
    assert compiled(job.load(result=result)) == 1
    assert job.load(result=result) == []
    job.write()
    assert job.load() == [], "what was compiled before is still there"


def test_comments_and_places_change_nothing(job):
    job.load()
    job.write(module="# A comment.\n\n" + textwrap.dedent(MODULE).replace("pair):", 'pair):\n    """A docstring."""'))
    assert job.load() == []


def test_another_processor_has_files_of_its_own(job):
    job.run()
    job.environment["NUMBA_CPU_NAME"] = "generic"
    assert compiled(job.run()) == 1
    assert len(job.files) == 2


def test_what_compiled_code_cannot_be_told_apart_by_is_refused(job):
    job.write(module=MODULE.replace("@njit(no", "TABLE = np.ones(3)\n\n    @njit(no").replace("* FACTOR", "* TABLE[1]"))
    process = job.start(stderr=subprocess.PIPE)
    assert "a ndarray in compiled code; only plain values" in process.communicate()[1]


def test_old_files_go(job):
    job.load()
    for number in range(20):
        job.write(f"FACTOR = {number}.0")
        if number == 0:
            (first,) = job.files
        fake = job.cache / f"module.total-{number:032x}.compiled"
        fake.write_bytes(b"")
        os.utime(fake, (number, number))
    job.write("FACTOR = 3.0")
    job.load(result=17.0)
    assert len(job.files) == 16
    assert first in job.files, "the youngest stay"


def test_numba_without_compiling_is_left_alone(job):
    job.environment["NUMBA_DISABLE_JIT"] = "1"
    assert job.run() == []
    assert not job.cache.exists()


def test_all_compiled_code_of_the_library_is_kept_in_this_way():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if name in ("njit", "jit", "vectorize", "guvectorize", "cfunc"):
                assert not any(keyword.arg == "cache" for keyword in node.keywords), f"{path}:{node.lineno}"


# What compiling takes is no part of a rate.


class Recorder:
    """Notes calls of a kernel, and when progress begins."""

    def __init__(self, monkeypatch, module, name):
        self.calls, self.before_progress = [], None
        plain = getattr(module, name)

        def call(*args):
            self.calls.append(tuple(map(numba.typeof, args)))
            return plain(*args)

        monkeypatch.setattr(module, name, call)

    def begin(self, *args, **options):
        self.before_progress = len(self.calls)
        return runlog.Progress(*args, **options)


def test_the_renderer_is_compiled_before_progress_is_counted(monkeypatch):
    recorder = Recorder(monkeypatch, pathfinder, "render_batch")
    renderer = pathfinder.Renderer(Rendering(), 3)
    recorder.begin(4, what="rendering", unit="image")
    renderer.render(0, 0, 4)
    assert recorder.before_progress > 0
    assert len(recorder.calls) > recorder.before_progress
    assert len(set(recorder.calls)) == 1, "nothing is compiled for images that was not compiled before"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_descent_is_compiled_before_progress_is_counted(monkeypatch, dtype):
    recorder = Recorder(monkeypatch, matrix_descent, "_descend")
    monkeypatch.setattr(matrix_descent, "Progress", recorder.begin)
    observed = matrix_descent.Observed(np.eye(2), np.ones((2, 2)), np.zeros((0, 2, 2)), np.zeros(0))
    matrix_descent.descend(
        np.full((2, 2, 2), 0.1, dtype), observed,
        learning_rate=0.1, epochs=20, evaluate_every=5, tolerance=0, patience=1,
    )  # fmt: skip
    assert recorder.before_progress == 1
    assert len(recorder.calls) == 2
    assert len(set(recorder.calls)) == 1


def test_second_derivatives_are_compiled_when_a_network_is_adapted(monkeypatch):
    import torch

    recorder = Recorder(monkeypatch, double_backward, "_normalization_second_derivatives")
    double_backward.adapt(nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8)))
    assert len(recorder.calls) == 1
    images = [torch.randn(2, 8, 5, 5).to(memory_format=torch.channels_last) for _ in range(3)]
    double_backward.normalization_second_derivatives(*images, *(torch.randn(8) for _ in range(3)))
    assert len(recorder.calls) == 2
    assert len(set(recorder.calls)) == 1
