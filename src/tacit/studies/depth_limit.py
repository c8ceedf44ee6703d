"""The study on residual networks in the depth limit (thesis on weight regularity; Cont, Rossier, Xu 2022).

Networks of hundreds to thousands of layers learn by plain gradient descent. With a learning rate that grows with depth
as L^(2 alpha - 1), rescaled weights L^(1 - alpha) W_k approach a smooth function of k / L, whose p-variation stays
bounded. Stages: `train` one network, `collect` the runs; `tacit.studies.depth_limit_claims` judges them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from tacit import store, streams
from tacit.data import functions
from tacit.data.images import ImageSet
from tacit.errors import DivergenceError
from tacit.nn import deep_residual
from tacit.runlog import log
from tacit.settings.depth_limit import GRID, VARIANT, Function, RunSettings, Variant
from tacit.settings.images import Images
from tacit.studies import ledger
from tacit.studies.tables import interval

if TYPE_CHECKING:
    from tacit.training.depth_kernel import Samples

STUDY = "depth_limit"
_EPOCHS = store.Array("float64", "epochs")
RUN = store.Kind(
    "depth limit run",
    {
        "weights": store.Array("float32 float64", "depth dim dim"),
        "input_weights": store.Array("float64", "dim inputs"),
        "output_weights": store.Array("float64", "outputs dim"),
        "kept_weights": store.Array("float32 float64", "kept depth dim dim"),
        "kept_epochs": store.Array("int64", "kept"),
        # Of the weights before the steps of each epoch.
        **{name: _EPOCHS for name in ("loss", "omega", "omega_logged", "learning_rate", "delta")},
        **{
            name: store.Array("float64", "epochs", optional=True)
            for name in ("accuracy", "macro_recall", "macro_precision")
        },
        # Of those after them: norms V_p^(1/p), a column an exponent.
        "variation_p": store.Array("float64", "exponents"),
        "variation_epochs": store.Array("int64", "measured"),
        "variation": store.Array("float64", "measured exponents"),
        "initial_variation_p": store.Array("float64", "initially"),
        "initial_variation": store.Array("float64", "initially"),
    },
    attributes=("final_loss", "test_loss", "final_delta"),
)
"""Kind of file. As attributes the loss of the end on training and test samples and the factor of all layers, of
classifications also `final_accuracy`, `test_accuracy`, `test_macro_recall`, `test_macro_precision`."""

AXES = ["experiment", *VARIANT, "depth", "seed"]
RUNS = store.Table(keys=AXES, numbers=("final_loss", "test_loss", "mean_norm", "end_distance"))
VARIATION = store.Table(
    keys=("experiment", *VARIANT, "depth", "p"),
    numbers=("seeds",),
    # Not of a single seed, an exponent that is measured before training alone, or a single depth.
    others=("initial_mean", "mean", "std", "low", "high", "max", "power", "power_low", "power_high"),
)
PROFILES = store.Table(keys=(*VARIANT, "depth", "position"), numbers=("mean", "seeds"), others=("low", "high"))
ENTRIES = store.Table(keys=(*VARIANT, "depth", "seed", "row", "column", "position"), numbers=("value",))
"""What the tables must be."""

MAX_POSITIONS = 200
"""Layers of a run that are kept for drawing."""


class Trained(NamedTuple):
    """What a run writes down."""

    arrays: dict[str, np.ndarray]
    attributes: dict[str, float]


def train(
    images: ImageSet | None,
    settings: RunSettings,
    *,
    identity: Mapping[str, Any],
    threads: int,
    checkpoint: str | Path,
) -> Trained:
    """Train one network; `images` are those that the settings ask for, if they do not ask for a function.

    `identity` are the axes of a run (tacit.settings.depth_limit.RUN). The weights at the ends and the initial ones
    depend on seed, depth, width and initialisation alone. Raises DivergenceError, and Interrupted after saving.
    """
    # Here, because the other stages do without torch and compiled functions.
    from tacit import devices
    from tacit.training import depth_descent, resumable
    from tacit.training.depth_kernel import pass_through

    variant = Variant(**{name: identity[name] for name in VARIANT})
    depth, seed, descent = int(identity["depth"]), int(identity["seed"]), settings.descent
    name = ", ".join(f"{axis} {value}" for axis, value in identity.items())
    of_training, of_test, outputs = samples_of(images, settings)
    inputs = of_training[0].shape[1]
    network, weights = draw(
        variant, depth, seed=seed, dim=settings.dim, inputs=inputs, outputs=outputs, settings=settings
    )
    weights = weights.astype(descent.precision)
    samples, tested = (seen_by(network, part) for part in (of_training, of_test))
    with devices.acquire() as device:
        through = pass_through
        if device.type == "cuda":
            from tacit.training.depth_torch import TorchPass

            through = TorchPass(network, depth, device, np.dtype(descent.precision).type)
        rate = depth_descent.first_rate(variant.rule, variant.learning_rate, depth=depth, alpha=variant.alpha)
        try:
            loop = depth_descent.Loop(
                network,
                weights,
                samples,
                descent,
                settings.variation,
                rated=depth_descent.Rated(variant.rule, rate, 10.0 if variant.activation == "relu" else 2.0),
                scale=depth ** (1 - variant.alpha),
                also=(variant.gamma,) if variant.gamma >= 1 else (),
                kept=settings.kept,
                through=through,
                threads=threads,
            )
            resumable.run(
                loop,
                epochs=descent.epochs,
                checkpoint=checkpoint,
                settings={"identity": dict(identity)} | settings.plain(),
                by_time=True,
                longer=resumable.Longer(("descent.epochs",)),
                what="descent",
            )
        except DivergenceError as error:
            raise DivergenceError(f"{name}: {error}") from error
        ends = {
            part: through(loop.network, loop.weights, of_part, threads=threads, gradient=False)
            for part, of_part in (("final", samples), ("test", tested))
        }
    attributes = {f"{part}_loss": found.loss for part, found in ends.items()} | {"final_delta": loop.network.delta}
    if len(samples.labels):
        attributes["final_accuracy"] = depth_descent.metrics_of(ends["final"], samples).accuracy
        measured = depth_descent.metrics_of(ends["test"], tested)
        attributes |= {f"test_{metric}": value for metric, value in measured._asdict().items()}
    if bad := [key for key, value in attributes.items() if not np.isfinite(value)]:
        raise DivergenceError(f"{name}: diverged: {bad[0].replace('_', ' ')} is not finite; {depth_descent.ADVICE}")
    kept = loop.snapshots
    return Trained(
        {
            "weights": loop.weights,
            "input_weights": network.input_weights,
            "output_weights": network.output_weights,
            "kept_weights": np.stack(list(kept.values())) if kept else np.empty((0, *weights.shape), weights.dtype),
            "kept_epochs": np.array(list(kept), np.int64),
            **{key: np.array(values, np.float64) for key, values in loop.records.items()},
            "variation_p": np.array(loop.exponents, np.float64),
            "variation_epochs": np.array(list(loop.measured), np.int64),
            "variation": np.array(list(loop.measured.values()), np.float64),
            "initial_variation_p": np.array(loop.initial_exponents, np.float64),
            "initial_variation": np.array(loop.initial, np.float64),
        },
        attributes,
    )


def draw(
    variant: Variant, depth: int, *, seed: int, dim: int, inputs: int, outputs: int, settings: RunSettings
) -> tuple[deep_residual.Network, np.ndarray]:
    """Return a network and its initial weights (L, d, d) float64."""
    scales = {"alpha": variant.alpha, "gamma": variant.gamma}
    if deep_residual.falls_back(variant.initialization, depth, **scales):
        log.warning(
            "ntrunc is narrower than %g at depth %d, alpha %g, gamma %g; as published, all weights are its half-width",
            deep_residual.FALLBACK, depth, variant.alpha, variant.gamma,
        )  # fmt: skip
    weights = deep_residual.initial_weights(
        variant.initialization,
        depth,
        dim,
        generator=streams.numpy_generator(STUDY, "init", "layers", seed, depth, dim),
        **scales,
    )
    trained = settings.descent.delta
    has_factor = variant.augmentation in ("skip", "none")
    network = deep_residual.Network(
        augmentation=variant.augmentation,
        activation=variant.activation,
        delta=depth**-variant.alpha if has_factor and trained != "trained_from_one" else 1.0,
        input_weights=deep_residual.frozen_weights(
            dim, inputs, generator=streams.numpy_generator(STUDY, "init", "input", seed, dim, inputs)
        ),
        output_weights=deep_residual.frozen_weights(
            outputs, dim, generator=streams.numpy_generator(STUDY, "init", "output", seed, outputs, dim)
        ),
        p_loss=settings.descent.p_loss,
        trains_delta=has_factor and trained != "frozen",
    )
    return network, weights


def seen_by(network: deep_residual.Network, part: Sequence[Any]) -> Samples:
    """Return inputs, labels and targets as the layers of a network have them.

    U_in does not learn, so its product with the inputs is all that is ever needed of them.
    """
    from tacit.training.depth_kernel import Samples, product

    inputs, *targets = part
    # Not by the library for products, whose last bits go by processor and threads.
    return Samples(product(inputs, np.ascontiguousarray(network.input_weights.T)), *targets)


def samples_of(images: ImageSet | None, settings: RunSettings) -> tuple[Sequence[Any], Sequence[Any], int]:
    """Return inputs (N, inputs) float64, labels and targets, of training and of test; and the number of outputs."""
    data = settings.data
    if isinstance(data, Function):
        made, none = functions.draw(data), np.zeros(0, np.int64)
        return (made.train_inputs, none, made.train_targets), (made.test_inputs, none, made.test_targets), 1
    assert images is not None
    targets = np.zeros((0, data.num_classes))
    train = (_pixels(images.train_images, data), images.train_labels, targets)
    return train, (_pixels(images.test_images, data), images.test_labels, targets), data.num_classes


def _pixels(images: np.ndarray, settings: Images) -> np.ndarray:
    """Return normalised images as vectors (N, C * H * W) float64, channel by channel."""
    mean, std = (np.array(numbers)[:, None, None] for numbers in settings.statistics)
    return ((images / 255 - mean) / std).reshape(len(images), -1)


# Tables.


def rescaled(weights: np.ndarray, alpha: float) -> np.ndarray:
    """Return L^(1 - alpha) W_k (L, d, d) float64."""
    return weights.astype(np.float64) * len(weights) ** (1 - alpha)


def positions(depth: int) -> np.ndarray:
    """Return k / (L - 1) of all layers."""
    return np.arange(depth) / max(depth - 1, 1)


def thinned(depth: int) -> np.ndarray:
    """Return the layers that are kept for drawing: evenly spaced, both ends among them."""
    return np.unique(np.linspace(0, depth - 1, min(depth, MAX_POSITIONS)).round().astype(int))


class Collected(NamedTuple):
    """What `collect` returns; but for the first two, of single runs that are shown."""

    runs: pd.DataFrame
    variation: pd.DataFrame
    profiles: dict[tuple[Any, ...], np.ndarray]
    """By VARIANT, depth and seed: the norms of all rescaled layers (L,)"""
    entries: pd.DataFrame
    omegas: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]]
    """By the same: Omega of each epoch, and the published one (epochs,)"""


def collect(runs: Iterable[str | Path], *, shown: Mapping[str, Any]) -> Collected:
    """Return a row a run; a row a run and exponent; and of the runs that are `shown` (the settings of that name) norms
    and single entries of rescaled weights, layer by layer.
    """
    rows, variations, profiles, entries, omegas = [], [], {}, [], {}
    for path in runs:
        run = store.read(path, kind=RUN)
        axes = {name: run.settings[name] for name in AXES}
        weights = rescaled(run.arrays["weights"], axes["alpha"])
        norms = np.sqrt((weights**2).sum((1, 2)))
        rows.append(
            axes
            | {name: value for name, value in run.attributes.items() if name.startswith(("final_", "test_"))}
            | {
                "first_loss": run.arrays["loss"][0],
                "mean_norm": norms.mean(),
                "end_distance": float(np.linalg.norm(weights[-1] - weights[0])),
                "first_rate": run.arrays["learning_rate"][0],
            }
        )
        initial = dict(zip(run.arrays["initial_variation_p"], run.arrays["initial_variation"], strict=True))
        last = dict(zip(run.arrays["variation_p"], run.arrays["variation"][-1], strict=True))
        for p in sorted({*initial, *last}):
            variations.append(axes | {"p": p, "initial": initial[p], "final": last.get(p, np.nan)})
        if is_shown(axes, shown):
            key = tuple(axes[name] for name in (*VARIANT, "depth", "seed"))
            profiles[key] = norms
            omegas[key] = run.arrays["omega"], run.arrays["omega_logged"]
            if axes["alpha"] == shown["alpha"]:
                kept = thinned(len(weights))
                for row, column in shown["entries"]:
                    values = {"position": positions(len(weights))[kept], "value": weights[kept, row, column]}
                    entries.append(pd.DataFrame(values).assign(**axes, row=row, column=column))
    return Collected(
        pd.DataFrame(rows).sort_values(AXES, ignore_index=True),
        pd.DataFrame(variations).sort_values([*AXES, "p"], ignore_index=True),
        profiles,
        pd.concat(entries, ignore_index=True)[[*ENTRIES.keys, "value"]] if entries else _no_entries(),
        omegas,
    )


def _no_entries() -> pd.DataFrame:
    return pd.DataFrame(columns=[*ENTRIES.keys, "value"])


def is_shown(axes: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    """Tell whether figures and claims are about a run: of the grid, any alpha, and a rate that is fixed or scaled."""
    names = ("gamma", "initialization", "activation", "augmentation", "learning_rate")
    of_grid = axes["experiment"] == GRID and axes["rule"] in ("fixed", "scaled")
    return of_grid and all(axes[name] == shown[name] for name in names)


def of_shown(table: pd.DataFrame, shown: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a table that figures and claims are about."""
    return table[[is_shown(row, shown) for row in table.to_dict("records")]]


def variation_table(variation: pd.DataFrame) -> pd.DataFrame:
    """Return mean, deviation, interval and maximum over seeds of final norms by setting, depth and exponent, and with
    what power of the depth they go: slope of each seed, its mean and interval over seeds, the same in all depths.
    """
    keys = ["experiment", *VARIANT, "depth", "p"]
    rows = []
    powers = {key: power_of(own, "final") for key, own in variation.groupby(["experiment", *VARIANT, "p"], sort=False)}
    for key, own in variation.groupby(keys, sort=False):
        mean, low, high = map(float, interval(own["final"].to_numpy()))
        spread = own["final"].std(ddof=1)
        power = powers[(*key[:-2], key[-1])]
        of_power = (power.effect, power.low, power.high) if power else (np.nan,) * 3
        numbers = (own["initial"].mean(), mean, spread, low, high, own["final"].max(), len(own))
        rows.append((*key, *numbers, *of_power))
    names = ["initial_mean", "mean", "std", "low", "high", "max", "seeds", "power", "power_low", "power_high"]
    return pd.DataFrame(rows, columns=[*keys, *names])


def power_of(table: pd.DataFrame, quantity: str) -> ledger.Estimate | None:
    """Estimate the power of the depth that a quantity goes with, from seeds that are there in all depths."""
    logs, places = log_by_seed(table, quantity)
    return ledger.slope(places, logs) if len(logs) and len(places) > 1 else None


def power_off(table: pd.DataFrame, quantity: str, power: float) -> ledger.Estimate | None:
    """Estimate how far the power of the depth that a quantity goes with is from another."""
    logs, places = log_by_seed(table, quantity)
    if not len(logs) or len(places) < 2:
        return None
    how = "size of the difference of each seed's slope, mean over seeds, Student's t"
    return ledger.mean(np.abs(ledger.slopes(places, logs) - power))._replace(how=how)


def by_seed(table: pd.DataFrame, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a quantity (seeds, depths), of seeds that are there in all depths, and these depths."""
    wide = table.pivot_table(index="seed", columns="depth", values=quantity, aggfunc="first", dropna=False).dropna()
    return wide.to_numpy(float), wide.columns.to_numpy(float)


def log_by_seed(table: pd.DataFrame, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms of a quantity (seeds, depths), of seeds that are there in all depths, and of these depths.

    Of a quantity that is 0 anywhere there are none, as it goes with no power.
    """
    numbers, depths = by_seed(table, quantity)
    if (numbers <= 0).any():
        numbers = numbers[:0]
    return np.log(numbers), np.log(depths)


def profile_table(profiles: Mapping[tuple[Any, ...], np.ndarray]) -> pd.DataFrame:
    """Return norms of rescaled layers by setting, depth and position, mean and interval over seeds."""
    grouped: dict[tuple[Any, ...], list[np.ndarray]] = {}
    for axes, norms in profiles.items():
        grouped.setdefault(axes[:-1], []).append(norms)
    tables = []
    for key, own in grouped.items():
        depth = len(own[0])
        kept = thinned(depth)
        mean, low, high = interval(np.stack(own)[:, kept])
        values = {"position": positions(depth)[kept], "mean": mean, "low": low, "high": high, "seeds": len(own)}
        tables.append(pd.DataFrame(values).assign(**dict(zip([*VARIANT, "depth"], key, strict=True))))
    columns = [*VARIANT, "depth", "position", "mean", "low", "high", "seeds"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
