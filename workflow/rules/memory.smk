# How much memory each job asks for: `tacit.memory` with the present settings. One function a rule.

from tacit import memory

_MAY_FIND_A_GPU = cfg.device != "cpu"


def images_convert_memory(wildcards):
    """The files of an image set."""
    return memory.images_convert(wildcards.source, int(wildcards.size))


def pathfinder_render_memory(wildcards):
    """One shard."""
    images = int(wildcards.last) - int(wildcards.first) + 1
    return memory.pathfinder_render(cfg.pathfinder.rendering, images)


PATHFINDER_ASSEMBLE_MEMORY = memory.pathfinder_assemble(
    cfg.pathfinder.dataset, cfg.pathfinder.rendering, cfg.pathfinder.images_per_shard
)
PATHFINDER_TRAIN_MEMORY = memory.pathfinder_train(cfg.pathfinder, gpu=_MAY_FIND_A_GPU)
SAME_CLASS_PAIR_MEMORY = memory.same_class_pair(cfg.same_class.images)
SAME_CLASS_TRAIN_MEMORY = memory.same_class_train(cfg.same_class, gpu=_MAY_FIND_A_GPU)


def sensing_observe_memory(wildcards):
    """Target and observations of the problem that the path names."""
    model = settings.factorizations
    kinds = {"matrix": model.MatrixProblem, "tensor": model.CPProblem, "hierarchical": model.HierarchicalProblem}
    problem = kinds[wildcards.factorization].from_plain(sensing_problem(wildcards))
    return memory.sensing_observe(problem, wildcards.task)


def rank_dynamics_memory(wildcards):
    """One descent."""
    experiment = cfg.rank_dynamics.experiment(wildcards.factorization)
    return memory.descent(experiment, wildcards.task, gpu=_MAY_FIND_A_GPU)


MATRIX_NORMS_MEMORY = max(
    memory.matrix_norms(run)
    for runs in (cfg.norms.matrix.published.runs, cfg.norms.matrix.perturbed.runs, cfg.norms.matrix.further_runs)
    for run in runs
)
_tensors = [grid.problem for grid in cfg.norms.tensor.grids]
TENSOR_COMPLETION_MEMORY = max(memory.tensor_completion(tensor, torch=True, gpu=_MAY_FIND_A_GPU) for tensor in _tensors)
TENSOR_LINEAR_MEMORY = max(memory.tensor_completion(tensor, torch=False, gpu=False) for tensor in _tensors)


def untied_memory(wildcards):
    """One network."""
    return memory.untied_train(cfg.untied, wildcards.network, gpu=_MAY_FIND_A_GPU)


def untied_interpolate_memory(wildcards):
    """One pair of networks."""
    ends = [wildcards.origin.partition("-")[0], wildcards.target.partition("-")[0]]
    return memory.untied_interpolate(cfg.untied, ends, gpu=_MAY_FIND_A_GPU)
