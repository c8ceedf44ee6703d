# Everything of the workflow that is Python and not a rule: settings, code fingerprints, paths.

import contextlib
import filecmp
import getpass
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import yaml
from snakemake.cli import get_profile_dir
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import ExecMode

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    raise WorkflowError(
        f"Tacit runs under Python 3.11 to 3.13, and this is {sys.version_info[0]}.{sys.version_info[1]}: make its "
        "environment with one of these, for example  python3.13 -m venv .venv"
    )

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]


def require_own_library():
    """Stop if Python imports another Tacit than the one that lies beside this workflow: its code would run."""
    own = ROOT / "src" / "tacit"
    advice = f"install this one: pip install -c constraints.txt -e . in {ROOT}, in the environment of this Snakemake"
    try:
        import tacit
    except ModuleNotFoundError:
        raise WorkflowError(f"Tacit is not installed; {advice}") from None
    used = Path(tacit.__file__).parent
    if not own.is_dir() or used.samefile(own):
        return
    files = {path.relative_to(folder) for folder in (own, used) for path in folder.rglob("*.py")}
    for file in sorted(files):
        if (
            not (own / file).exists()
            or not (used / file).exists()
            or (own / file).read_bytes() != (used / file).read_bytes()
        ):
            raise WorkflowError(
                f"This workflow lies in {ROOT}, but Python imports another Tacit, from {used} ({file} differs); {advice}"
            )


require_own_library()

from tacit import calls, processors, provenance, settings
from tacit.errors import UserError
from tacit.fingerprints import CACHE, Sources
from tacit.paths import Files, log_of

SCRIPTS = ROOT / "workflow" / "scripts"
SCALES = sorted({path.parent.name for path in ROOT.glob("config/scales/*/*.yaml")})
IS_MODULE = not workflow.modifier.is_main_snakefile()
# A job on a cluster is a call by Snakemake, and a module is part of the call of another workflow.
_program = Path(sys.argv[0])
CALLED_BY_USER = (
    not IS_MODULE
    and workflow.exec_mode == ExecMode.DEFAULT
    and "snakemake" in (_program.stem, _program.parent.name)  # and not another program by way of its API
)


def refusal(error, what=""):
    """What Snakemake says of a user's mistake: one message."""
    more = f"\n({error.spelling})" if getattr(error, "spelling", "") else ""
    return WorkflowError(f"{what}{error}{more}")


def profile_of(words):
    """What the profiles of a call set."""
    named = [after for word, after in zip(words, words[1:]) if word in ("--profile", "--workflow-profile")]
    named += [word.partition("=")[2] for word in words if word.startswith(("--profile=", "--workflow-profile="))]
    found = [get_profile_dir(name) for name in named or os.environ.get("SNAKEMAKE_PROFILE", "").split(",") if name]
    held = {}
    for _, file in filter(None, found):
        with contextlib.suppress(yaml.YAMLError, OSError):
            held |= dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    return held


if CALLED_BY_USER:
    try:
        calls.check_place(Path.cwd())
        calls.check_owner(Path.cwd())
        calls.check_given_once(sys.argv[1:], profile_of(sys.argv[1:]))
        calls.check_named_once(sys.argv[1:])
    except UserError as error:
        raise refusal(error) from None


def settings_files():
    """The files that settings are in, each over those before."""
    own = [] if workflow.config_settings.replace_workflow_config else [ROOT / "config" / "config.yaml"]
    return own if IS_MODULE else [*own, *workflow.overwrite_configfiles]


# Files are read here and not by Snakemake, which takes the last of two equal keys and 010 for 8. Of a module the
# settings are those that the workflow around it gives.
try:
    cfg = settings.load(
        config if IS_MODULE else workflow.config_settings.config,
        ROOT / "config" / "scales",
        files=settings_files(),
        source="config of the module" if IS_MODULE else "--config",
    )
except UserError as error:
    raise refusal(error, "Wrong settings:\n") from None

IMAGES_FOLDER = str(Path(cfg.images_folder).expanduser().absolute())
TEXTS_FOLDER = str(Path(cfg.texts_folder).expanduser().absolute())

try:
    getpass.getuser()
except (KeyError, OSError):
    # In a container the user may have no name, for which Snakemake asks before it runs anything.
    os.environ.update(LOGNAME=str(os.getuid()))

# Read by the jobs, on whatever host they run; no parameters of rules, as no result depends on them.
os.environ.update(
    TACIT_DEVICE=cfg.device,
    TACIT_GPU_SLOTS=str(cfg.gpu_slots),
    TACIT_CHECKPOINT_EPOCHS=str(cfg.checkpoint_epochs),
    TACIT_CHECKPOINT_SECONDS=str(cfg.checkpoint_seconds),
    TACIT_EXTENDABLE=str(cfg.extendable),
    TACIT_IMAGES_FOLDER=IMAGES_FOLDER,
    TACIT_DOWNLOAD_IMAGES=str(cfg.download_images),
    TACIT_TEXTS_FOLDER=TEXTS_FOLDER,
)
os.environ.pop("TACIT_TENSORBOARD", None)
if cfg.tensorboard:
    if importlib.util.find_spec("tensorboard") is None:
        raise WorkflowError(
            "tensorboard is true, but TensorBoard is not installed in the environment of this Snakemake: install it, "
            f"pip install -c constraints.txt -e '.[tensorboard]' in {ROOT}, or set tensorboard: false"
        )
    os.environ.update(TACIT_TENSORBOARD="logs/tensorboard")
# Before any job loads a library, on the host where it runs: a job that is submitted reads this file there.
if cfg.processor == "common":
    os.environ.update(processors.variables())


# Each job reads the Snakefile anew, when the code may be another; so it takes fingerprints from the process that planned
# it, to which rules give them as they are read.
_planned = {} if workflow.is_main_process else provenance.planned_code()
os.environ.setdefault(provenance.CODE_VARIABLE, "{}")
_sources = Sources(cache=CACHE)


def fingerprint(script, uses=""):
    """The parameter by which a rule reruns when its script, or what that uses or is told to use, changes in meaning."""
    program = provenance.program(script, uses)
    if program not in _planned:
        _planned[program] = _sources.fingerprint(SCRIPTS / script, uses)
        os.environ[provenance.CODE_VARIABLE] = json.dumps(_planned)
    return _planned[program]


def by_content(script):
    """A copy of a script that is never touched.

    Snakemake reruns a job whose script is younger than its outputs, so a fresh clone or a change of branch would rerun
    everything. The copy is named by content and as old as time; what decides is the fingerprint.
    """
    copy = Path(".snakemake", "tacit", "scripts", fingerprint(script), script).absolute()
    # One that is younger was copied with the folder; one of another content, in planning, was damaged.
    sound = copy.exists() and copy.stat().st_mtime == 0
    if not sound or (workflow.is_main_process and not filecmp.cmp(copy, SCRIPTS / script, shallow=False)):
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_suffix(f".{os.getpid()}")
        shutil.copyfile(SCRIPTS / script, part)
        os.utime(part, (0, 0))
        part.replace(copy)
    # Snakemake fills in wildcards here, and a folder may have braces in its name.
    return str(copy).replace("{", "{{").replace("}", "}}")


# Handed on to jobs by whatever executor.
envvars:
    provenance.CODE_VARIABLE,


# The axes of all files that there are, by which the names of targets are checked. Each study adds its own.
KINDS = []


def files(folder, axes, **more):
    """The files of one kind in a folder (tacit.paths.Files)."""
    KINDS.append(axes)
    return Files(folder, axes, **more)


# The tables of claims: of each, what is asked of its runs, and which these are. Each study adds its own.
CLAIMS = {}


def collected(*runs):
    """Of which runs a table must be, to be drawn."""
    return {"runs": [run for some in runs for run in some], "partial": cfg.partial}


def available(runs, needed=True):
    """All runs of a study, or with `partial: true` those that are there, asked for only if a figure needs them."""
    if not cfg.partial:
        return runs

    def there(wildcards):
        found = [run for run in runs if Path(run).exists()]
        if needed and not found:
            raise WorkflowError(f"partial is true, but no run is there yet, such as {runs[0]}")
        return found

    return there


def with_runs(tables):
    """All these tables of claims, or with `partial: true` those of which a run is there."""
    if not cfg.partial:
        return list(tables)

    def there(wildcards):
        found = [table for table in tables if any(Path(run).exists() for run in CLAIMS[table][1])]
        if not found:
            raise WorkflowError("partial is true, but no run of any study is there yet")
        return found

    return there


def drawn(block, *left_out, **more):
    """What a figure depends on besides its tables: settings of a study, but for those that no figure shows."""
    plain = block.plain() if block is not None else {}
    return {"scale": cfg.scale} | {name: value for name, value in plain.items() if name not in left_out} | more


MAY_FIND_A_GPU = cfg.device != "cpu"
