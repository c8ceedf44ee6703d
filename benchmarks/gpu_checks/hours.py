"""How long the grids of `paper` scale take on one GPU, from the rates that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from gpu_checks import rates
from tacit import settings
from tacit.settings import compressed
from tacit.settings.factorized import EXPERIMENTS
from tacit.settings.images import FACTS

ROOT = Path(__file__).parents[2]

ITERATIONS = {"matrix": 8_000, "tensor": 10_000, "hierarchical": 32_000}
"""Steps until a factorization of rank dynamics is fitted, about; measured (benchmarks/RESULTS.md)."""

COMPLETION = {3: 15_000, 4: 30_000}
"""The same of tensor completion by order, from the smaller start; few observations may take up to a million."""

FORWARD = 1 / 3
"""Of a plain step: the share that an evaluation of as many images costs."""


class Estimate(NamedTuple):
    """Of one study."""

    study: str
    runs: int
    hours: float
    """One run after another on one GPU, if no training stops early."""


def paper() -> settings.Configuration:
    """Return the settings of `paper` scale."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    return settings.load(config | {"scale": "paper"}, ROOT / "config" / "scales")


def estimates(milliseconds: Mapping[str, float]) -> list[Estimate]:
    """Return what the studies take, given milliseconds a step by the name of a case; not those without a rate."""
    cfg, found = paper(), []
    for name, study, base in (
        ("pathfinder", cfg.pathfinder, rates.PATHFINDER),
        ("same_class", cfg.same_class, rates.SAME_CLASS),
    ):
        plain, regularised = (milliseconds.get(f"{base}, {kind}, float32") for kind in ("plain", "regularised"))
        if plain is None or regularised is None:
            continue
        parts = study.dataset if name == "pathfinder" else study.pairs
        axis = study.path_lengths if name == "pathfinder" else study.distances
        training, size = study.training, study.training.batch_size
        steps, tests = -(-parts.num_train // size), -(-parts.num_test // size)
        seconds = 0.0
        for coefficient in study.coefficients:
            step = regularised if coefficient else plain
            seconds += len(axis) * study.seeds * training.epochs * (steps * step + tests * FORWARD * plain) / 1e3
        found.append(Estimate(name, len(axis) * len(study.coefficients) * study.seeds, seconds / 3600))
    return [
        *found,
        *_rank_dynamics(cfg, milliseconds),
        *_tensors(cfg, milliseconds),
        *_untied(cfg, milliseconds),
        *_residual(cfg, milliseconds),
        *_compressed(cfg, milliseconds),
        *_translation(cfg, milliseconds),
    ]


def _rank_dynamics(cfg: settings.Configuration, milliseconds: Mapping[str, float]) -> list[Estimate]:
    names = {"matrix": "matrix fact", "tensor": "CP factorization 16^3", "hierarchical": "hierarchical fact"}
    by_kind = {kind: _starting(milliseconds, name) for kind, name in names.items()}
    if None in by_kind.values():
        return []
    study = cfg.rank_dynamics
    each = len(study.tasks) * study.seeds
    seconds = each * sum(ITERATIONS[kind] * value for kind, value in by_kind.items()) / 1e3
    return [Estimate("rank_dynamics", 3 * each, seconds / 3600)]


def _tensors(cfg: settings.Configuration, milliseconds: Mapping[str, float]) -> list[Estimate]:
    runs, seconds = 0, 0.0
    for grid in cfg.norms.tensor.grids:
        order = len(grid.problem.shape)
        step = _starting(milliseconds, f"CP factorization {grid.problem.shape[0]}^{order}")
        if step is None or order not in COMPLETION:
            return []
        count = len(grid.num_observations) * len(grid.init_stds) * grid.seeds
        runs, seconds = runs + count, seconds + count * COMPLETION[order] * step / 1e3
    return [Estimate("norms, tensors", runs, seconds / 3600)]


def _untied(cfg: settings.Configuration, milliseconds: Mapping[str, float]) -> list[Estimate]:
    study = cfg.untied
    runs, seconds = 0, 0.0
    facts = FACTS[study.images.source]
    steps = -(-(study.images.num_train or facts.num_train) // study.sgd.batch_size)
    seen = facts.num_train + facts.num_test
    for network in ("cnn", "lcn", "fcn"):
        step = milliseconds.get(f"{rates.UNTIED.format(network)}, float32")
        if step is None:
            return []
        measurement = seen / study.sgd.batch_size * FORWARD * step
        scratch = len(study.scratch.learning_rates) * study.seeds * (network in study.scratch.networks)
        continued = study.seeds * len(study.splits(network)) * len(study.continued.learning_rates)
        continued *= len(study.scratch.learning_rates)
        for count, phase in ((scratch, study.scratch), (continued, study.continued)):
            runs += count
            seconds += count * (phase.epochs * steps * step + len(phase.measured) * measurement) / 1e3
    return [Estimate("untied, trainings", runs, seconds / 3600)]


def _residual(cfg: settings.Configuration, milliseconds: Mapping[str, float]) -> list[Estimate]:
    """Residual networks of all depths by those of 56 layers, as each layer takes its time."""
    names = {"dense": "56 layers, ", "low": "ResNet56, rank scale 0.111", "high": "ResNet56, rank scale 9"}
    each = {kind: _starting(milliseconds, name) for kind, name in names.items()}
    if None in each.values():
        return []
    batches, tests = -(-50_000 // 128), -(-10_000 // 128)
    deep, study = cfg.depth_cifar, cfg.factorized
    steps = deep.training.epochs * (batches + FORWARD * tests)
    seconds = deep.seeds * sum(deep.depths) / 56 * steps * each["dense"] / 1e3
    found = [Estimate("depth_cifar", len(deep.depths) * deep.seeds, seconds / 3600)]
    axes = {tuple(own.values()): own for name in EXPERIMENTS for own in study.runs(name)}
    steps = study.training.epochs * batches + len(study.training.measured) * FORWARD * tests
    seconds = 0.0
    for own in axes.values():
        kind = "dense" if own["rank_scale"] == 0 else "low" if own["rank_scale"] < 1 else "high"
        seconds += study.seeds * own["depth"] / 56 * steps * each[kind] / 1e3
    return [*found, Estimate("factorized", len(axes) * study.seeds, seconds / 3600)]


def _compressed(cfg: settings.Configuration, milliseconds: Mapping[str, float]) -> list[Estimate]:
    """Sparse networks take as long as dense ones, and larger images longer by their pixels."""
    study, runs, seconds = cfg.compressed, 0, 0.0
    for experiment in compressed.EXPERIMENTS:
        for axes in study.runs(experiment):
            method = "dense" if axes["method"] in compressed.SPARSE else axes["method"]
            step = milliseconds.get(rates.compressed_case(axes["network"], method))
            if step is None:
                return []
            own = study.run(axes)
            facts, training = FACTS[axes["source"]], own.training
            train, tests = (-(-count // training.batch_size) for count in (facts.num_train, facts.num_test))
            steps = training.epochs * train + len(training.measured) * FORWARD * tests
            runs += study.seeds
            seconds += study.seeds * steps * step * (own.images.side / 32) ** 2 / 1e3
    return [Estimate("compressed", runs, seconds / 3600)]


def _translation(cfg: settings.Configuration, milliseconds: Mapping[str, float]) -> list[Estimate]:
    """Updates alone, of a dense network as long as the larger of those that are timed; translating takes minutes."""
    study = cfg.translation
    each = {scale: milliseconds.get(rates.TRANSLATION.format(scale)) for scale in study.rank_scales if scale}
    if None in each.values():
        return []
    each[0.0] = each[max(each)]
    steps = study.seeds * study.training.updates
    seconds = sum(steps * (each[variant.rank_scale] or 0.0) for variant in study.variants) / 1e3
    return [Estimate("translation", len(study.variants) * study.seeds, seconds / 3600)]


def _starting(milliseconds: Mapping[str, float], name: str) -> float | None:
    return next((value for case, value in milliseconds.items() if case.startswith(name)), None)
