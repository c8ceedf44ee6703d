"""Calls of Snakemake, each in a process forked from one that has imported it: a second less for each.

The code is the same, and so are working directory, environment, arguments and output; what the forked process knows of
Tacit is forgotten, so that it imports that of the project.
"""

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path


class Server:
    """A process that has imported Snakemake, started when it is first needed."""

    def __init__(self):
        self._process = None

    def call(self, arguments, *, folder, environment, output, timeout):
        """Call Snakemake and wait for it; return its exit status. What it says goes to the file `output`."""
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, __file__]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            atexit.register(self._process.kill)
        request = {"arguments": arguments, "folder": str(folder), "environment": environment}
        request |= {"output": str(output), "timeout": timeout}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that calls Snakemake has ended"
        return int(answer)


def _become(arguments, folder, environment, output, timeout):
    """Be a call of Snakemake."""
    import signal

    import snakemake

    signal.alarm(timeout)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    sys.argv = [str(Path(snakemake.__file__).with_name("__main__.py")), *arguments]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tacit"]:
        del sys.modules[name]
    with Path(os.devnull).open("rb") as nothing, Path(output).open("wb") as file:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from snakemake.cli import main

    main()


def _serve():
    import snakemake.cli  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            code = 1
            try:
                _become(**request)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            except BaseException:
                sys.excepthook(*sys.exc_info())
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
