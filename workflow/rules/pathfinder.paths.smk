# Pathfinder: its files, what is asked of them, and what its jobs need. Raw images and datasets are shared by all scales
# that ask for the same rendering, so its values are in their path.

from tacit.memory import pathfinder as _pathfinder_memory
from tacit.settings import pathfinder as _pathfinder

_data = cfg.pathfinder.dataset
_drawn_images = f"results/data/pathfinder/rendering~{cfg.pathfinder.rendering.identity}/seed~{_data.seed}"
PATHFINDER = f"results/{cfg.scale}/pathfinder"
PATHFINDER_RAW = files(f"{_drawn_images}/raw", _pathfinder.RAW)
PATHFINDER_DATASET = files(
    f"{_drawn_images}/datasets", _pathfinder.DATASET, size=_data.size, train=_data.num_train, test=_data.num_test
)
PATHFINDER_RUN = files(PATHFINDER, _pathfinder.RUN)
PATHFINDER_RUNS = PATHFINDER_RUN.grid(
    path_length=cfg.pathfinder.path_lengths,
    coefficient=cfg.pathfinder.coefficients,
    seed=range(cfg.pathfinder.seeds),
)

PATHFINDER_PLANNED = {
    "difficulties": list(cfg.pathfinder.path_lengths),
    "coefficients": list(cfg.pathfinder.coefficients),
}
PATHFINDER_RAW_SETTINGS = {"rendering": cfg.pathfinder.rendering.plain(), "seed": _data.seed}
PATHFINDER_DATASET_SETTINGS = _data.plain() | {"rendering": cfg.pathfinder.rendering.plain()}
PATHFINDER_DATASET_ASKED = [[{}, PATHFINDER_DATASET_SETTINGS]]
PATHFINDER_ASKED = [[{}, cfg.pathfinder.run.wanted() | {"dataset": PATHFINDER_DATASET_SETTINGS}]]
CLAIMS[f"{PATHFINDER}/claims.csv"] = PATHFINDER_ASKED, PATHFINDER_RUNS


def pathfinder_shards(wildcards):
    """The raw files that one dataset is made of, in order."""
    total, shard = _data.num_train + _data.num_test, cfg.pathfinder.images_per_shard
    numbers = (f"{first}-{min(first + shard, total) - 1}" for first in range(0, total, shard))
    return [PATHFINDER_RAW.of(path_length=wildcards.path_length, images=images) for images in numbers]


def pathfinder_render_memory(wildcards):
    """One shard."""
    first, last = map(int, wildcards.images.split("-"))
    return _pathfinder_memory.render(cfg.pathfinder.rendering, last - first + 1)


PATHFINDER_ASSEMBLE_MEMORY = _pathfinder_memory.assemble(
    cfg.pathfinder.dataset, cfg.pathfinder.rendering, cfg.pathfinder.images_per_shard
)
PATHFINDER_TRAIN_MEMORY = _pathfinder_memory.train(cfg.pathfinder, gpu=MAY_FIND_A_GPU)
