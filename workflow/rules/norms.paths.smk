# Norms: its files, what is asked of them, and what its jobs need.

from tacit.memory import norms as _norms_memory
from tacit.settings import norms as _norms

NORMS = f"results/{cfg.scale}/norms"
MATRIX_NORMS_RUN = files(f"{NORMS}/matrix", _norms.MATRIX)
TENSOR_COMPLETION_RUN = files(f"{NORMS}/tensor", _norms.TENSOR)
TENSOR_COMPLETION_LINEAR = files(f"{NORMS}/tensor", _norms.LINEAR, name="linear.h5")


def matrix_norms_paths(runs):
    """The files of runs of deep matrix factorization."""
    return [MATRIX_NORMS_RUN.of(problem=run.problem.name, **run.variant.plain(), seed=run.seed) for run in runs]


MATRIX_NORMS_RUNS = matrix_norms_paths(cfg.norms.matrix.published.runs)
PERTURBED_RUNS = matrix_norms_paths(cfg.norms.matrix.perturbed.runs)
PUBLISHED_DEPTHS = sorted({variant.depth for variant in cfg.norms.matrix.published.variants})
PERTURBED_PROBLEMS = list(dict.fromkeys(run.problem.name for run in cfg.norms.matrix.perturbed.runs))
FURTHER_RUNS = matrix_norms_paths(cfg.norms.matrix.further_runs)
FURTHER_TABLES = [f"{NORMS}/matrix/further_runs.csv"] if FURTHER_RUNS else []
MATRIX_PROBLEMS = {problem.name: problem.plain() for problem in cfg.norms.matrix.problems}
MATRIX_NORMS_DESCENT = cfg.norms.matrix.descent.plain()
MATRIX_NORMS_ASKED = [
    [{"problem": name}, {"problem": problem, "descent": MATRIX_NORMS_DESCENT}]
    for name, problem in MATRIX_PROBLEMS.items()
]
MATRIX_NORMS_MEMORY = max(
    _norms_memory.matrix(run)
    for runs in (cfg.norms.matrix.published.runs, cfg.norms.matrix.perturbed.runs, cfg.norms.matrix.further_runs)
    for run in runs
)

TENSOR_COMPLETION_RUNS, TENSOR_COMPLETION_LINEARS = [], []
for grid in cfg.norms.tensor.grids:
    sensing_needs("tensor", grid.problem)
    of_grid = {"problem": grid.problem.identity, "num_observations": grid.num_observations}
    TENSOR_COMPLETION_RUNS += TENSOR_COMPLETION_RUN.grid(**of_grid, init_std=grid.init_stds, seed=range(grid.seeds))
    TENSOR_COMPLETION_LINEARS += TENSOR_COMPLETION_LINEAR.grid(**of_grid)
TENSOR_COMPLETION_SETTINGS = {"descent": cfg.norms.tensor.descent.plain(), "ranks": cfg.norms.tensor.ranks.plain()}
TENSOR_TARGETS = [[list(grid.problem.shape), grid.problem.rank] for grid in cfg.norms.tensor.grids]
TENSOR_COMPLETION_LINEAR_SETTINGS = {"ranks": cfg.norms.tensor.ranks.plain()}
TENSOR_COMPLETION_ASKED = [
    [{"problem": grid.problem.identity} | start, {"problem": grid.problem.plain()} | asked]
    for grid in cfg.norms.tensor.grids
    for start, asked in (({"seed": None}, TENSOR_COMPLETION_LINEAR_SETTINGS), ({}, TENSOR_COMPLETION_SETTINGS))
]
_tensors = [grid.problem for grid in cfg.norms.tensor.grids]
TENSOR_COMPLETION_MEMORY = max(_norms_memory.tensor(tensor, torch=True, gpu=MAY_FIND_A_GPU) for tensor in _tensors)
TENSOR_LINEAR_MEMORY = max(_norms_memory.tensor(tensor, torch=False, gpu=False) for tensor in _tensors)
CLAIMS[f"{NORMS}/matrix/claims.csv"] = MATRIX_NORMS_ASKED, MATRIX_NORMS_RUNS
CLAIMS[f"{NORMS}/matrix/perturbed_claims.csv"] = MATRIX_NORMS_ASKED, PERTURBED_RUNS
CLAIMS[f"{NORMS}/tensor/claims.csv"] = TENSOR_COMPLETION_ASKED, [*TENSOR_COMPLETION_RUNS, *TENSOR_COMPLETION_LINEARS]


def matrix_norms_settings(wildcards):
    """What a run of deep matrix factorization depends on besides its setting and seed."""
    if wildcards.problem not in MATRIX_PROBLEMS:
        raise WorkflowError(f"problem~{wildcards.problem}: the present settings have {', '.join(MATRIX_PROBLEMS)}")
    return {"problem": MATRIX_PROBLEMS[wildcards.problem], "descent": MATRIX_NORMS_DESCENT}


def tensor_completion_dataset(wildcards):
    """The observations of a tensor, of which there must be as many as are asked for."""
    known, asked = SENSING_PROBLEMS.get(("tensor", wildcards.problem)), int(wildcards.num_observations)
    if known and not 0 < asked < known.num_samples:
        raise WorkflowError(f"num_observations~{asked}: at least 1, and fewer than all {known.num_samples} entries")
    return SENSING.of(factorization="tensor", problem=wildcards.problem, task="completion")


def tensor_completion_asked(wildcards):
    """What is asked of the observations of a tensor; their path has but a digest of it."""
    known = SENSING_PROBLEMS.get(("tensor", wildcards.problem))
    return [[{}, {"problem": known.plain() if known else None}]]
