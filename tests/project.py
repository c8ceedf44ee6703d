"""A copy of the project, used as its users do: from a folder of their own, by the command line of Snakemake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import yaml

import preloaded
from tacit import processors, settings
from tacit.paths import Files

CHECKOUT = Path(__file__).parents[1]
CODE = ("Snakefile", "workflow", "config", "src", "profiles")

FIGURE = "figures/pathfinder.pdf"
NUMBERS = "figures/pathfinder.csv"
NORMS_FIGURES = (
    "figures/matrix_norms.pdf",
    "figures/matrix_norms_measures.pdf",
    "figures/matrix_norms_perturbed.pdf",
    "figures/tensor_completion.pdf",
)
SAME_CLASS_FIGURE = "figures/same_class.pdf"
UNTIED_FIGURES = (
    "figures/untied.pdf",
    "figures/untied_splits.pdf",
    "figures/untied_deviation.pdf",
    "figures/untied_interpolation.pdf",
)
RANK_FIGURES = ("figures/rank_dynamics.pdf", "figures/rank_dynamics_nodes.pdf")

_server = preloaded.Server()

TIMEOUT = 600
"""Seconds after which a call of Snakemake is taken to hang."""


def pathfinder(**counts):
    """A plan of Pathfinder alone, such as `pathfinder(train=4, collect=1, plot=1)`."""
    return {f"pathfinder_{verb}": count for verb, count in counts.items()}


def same_class(**counts):
    """A plan of Is Same Class alone; `convert` reads the image set."""
    names = {verb: "images_convert" if verb == "convert" else f"same_class_{verb}" for verb in counts}
    return {names[verb]: count for verb, count in counts.items()}


def rank_dynamics(**counts):
    """A plan of rank dynamics alone; `observe` makes targets and observations."""
    names = {verb: "sensing_observe" if verb == "observe" else f"rank_dynamics_{verb}" for verb in counts}
    return {names[verb]: count for verb, count in counts.items()}


def untied(*, plots=("plot", "plot_splits", "plot_deviation"), **counts):
    """A plan of the study on untied weights alone; `convert` reads the image set, plots of runs are made together."""
    special = {"convert": "images_convert", "continued": "untied_continue"}
    names = {verb: special.get(verb, f"untied_{verb}") for verb in counts}
    return {names[verb]: count for verb, count in counts.items()} | {f"untied_{plot}": 1 for plot in plots}


def descent_file(*, factorization, task="completion", seed=0, scale="smoke"):
    files = Files(f"results/{scale}/rank_dynamics", settings.rank_dynamics.RUN)
    return files.of(factorization=factorization, task=task, seed=seed)


def run_file(*, path_length, coefficient, seed=0, scale="smoke"):
    files = Files(f"results/{scale}/pathfinder", settings.pathfinder.RUN)
    return files.of(path_length=path_length, coefficient=coefficient, seed=seed)


def same_class_file(*, distance, coefficient, seed=0, scale="smoke"):
    files = Files(f"results/{scale}/same_class", settings.same_class.RUN)
    return files.of(distance=distance, coefficient=coefficient, seed=seed)


def untied_file(*, network, split=None, seed=0, scale="smoke"):
    """A run from scratch, or one that continues from the CNN at `split`."""
    if split is None:
        scratch = Files(f"results/{scale}/untied/scratch", settings.untied.SCRATCH)
        return scratch.of(network=network, learning_rate=0.05, seed=seed)
    continued = Files(f"results/{scale}/untied/continued", settings.untied.CONTINUED)
    return continued.of(network=network, cnn_learning_rate=0.05, split=split, learning_rate=0.01, seed=seed)


def log_file(run):
    return run.replace("results", "logs", 1).replace(".h5", ".log")


def checkpoint_file(run):
    return run.replace("results", "results/.checkpoints", 1).replace(".h5", ".pt")


def text_of(pdf):
    """All text of a PDF, without blanks."""
    streams = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
    content = b"".join(zlib.decompressobj().decompress(stream) for stream in streams)
    blocks = re.findall(rb"\bBT\b(.*?)\bET\b", content, re.S)
    pieces = (b"".join(re.findall(rb"\(((?:[^()\\]|\\.)*)\)", block)) for block in blocks)
    return re.sub(rb"[\0\s]", b"", b" ".join(pieces)).decode("latin-1")


class Call(NamedTuple):
    """A finished call of Snakemake."""

    code: int
    output: str

    @property
    def plan(self):
        """Number of jobs by rule, as in the table `Job stats`; empty if nothing is to be done."""
        if "Nothing to be done" in self.output:
            return {}
        _, found, rest = self.output.partition("\nJob stats:\n")
        assert found, f"no plan in the output:\n{self.output}"
        rows = rest.partition("\n\n")[0].splitlines()[2:]
        counts = {rule: int(count) for rule, count in map(str.split, rows)}
        assert counts.pop("total") == sum(counts.values())
        return counts


class Project:
    """A folder with a copy of the project."""

    snakemake = ("-m", "snakemake")
    """What Python is told to run."""

    def __init__(self, folder):
        self.folder = folder

    @classmethod
    def new(cls, folder):
        """The project as it is checked out: nothing compiled, nothing computed."""
        return cls(folder)._take(CHECKOUT, [name for name in CODE if (CHECKOUT / name).exists()], "__pycache__")

    def copy(self, folder, *, results=True):
        """All of this project in another folder, or its code alone, with what is compiled of it."""
        names = [path.name for path in self.folder.iterdir() if results or path.name in CODE]
        # A call that goes on in this project holds locks that are none of the copy's.
        return Project(folder)._take(self.folder, names, "locks")

    def _take(self, source, names, *ignored):
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (source / name).is_dir():
                shutil.copytree(source / name, self / name, ignore=shutil.ignore_patterns(*ignored))
            else:
                shutil.copy2(source / name, self / name)
        return self

    def __truediv__(self, path):
        return self.folder / path

    def files(self, *patterns):
        """Files that match, as paths relative to the project, with their bytes."""
        found = {path for pattern in patterns for path in self.folder.glob(pattern) if path.is_file()}
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(found)}

    @property
    def environment(self):
        """The caller's, but with the code of the copy, without a GPU, and without traces of another workflow.

        Nor are processors held, as the tests themselves are; and Python leaves what it compiles, as it does by default.
        """
        others = ("TACIT_", "SNAKEMAKE_", "SLURM_")
        dropped = {*processors.variables(), "PYTHONDONTWRITEBYTECODE"}
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(others) and name not in dropped
        }
        return kept | {"PYTHONPATH": str(self / "src"), "CUDA_VISIBLE_DEVICES": ""}

    def command(self, *arguments, scale="smoke", **settings):
        """A call of Snakemake; `settings` are written to a file, as numbers on the command line would be text."""
        command = [sys.executable, *self.snakemake, *arguments]
        if settings:
            (self / "overrides.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
            command += ["--configfile", "overrides.yaml"]
        return [*command, "--config", f"scale={scale}"] if scale else command

    def call(self, *arguments, environment=None, timeout=TIMEOUT, **settings):
        """Call Snakemake and wait for it; its exit status is left to the caller."""
        command = self.command(*arguments, **settings)
        environment = self.environment | (environment or {})
        if self.snakemake == Project.snakemake:
            given = {"folder": self.folder, "environment": environment, "timeout": timeout}
            with tempfile.NamedTemporaryFile() as output:
                code = _server.call(command[1 + len(self.snakemake) :], output=output.name, **given)
                return Call(code, output.read().decode())
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=timeout,
        )
        return Call(ended.returncode, ended.stdout)

    def run(self, *arguments, cores=2, **settings):
        """Call Snakemake, which must succeed."""
        call = self.call(*arguments, "--cores", str(cores), **settings)
        assert call.code == 0, call.output
        return call

    def plan(self, *targets, **settings):
        """What Snakemake would do for `targets`: number of jobs by rule."""
        call = self.call("--dry-run", *targets, **settings)
        assert call.code == 0, call.output
        return call.plan

    def outputs(self, *, scale="smoke"):
        """Every file that the rules declare when everything is asked for."""
        rows = self.call("--summary", "--nolock", scale=scale).output.splitlines()
        return {row.partition("\t")[0] for row in rows if row.count("\t") >= 5} - {"output_file"}

    def requests(self, *, scale="smoke", **settings):
        """What each job asks for when everything is asked for: dictionaries of rule, mem_mb, benchmark."""
        command = [sys.executable, CHECKOUT / "tests" / "requests_of_jobs.py", json.dumps({"scale": scale, **settings})]
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, encoding="utf-8", timeout=TIMEOUT
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    @contextmanager
    def changed(self, path, change):
        """Have the text of a file changed, and written anew with its old text at the end."""
        file = self / path
        before = file.read_text(encoding="utf-8")
        after = change(before)
        assert after != before, f"{path} was to be changed"
        file.write_text(after, encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(before, encoding="utf-8")

    def edited(self, path, old, new):
        """Have the only `old` in a file replaced by `new`, until the end of the block."""

        def replace(text):
            assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}; choose another edit"
            return text.replace(old, new)

        return self.changed(path, replace)

    @contextmanager
    def started(self, *arguments, cores=2, **settings):
        """Call Snakemake in a session of its own; whatever of it still runs at the end of the block is killed."""
        command = self.command(*arguments, *(["--cores", str(cores)] if cores else []), **settings)
        with (self / "started.txt").open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Tests in the background of a shell are deaf to Ctrl-C, and so would be what they start.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        started = Started(process, self / "started.txt")
        try:
            yield started
        finally:
            started.kill()


class Started:
    """A call of Snakemake under way, in a process group of its own."""

    def __init__(self, process, output):
        self._process, self._output = process, output

    @property
    def output(self):
        return self._output.read_text(encoding="utf-8")

    def job(self, script):
        """The process of the only job under way that runs `script`."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        (job,) = [child for child in children if child.cmdline() and child.cmdline()[-1].endswith(script)]
        return job

    def wait_until(self, condition, *, what, seconds=120):
        """Look until `condition` holds; fails if the call ends before, or takes too long."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.poll() is None, f"ended before {what}:\n{self.output}"
            assert time.monotonic() < deadline, f"no {what} in {seconds} s:\n{self.output}"
            time.sleep(0.02)

    def interrupt(self, *, jobs=False):
        """Press Ctrl-C, which on a terminal reaches Snakemake and its `jobs`."""
        (os.killpg if jobs else os.kill)(self._process.pid, signal.SIGINT)

    def wait(self, seconds=120):
        """The call, once it has ended by itself."""
        try:
            return Call(self._process.wait(seconds), self.output)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s:\n{self.output}")

    def kill_snakemake_alone(self):
        """End Snakemake by SIGKILL; its jobs, which do not hear of it, go on."""
        self._process.kill()
        self._process.wait()

    def kill(self):
        """End Snakemake and its jobs by SIGKILL, all at once."""
        if self._process.poll() is None:
            jobs = psutil.Process(self._process.pid).children(recursive=True)
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            _, alive = psutil.wait_procs(jobs, timeout=30)
            assert not alive, f"jobs outside of the process group of Snakemake: {alive}"
