"""Calls of Snakemake, and their jobs, each in a process forked from one that has imported what they need: seconds less.

The code is the same, and so are working directory, environment, arguments and output. What the forked process knows of
Tacit is forgotten, so that it imports that of the project; a server of jobs never knew any. A job in an environment
that Python reads as it starts, or under limits, is a process of its own, as for users.
"""

import atexit
import contextlib
import importlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

OF_JOBS = (
    *("h5py", "pandas", "PIL.Image", "pydantic", "tqdm", "yaml", "snakemake.script"),
    *("numba", "scipy.linalg", "scipy.special", "torch._dynamo"),
    *("matplotlib.figure", "matplotlib.mathtext", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_agg"),
)
"""What most jobs import."""

LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
OF_A_CALL = ("TACIT_", "SNAKEMAKE_", "PYTEST_", "PYTHONPATH", "PWD", "OLDPWD", "SHLVL", "_", "PS1", "TMP", "TEMP")
"""How names of variables begin that are read when a job needs them, and not as Python or a library starts."""

THREADS = ("OMP_NUM", "GOTO_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
"""Of each Snakemake sets a variable to the threads of a job."""

IN_PLACE_OF_PYTHON = """#!{python} -IS
import json, os, signal, socket, sys
OF_A_CALL = {of_a_call!r}
def run_by_itself():
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import resource
limits = [list(resource.getrlimit(getattr(resource, name))) for name in {limits!r}]
started = {{name: value for name, value in os.environ.items() if not name.startswith(OF_A_CALL)}}
if len(sys.argv) != 2 or not sys.argv[1].endswith(".py"):
    run_by_itself()
with open({expected!r}) as file:
    if json.load(file) != [started, limits]:
        run_by_itself()
asked = socket.socket(socket.AF_UNIX)
asked.connect({place!r})
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: asked.send(bytes([number])))
job = {{"script": sys.argv[1], "folder": os.getcwd(), "environment": dict(os.environ)}}
content = json.dumps(job).encode()
socket.send_fds(asked, [len(content).to_bytes(8, "little")], [0, 1, 2])
asked.sendall(content)
answer = asked.recv(1)
sys.exit(answer[0] if answer else 1)
"""
"""What is Python to the Snakemake that is called: asks for a job where that makes no difference, else is Python."""


class Server:
    """A process that has imported Snakemake, started when it is first needed."""

    def __init__(self):
        self._process = None

    def call(self, arguments, *, folder, environment, output, timeout):
        """Call Snakemake and wait for it; return its exit status. What it says goes to the file `output`."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            atexit.register(self._end)
        request = {"arguments": arguments, "folder": str(folder), "environment": environment}
        request |= {"output": str(output), "timeout": timeout}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that calls Snakemake has ended"
        if int(answer) == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(["snakemake", *arguments], timeout)
        return int(answer)

    def _end(self):
        # It ends what it has started when there is nothing more to come.
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()


def _begin(environment):
    """Take on an environment, and import Tacit anew."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tacit"]:
        del sys.modules[name]


def _become(arguments, folder, environment, output, timeout, python):
    """Be a call of Snakemake, to which Python is at `python`."""
    import snakemake

    # With its jobs it is a group of its own, which is ended with it.
    os.setpgid(0, 0)
    signal.alarm(timeout)
    os.chdir(folder)
    _begin(environment)
    sys.executable = str(python)
    sys.argv = [str(Path(snakemake.__file__).with_name("__main__.py")), *arguments]
    with Path(os.devnull).open("rb") as nothing, Path(output).open("wb") as file:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from snakemake.cli import main

    main()


def _status_of(work, *given, **named):
    """Do some work that ends this process; return the exit status it is to end with."""
    code = 1
    try:
        work(*given, **named)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    # As Python does at its end: wait for threads, and call what asked to be.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _serve():
    """Call Snakemake as is asked for on standard input, until that ends."""
    import snakemake.cli  # noqa: F401

    jobs = None
    for line in sys.stdin:
        request = json.loads(line)
        jobs = jobs or Jobs(request["environment"])
        process = os.fork()
        if process == 0:
            os._exit(_status_of(_become, **request, python=jobs.python))
        _, status = os.waitpid(process, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(status), flush=True)
    if jobs is not None:
        jobs.end()


class Jobs:
    """A process that has imported what jobs need, in the environment of the first call."""

    def __init__(self, environment):
        self._folder = Path(tempfile.mkdtemp(prefix="jobs"))
        self.python, place, expected = (self._folder / name for name in ("python", "socket", "expected.json"))
        own = {name: value for name, value in environment.items() if not name.startswith(OF_A_CALL)}
        own |= {f"{name}_THREADS": "1" for name in THREADS}
        limits = [resource.getrlimit(getattr(resource, name)) for name in LIMITS]
        expected.write_text(json.dumps([own, limits]), encoding="utf-8")
        filled = {"python": sys.executable, "of_a_call": OF_A_CALL, "limits": LIMITS}
        filled |= {"place": str(place), "expected": str(expected)}
        self.python.write_text(IN_PLACE_OF_PYTHON.format(**filled), encoding="utf-8")
        self.python.chmod(0o755)
        self._listens = socket.socket(socket.AF_UNIX)
        self._listens.bind(str(place))
        self._listens.listen(64)
        command = [sys.executable, __file__, str(self._listens.fileno()), str(self._folder)]
        descriptors = [self._listens.fileno()]
        # It ends when nobody holds the other end of its input any more, however that came.
        self._process = subprocess.Popen(command, env=own, pass_fds=descriptors, stdin=subprocess.PIPE)

    def end(self):
        """End the process; jobs that still run go on."""
        self._process.stdin.close()
        self._process.wait()


def _serve_jobs(listens, folder):
    """Fork a process for each job that is asked for; in the end, delete the folder that all this took."""
    for name in OF_JOBS:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([sys.stdin, listens], [], [])[0]:
        asked, _ = listens.accept()
        if os.fork() == 0:
            listens.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _attend(asked)
        asked.close()
    shutil.rmtree(folder)


def _attend(asked):
    """Run one job, hand signals on to it, and tell its exit status."""
    head, descriptors, *_ = socket.recv_fds(asked, 8, 3)
    content = b""
    while len(content) < int.from_bytes(head, "little"):
        content += asked.recv(1 << 20)
    job = os.fork()
    if job == 0:
        asked.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os._exit(_status_of(_be_job, **json.loads(content)))
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(job)
    while ended not in (ready := select.select([asked, ended], [], [])[0]):
        signals = asked.recv(1) if ready else b""
        # Whoever asked has ended, and so it does with what has no more use.
        signal.pidfd_send_signal(ended, signals[0] if signals else signal.SIGKILL)
        if not signals:
            break
    code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    with contextlib.suppress(OSError):
        asked.send(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _be_job(script, folder, environment):
    """Be Python that was started with a script."""
    import runpy

    import numpy as np
    import torch

    os.chdir(folder)
    _begin(environment)
    # What draws without a seed draws what no other job does.
    np.random.seed()  # noqa: NPY002
    torch.seed()
    sys.argv = [script]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _serve_jobs(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    else:
        _serve()
