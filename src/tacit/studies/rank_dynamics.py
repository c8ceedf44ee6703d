"""The rank dynamics study (Razin, Maman, Cohen 2022, sections 3 to 5).

Started near zero, gradient descent on a factorization learns one component after another: singular values of a matrix,
components of a CP factorization, local components at every node of a hierarchical one. Here one factorization is
fitted to what `tacit.data.sensing` observes; tables and claims are in `tacit.studies.rank_dynamics_results`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit import store
from tacit.settings.factorizations import (
    CPExperiment,
    CPModel,
    Experiment,
    FactorizationName,
    HierarchicalExperiment,
    MatrixExperiment,
    MatrixModel,
)
from tacit.studies.descents import EVALUATIONS

if TYPE_CHECKING:
    from torch import Tensor

    from tacit.nn.factorizations import Factorization

STUDY = "rank_dynamics"
RUN = store.Kind(
    "rank dynamics run",
    {
        **EVALUATIONS,
        "reconstruction_error": store.Array("float", "evaluations"),
        "test_mse": store.Array("float", "evaluations", optional=True),
        "singular_values*": store.Array("float", "evaluations *"),
        "component_norms": store.Array("float", "evaluations *", optional=True),
        "local_component_norms_*": store.Array("float", "evaluations *"),
        "column_norms_*": store.Array("float", "evaluations *"),
        "factor_norm_*": store.Array("float", "evaluations"),
        "effective_rank*": store.Array("float", "evaluations"),
        **{
            name: store.Array("float int", "evaluations", optional=True)
            for name in ("rank", "frobenius_norm", "nuclear_norm")
        },
        "balancedness": store.Array("float", "evaluations pairs", optional=True),
        "normalized_balancedness": store.Array("float", "evaluations pairs", optional=True),
        "layer_singular_values_*": store.Array("float", "evaluations *"),
        "entry_*": store.Array("float", "evaluations"),
        "layer_entry_*": store.Array("float", "evaluations"),
        "end_matrix": store.Array("float", "evaluations * *", optional=True),
        "layer_matrix_*": store.Array("float", "evaluations * *"),
        "weights_*": store.Array("float32 float64", "..."),
    },
)
"""Kind of file; what else is measured depends on the factorization and on what is asked for, see
`tacit.analysis.factorizations`; `weights_<epoch>_<name>` are parameters that are kept."""

EXPERIMENTS: dict[FactorizationName, type[Experiment]] = {
    "matrix": MatrixExperiment,
    "tensor": CPExperiment,
    "hierarchical": HierarchicalExperiment,
}


def train(dataset: store.Record, experiment: Experiment, *, seed: int, checkpoint: str | Path) -> dict[str, Any]:
    """Fit one factorization to `dataset` (as tacit.data.sensing makes it); return its history, one row an evaluation.

    Besides what `tacit.training.descent.descend` writes down: `reconstruction_error` |T - T*|,
    `normalized_reconstruction_error` (over |T*|), `test_mse` on the test set (if there is one), what
    `tacit.analysis.factorizations` measures of the model, and the parameters that are kept. The initialisation depends
    on the seed alone. Raises as `descend` does; an interrupted descent continues from `checkpoint`.
    """
    # Here, because the other stages do without torch, whose import takes seconds.
    import torch

    from tacit import devices
    from tacit.analysis.factorizations import measure_of
    from tacit.training.descent import descend
    from tacit.training.observations import observations

    descent = experiment.descent
    with devices.acquire() as device:
        observed = observations(dataset, descent, rows=slice(0, descent.num_observations), device=device)
        rest, available = None, len(dataset.arrays["values"])
        first = experiment.first_tested(descent.num_observations, available)
        if first < available:
            rest = observations(dataset, descent, rows=slice(first, None), device=device)
        model = build(experiment, seed=seed).to(device, getattr(torch, descent.precision))
        target = torch.from_numpy(dataset.arrays["target"]).to(device, observed.values.dtype)
        specific = measure_of(experiment)

        def measure(model: Factorization, end: Tensor) -> dict[str, Tensor]:
            error = torch.linalg.vector_norm(end - target)
            row = {
                "reconstruction_error": error,
                "normalized_reconstruction_error": error / torch.linalg.vector_norm(target),
            }
            if rest is not None:
                row["test_mse"] = (rest.predictions(end) - rest.values).square().mean()
            return row | dict(specific(model, end))

        return descend(
            model,
            observed,
            descent,
            measure=measure,
            stream=(STUDY, "train", seed),
            checkpoint=checkpoint,
            settings={"seed": seed, "dataset": dataset.settings} | experiment.plain(),
            keep=experiment.keep,
        )


def build(experiment: Experiment, *, seed: int) -> Factorization:
    """Return the factorization at its start, float32 numbers drawn as float64."""
    from tacit import streams
    from tacit.nn import factorizations as nn

    model, generator, start = shaped(experiment), streams.numpy_generator(STUDY, "init", seed), experiment.model
    if isinstance(model, nn.MatrixFactorization) and isinstance(start, MatrixModel):
        if start.initialization == "identity":
            model.set_identity(start.init_std)
        else:
            nn.set_normal(model, generator, std=start.init_std)
        return model
    assert not isinstance(start, MatrixModel)
    nn.set_normal(model, generator, mean=start.init_mean, std=start.init_std)
    if isinstance(model, nn.CPFactorization) and isinstance(start, CPModel) and start.initialization == "orthogonal":
        model.set_orthogonal(start.init_std)
    return model


def shaped(experiment: Experiment) -> Factorization:
    """Return the factorization of the shape that settings say, all parameters zero."""
    from tacit.nn import factorizations as nn

    shape = experiment.problem.shape
    match experiment:
        case MatrixExperiment():
            return nn.MatrixFactorization(*experiment.problem.shape, depth=experiment.model.depth)
        case CPExperiment():
            return nn.CPFactorization(shape, experiment.components, linear_output=experiment.model.linear_output)
        case HierarchicalExperiment():
            tree, output = experiment.tree, experiment.model.linear_output
            return nn.HierarchicalTensorFactorization(shape, tree, experiment.widths, linear_output=output)
