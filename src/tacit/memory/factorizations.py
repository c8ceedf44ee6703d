"""Targets, observations, and descents on factorizations."""

from __future__ import annotations

import math

from tacit.memory import TORCH, total, training
from tacit.settings.factorizations import (
    AnyProblem,
    CPProblem,
    Experiment,
    HierarchicalExperiment,
    MatrixExperiment,
    MatrixProblem,
)
from tacit.settings.following import followed_entries


def observe(problem: AnyProblem, task: str) -> int:
    """Measurements as they are drawn, cut up and rounded."""
    target = 8 * problem.num_entries
    if isinstance(problem, MatrixProblem):
        rows = problem.num_entries if task == "sensing" else 1
        return total(TORCH, 20 * problem.num_samples * rows + 4 * target)
    rows = sum(problem.shape) if task == "sensing" else 1
    widest = problem.rank if isinstance(problem, CPProblem) else max(problem.widths)
    # A target of full rank is drawn without components.
    inner = 1 if widest == "full" else widest
    between = 8 * problem.num_samples * problem.num_entries // max(problem.shape) if task == "sensing" else 0
    return total(TORCH, 20 * problem.num_samples * rows + (4 + inner) * target + between)


def descent(experiment: Experiment, task: str, *, gpu: bool) -> int:
    """Observations three times, the model with its products and gradients, and the history, twice while it is saved."""
    problem, settings = experiment.problem, experiment.descent
    size = 8 if settings.precision == "float64" else 4
    entries = problem.num_entries
    if task == "completion":
        rows = 4
    elif isinstance(problem, MatrixProblem):
        rows = entries
    else:
        half = len(problem.shape) // 2
        rows = 3 * (math.prod(problem.shape[:half]) + math.prod(problem.shape[half:])) + sum(problem.shape)
    singles = followed = 0
    if isinstance(experiment, HierarchicalExperiment):
        model = experiment.num_parameters + _products(experiment)
        quantities = 6 * len(problem.shape) + len(experiment.matricizations)
    elif isinstance(experiment, MatrixExperiment):
        model, quantities = experiment.model.depth * max(problem.shape) ** 2, 1
        quantities += experiment.model.depth if "layer_singular_values" in experiment.track else 0
        singles, followed = followed_entries(experiment.entries, experiment.track, experiment.layers)
    else:
        model, quantities = experiment.components * (sum(problem.shape) + entries // max(problem.shape)), 4
    times = settings.epochs // settings.evaluate_every
    history = times * (quantities * experiment.num_tracked + 10 + followed)
    # Arrays of a few numbers each, as the history is while it grows.
    history = history * size + 120 * times * (2 * quantities + 10 + singles)
    content = 3 * size * problem.num_samples * rows + size * (10 * model + 20 * entries) + 2 * history
    return training(content, gpu=gpu)


def _products(experiment: HierarchicalExperiment) -> int:
    """Numbers of the products at the inner nodes, and of the two sides that the children of the root make."""
    tree, widths = experiment.tree, experiment.widths
    sizes = [[math.prod(experiment.problem.shape[mode] for mode in node) for node in level] for level in tree.modes]
    inner = sum(sum(sizes[level]) * (widths[level - 1] + widths[level]) for level in range(1, tree.levels))
    below = sizes[-2]
    sides = min(math.prod(below[:cut]) + math.prod(below[cut:]) for cut in range(1, len(below)))
    return inner + sides * widths[-1]
