# Rank dynamics: its files, what is asked of them, and what its jobs need.

from tacit.memory import factorizations as _factorizations_memory
from tacit.settings import rank_dynamics as _rank_dynamics

RANK_DYNAMICS = f"results/{cfg.scale}/rank_dynamics"
RANK_DYNAMICS_RUN = files(RANK_DYNAMICS, _rank_dynamics.RUN)
RANK_DYNAMICS_RUNS = RANK_DYNAMICS_RUN.grid(
    factorization=_rank_dynamics.FACTORIZATIONS,
    task=cfg.rank_dynamics.tasks,
    seed=range(cfg.rank_dynamics.seeds),
)
RANK_DYNAMICS_ASKED = [
    [{"factorization": name}, cfg.rank_dynamics.experiment(name).wanted()] for name in _rank_dynamics.FACTORIZATIONS
]
# Factorization, task, rank of the target.
RANK_DYNAMICS_PLANNED = [
    [name, task, cfg.rank_dynamics.experiment(name).problem.rank]
    for name in _rank_dynamics.FACTORIZATIONS
    for task in cfg.rank_dynamics.tasks
]
for name in _rank_dynamics.FACTORIZATIONS:
    sensing_needs(name, cfg.rank_dynamics.experiment(name).problem)
CLAIMS[f"{RANK_DYNAMICS}/claims.csv"] = RANK_DYNAMICS_ASKED, RANK_DYNAMICS_RUNS


def rank_dynamics_experiment(wildcards):
    """All settings of one factorization."""
    return cfg.rank_dynamics.experiment(wildcards.factorization).plain()


def rank_dynamics_dataset(wildcards):
    """The observations that a run fits."""
    problem = cfg.rank_dynamics.experiment(wildcards.factorization).problem.identity
    return SENSING.of(factorization=wildcards.factorization, problem=problem, task=wildcards.task)


def rank_dynamics_asked(wildcards):
    """What is asked of the observations that a run fits."""
    return [[{}, {"problem": cfg.rank_dynamics.experiment(wildcards.factorization).problem.plain()}]]


def rank_dynamics_memory(wildcards):
    """One descent."""
    experiment = cfg.rank_dynamics.experiment(wildcards.factorization)
    return _factorizations_memory.descent(experiment, wildcards.task, gpu=MAY_FIND_A_GPU)
