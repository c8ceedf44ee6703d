# Compressed networks: their files, what is asked of them, and what their jobs need.

from tacit.memory import compressed as _compressed_memory
from tacit.settings import compressed as _compressed

COMPRESSED = f"results/{cfg.scale}/compressed"
COMPRESSED_RUN = files(COMPRESSED, _compressed.RUN)
COMPRESSED_RUNS = {
    experiment: [
        COMPRESSED_RUN.of(**axes, seed=seed)
        for axes in cfg.compressed.runs(experiment)
        for seed in range(cfg.compressed.seeds)
    ]
    for experiment in _compressed.EXPERIMENTS
}
COMPRESSED_ASKED = {
    experiment: [[where, settings] for where, settings in cfg.compressed.asked(experiment)]
    for experiment in _compressed.EXPERIMENTS
}
for experiment, runs in COMPRESSED_RUNS.items():
    CLAIMS[f"{COMPRESSED}/{experiment}_claims.csv"] = COMPRESSED_ASKED[experiment], runs


def compressed_settings(wildcards):
    """What a run depends on besides its axes."""
    try:
        return cfg.compressed.run(_compressed.RUN.values(wildcards)).plain()
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def compressed_images(wildcards):
    """The images that a run learns from."""
    return images_dataset(Images.from_plain(compressed_settings(wildcards)["images"]))


def compressed_memory(wildcards):
    """One training."""
    axes = _compressed.RUN.values(wildcards)
    variant = _compressed.Variant(*(axes[name] for name in _compressed.Variant._fields))
    sizes = axes["network"], axes["depth"], axes["width"]
    return _compressed_memory.train(cfg.compressed.run(axes), *sizes, variant, gpu=MAY_FIND_A_GPU)


def compressed_runs(wildcards):
    """The runs of an experiment."""
    runs = available(COMPRESSED_RUNS[wildcards.experiment])
    return runs(wildcards) if callable(runs) else runs


def compressed_asked(wildcards):
    """What is asked of these runs."""
    return COMPRESSED_ASKED[wildcards.experiment]


def compressed_claims(wildcards):
    """Of which experiment tables are, and what its claims are about."""
    return {"experiment": wildcards.experiment} | cfg.compressed.claimed(wildcards.experiment)


def compressed_count(wildcards):
    """How many runs an experiment has."""
    return len(COMPRESSED_RUNS[wildcards.experiment])
