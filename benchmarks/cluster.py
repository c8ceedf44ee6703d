"""Seconds a short job costs on a Slurm cluster, in groups as the profile has them and one by one.

From the first submission to the last end, by Slurm's own clock: Snakemake asks ever less often how a job is, so that
what it takes to notice an end hides the rest.

The jobs are descents of small matrices, of which each takes a fraction of a second once Python has started. All ways,
and a local one for comparison, must write the same files. Needs a Slurm: run it on a login node, or on a cluster of
one machine for its time:

    python tests/slurm/cluster.py python benchmarks/cluster.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import yaml

from comparison import Case, arguments, copy_project, processor, report

TABLE = "results/smoke/norms/matrix/runs.csv"
RULE = "matrix_norms_train"
PROFILE = ("--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "3")
WAYS = {
    "locally": ("--cores", "2"),
    "grouped": PROFILE,
    "one by one": (*PROFILE, "--group-components", f"{RULE}=1"),
}


def run(folder: Path, options: tuple[str, ...], seeds: int) -> tuple[float, dict[str, bytes]]:
    """Make the table in a fresh copy of the project; return seconds and run files."""
    copy_project(folder)
    settings = {"scale": "smoke", "norms": {"matrix": {"published": {"seeds": seeds}}}}
    (folder / "overrides.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", TABLE, *options, "--configfile", "overrides.yaml"]
    # Numba compiles once, for all ways alike.
    warm = [sys.executable, "-m", "snakemake", TABLE, "--cores", "2", "--config", "scale=smoke"]
    for preparation in (warm, [*warm[:-2], "--delete-all-output", "--config", "scale=smoke"]):
        subprocess.run(preparation, cwd=folder, capture_output=True, check=True)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    if "slurm" in " ".join(options):
        seconds = occupied(folder)
    runs = folder.glob("results/smoke/norms/matrix/**/seed~*.h5")
    return seconds, {str(path.relative_to(folder)): path.read_bytes() for path in runs}


def occupied(folder: Path) -> float:
    """Return the seconds from the first submission to the last end of jobs that were submitted from `folder`."""
    said = subprocess.run(["scontrol", "--oneliner", "show", "jobs"], capture_output=True, encoding="utf-8", check=True)
    jobs = [line for line in said.stdout.splitlines() if f"WorkDir={folder} " in line]
    submitted, ended = (
        [datetime.fromisoformat(re.search(rf" {name}=(\S+)", job)[1]) for job in jobs]
        for name in ("SubmitTime", "EndTime")
    )
    return (max(ended) - min(submitted)).total_seconds()


def cases(seeds: int) -> Iterator[Case]:
    """Yield groups beside single jobs."""
    seconds, files = {}, {}
    for way, options in WAYS.items():
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            seconds[way], files[way] = run(Path(folder), options, seeds)
    assert files["locally"] == files["grouped"] == files["one by one"], "the ways differ in what they write"
    jobs = len(files["locally"])
    each = {way: total / jobs for way, total in seconds.items()}
    agreement = f"{jobs} run files equal byte for byte"
    note = f"{each['locally']:.2f} s/job without a cluster, on two cores"
    name = f"{jobs} short jobs on Slurm, grouped beside one by one"
    yield Case(
        name, each["grouped"], each["one by one"], "s/job", each["one by one"] / each["grouped"], agreement, note
    )


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="of two settings each")
    given = parser.parse_args()
    report(cases(given.seeds), device=processor(), as_json=given.json)


if __name__ == "__main__":
    main()
