"""What a machine with an NVIDIA GPU must show, in under four minutes: that it computes what the CPU does, and how fast.

1. Steps a second of all trainings at paper size in float32, TF32 and bfloat16, compiled where that is allowed, beside
   the plain loops of the other benchmarks; peak memory.
2. Numbers of every engine on CPU and GPU, float32 without TF32; ends with an error where they part.
3. The unit tests with the GPU in sight.
4. A lease: a second process waits for the card, whatever it calls it, until the first is killed.
5. A training killed after a checkpoint and resumed.
6. Hours that the grids of `paper` scale take.

Ends with tables for RESULTS.md. Without a GPU it says what it leaves out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch

from comparison import Case, arguments, versions
from gpu_checks import engines, hours, processes

SHARED = ("tests", "agreement", "lease", "resume")
"""Parts that run side by side, as none of them is timed."""
TIMED = ("rates", "compiled")
PARTS = (*TIMED, *SHARED)
SECONDS = {"rates": 100, "compiled": 60, "agreement": 75, "tests": 75}
"""After which a part is cut off; what it found by then counts."""


def rate_cases(device: torch.device, share: float) -> Iterator[Case]:
    """Yield rates of all trainings; a group that fails says so, and the next is measured nonetheless."""
    from gpu_checks import rates

    steps = max(2, round(20 * share))
    groups: list[Callable[[], Iterator[Case]]] = [
        partial(rates.residual, device, steps),
        partial(rates.untied, device, steps),
        partial(rates.convolutional, device, steps),
        partial(rates.compressed_networks, device, steps),
        partial(rates.translation, device, steps),
        partial(rates.factorizations, device, 0.05 * share),
        partial(rates.same_class, device, steps),
        partial(rates.feeding, device),
        partial(rates.deep, device),
    ]
    for group in groups:
        try:
            yield from group()
        except Exception as error:
            _emit("trouble", f"{group.func.__name__}: {type(error).__name__}: {error}")


def _emit(kind: str, value: object) -> None:
    """Tell the process above what was found."""
    print(json.dumps({kind: value}), flush=True)


def run_part(given: argparse.Namespace) -> None:
    """Do one part in this process, and print what it finds, a JSON object a line."""
    device = torch.device(given.device)
    match given.part:
        case "rates":
            # Plain loops on the CPU have a few cores, and are no quicker with many.
            torch.set_num_threads(min(4, os.cpu_count() or 1))
            for case in rate_cases(device, given.share):
                _emit("case", asdict(case))
        case "compiled":
            from gpu_checks import rates

            for case in rates.compiled(device, max(2, round(20 * given.share))):
                _emit("case", asdict(case))
        case "agreement":
            torch.set_num_threads(max(1, min(4, (os.cpu_count() or 2) // 2)))
            compared = engines.compare(engines.all_engines(), torch.device("cpu"), device)
            for found in itertools.chain(engines.recorded(device), compared):
                _emit("found", found._asdict())
        case "train":
            processes.train_here(given.kind, Path(given.path), given.device, given.pause)


class Report:
    """What was found so far; printed as it comes."""

    def __init__(self) -> None:
        self.cases: list[Case] = []
        self.found: list[engines.Found] = []
        self.tests: list[processes.Tests] = []
        self.outcomes: list[processes.Outcome] = []
        self.troubles: list[str] = []
        self._lock = threading.Lock()

    def add(self, kind: str, value: object) -> None:
        """Take note of a case, a found difference, a test file, an outcome or a trouble; and say it."""
        with self._lock:
            match kind:
                case "case":
                    one = Case(**value)
                    self.cases.append(one)
                    said = f"{one.case}: {one.ours:.4g} {one.unit}, {one.note}, {one.ratio:.2f} times; {one.agreement}"
                case "found":
                    one = engines.Found(**value)
                    self.found.append(one)
                    state = "PARTED" if one.parted else "agree"
                    said = f"{one.engine}: {state}, {one.of} within {one.difference:.1e} of {one.tolerance:g}"
                case "tests":
                    self.tests.append(value)
                    said = f"{value.file}: {'' if value.ok else 'FAILED '}{value.said}"
                case "outcome":
                    self.outcomes.append(value)
                    said = f"{value.check}: {'holds' if value.ok else 'FAILED'}: {value.said}"
                case _:
                    self.troubles.append(str(value))
                    said = f"TROUBLE: {value}"
            print(f"[{time.monotonic() - STARTED:5.0f} s] {said}", flush=True)

    @property
    def failed(self) -> bool:
        """Whether something is not as it must be."""
        bad = [one for one in self.found if one.parted] + [one for one in (*self.tests, *self.outcomes) if not one.ok]
        return bool(bad or self.troubles)

    def hours(self) -> list[hours.Estimate]:
        """Return what the grids of `paper` scale take."""
        return hours.estimates({case.case: case.ours for case in self.cases})


STARTED = time.monotonic()


def in_a_process(report: Report, part: str, given: argparse.Namespace) -> None:
    """Run a part in a process of its own, for as long as it may take, and note what it prints."""
    command = [sys.executable, str(Path(__file__)), "--part", part, "--device", given.device]
    command += ["--share", str(given.share)]
    process = subprocess.Popen(
        command, env=processes.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    timer = threading.Timer(SECONDS[part], process.kill)
    timer.start()
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))
    reader.start()
    for line in process.stdout:
        if line.startswith("{"):
            ((kind, value),) = json.loads(line).items()
            report.add(kind, value)
    code = process.wait()
    cut_off = not timer.is_alive()
    timer.cancel()
    reader.join()
    if cut_off:
        report.add("trouble", f"{part}: cut off after {SECONDS[part]} s")
    elif code:
        report.add("trouble", f"{part}: ended with {code}: {errors[0][-1500:]}")


def run_shared(report: Report, parts: tuple[str, ...], given: argparse.Namespace) -> None:
    """Run the parts that are not timed side by side."""
    cores = os.cpu_count() or 2

    def tests() -> None:
        for one in processes.unit_tests(jobs=max(1, cores - 4), seconds=SECONDS["tests"]):
            report.add("tests", one)

    def resume(kind: str) -> None:
        report.add("outcome", processes.resumed(kind, given.device))

    work: dict[str, list[Callable[[], object]]] = {
        "tests": [tests],
        "agreement": [partial(in_a_process, report, "agreement", given)],
        "lease": [lambda: report.add("outcome", processes.lease(_uuid()))],
        "resume": [partial(resume, kind) for kind in engines.resumed_kinds()],
    }
    with ThreadPoolExecutor() as pool:
        for part, future in [(name, pool.submit(job)) for name in parts for job in work[name]]:
            if error := future.exception():
                report.add("trouble", f"{part}: {type(error).__name__}: {error}")


def _uuid() -> str:
    return str(torch.cuda.get_device_properties(0).uuid)


def tables(report: Report, device: str) -> str:
    """Return what was found as Markdown for RESULTS.md."""
    today, used = datetime.now(UTC).date().isoformat(), ", ".join(f"{n} {v}" for n, v in versions().items())
    lines = [f"## {device}", "", f"{today}, {used}: `python benchmarks/gpu.py`.", ""]
    if report.cases:
        lines += ["| training | ours, ms/step | compared with | times | |", "|---|---|---|---|---|"]
        lines += [f"| {c.case} | {c.ours:.4g} | {c.reference:.4g} | {c.ratio:.2f} | {c.note} |" for c in report.cases]
        lines.append("")
    if report.found:
        lines += ["| engine | CPU and GPU differ by | of which | tolerance |", "|---|---|---|---|"]
        lines += [f"| {f.engine} | {f.difference:.1e} | {f.of} | {f.tolerance:g} |" for f in report.found]
        lines.append("")
    lines += [f"* {one.check}: {'' if one.ok else 'FAILED: '}{one.said}" for one in report.outcomes]
    if report.tests:
        good = sum(one.ok for one in report.tests)
        lines.append(f"* unit tests with the GPU in sight: {good} of {len(report.tests)} files pass or are left out")
        bad = [one for one in report.tests if not one.ok or one.said.startswith("skipped")]
        lines += [f"  * {one.file}: {one.said.splitlines()[0]}" for one in bad]
    lines += [f"* trouble: {trouble.splitlines()[-1]}" for trouble in report.troubles]
    if estimates := report.hours():
        lines += ["", "| `paper` grid, float32, one run after another | runs | hours |", "|---|---|---|"]
        lines += [f"| {one.study} | {one.runs} | {one.hours:.2g} |" for one in estimates]
    return "\n".join(lines)


def main() -> None:
    """Run the parts that are asked for, and report."""
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="that is compared with the CPU")
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of timed steps")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    for hidden, kind in (("part", str), ("kind", str), ("path", str), ("pause", float)):
        parser.add_argument(f"--{hidden}", type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        run_part(given)
        return
    report, parts = Report(), tuple(given.only)
    if given.device == "cuda" and not torch.cuda.is_available():
        print(f"no GPU that torch can use here; left out: {', '.join(parts)}")
        parts = ()
    for part in TIMED:
        if part in parts:
            in_a_process(report, part, given)
    run_shared(report, tuple(part for part in SHARED if part in parts), given)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    if parts:
        print(f"\n{tables(report, device)}\n")
    if given.json:
        content = {
            "cases": [asdict(case) for case in report.cases],
            "device": device,
            "versions": versions(),
            "engines": [found._asdict() for found in report.found],
            "tests": [one._asdict() for one in report.tests],
            "outcomes": [one._asdict() for one in report.outcomes],
            "troubles": report.troubles,
            "hours": [one._asdict() for one in report.hours()],
            "left_out": [part for part in given.only if part not in parts],
        }
        print(json.dumps(content))
    sys.exit(1 if report.failed else 0)


if __name__ == "__main__":
    main()
