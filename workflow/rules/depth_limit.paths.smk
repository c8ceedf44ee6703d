# Residual networks in the depth limit: their files, what is asked of them, and what their jobs need.

from tacit.memory import depth_limit as _depth_limit_memory
from tacit.settings import depth_limit as _depth_limit

DEPTH_LIMIT = f"results/{cfg.scale}/depth_limit"
DEPTH_LIMIT_RUN = files(DEPTH_LIMIT, _depth_limit.RUN)
DEPTH_LIMIT_EXPERIMENTS = cfg.depth_limit.experiments


def depth_limit_runs(name):
    """The files of the runs of an experiment."""
    experiment = DEPTH_LIMIT_EXPERIMENTS[name]
    return [
        DEPTH_LIMIT_RUN.of(experiment=name, depth=depth, seed=seed, **variant._asdict())
        for variant in experiment.variants
        for depth in experiment.depths
        for seed in range(experiment.seeds)
    ]


DEPTH_LIMIT_RUNS = depth_limit_runs(_depth_limit.GRID)
DEPTH_LIMIT_FURTHER_RUNS = [
    run for name in DEPTH_LIMIT_EXPERIMENTS if name != _depth_limit.GRID for run in depth_limit_runs(name)
]
DEPTH_LIMIT_FURTHER_TABLES = [f"{DEPTH_LIMIT}/further_runs.csv"] if DEPTH_LIMIT_FURTHER_RUNS else []
DEPTH_LIMIT_ASKED = [
    [{"experiment": name}, experiment.run.plain()] for name, experiment in DEPTH_LIMIT_EXPERIMENTS.items()
]
# Loss landscapes: of which networks, and of what settings parts are.
DEPTH_LANDSCAPES = cfg.depth_limit.landscapes
DEPTH_LANDSCAPE_PART = files(f"results/{cfg.scale}/depth_landscapes", _depth_limit.LANDSCAPE)
DEPTH_LANDSCAPE_PARTS = [
    DEPTH_LANDSCAPE_PART.of(**axes, part=part)
    for axes in DEPTH_LANDSCAPES.axes(DEPTH_LIMIT_EXPERIMENTS)
    for part in range(DEPTH_LANDSCAPES.each.parts)
]
DEPTH_LANDSCAPE_SETTINGS = DEPTH_LANDSCAPES.each.plain()
DEPTH_LANDSCAPE_ASKED = [
    [{"experiment": name}, {"landscape": DEPTH_LANDSCAPE_SETTINGS, "run": experiment.run.plain()}]
    for name, experiment in DEPTH_LIMIT_EXPERIMENTS.items()
]
CLAIMS[f"{DEPTH_LIMIT}/landscape_claims.csv"] = DEPTH_LANDSCAPE_ASKED, DEPTH_LANDSCAPE_PARTS
DEPTH_LIMIT_SHOWN = cfg.depth_limit.shown.plain()
CLAIMS[f"{DEPTH_LIMIT}/claims.csv"] = DEPTH_LIMIT_ASKED, DEPTH_LIMIT_RUNS


def depth_limit_experiment(wildcards):
    """The experiment that a run is of."""
    if wildcards.experiment not in DEPTH_LIMIT_EXPERIMENTS:
        known = ", ".join(DEPTH_LIMIT_EXPERIMENTS)
        raise WorkflowError(f"experiment~{wildcards.experiment}: the present settings have {known}")
    return DEPTH_LIMIT_EXPERIMENTS[wildcards.experiment]


def depth_limit_settings(wildcards):
    """What a run depends on besides its setting, depth and seed."""
    return depth_limit_experiment(wildcards).run.plain()


def depth_limit_images(wildcards):
    """The images that a run learns from; functions are drawn where they are learned."""
    data = depth_limit_experiment(wildcards).data
    return images_dataset(data) if isinstance(data, Images) else []


def depth_landscape_images(wildcards):
    """The images that the loss of a landscape is of."""
    data = DEPTH_LANDSCAPES.each.data or depth_limit_experiment(wildcards).data
    return images_dataset(data) if isinstance(data, Images) else []


def depth_landscape_run(wildcards):
    """The run whose landscape is drawn."""
    axes = _depth_limit.RUN.values(wildcards)
    return DEPTH_LIMIT_RUN.of(**axes)


def depth_limit_memory(wildcards, threads):
    """One descent."""
    run = depth_limit_experiment(wildcards).run
    return _depth_limit_memory.train(run, int(wildcards.depth), threads=threads, gpu=MAY_FIND_A_GPU)
