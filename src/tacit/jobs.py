"""What surrounds the work of every job of the workflow: its log, its code, where its inputs come from.

A job is planned for the code as it is then, but imports it when it starts, which may be hours later. So it imports all
that it will use at once, and compares the code on disk with the planned one, before it works and when it is done.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import tacit
from tacit import events, imports, interrupts, provenance, runlog, store
from tacit.errors import UserError
from tacit.fingerprints import CACHE, Sources
from tacit.runlog import log


class CodeError(UserError):
    """The code is not that for which a job was planned."""


@contextlib.contextmanager
def started(script: str | Path, snakemake: Any, *, parts: bool = False) -> Iterator[provenance.Origin]:
    """Do the work in the block as the job of `script` that Snakemake described to it: log, inputs, parameters.

    Of the parameters it uses `code`, the planned fingerprint, and if they are there `uses`, a dotted name in Tacit that
    the script is told to use (`used`), `asked`, what is asked of the inputs (provenance.Asked), `collected`, of which
    runs tables must be, `accept_older_code`, and `checkpoint`, which is done with in the end. With `parts` the inputs
    are one content, however it is divided. Gives the origin of what the job makes. Errors end in the log and, with
    status 1, the process.
    """
    params, script = snakemake.params, Path(script)
    with runlog.to(snakemake.log[0]):
        program = Program(script, params.get("uses", ""), params["code"])
        sources = Sources(cache=CACHE)
        program.require(sources)
        program.import_all(sources)
        interrupts.heed()
        events.begin(snakemake.log[0])
        program.require_current(sources)
        inputs = [path for path in snakemake.input if Path(path).suffix in (".h5", ".csv")]
        origin = provenance.gather(
            program.name,
            params["code"],
            {path: store.describe(path) for path in inputs},
            asked=provenance.asked_from(params.get("asked", ())),
            accept_older=params.get("accept_older_code"),
            parts=parts,
            collected=params.get("collected"),
        )
        provenance.begin(origin)
        _say(params["code"], origin)
        yield origin
        program.require_current(sources)
        if checkpoint := params.get("checkpoint"):
            from tacit import checkpoints

            checkpoints.finish(checkpoint)


def used(uses: str) -> Any:
    """Return what in Tacit has the dotted name `uses`, such as tacit.figures.pathfinder.ACCURACY."""
    module, _, name = uses.rpartition(".")
    return getattr(importlib.import_module(module), name)


class Program(NamedTuple):
    """What a job runs, and the fingerprint that was planned for it."""

    script: Path
    uses: str
    planned: str

    @property
    def name(self) -> str:
        """The name by which files say what made them."""
        return provenance.program(self.script.name, self.uses)

    def import_all(self, sources: Sources) -> None:
        """Import every module of Tacit that it can reach, so that a later edit reaches none of its work."""
        for module in sorted(sources.modules(self.script, self.uses)):
            importlib.import_module(module)

    def require(self, sources: Sources) -> None:
        """Raise CodeError if the code that was read is not the one that was planned."""
        try:
            found = sources.fingerprint(self.script, self.uses)
        except (OSError, SyntaxError, UnicodeDecodeError, ModuleNotFoundError) as error:
            found = f"none that can be read ({error})"
        if found != self.planned:
            raise CodeError(
                f"the code was changed since this job was planned ({self.name}: {self.planned} then, {found} now), so "
                "its result would be recorded as what it is not; run the same command again"
            )

    def require_current(self, sources: Sources) -> None:
        """Raise CodeError if code on disk, or what was imported, is not that of `sources` and means something else."""
        # Compared as text first, as parsing takes a good part of a short job.
        if not sources.are_current():
            self.require(Sources())
        if not sources.are(imports.sources):
            self.require(Sources(texts=imports.sources))


def _say(code: str, origin: provenance.Origin) -> None:
    # Not into results, as the same code has the same results at many revisions.
    revision = git_revision(Path(tacit.__file__).parent)
    log.info("code %s%s", code, f", git revision {revision}" if revision else "")
    if origin.older:
        log.warning("%d inputs were made by older code, as accept_older_code allows", origin.older)


def git_revision(folder: Path) -> str | None:
    """Return the revision of the code in `folder`, marked if there are changes; None if it is under no revision."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
