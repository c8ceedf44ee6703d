# Norms: its files, what is asked of them, and what its jobs need.

from tacit.data import observed_matrices as _observed_matrices
from tacit.data import own_files as _user_files
from tacit.memory import norms as _norms_memory
from tacit.settings import norms as _norms

NORMS = f"results/{cfg.scale}/norms"
MATRIX_NORMS_RUN = files(f"{NORMS}/matrix", _norms.MATRIX)
TENSOR_COMPLETION_RUN = files(f"{NORMS}/tensor", _norms.TENSOR)
TENSOR_COMPLETION_LINEAR = files(f"{NORMS}/tensor", _norms.LINEAR, name="linear.h5")
TENSOR_COMPLETION_TARGET = files(f"{NORMS}/tensor", _norms.TARGET, name="target.h5")


def matrix_norms_paths(runs):
    """The files of runs of deep matrix factorization."""
    return [MATRIX_NORMS_RUN.of(problem=run.problem.name, **run.variant.plain(), seed=run.seed) for run in runs]


MATRIX_NORMS_RUNS = matrix_norms_paths(cfg.norms.matrix.published.runs)
PERTURBED_RUNS = matrix_norms_paths(cfg.norms.matrix.perturbed.runs)
PUBLISHED_DEPTHS = sorted({variant.depth for variant in cfg.norms.matrix.published.variants})
PERTURBED_PROBLEMS = list(dict.fromkeys(run.problem.name for run in cfg.norms.matrix.perturbed.runs))
FURTHER_RUNS = matrix_norms_paths(cfg.norms.matrix.further_runs)
FURTHER_TABLES = [f"{NORMS}/matrix/further_runs.csv"] if FURTHER_RUNS else []
MATRIX_PROBLEMS = {problem.name: problem for problem in cfg.norms.matrix.problems}
MATRIX_NORMS_DESCENT = cfg.norms.matrix.descent.plain()


def matrix_norms_own(problem):
    """A user's own files that a problem is made from, with what they hold: they may be replaced by older ones."""
    return {name: _user_files.digest_of(Path(name).expanduser()) for name in problem.own_files}


MATRIX_NORMS_ASKED = [
    [
        {"problem": name},
        {
            "problem": problem.wanted(),
            "descent": cfg.norms.matrix.descent.wanted(),
            "own_files": matrix_norms_own(problem) or None,
        },
    ]
    for name, problem in MATRIX_PROBLEMS.items()
]
MATRIX_NORMS_MEMORY = max(
    _norms_memory.matrix(run)
    for runs in (cfg.norms.matrix.published.runs, cfg.norms.matrix.perturbed.runs, cfg.norms.matrix.further_runs)
    for run in runs
)

TENSOR_COMPLETION_RUNS, TENSOR_COMPLETION_LINEARS, TENSOR_COMPLETION_TARGETS = [], [], []
for grid in cfg.norms.tensor.grids:
    sensing_needs("tensor", grid.problem)
    of_grid = {"problem": grid.problem.identity, "num_observations": grid.num_observations}
    TENSOR_COMPLETION_RUNS += TENSOR_COMPLETION_RUN.grid(**of_grid, init_std=grid.init_stds, seed=range(grid.seeds))
    TENSOR_COMPLETION_LINEARS += TENSOR_COMPLETION_LINEAR.grid(**of_grid)
    if cfg.norms.tensor.ranks.ends:
        TENSOR_COMPLETION_TARGETS.append(TENSOR_COMPLETION_TARGET.of(problem=grid.problem.identity))
TENSOR_COMPLETION_SETTINGS = cfg.norms.tensor.run.plain()
# Of which the paper states something: those of low rank.
TENSOR_TARGETS = [
    [list(grid.problem.shape), grid.problem.rank] for grid in cfg.norms.tensor.grids if grid.problem.rank != "full"
]
TENSOR_COMPLETION_RANKS = {"ranks": cfg.norms.tensor.ranks_of_ends.plain()}
TENSOR_COMPLETION_ASKED = [
    [{"problem": grid.problem.identity} | start, {"problem": grid.problem.wanted()} | asked]
    for grid in cfg.norms.tensor.grids
    for start, asked in (
        ({"seed": None}, {"ranks": cfg.norms.tensor.ranks_of_ends.wanted()}),
        ({}, cfg.norms.tensor.run.wanted()),
    )
]
_tensors = [grid.problem for grid in cfg.norms.tensor.grids]
TENSOR_COMPLETION_MEMORY = max(_norms_memory.tensor(tensor, torch=True, gpu=MAY_FIND_A_GPU) for tensor in _tensors)
TENSOR_LINEAR_MEMORY = max(_norms_memory.tensor(tensor, torch=False, gpu=False) for tensor in _tensors)
CLAIMS[f"{NORMS}/matrix/claims.csv"] = MATRIX_NORMS_ASKED, MATRIX_NORMS_RUNS
CLAIMS[f"{NORMS}/matrix/perturbed_claims.csv"] = MATRIX_NORMS_ASKED, PERTURBED_RUNS
TENSOR_COMPLETION_FILES = [*TENSOR_COMPLETION_RUNS, *TENSOR_COMPLETION_LINEARS, *TENSOR_COMPLETION_TARGETS]
CLAIMS[f"{NORMS}/tensor/claims.csv"] = TENSOR_COMPLETION_ASKED, TENSOR_COMPLETION_FILES


def matrix_norms_settings(wildcards):
    """What a run of deep matrix factorization depends on besides its setting and seed."""
    problem = _known_matrix(wildcards)
    own = matrix_norms_own(problem)
    return {"problem": problem.plain(), "descent": MATRIX_NORMS_DESCENT} | ({"own_files": own} if own else {})


def matrix_norms_own_files(wildcards):
    """A user's own files, whose edits fit the matrix anew; an error before the first job if one is not as it should be."""
    problem = _known_matrix(wildcards)
    planned_only = workflow.executor_plugin is None or workflow.dryrun
    if not planned_only and (complaint := _observed_matrices.shortage(problem)):
        raise WorkflowError(complaint)
    paths = [Path(name).expanduser() for name in problem.own_files]
    return [str(path) for path in paths if path.exists()]


def _known_matrix(wildcards):
    if wildcards.problem not in MATRIX_PROBLEMS:
        raise WorkflowError(f"problem~{wildcards.problem}: the present settings have {', '.join(MATRIX_PROBLEMS)}")
    return MATRIX_PROBLEMS[wildcards.problem]


def tensor_completion_dataset(wildcards):
    """The observations of a tensor, of which there must be as many as are asked for."""
    known, asked = SENSING_PROBLEMS.get(("tensor", wildcards.problem)), int(wildcards.num_observations)
    if known and not 0 < asked < known.num_samples:
        raise WorkflowError(f"num_observations~{asked}: at least 1, and fewer than all {known.num_samples} entries")
    return SENSING.of(factorization="tensor", problem=wildcards.problem, task="completion")


def tensor_completion_target(wildcards):
    """A target, with its observations."""
    return SENSING.of(factorization="tensor", problem=wildcards.problem, task="completion")


def tensor_completion_asked(wildcards):
    """What is asked of the observations of a tensor; their path has but a digest of it."""
    known = SENSING_PROBLEMS.get(("tensor", wildcards.problem))
    return [[{}, {"problem": known.plain() if known else None}]]
