"""Seconds to plan everything at paper scale, with 1, 10 and 100 times as many seeds, beside a workflow without content.

The reference has as many jobs of one rule, with as many wildcards, and nothing else: no settings, fingerprints or
resources. What ours takes above it is what the project adds to Snakemake. Cold means that nothing is there; otherwise
every output exists and nothing is to be done. Nothing is computed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from comparison import Case, arguments, copy_project, processor, report

PLAIN = """
rule all:
    input:
        expand("results/a~{a}/b~{b}/seed~{seed}.h5", a=range(10), b=range(10), seed=range(SEEDS)),


rule train:
    output:
        "results/a~{a}/b~{b}/seed~{seed}.h5",
    shell:
        "touch {output}"
"""


class Planned(NamedTuple):
    """What planning took."""

    jobs: int
    seconds: float
    megabytes: float


def seeds_multiplied(values: Any, factor: int) -> Any:
    """Return nested settings with every number of seeds multiplied."""
    if isinstance(values, dict):
        return {
            name: factor * value if name == "seeds" else seeds_multiplied(value, factor)
            for name, value in values.items()
        }
    return [seeds_multiplied(value, factor) for value in values] if isinstance(values, list) else values


def project(folder: Path, factor: int) -> Path:
    """Make a copy of the project whose paper scale has `factor` times as many seeds."""
    copy_project(folder)
    for file in (folder / "config" / "scales" / "paper").glob("*.yaml"):
        file.write_text(yaml.safe_dump(seeds_multiplied(yaml.safe_load(file.read_text()), factor)), encoding="utf-8")
    return folder


def snakemake(folder: Path, *options: str) -> tuple[str, float, float]:
    """Call Snakemake in `folder`; return what it says, and the seconds and megabytes that it took."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    command = [sys.executable, "-m", "snakemake", *options]
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        output.seek(0)
        said = output.read()
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{said[-2000:]}")
    return said, seconds, usage.ru_maxrss / 1024


def plan(folder: Path, options: tuple[str, ...]) -> Planned:
    """Plan everything in `folder`."""
    said, seconds, megabytes = snakemake(folder, "--dry-run", "--quiet", "rules", *options)
    total = re.search(r"^total +(\d+)", said, re.M)
    return Planned(int(total[1]) if total else 0, seconds, megabytes)


def finish(folder: Path, options: tuple[str, ...]) -> None:
    """Have every output there, as if all had been run: empty files, and what Snakemake remembers of them."""
    said, *_ = snakemake(folder, "--summary", *options)
    for line in said.splitlines():
        path = folder / line.partition("\t")[0]
        if "\t" in line and not line.startswith("output_file"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    snakemake(folder, "--touch", "--cores", "1", "--quiet", "all", *options)


def cases(factors: list[int], finished: list[int]) -> Iterator[Case]:
    """Yield a case for each factor, cold, and for some when everything is there."""
    for factor in factors:
        with tempfile.TemporaryDirectory() as ours_folder, tempfile.TemporaryDirectory() as plain_folder:
            ours = project(Path(ours_folder), factor), ("--config", "scale=paper")
            cold = plan(*ours)
            seeds = round(cold.jobs / 100)
            (Path(plain_folder) / "Snakefile").write_text(PLAIN.replace("SEEDS", str(seeds)), encoding="utf-8")
            plain = Path(plain_folder), ()
            yield case(f"{factor} x seeds, cold", cold, plan(*plain))
            if factor in finished:
                finish(*ours)
                finish(*plain)
                yield case(f"{factor} x seeds, everything there", plan(*ours), plan(*plain), jobs=cold.jobs)


def case(name: str, ours: Planned, plain: Planned, *, jobs: int | None = None) -> Case:
    """Compare two plans, which must be of as many jobs: all of them, or none if everything is there."""
    if jobs is None:
        assert abs(ours.jobs - plain.jobs) <= 100, f"{ours.jobs} and {plain.jobs} jobs"
    else:
        assert ours.jobs == plain.jobs == 0, f"{ours.jobs} and {plain.jobs} jobs where all is done"
    memory = f"{ours.megabytes:.0f} against {plain.megabytes:.0f} MB"
    agreement = f"{jobs or ours.jobs} jobs in both, {(jobs and 'none') or 'all'} to be run"
    return Case(name, ours.seconds, plain.seconds, "s", plain.seconds / ours.seconds, agreement, memory)


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__)
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument(
        "--finished", type=int, nargs="*", default=[1, 10], help="of these factors also with all outputs"
    )
    given = parser.parse_args()
    report(cases(given.factors, given.finished), device=processor(), as_json=given.json)


if __name__ == "__main__":
    main()
