# Is Same Class: its files, what is asked of them, and what its jobs need. Pairs are shared by all distances, and by all
# scales that ask for the same ones.

from tacit.memory import same_class as _same_class_memory
from tacit.settings import same_class as _same_class

_pairs = cfg.same_class.pairs
SAME_CLASS = f"results/{cfg.scale}/same_class"
SAME_CLASS_IMAGES = images_dataset(cfg.same_class.images)
# Test pairs of training images are other files.
SAME_CLASS_PAIRS = files(
    str(Path("results/data/same_class", *([] if _pairs.test_from == "test" else [f"test_from~{_pairs.test_from}"]))),
    _same_class.PAIRS,
    images=cfg.same_class.images.identity,
    seed=_pairs.seed,
    train=_pairs.num_train,
    test=_pairs.num_test,
)
SAME_CLASS_RUN = files(SAME_CLASS, _same_class.RUN)
SAME_CLASS_RUNS = SAME_CLASS_RUN.grid(
    distance=cfg.same_class.distances,
    coefficient=cfg.same_class.coefficients,
    seed=range(cfg.same_class.seeds),
)

SAME_CLASS_PLANNED = {
    "difficulties": list(cfg.same_class.distances),
    "coefficients": list(cfg.same_class.coefficients),
}
SAME_CLASS_PAIRS_SETTINGS = {"images": cfg.same_class.images.drawn, "pairs": _pairs.plain()}
SAME_CLASS_PAIRS_ASKED = [
    [{"images": cfg.same_class.images.identity}, SAME_CLASS_PAIRS_SETTINGS | {"pairs": _pairs.wanted()}]
]
SAME_CLASS_ASKED = [[{}, cfg.same_class.run.wanted() | {"pairs": _pairs.wanted()}]]
CLAIMS[f"{SAME_CLASS}/claims.csv"] = SAME_CLASS_ASKED, SAME_CLASS_RUNS


def same_class_settings(wildcards):
    """What a run depends on besides its setting and seed; the two images must fit at this distance."""
    try:
        cfg.same_class.canvas.place(cfg.same_class.images.side, int(wildcards.distance))
    except ValueError as error:
        raise WorkflowError(f"distance~{wildcards.distance}: {error}") from None
    return cfg.same_class.run.plain()


SAME_CLASS_PAIR_MEMORY = _same_class_memory.pair(cfg.same_class.images)
SAME_CLASS_TRAIN_MEMORY = _same_class_memory.train(cfg.same_class, gpu=MAY_FIND_A_GPU)
