# Everything of the workflow that is Python and not a rule: settings, code fingerprints, paths.

import os
import shutil
from pathlib import Path

from snakemake.exceptions import WorkflowError

from tacit import settings
from tacit.fingerprints import Sources

ROOT = Path(workflow.basedir)
SCRIPTS = ROOT / "workflow" / "scripts"

try:
    cfg = settings.load(config, ROOT / "config" / "scales")
except settings.SettingsError as error:
    raise WorkflowError(f"Wrong settings:\n{error}") from None

# Read by the jobs, on whatever host they run; no parameters of rules, as no result depends on them.
os.environ.update(
    TACIT_DEVICE=cfg.device,
    TACIT_GPU_SLOTS=str(cfg.gpu_slots),
    TACIT_CHECKPOINT_EPOCHS=str(cfg.checkpoint_epochs),
    TACIT_CHECKPOINT_SECONDS=str(cfg.checkpoint_seconds),
)

_sources = Sources()
_fingerprints = {path.name: _sources.fingerprint(path) for path in SCRIPTS.glob("*.py")}


def fingerprint(script):
    """The parameter by which a rule reruns when its script, or anything that uses, changes in meaning."""
    return _fingerprints[script]


def by_content(script):
    """A copy of a script that is never touched.

    Snakemake reruns a job whose script is younger than its outputs, so a fresh clone or a change of branch would rerun
    everything. The copy is named by content and as old as time; what decides is the fingerprint.
    """
    copy = Path(".snakemake", "tacit", "scripts", fingerprint(script), script).absolute()
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_suffix(f".{os.getpid()}")
        shutil.copyfile(SCRIPTS / script, part)
        os.utime(part, (0, 0))
        part.replace(copy)
    return str(copy)


def log_of(path):
    """The log of the job that makes a result: the same tail under logs/."""
    return str(Path("logs", Path(path).relative_to("results")).with_suffix(".log"))


def benchmark_of(path):
    """The run time and memory of the job that makes a result: the same tail under benchmarks/results/."""
    return str(Path("benchmarks", path).with_suffix(".jsonl"))


def checkpoint_of(path):
    """Where the job that makes a result saves itself: no declared output, or Snakemake would delete it."""
    return str(Path("results", ".checkpoints", Path(path).relative_to("results")).with_suffix(".pt"))


def text(number):
    """A number as it stands in paths: 0.1, 3 and not 3.0, with as many digits as it has."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


wildcard_constraints:
    seed=r"\d+",
    path_length=r"\d+",
    coefficient=r"[0-9.e+-]+",
    factorization="matrix|tensor|hierarchical",
    task="completion|sensing",
    problem="[0-9a-f]+",


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
    coefficient=map(text, cfg.pathfinder.coefficients),
    seed=range(cfg.pathfinder.seeds),
)


def available(runs):
    """All runs of a study, or with `partial: true` those that are there."""
    if not cfg.partial:
        return runs
    there = [run for run in runs if Path(run).exists()]
    if not there:
        raise WorkflowError(f"partial is true, but no run is there yet, such as {runs[0]}")
    return there


# Rank dynamics. Targets and observations are shared by all scales, so their values are in the path.

SENSING = "results/data/sensing/factorization~{factorization}/problem~{problem}/task~{task}.h5"
RANK_DYNAMICS = f"results/{cfg.scale}/rank_dynamics"
RANK_DYNAMICS_RUN = f"{RANK_DYNAMICS}/factorization~{{factorization}}/task~{{task}}/seed~{{seed}}.h5"
RANK_DYNAMICS_RUNS = expand(
    RANK_DYNAMICS_RUN,
    factorization=settings.rank_dynamics.FACTORIZATIONS,
    task=cfg.rank_dynamics.tasks,
    seed=range(cfg.rank_dynamics.seeds),
)
RANK_DYNAMICS_DRAWN = {
    "scale": cfg.scale,
    "num_runs": len(RANK_DYNAMICS_RUNS),
    "partial": cfg.partial,
} | cfg.rank_dynamics.plain()


def rank_dynamics_experiment(wildcards):
    """All settings of one factorization."""
    return cfg.rank_dynamics.experiment(wildcards.factorization).plain()


def rank_dynamics_problem(wildcards):
    """What a target and its observations depend on; the path must be that of the present settings."""
    problem = cfg.rank_dynamics.experiment(wildcards.factorization).problem
    if wildcards.problem != problem.identity:
        raise WorkflowError(
            f"problem~{wildcards.problem}: with the present settings it is problem~{problem.identity} "
            f"that a {wildcards.factorization} target has; change the settings to get another"
        )
    return problem.plain()


def rank_dynamics_dataset(wildcards):
    """The observations that a run fits."""
    problem = cfg.rank_dynamics.experiment(wildcards.factorization).problem.identity
    return SENSING.format(factorization=wildcards.factorization, problem=problem, task=wildcards.task)
