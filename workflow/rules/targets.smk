# The last file that is included: what the command line asks for is held against all rules.

import contextlib
import io

from snakemake.cli import parse_args
from snakemake.logging import logger

from tacit import terminal
from tacit.paths import run_of


def given_targets():
    """The targets that the command line names."""
    with contextlib.redirect_stderr(io.StringIO()):
        _, given = parse_args(sys.argv[1:])
    return given.targets or ()


def of_runs():
    """The figures of single runs that the command line names."""
    return [target for target in given_targets() if target.endswith(".pdf") and run_of(target) != target]


def check_drawn():
    """Refuse a report on figures that were drawn otherwise than is asked."""
    targets = set(given_targets()) or {"all"}
    targets |= {str(file) for name in targets if workflow.is_rule(name) for file in workflow.get_rule(name).input}
    plots = [rule for rule in workflow.rules if str(rule.output.get("figure")) in targets]
    numbers = {str(rule.output.figure): str(rule.output.numbers) for rule in plots}
    landing.check_drawn(numbers, {str(rule.output.figure): rule.params.asked for rule in plots}, scale=cfg.scale)


def check_targets():
    """Refuse targets that nothing makes, with the nearest that there is.

    Snakemake knows its targets after the Snakefile alone, so they are taken from the command line, which is parsed
    only if a word in it might be a mistaken one.
    """
    made = [output for rule in workflow.rules for output in rule.products()]

    def is_there(target):
        # A figure of a run is there if the run is.
        return workflow.is_rule(target) or all(
            any(output.match(path) for output in made) for path in {target, run_of(target)}
        )

    def is_suspicious(word):
        known = (
            word.startswith("-") or word.replace(".", "").isdigit() or word.isidentifier() and workflow.is_rule(word)
        )
        return not known and ("~" in word or not ("=" in word or is_there(os.path.normpath(word))))

    if not any(map(is_suspicious, sys.argv[1:])):
        return
    for target in sorted(given_targets()):
        path = target if workflow.is_rule(target) else os.path.normpath(target)
        calls.check_axes(path, KINDS)
        if not is_there(path):
            files = [
                str(file) for rule in workflow.rules for file in (*rule.output, *rule.input) if isinstance(file, str)
            ]
            names = [rule.name for rule in workflow.rules] + [file for file in files if "{" not in file]
            raise calls.no_such_target(target, names, scale=cfg.scale, scales=SCALES)


# Of all rules by now.
_sources.save()

FIGURES = [
    str(file) for rule in workflow.rules for file in rule.output if str(file).endswith(".pdf") and "{" not in str(file)
]

# What the user hears; jobs are calls of Snakemake too.
TERMINAL = terminal.Terminal(logger) if CALLED_BY_USER else None

if CALLED_BY_USER and any(word.partition("=")[0] == "--report" for word in sys.argv):
    # Here, as it costs a library, and few calls are for a report.
    from tacit import landing

    _page = Path(".snakemake", "tacit", "report.rst").absolute()
    _page.parent.mkdir(parents=True, exist_ok=True)
    _introduction = (ROOT / "workflow" / "report" / "workflow.rst").read_text(encoding="utf-8")
    try:
        check_drawn()
        _page.write_text(landing.page(_introduction, tables=CLAIMS, figures=FIGURES), encoding="utf-8")
    except UserError as error:
        raise refusal(error) from None

    report: str(_page)


onstart:
    calls.take_possession(Path.cwd())
    if TERMINAL:
        TERMINAL.begin()


onsuccess:
    if TERMINAL:
        TERMINAL.end(drawn=[*FIGURES, *of_runs()], judged=CLAIMS)


onerror:
    if TERMINAL:
        TERMINAL.fail()


if CALLED_BY_USER:
    try:
        check_targets()
    except UserError as error:
        raise refusal(error) from None
