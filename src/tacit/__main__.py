"""The command `python -m tacit`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

from tacit import looking, settings, status, watch


def main() -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tacit", description="Tacit beside Snakemake.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("status", help="say, figure by figure, what is done, running, missing or failed")
    shown.add_argument("figures", nargs="*", metavar="figures/NAME.pdf", help="default: all figures")
    shown.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for Snakemake")
    shown.add_argument("--configfile", nargs="+", default=[], metavar="FILE", help="as for Snakemake")
    checked = commands.add_parser("check", help="say what is wrong with files of settings, in which line")
    checked.add_argument("files", nargs="*", metavar="FILE", help="over config/config.yaml, as --configfile lays them")
    commands.add_parser("watch", help="show what the jobs under way are doing, until they are done")
    judged = commands.add_parser("claims", help="print what the papers claim, what was measured, and whether it held")
    judged.add_argument("studies", nargs="*", metavar="STUDY", help="default: all studies that have been judged")
    judged.add_argument("--scale", help="default: that of config/config.yaml")
    judged.add_argument("--how", action="store_true", help="say by what each interval was computed, and after whom")
    translated = commands.add_parser("translate", help="translate text of your own by a network that was trained")
    translated.add_argument("run", metavar="RUN.h5", help="of the study translation, below trained/")
    translated.add_argument(
        "text", nargs="?", default="-", metavar="TEXT", help="UTF-8, a sentence a line; default: standard input"
    )
    translated.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    translated.add_argument("--reference", metavar="FILE", help="translations to compare with; prints BLEU")
    translated.add_argument("--words", action="store_true", help="leave words and signs apart, as networks see them")
    translated.add_argument("--weights", choices=["best", "last"], default="best")
    translated.add_argument("--beams", type=int, default=5)
    translated.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    looking.add_commands(commands)
    arguments = parser.parse_args()
    if arguments.command in ("show", "plot", "export"):
        return looking.run(arguments)
    if arguments.command == "translate":
        return _translate(arguments)
    if arguments.command == "check":
        return _check(arguments.files)
    if arguments.command == "watch":
        with contextlib.suppress(KeyboardInterrupt):
            watch.follow()
        return 0
    if arguments.command == "claims":
        return _claims(arguments.studies, arguments.scale, how=arguments.how)
    if stray := [word for word in arguments.config if "=" not in word]:
        shown.error(f"{stray[0]} is no KEY=VALUE; figures stand before --config")
    passed_on = ["--config", *arguments.config] if arguments.config else []
    passed_on += ["--configfile", *arguments.configfile] if arguments.configfile else []
    try:
        print(status.report(status.statuses(arguments.figures, passed_on)))
    except status.StatusError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _claims(studies: list[str], scale: str | None, *, how: bool) -> int:
    """Print the claims of studies at a scale, as far as their tables are there."""
    from tacit.errors import UserError
    from tacit.studies import ledger

    try:
        scales = {folder.name: folder for folder in Path("config/scales").glob("*/")}
        scale = scale or settings.load({}, "config/scales", files=["config/config.yaml"]).scale
        known = sorted(file.stem for file in scales[scale].glob("*.yaml")) if scale in scales else []
        for what, word, allowed in [("scale", scale, sorted(scales)), *(("study", word, known) for word in studies)]:
            if word not in allowed:
                raise UserError(f"there is no {what} {word}; allowed: {', '.join(allowed)}")
        found = ledger.find(Path("results", scale), studies)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(ledger.as_text(found, how=how))
    return 0


def _translate(arguments: argparse.Namespace) -> int:
    """Translate text by the network of a run file."""
    from tacit.errors import UserError

    try:
        from tacit import translating

        asked = {name: getattr(arguments, name) for name in translating.Asked._fields}
        translating.translate(translating.Asked(**asked))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _check(files: list[str]) -> int:
    """Check settings as the workflow does; Snakemake itself stumbles over some files before that."""
    if not Path("config/config.yaml").exists():
        print(f"There is no config/config.yaml in {Path.cwd()}; call this in the workflow's folder.", file=sys.stderr)
        return 1
    try:
        loaded = settings.load({}, "config/scales", files=["config/config.yaml", *files])
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        if error.spelling:
            print(f"({error.spelling})", file=sys.stderr)
        return 1
    print(f"The settings are right, at scale {loaded.scale}.")
    return 0


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever pages through it may stop before its end; Python would flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
