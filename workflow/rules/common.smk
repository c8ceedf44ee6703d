# Everything of the workflow that is Python and not a rule: settings, code fingerprints, paths.

import contextlib
import filecmp
import getpass
import json
import math
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
from tacit.data.image_sources import SOURCES, shortage
from tacit.errors import UserError
from tacit.fingerprints import Sources
from tacit.provenance import axis_text

SCRIPTS = ROOT / "workflow" / "scripts"
SCALES = [path.stem for path in ROOT.glob("config/scales/*.yaml")]
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
    TACIT_IMAGES_FOLDER=IMAGES_FOLDER,
    TACIT_DOWNLOAD_IMAGES=str(cfg.download_images),
)
# Before any job loads a library, on the host where it runs: a job that is submitted reads this file there.
if cfg.processor == "common":
    os.environ.update(processors.variables())


def planned_fingerprints():
    """The fingerprint of each script when jobs were planned.

    Each job reads the Snakefile anew, when the code may be another; so it takes them from the process that planned it.
    """
    if not workflow.is_main_process:
        return provenance.planned_code()
    sources = Sources()
    found = {path.name: sources.fingerprint(path) for path in sorted(SCRIPTS.glob("*.py"))}
    os.environ[provenance.CODE_VARIABLE] = json.dumps(found)
    return found


_fingerprints = planned_fingerprints()


def fingerprint(script):
    """The parameter by which a rule reruns when its script, or anything that uses, changes in meaning."""
    return _fingerprints[script]


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


def log_of(path):
    """The log of the job that makes a result: the same tail under logs/."""
    return str(Path("logs", Path(path).relative_to("results")).with_suffix(".log"))


def benchmark_of(path):
    """The run time and memory of the job that makes a result: the same tail under benchmarks/results/."""
    return str(Path("benchmarks", path).with_suffix(".jsonl"))


def checkpoint_of(path):
    """Where the job that makes a result saves itself: no declared output, or Snakemake would delete it."""
    return str(Path("results", ".checkpoints", Path(path).relative_to("results")).with_suffix(".pt"))


def whole(digits):
    """A whole number as it stands in paths: 7 and not 07."""
    return str(int(digits))


def decimal(digits):
    """A number as it stands in paths, from any other way to write it: 1 and not 1.0."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return axis_text(number)


def wholes(digits):
    """Several whole numbers, and what stands between them, as in 0-95 and lcn-3."""
    if "-" not in digits:
        return digits
    return "-".join(whole(part) if part.isdecimal() else part for part in digits.split("-"))


CANONICAL = (
    dict.fromkeys(("seed", "path_length", "distance", "depth", "num_observations", "split"), whole)
    | dict.fromkeys(("size", "train", "test"), whole)
    | dict.fromkeys(("coefficient", "learning_rate", "cnn_learning_rate", "init_scale", "init_std"), decimal)
    | dict.fromkeys(("images", "origin", "target"), wholes)
)
"""By axis: how a value is written in paths, so that no result is computed twice under two names."""


WHOLE = r"(?:0|[1-9]\d*)"
DECIMAL = r"(?:(?:0|[1-9]\d*)(?:\.\d*[1-9])?(?:e[+-]\d\d+)?|[1-9]\d{6,300}\.0)"


wildcard_constraints:
    seed=WHOLE,
    path_length=r"[1-9]\d*",
    coefficient=DECIMAL,
    factorization="matrix|tensor|hierarchical",
    task="completion|sensing",
    first=WHOLE,
    last=WHOLE,
    problem="[0-9a-f]+",
    matrix="[^/]+",
    depth=WHOLE,
    learning_rate=DECIMAL,
    init_scale=DECIMAL,
    init_std=DECIMAL,
    balanced="true|false",
    num_observations=WHOLE,
    source="|".join(SOURCES),
    size=r"[1-9]\d*",
    distance=WHOLE,
    network="cnn|lcn|fcn",
    cnn_learning_rate=DECIMAL,
    split=WHOLE,
    origin=f"(cnn|lcn|fcn)(-{WHOLE})?",
    target=f"(cnn|lcn|fcn)(-{WHOLE})?",


# Handed on to jobs by whatever executor.
envvars:
    provenance.CODE_VARIABLE,


# Pathfinder. Raw images are shared by all scales that ask for the same rendering, so its values are in the path.

_images = cfg.pathfinder.dataset
_rendering = cfg.pathfinder.rendering.identity
PATHFINDER_DATA = f"results/data/pathfinder/rendering~{_rendering}/seed~{_images.seed}/path_length~{{path_length}}"
PATHFINDER_RAW = f"{PATHFINDER_DATA}/raw/images~{{first}}-{{last}}.h5"
PATHFINDER_DATASET = f"{PATHFINDER_DATA}/size~{_images.size}/train~{_images.num_train}/test~{_images.num_test}.h5"
PATHFINDER = f"results/{cfg.scale}/pathfinder"
PATHFINDER_RUN = f"{PATHFINDER}/path_length~{{path_length}}/coefficient~{{coefficient}}/seed~{{seed}}.h5"


def pathfinder_shards(wildcards):
    """The raw files that one dataset is made of, in order."""
    data = cfg.pathfinder.dataset
    total, shard = data.num_train + data.num_test, cfg.pathfinder.images_per_shard
    firsts = range(0, total, shard)
    lasts = [min(first + shard, total) - 1 for first in firsts]
    return expand(PATHFINDER_RAW, zip, path_length=[wildcards.path_length] * len(lasts), first=firsts, last=lasts)


PATHFINDER_RUNS = expand(
    PATHFINDER_RUN,
    path_length=cfg.pathfinder.path_lengths,
    coefficient=map(axis_text, cfg.pathfinder.coefficients),
    seed=range(cfg.pathfinder.seeds),
)

PATHFINDER_DATASET_SETTINGS = cfg.pathfinder.dataset.plain() | {"rendering": cfg.pathfinder.rendering.plain()}
PATHFINDER_ASKED = [[{}, cfg.pathfinder.run.plain() | {"dataset": PATHFINDER_DATASET_SETTINGS}]]


def collected(runs):
    """Of which runs a table must be, to be drawn."""
    return {"runs": runs, "partial": cfg.partial}


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


# Image sets, shared by all studies that learn from images. What a study uses of one is chosen when it is read.

IMAGES = "results/data/images/source~{source}/size~{size}.h5"


def images_dataset(images):
    """The file of the image set that settings ask for."""
    return IMAGES.format(source=images.source, size=images.side)


def images_source(wildcards):
    """No files that Snakemake should watch, but an error before the first job if the published ones are not there."""
    file, asked = IMAGES.format(**wildcards), {"source": wildcards.source, "size": int(wildcards.size)}
    try:
        settings.parse(settings.images.Images, asked, source_of=lambda path: file)
    except UserError as error:
        raise refusal(error) from None
    made = Path(file).exists()
    planned_only = workflow.executor_plugin is None or workflow.dryrun
    if not (made or planned_only or cfg.download_images):
        if complaint := shortage(SOURCES[wildcards.source], IMAGES_FOLDER):
            raise WorkflowError(complaint)
    return []


# Is Same Class. Pairs are shared by all distances, and by all scales that ask for the same ones.

_pairs = cfg.same_class.pairs
SAME_CLASS_IMAGES = images_dataset(cfg.same_class.images)
SAME_CLASS_PAIRS = f"results/data/same_class/images~{cfg.same_class.images.identity}/seed~{_pairs.seed}"
SAME_CLASS_PAIRS = f"{SAME_CLASS_PAIRS}/train~{_pairs.num_train}/test~{_pairs.num_test}.h5"
SAME_CLASS = f"results/{cfg.scale}/same_class"
SAME_CLASS_RUN = f"{SAME_CLASS}/distance~{{distance}}/coefficient~{{coefficient}}/seed~{{seed}}.h5"
SAME_CLASS_RUNS = expand(
    SAME_CLASS_RUN,
    distance=cfg.same_class.distances,
    coefficient=map(axis_text, cfg.same_class.coefficients),
    seed=range(cfg.same_class.seeds),
)
SAME_CLASS_PAIRS_SETTINGS = {"images": cfg.same_class.images.drawn, "pairs": cfg.same_class.pairs.plain()}
SAME_CLASS_ASKED = [[{}, cfg.same_class.run.plain() | {"pairs": cfg.same_class.pairs.plain()}]]


def same_class_settings(wildcards):
    """What a run depends on besides its setting and seed; the two images must fit at this distance."""
    try:
        cfg.same_class.canvas.place(cfg.same_class.images.side, int(wildcards.distance))
    except ValueError as error:
        raise WorkflowError(f"distance~{wildcards.distance}: {error}") from None
    return cfg.same_class.run.plain()


# Targets of low rank and observations are shared by scales and studies, so their values are in the path.

SENSING = "results/data/sensing/factorization~{factorization}/problem~{problem}/task~{task}.h5"
SENSING_PROBLEMS = {
    (name, problem.identity): problem.plain()
    for name, problem in [
        *((name, cfg.rank_dynamics.experiment(name).problem) for name in settings.rank_dynamics.FACTORIZATIONS),
        *(("tensor", grid.problem) for grid in cfg.norms.tensor.grids),
    ]
}


def sensing_problem(wildcards):
    """What a target and its observations depend on; the path must be that of the present settings."""
    try:
        return SENSING_PROBLEMS[wildcards.factorization, wildcards.problem]
    except KeyError:
        known = [problem for name, problem in SENSING_PROBLEMS if name == wildcards.factorization]
        raise WorkflowError(
            f"problem~{wildcards.problem}: with the present settings it is problem~{' or problem~'.join(known)} "
            f"that a {wildcards.factorization} target has; change the settings to get another"
        ) from None


def tensor_completion_asked(wildcards):
    """What is asked of the observations of a tensor; their path has but a digest of it."""
    return [[{}, {"problem": SENSING_PROBLEMS.get(("tensor", wildcards.problem))}]]


def rank_dynamics_asked(wildcards):
    """What is asked of the observations that a run fits."""
    return [[{}, {"problem": cfg.rank_dynamics.experiment(wildcards.factorization).problem.plain()}]]


# Rank dynamics.

RANK_DYNAMICS = f"results/{cfg.scale}/rank_dynamics"
RANK_DYNAMICS_RUN = f"{RANK_DYNAMICS}/factorization~{{factorization}}/task~{{task}}/seed~{{seed}}.h5"
RANK_DYNAMICS_RUNS = expand(
    RANK_DYNAMICS_RUN,
    factorization=settings.rank_dynamics.FACTORIZATIONS,
    task=cfg.rank_dynamics.tasks,
    seed=range(cfg.rank_dynamics.seeds),
)
RANK_DYNAMICS_ASKED = [
    [{"factorization": name}, cfg.rank_dynamics.experiment(name).plain()]
    for name in settings.rank_dynamics.FACTORIZATIONS
]
RANK_DYNAMICS_DRAWN = {
    "scale": cfg.scale,
    "num_runs": len(RANK_DYNAMICS_RUNS),
    "partial": cfg.partial,
} | cfg.rank_dynamics.plain()


def rank_dynamics_experiment(wildcards):
    """All settings of one factorization."""
    return cfg.rank_dynamics.experiment(wildcards.factorization).plain()


def rank_dynamics_dataset(wildcards):
    """The observations that a run fits."""
    problem = cfg.rank_dynamics.experiment(wildcards.factorization).problem.identity
    return SENSING.format(factorization=wildcards.factorization, problem=problem, task=wildcards.task)


# Norms.

NORMS = f"results/{cfg.scale}/norms"
MATRIX_NORMS = f"{NORMS}/matrix/problem~{{matrix}}/depth~{{depth}}/learning_rate~{{learning_rate}}"
MATRIX_NORMS_RUN = f"{MATRIX_NORMS}/init_scale~{{init_scale}}/balanced~{{balanced}}/seed~{{seed}}.h5"
TENSOR_COMPLETION = f"{NORMS}/tensor/problem~{{problem}}/num_observations~{{num_observations}}"
TENSOR_COMPLETION_RUN = f"{TENSOR_COMPLETION}/init_std~{{init_std}}/seed~{{seed}}.h5"
TENSOR_COMPLETION_LINEAR = f"{TENSOR_COMPLETION}/linear.h5"


def matrix_norms_paths(runs):
    """The files of runs of deep matrix factorization."""
    return [
        MATRIX_NORMS_RUN.format(
            matrix=run.problem.name,
            depth=run.variant.depth,
            learning_rate=axis_text(run.variant.learning_rate),
            init_scale=axis_text(run.variant.init_scale),
            balanced=axis_text(run.variant.balanced),
            seed=run.seed,
        )
        for run in runs
    ]


MATRIX_NORMS_RUNS = matrix_norms_paths(cfg.norms.matrix.published.runs)
PERTURBED_RUNS = matrix_norms_paths(cfg.norms.matrix.perturbed.runs)
FURTHER_RUNS = matrix_norms_paths(cfg.norms.matrix.further_runs)
FURTHER_TABLES = [f"{NORMS}/matrix/further_runs.csv"] if FURTHER_RUNS else []
MATRIX_NORMS_ASKED = [
    [{"problem": problem.name}, {"problem": problem.plain(), "descent": cfg.norms.matrix.descent.plain()}]
    for problem in cfg.norms.matrix.problems
]
MATRIX_PROBLEMS = {problem.name: problem.plain() for problem in cfg.norms.matrix.problems}
TENSOR_COMPLETION_RUNS, TENSOR_COMPLETION_LINEARS = [], []
for grid in cfg.norms.tensor.grids:
    of_grid = {"problem": grid.problem.identity, "num_observations": grid.num_observations}
    TENSOR_COMPLETION_RUNS += expand(
        TENSOR_COMPLETION_RUN, **of_grid, init_std=map(axis_text, grid.init_stds), seed=range(grid.seeds)
    )
    TENSOR_COMPLETION_LINEARS += expand(TENSOR_COMPLETION_LINEAR, **of_grid)
TENSOR_COMPLETION_SETTINGS = {"descent": cfg.norms.tensor.descent.plain(), "ranks": cfg.norms.tensor.ranks.plain()}
TENSOR_COMPLETION_LINEAR_SETTINGS = {"ranks": cfg.norms.tensor.ranks.plain()}
TENSOR_COMPLETION_ASKED = [
    [{"problem": grid.problem.identity} | start, {"problem": grid.problem.plain()} | settings_]
    for grid in cfg.norms.tensor.grids
    for start, settings_ in (({"seed": None}, TENSOR_COMPLETION_LINEAR_SETTINGS), ({}, TENSOR_COMPLETION_SETTINGS))
]


def matrix_norms_settings(wildcards):
    """What a run of deep matrix factorization depends on besides its setting and seed."""
    if wildcards.matrix not in MATRIX_PROBLEMS:
        raise WorkflowError(f"problem~{wildcards.matrix}: the present settings have {', '.join(MATRIX_PROBLEMS)}")
    return {"problem": MATRIX_PROBLEMS[wildcards.matrix], "descent": cfg.norms.matrix.descent.plain()}


def norms_drawn(runs, **blocks):
    """What a figure of norms depends on besides its tables."""
    return {"scale": cfg.scale, "num_runs": len(runs), "partial": cfg.partial} | blocks


def tensor_completion_dataset(wildcards):
    """The observations of a tensor, of which there must be as many as are asked for."""
    known, asked = SENSING_PROBLEMS.get(("tensor", wildcards.problem)), int(wildcards.num_observations)
    if known and not 0 < asked < known["num_samples"]:
        raise WorkflowError(f"num_observations~{asked}: at least 1, and fewer than all {known['num_samples']} entries")
    return SENSING.format(factorization="tensor", problem=wildcards.problem, task="completion")


# Untied weights.

UNTIED_IMAGES = images_dataset(cfg.untied.images)
UNTIED = f"results/{cfg.scale}/untied"
UNTIED_SCRATCH_RUN = f"{UNTIED}/scratch/network~{{network}}/learning_rate~{{learning_rate}}/seed~{{seed}}.h5"
UNTIED_CNN_RUN = f"{UNTIED}/scratch/network~cnn/learning_rate~{{cnn_learning_rate}}/seed~{{seed}}.h5"
UNTIED_SPLIT = f"{UNTIED}/continued/network~{{network}}/cnn_learning_rate~{{cnn_learning_rate}}/split~{{split}}"
UNTIED_SPLIT_RUN = f"{UNTIED_SPLIT}/learning_rate~{{learning_rate}}/seed~{{seed}}.h5"
UNTIED_WAY = f"{UNTIED}/interpolation/cnn_learning_rate~{{cnn_learning_rate}}/learning_rate~{{learning_rate}}"
UNTIED_WAY = f"{UNTIED_WAY}/origin~{{origin}}/target~{{target}}/seed~{{seed}}.h5"
_rates, _seeds = cfg.untied.scratch.learning_rates, range(cfg.untied.seeds)


def untied_end(name):
    """What the run at one end of an interpolation, such as cnn or lcn-3, depends on."""
    return UNTIED_CONTINUED if "-" in name else cfg.untied.scratch_run(name).plain()


UNTIED_RUNS = expand(
    UNTIED_SCRATCH_RUN, network=cfg.untied.scratch.networks, learning_rate=map(axis_text, _rates), seed=_seeds
)
for network in settings.untied.NETWORKS:
    UNTIED_RUNS += expand(
        UNTIED_SPLIT_RUN,
        network=network,
        cnn_learning_rate=map(axis_text, _rates),
        split=cfg.untied.splits(network),
        learning_rate=map(axis_text, cfg.untied.continued.learning_rates),
        seed=_seeds,
    )
_shown = cfg.untied.shown
UNTIED_WAYS = [
    UNTIED_WAY.format(
        cnn_learning_rate=axis_text(_shown.cnn_learning_rate),
        learning_rate=axis_text(_shown.learning_rate),
        origin=origin,
        target=target,
        seed=seed,
    )
    for origin, target in cfg.untied.interpolation.pairs
    for seed in _seeds
]
UNTIED_CNN = cfg.untied.scratch_run("cnn").plain()
UNTIED_CONTINUED = {"cnn": UNTIED_CNN} | cfg.untied.continued_run.plain()
UNTIED_ASKED = [
    [{"split": None, "network": network}, cfg.untied.scratch_run(network).plain()]
    for network in settings.untied.NETWORKS
] + [[{"source": None}, UNTIED_CONTINUED]]
UNTIED_WAYS_ASKED = [
    [
        {"origin": origin, "target": target},
        cfg.untied.interpolation_run.plain() | {"ends": {"origin": untied_end(origin), "target": untied_end(target)}},
    ]
    for origin, target in cfg.untied.interpolation.pairs
]
UNTIED_DRAWN = {"scale": cfg.scale, "partial": cfg.partial, "num_runs": len(UNTIED_RUNS)} | {
    name: value for name, value in cfg.untied.plain().items() if name != "interpolation"
}
UNTIED_WAYS_DRAWN = {"scale": cfg.scale, "partial": cfg.partial, "num_runs": len(UNTIED_WAYS)} | {
    name: value for name, value in cfg.untied.plain().items() if name not in ("scratch", "continued")
}


def untied_scratch_settings(wildcards):
    """What a training from scratch depends on; a CNN keeps its weights where others may go on from it."""
    return cfg.untied.scratch_run(wildcards.network).plain()


def untied_continued_settings(wildcards):
    """What a training that goes on from the CNN depends on; the CNN must have had the epoch of the split."""
    if int(wildcards.split) > cfg.untied.scratch.epochs:
        raise WorkflowError(f"split~{wildcards.split}: the CNN ends with epoch {cfg.untied.scratch.epochs}")
    return cfg.untied.continued_run.plain()


def untied_origin(wildcards):
    """The run of the network from which an interpolation begins."""
    return _untied_solution(wildcards.origin, wildcards)


def untied_target(wildcards):
    """The run of the network at which an interpolation ends."""
    if wildcards.target == wildcards.origin:
        raise WorkflowError(f"target~{wildcards.target}: there is no way from a network to itself")
    return _untied_solution(wildcards.target, wildcards)


def _untied_solution(name, wildcards):
    network, _, split = name.partition("-")
    seed, cnn_learning_rate = wildcards.seed, wildcards.cnn_learning_rate
    if not split:
        return UNTIED_SCRATCH_RUN.format(network=network, learning_rate=cnn_learning_rate, seed=seed)
    return UNTIED_SPLIT_RUN.format(
        network=network,
        cnn_learning_rate=cnn_learning_rate,
        split=split,
        learning_rate=wildcards.learning_rate,
        seed=seed,
    )
