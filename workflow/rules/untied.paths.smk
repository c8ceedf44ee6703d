# Untied weights: its files, what is asked of them, and what its jobs need.

from tacit.memory import untied as _untied_memory
from tacit.settings import untied as _untied

UNTIED = f"results/{cfg.scale}/untied"
UNTIED_IMAGES = images_dataset(cfg.untied.images)
UNTIED_SCRATCH = files(f"{UNTIED}/scratch", _untied.SCRATCH)
UNTIED_CONTINUED = files(f"{UNTIED}/continued", _untied.CONTINUED)
UNTIED_PATH = files(f"{UNTIED}/interpolation", _untied.PATHS)
# What a network continues from; all of its wildcards are those of the network.
UNTIED_CNN = UNTIED_SCRATCH.of(network="cnn", learning_rate="{cnn_learning_rate}", seed="{seed}")

_rates, _seeds = cfg.untied.scratch.learning_rates, range(cfg.untied.seeds)
UNTIED_RUNS = UNTIED_SCRATCH.grid(network=cfg.untied.scratch.networks, learning_rate=_rates, seed=_seeds)
for network in _untied.NETWORKS:
    UNTIED_RUNS += UNTIED_CONTINUED.grid(
        network=network,
        cnn_learning_rate=_rates,
        split=cfg.untied.splits(network),
        learning_rate=cfg.untied.continued.learning_rates,
        seed=_seeds,
    )
UNTIED_PATHS = [
    UNTIED_PATH.of(
        cnn_learning_rate=cfg.untied.shown.cnn_learning_rate,
        learning_rate=cfg.untied.shown.learning_rate,
        origin=origin,
        target=target,
        seed=seed,
    )
    for origin, target in cfg.untied.interpolation.pairs
    for seed in _seeds
]

# Of which the margins are drawn.
UNTIED_MARGIN_RUNS = UNTIED_SCRATCH.grid(
    network=["cnn"], learning_rate=[cfg.untied.shown.cnn_learning_rate], seed=_seeds
)
for network in ("lcn", "cnn"):
    UNTIED_MARGIN_RUNS += UNTIED_CONTINUED.grid(
        network=[network],
        cnn_learning_rate=[cfg.untied.shown.cnn_learning_rate],
        split=[split for split in cfg.untied.shown.splits if split in cfg.untied.splits(network)],
        learning_rate=[cfg.untied.shown.learning_rate],
        seed=_seeds,
    )

UNTIED_PLANNED = {
    "scratch": list(cfg.untied.scratch.networks),
    "lcn": list(cfg.untied.shown.splits),
    "cnn": list(cfg.untied.splits("cnn")),
    "fcn": list(cfg.untied.splits("fcn")),
}
UNTIED_PAIRS = [list(pair) for pair in cfg.untied.interpolation.pairs]
UNTIED_CONTINUED_SETTINGS = {"cnn": cfg.untied.scratch_run("cnn").wanted()} | cfg.untied.continued_run.wanted()
UNTIED_ASKED = [
    [{"split": None, "network": network}, cfg.untied.scratch_run(network).wanted()]
    for network in _untied.SCRATCH_NETWORKS
] + [[{"source": None}, UNTIED_CONTINUED_SETTINGS]]


def _settings_of(solution):
    """What the training of a network at one end of an interpolation depends on."""
    from_scratch = solution.split is None
    return cfg.untied.scratch_run(solution.network).wanted() if from_scratch else UNTIED_CONTINUED_SETTINGS


UNTIED_PATHS_ASKED = [
    [
        {"origin": origin, "target": target},
        cfg.untied.interpolation_run.wanted()
        | {
            "ends": {
                "origin": _settings_of(_untied.Solution.named(origin)),
                "target": _settings_of(_untied.Solution.named(target)),
            }
        },
    ]
    for origin, target in cfg.untied.interpolation.pairs
]
CLAIMS[f"{UNTIED}/claims.csv"] = UNTIED_ASKED, UNTIED_RUNS
CLAIMS[f"{UNTIED}/interpolation_claims.csv"] = UNTIED_PATHS_ASKED, UNTIED_PATHS


def untied_margin_runs(wildcards):
    """The runs of which margins are drawn; they must have kept them."""
    if not cfg.untied.keep_margins:
        raise WorkflowError(
            "figures/untied_margins.pdf is drawn of the margins of all images, which runs keep if they are told to: set "
            "untied: {keep_margins: true}, by which networks are trained anew"
        )
    found = available(UNTIED_MARGIN_RUNS)
    return found(wildcards) if callable(found) else found


UNTIED_MARGINS_FIGURE = ["figures/untied_margins.pdf"] if cfg.untied.keep_margins else []


def untied_scratch_settings(wildcards):
    """What a training from scratch depends on; a CNN keeps its weights where others may continue from it."""
    return cfg.untied.scratch_run(wildcards.network).plain()


def untied_continued_settings(wildcards):
    """What a training that continues from the CNN depends on; the CNN must have had the epoch of the split."""
    if int(wildcards.split) > cfg.untied.scratch.epochs:
        raise WorkflowError(f"split~{wildcards.split}: the CNN ends with epoch {cfg.untied.scratch.epochs}")
    return cfg.untied.continued_run.plain()


def untied_origin(wildcards):
    """The run of the network from which an interpolation begins."""
    return _run_of(_untied.Solution.named(wildcards.origin), wildcards)


def untied_target(wildcards):
    """The run of the network at which an interpolation ends."""
    if wildcards.target == wildcards.origin:
        raise WorkflowError(f"target~{wildcards.target}: there is no path from a network to itself")
    return _run_of(_untied.Solution.named(wildcards.target), wildcards)


def _run_of(solution, wildcards):
    cnn_rate, seed = wildcards.cnn_learning_rate, wildcards.seed
    try:
        cfg.untied.check_kept(solution)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    if solution.split is None:
        return UNTIED_SCRATCH.of(network=solution.network, learning_rate=cnn_rate, seed=seed)
    return UNTIED_CONTINUED.of(
        network=solution.network,
        split=solution.split,
        cnn_learning_rate=cnn_rate,
        learning_rate=wildcards.learning_rate,
        seed=seed,
    )


def untied_memory(wildcards):
    """One network."""
    return _untied_memory.train(cfg.untied, wildcards.network, gpu=MAY_FIND_A_GPU)


def untied_interpolate_memory(wildcards):
    """One pair of networks."""
    ends = [_untied.Solution.named(name).network for name in (wildcards.origin, wildcards.target)]
    return _untied_memory.interpolate(cfg.untied, ends, gpu=MAY_FIND_A_GPU)
