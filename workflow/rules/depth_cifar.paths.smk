# Convolutional residual networks of many layers: their files, what is asked of them, and what their jobs need.

from tacit.memory import depth_cifar as _depth_cifar_memory
from tacit.settings import depth_cifar as _depth_cifar

DEPTH_CIFAR = f"results/{cfg.scale}/depth_cifar"
DEPTH_CIFAR_RUN = files(DEPTH_CIFAR, _depth_cifar.RUN)
DEPTH_CIFAR_RUNS = DEPTH_CIFAR_RUN.grid(depth=cfg.depth_cifar.depths, seed=range(cfg.depth_cifar.seeds))
DEPTH_CIFAR_SETTINGS = cfg.depth_cifar.run.plain()
DEPTH_CIFAR_ASKED = [[{}, DEPTH_CIFAR_SETTINGS]]
CLAIMS[f"{DEPTH_CIFAR}/claims.csv"] = DEPTH_CIFAR_ASKED, DEPTH_CIFAR_RUNS
# What the figure on gradients is drawn from: of each table what is asked, and of which runs it must be.
_DEPTH_GRADIENTS = {
    f"{DEPTH_LIMIT}/gradients.csv": (DEPTH_LIMIT_ASKED, DEPTH_LIMIT_RUNS),
    f"{DEPTH_LIMIT}/power_laws.csv": (DEPTH_LIMIT_ASKED, DEPTH_LIMIT_RUNS),
    f"{DEPTH_CIFAR}/gradients.csv": (DEPTH_CIFAR_ASKED, DEPTH_CIFAR_RUNS),
    f"{DEPTH_CIFAR}/runs.csv": (DEPTH_CIFAR_ASKED, DEPTH_CIFAR_RUNS),
}
DEPTH_GRADIENTS_ASKED = {table: asked for table, (asked, _) in _DEPTH_GRADIENTS.items()}
DEPTH_GRADIENTS_RUNS = {table: runs for table, (_, runs) in _DEPTH_GRADIENTS.items()}


def depth_cifar_table(name):
    """A table of convolutional networks; with `partial: true` nothing, where no run is there yet."""
    table = f"{DEPTH_CIFAR}/{name}.csv"
    if not cfg.partial:
        return table

    def there(wildcards):
        return table if any(Path(run).exists() for run in DEPTH_CIFAR_RUNS) else []

    return there


def depth_cifar_settings(wildcards):
    """What a run depends on besides its depth and seed; the layout has 6 n + 2 layers."""
    if int(wildcards.depth) % 6 != 2:
        raise WorkflowError(f"depth~{wildcards.depth}: this layout has 6 n + 2 layers, 8, 14, 20, ...")
    return DEPTH_CIFAR_SETTINGS


def depth_cifar_memory(wildcards):
    """One training."""
    return _depth_cifar_memory.train(cfg.depth_cifar.run, int(wildcards.depth), gpu=MAY_FIND_A_GPU)
