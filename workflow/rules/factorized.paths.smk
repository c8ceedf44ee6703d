# Factorized layers: their files, what is asked of them, and what their jobs need.

from tacit.memory import factorized as _factorized_memory
from tacit.settings import factorized as _factorized

FACTORIZED = f"results/{cfg.scale}/factorized"
FACTORIZED_RUN = files(FACTORIZED, _factorized.RUN)
FACTORIZED_RUNS = {
    experiment: [
        FACTORIZED_RUN.of(**axes, seed=seed)
        for axes in cfg.factorized.runs(experiment)
        for seed in range(cfg.factorized.seeds)
    ]
    for experiment in _factorized.EXPERIMENTS
}
FACTORIZED_ASKED = [[where, settings] for where, settings in cfg.factorized.asked()]
for experiment, runs in FACTORIZED_RUNS.items():
    CLAIMS[f"{FACTORIZED}/{experiment}_claims.csv"] = FACTORIZED_ASKED, runs


def factorized_axes(wildcards):
    """The axes of a run."""
    return _factorized.RUN.values(wildcards)


def factorized_settings(wildcards):
    """What a run depends on besides its axes."""
    try:
        return cfg.factorized.run(factorized_axes(wildcards)).plain()
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def factorized_images(wildcards):
    """The images that a run learns from."""
    return images_dataset(Images.from_plain(factorized_settings(wildcards)["images"]))


def factorized_replayed(wildcards):
    """The run whose norms are given to this one, if it is one that gets them."""
    axes = factorized_axes(wildcards)
    return FACTORIZED_RUN.of(**axes | {"decay": "recorded"}) if axes["decay"] == "replayed" else []


def factorized_asked(wildcards):
    """What is asked of that run."""
    made = ("factors", "initialization") if wildcards.decay == "replayed" else ()
    return [[{axis: wildcards[axis] for axis in made}, factorized_settings(wildcards)]] if made else []


def factorized_memory(wildcards):
    """One training."""
    axes = factorized_axes(wildcards)
    sizes = axes["depth"], axes["rank_scale"], axes["factors"]
    return _factorized_memory.train(cfg.factorized.run(axes), *sizes, gpu=MAY_FIND_A_GPU)


def factorized_runs(wildcards):
    """The runs of an experiment."""
    runs = available(FACTORIZED_RUNS[wildcards.experiment])
    return runs(wildcards) if callable(runs) else runs


def factorized_claims(wildcards):
    """Of which experiment tables are, and what its claims are about."""
    return {"experiment": wildcards.experiment} | cfg.factorized.claimed(wildcards.experiment)


def factorized_count(wildcards):
    """How many runs an experiment has."""
    return len(FACTORIZED_RUNS[wildcards.experiment])
