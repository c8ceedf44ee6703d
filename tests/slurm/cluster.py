"""A real Slurm on this machine: one node, two CPUs, two pretend GPUs, for the time of the tests and on loopback only.

Everything it needs lies in one folder, its own authentication included, so that it meets no other Slurm. What it
started it ends, by process number.
"""

import ctypes
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

PACKAGES = ("slurm-wlm", "munge")
DAEMONS = ("munged", "slurmctld", "slurmd")
CPUS, MEMORY_MB, GPUS = 2, 20_000, 2

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE"}


class Unavailable(Exception):
    """Why there can be no Slurm here."""


def install():
    """Install the packages of Debian if they are not there; raises Unavailable with the reason if that cannot be."""
    if os.geteuid() != 0:
        raise Unavailable("only root can start the daemons of Slurm")
    missing = [daemon for daemon in DAEMONS if _path(daemon) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        raise Unavailable(f"{', '.join(missing)} missing, and no apt-get to install {' and '.join(PACKAGES)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, encoding="utf-8")
    if done.returncode != 0 or any(_path(daemon) is None for daemon in DAEMONS):
        raise Unavailable(f"apt-get install {' '.join(PACKAGES)} failed: {done.stderr.strip()[-300:]}")


def _path(daemon):
    return shutil.which(daemon, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end_with_parent():
    """Have the kernel end this process should the one that started it be killed; nothing is left behind then either."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Cluster:
    """The cluster; `with Cluster() as cluster` starts and ends it, and removes its folder."""

    def __init__(self):
        # Not in pytest's folder, which other users, such as the one that munge runs as, cannot enter.
        self.folder = Path(tempfile.mkdtemp(prefix="tacit-slurm-"))
        self.folder.chmod(0o755)
        self._processes = []

    @property
    def environment(self):
        """What tells Slurm's own tools which cluster is meant."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def __enter__(self):
        try:
            install()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error):
        self._end()

    def _start(self):
        # The daemon that vouches for users wants folders that nobody else may write to.
        munge = self.folder / "munge"
        munge.mkdir(parents=True, mode=0o755)
        key = munge / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        for path in (munge, key):
            shutil.chown(path, "munge", "munge")
        files = {name: munge / name for name in ("socket", "pid", "log", "seed")}
        self._launch(
            ["runuser", "-u", "munge", "--", _path("munged"), "--foreground", "--num-threads=2", f"--key-file={key}"]
            + [f"--{name}-file={files[name]}" for name in ("pid", "log", "seed")]
            + [f"--socket={files['socket']}"]
        )
        self._wait("munged", lambda: self._answers("munge", "-n", "-S", files["socket"]))
        self._configure(files["socket"])
        self._launch([_path("slurmctld"), "-D", "-i", "-f", str(self.folder / "slurm.conf")])
        self._wait("slurmctld", lambda: "is UP" in self._answers("scontrol", "ping"))
        self._launch([_path("slurmd"), "-D", "-N", "node1", "-f", str(self.folder / "slurm.conf")])
        self._wait("slurmd", lambda: "idle" in self._answers("sinfo", "-h", "-n", "node1", "-o", "%t"))

    def _configure(self, socket_file):
        host = socket.gethostname().partition(".")[0]
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        # Within jobs Snakemake hides from srun where the configuration is, which elsewhere is in /etc.
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder / "slurm.conf"} exec {_path("srun")} "$@"\n')
        wrapper.chmod(0o755)
        values = {
            "ClusterName": "tacit",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": _free_port(),
            "SlurmdPort": _free_port(),
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={socket_file}",
            "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
            "MpiDefault": "none",
            "ProctrackType": "proctrack/pgid",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "AccountingStorageType": "accounting_storage/none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "SchedulerParameters": "sched_interval=2,bf_interval=2,batch_sched_delay=0",
            # Jobs of the partition `urgent` take the place of others, which are cancelled after their grace.
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "CANCEL",
            "SlurmdParameters": "config_overrides",
            "ReturnToService": 2,
            # Ended jobs stay known, as without a database nothing else remembers them.
            "MinJobAge": 3600,
            "KillWait": 5,
            "GresTypes": "gpu",
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.folder / "slurmctld.log",
            "SlurmdLogFile": self.folder / "slurmd.log",
        }
        node = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEMORY_MB} Gres=gpu:{GPUS}"
        lines = [f"{name}={value}" for name, value in values.items()]
        lines += [
            f"NodeName=node1 {node}",
            "PartitionName=batch Nodes=node1 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10",
            "PartitionName=urgent Nodes=node1 MaxTime=INFINITE State=UP PriorityTier=2",
        ]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        # Files that exist stand for cards.
        pretend = [f"NodeName=node1 Name=gpu File={file}" for file in ("/dev/null", "/dev/zero")]
        (self.folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *pretend]) + "\n")

    def _launch(self, command):
        name = Path(command[0]).name
        with (self.folder / f"{name}-{len(self._processes)}.out").open("wb") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self._processes.append(process)

    def _wait(self, what, ready, seconds=30):
        deadline = time.monotonic() + seconds
        while not ready():
            if self._processes[-1].poll() is not None or time.monotonic() > deadline:
                said = [path.read_text(errors="replace")[-1000:] for path in sorted(self.folder.glob("*.[lo][ou][gt]"))]
                raise Unavailable(f"{what} does not start here:\n" + "\n".join(said))
            time.sleep(0.1)

    def _answers(self, *command):
        """What a command says if it ends well, else nothing."""
        done = subprocess.run(
            [str(part) for part in command], env=os.environ | self.environment, capture_output=True, encoding="utf-8"
        )
        return done.stdout if done.returncode == 0 else ""

    def _end(self):
        """End all jobs, then what was started, last first."""
        if len(self._processes) == 3:
            self._answers("scancel", "--user", "root")
            deadline = time.monotonic() + 20
            while self.unfinished() and time.monotonic() < deadline:
                time.sleep(0.2)
        for process in reversed(self._processes):
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            for child in [*children, process]:
                with _gone_is_fine():
                    child.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                for child in [*children, process]:
                    with _gone_is_fine():
                        child.kill()
                process.wait(15)
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    # What Slurm's own tools say.

    def jobs(self):
        """All jobs that Slurm remembers, oldest first: the fields of `scontrol show job` by name."""
        text = self._answers("scontrol", "--oneliner", "--details", "show", "jobs")
        jobs = []
        for line in text.splitlines():
            if line.startswith("JobId="):
                # Values may hold blanks; a name follows a blank and ends in an equals sign.
                parts = re.split(r"(?:^|\s)([A-Za-z][\w/:.&]*)=", line)[1:]
                jobs.append({name: value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True)})
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def unfinished(self):
        """Jobs that wait or run."""
        return [job for job in self.jobs() if job["JobState"] not in ENDED]

    def of(self, project, name=""):
        """Jobs that Snakemake submitted from the folder of `project`, for a rule or a group of this name."""
        logs = f"{project.folder}/logs/slurm/"
        named = (f"{logs}rule_{name}", f"{logs}group_{name}")
        return [job for job in self.jobs() if job.get("StdOut", "").startswith(named)]

    def cancel(self, job):
        """Cancel one job."""
        subprocess.run(["scancel", job["JobId"]], env=os.environ | self.environment, check=True)

    def preempt(self, seconds):
        """Submit a job to which all others have to give way, for `seconds`."""
        command = ["sbatch", "--partition=urgent", f"--cpus-per-task={CPUS}", "--exclusive", "--output=/dev/null"]
        command += ["--job-name=urgent", f"--wrap=sleep {seconds}"]
        subprocess.run(command, env=os.environ | self.environment, check=True, capture_output=True)


class _gone_is_fine:
    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, psutil.NoSuchProcess | ProcessLookupError)


def main():
    """Run the command given as arguments with a Slurm for its time."""
    try:
        with Cluster() as cluster:
            ended = subprocess.run(sys.argv[1:], env=os.environ | cluster.environment)
    except Unavailable as reason:
        sys.exit(f"no Slurm here: {reason}")
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
