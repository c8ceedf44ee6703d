"""Tables of runs with factorized layers, and what Khodak, Tenenholtz, Mackey, Fusi 2021 claim of them.

Each experiment (`tacit.settings.factorized.EXPERIMENTS`) has tables of runs and of epochs, and claims. Accuracies are
those after the last epoch; the best of all epochs, chosen on the test set as the original does, is in the table too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit import store
from tacit.settings.factorized import Variant
from tacit.studies import classifiers, ledger
from tacit.studies.classifiers import Answers
from tacit.studies.factorized import AXES, RUN, STUDY
from tacit.studies.tables import rows_with

_NORMS = {
    "frobenius_norm": "frobenius_norms",
    "nuclear_norm": "nuclear_norms",
    "nuclear_bound": "nuclear_bounds",
    "non_orthogonality": "non_orthogonality",
}
_SIZES = ("parameters", "dense_parameters", "deployed_parameters", "deployed_accuracy", "deployed_difference")
RUNS = store.Table(
    keys=AXES,
    numbers=("test_accuracy", "best_accuracy", "test_loss", "train_loss", *_SIZES),
    others=("chosen_accuracy",),
)
"""`best_accuracy` is the best on the test set of all epochs, `chosen_accuracy` the one of the epoch that is best on
what was held out, if anything was."""
CURVES = store.Table(
    keys=(*AXES, "epoch"),
    numbers=(
        "test_accuracy", "test_loss", "learning_rate", "frobenius_norm", "nuclear_norm", "effective_rate",
        "effective_rate_squared",
    ),
    others=("train_loss", "train_accuracy", "nuclear_bound", "non_orthogonality"),
)  # fmt: skip
"""Means over the layers inside blocks; effective rates are the learning rate over the Frobenius norm, and its square;
`train_loss` and `train_accuracy` are means over the steps since the epoch before."""

SOURCE = "Khodak, Tenenholtz, Mackey, Fusi 2021"
POINTS, TIGHT, NEXT = 1.0, 1.1, 0.5
"""Percentage points by which accuracies may differ and count as the same; what the bound may be of the nuclear norm and
count as tight; points by which an overcomplete network may stay behind the next deeper dense one, and reach it."""


def tables(runs: Iterable[str | Path], *, experiment: str, missing: int, **of_claims: Any) -> dict[str, pd.DataFrame]:
    """Return tables of the runs and of the epochs of an experiment, and what is claimed of it.

    `of_claims` are the settings that its claims need; `missing` is the number of runs that are not there.
    """
    rows, curves, answers = [], [], {}
    for path in runs:
        run = store.read(path, kind=RUN)
        axes, arrays = {name: run.settings[name] for name in AXES}, run.arrays
        answers[tuple(axes.values())] = arrays["test_correct"].astype(float)
        own = _curve(arrays)
        curves.append(own.assign(**axes))
        last = own.iloc[-1]
        ends = {name: last[name] for name in ("test_accuracy", "test_loss", "train_loss")}
        ends |= classifiers.best_and_chosen(arrays)
        rows.append(axes | ends | {name: run.attributes[name] for name in _SIZES})
    found = pd.DataFrame(rows, columns=[*AXES, *RUNS.numbers, *RUNS.others]).sort_values([*AXES], ignore_index=True)
    columns = [*CURVES.keys, *CURVES.numbers, *CURVES.others]
    epochs = pd.concat(curves)[columns].sort_values([*AXES, "epoch"], ignore_index=True)
    book = ledger.Ledger(STUDY, missing=missing)
    _CLAIMS[experiment](book, answers, epochs, **of_claims)
    return {"runs": found, "curves": epochs, "claims": book.table()}


def _curve(arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return a run by epoch, means over layers."""
    names = ("epoch", "learning_rate", "test_accuracy", "test_loss")
    found = {name: arrays[name] for name in names}
    for name, of in _NORMS.items():
        found[name] = arrays[of].mean(1) if of in arrays else np.full(len(arrays["epoch"]), np.nan)
    norms, rates = arrays["frobenius_norms"], arrays["learning_rate"][:, None]
    with np.errstate(divide="ignore"):
        found |= {"effective_rate": (rates / norms).mean(1), "effective_rate_squared": (rates / norms**2).mean(1)}
    epochs = arrays["epoch"].astype(int)
    steps = len(arrays["step_loss"]) // max(epochs[-1], 1)
    for name in ("loss", "accuracy"):
        parts = itertools.pairwise(epochs * steps)
        means = [arrays[f"step_{name}"][first:last].mean() for first, last in parts]
        found[f"train_{name}"] = np.array([np.nan, *means])
    return pd.DataFrame(found)


# Claims.


def _better(
    answers: Answers, one: tuple[Any, ...], other: tuple[Any, ...], *, along: Sequence[float] = ()
) -> ledger.Estimate | None:
    """Estimate by how many percentage points a network is better than another: (source, depth, *variant) of both.

    With coefficients `along`, in place of those of both variants, it is the mean over these.
    """
    pairs = [(one, other)] if not along else [((*one[:-1], value), (*other[:-1], value)) for value in along]
    signs = {network: sign for pair in pairs for network, sign in zip(pair, (1, -1), strict=True)}
    found = classifiers.combined(answers, signs)
    return found and ledger.scaled(found, 1 / len(pairs))


def _judge_resnet(
    book: ledger.Ledger, answers: Answers, curves: pd.DataFrame, *,
    sources: Sequence[str], depths: Sequence[int], rank_scale: float, coefficient: float,
) -> None:  # fmt: skip
    """Judge that spectral start and Frobenius decay together beat regular start and weight decay, at the least rank."""
    for source in sources:
        for depth in depths:
            both, neither = (
                (source, depth, rank_scale, "two", start, decay, coefficient)
                for start, decay in (("spectral", "frobenius"), ("regular", "weight"))
            )
            text = (
                f"{source}, {depth} layers, rank scale {rank_scale:g}: spectral initialisation with Frobenius decay "
                "has a higher test accuracy than regular initialisation with weight decay"
            )
            found = _better(answers, both, neither)
            book.judge(f"both_better_{source}_{depth}", SOURCE, text, found, above=0, unit="percentage points")


def _judge_decay(
    book: ledger.Ledger, answers: Answers, curves: pd.DataFrame, *,
    source: str, depth: int, rank_scale: float, coefficients: Sequence[float],
) -> None:  # fmt: skip
    """Judge that Frobenius decay is better than weight decay, on average over coefficients."""
    frobenius, weight = (
        (source, depth, rank_scale, "two", "regular", decay, coefficients[0]) for decay in ("frobenius", "weight")
    )
    text = (
        f"{source}, {depth} layers, rank scale {rank_scale:g}, regular initialisation: Frobenius decay has a higher "
        f"test accuracy than weight decay, mean over {len(coefficients)} coefficients"
    )
    found = _better(answers, frobenius, weight, along=coefficients)
    book.judge("frobenius_better_by_coefficient", SOURCE, text, found, above=0, unit="percentage points")


def _judge_normalization(
    book: ledger.Ledger, answers: Answers, curves: pd.DataFrame, *,
    source: str, depth: int, rank_scale: float, coefficient: float,
) -> None:  # fmt: skip
    """Judge what decays do to norms, and whether Frobenius decay acts through them."""
    here = rows_with(curves, source=source, depth=depth)
    dense = _by_seed(here, (0.0, "dense", "dense", "weight", coefficient), "effective_rate_squared")
    for start in ("regular", "spectral"):
        variants = {
            decay: (rank_scale, "two", start, decay, coefficient)
            for decay in ("weight", "recorded", "none", "replayed")
        }
        words = f"{source}, {depth} layers, rank scale {rank_scale:g}, {start} initialisation"
        _judge_norms(book, here, variants, dense, words=words, start=start)
        found = {
            decay: _better(answers, (source, depth, *variants["replayed"]), (source, depth, *variants[decay]))
            for decay in ("recorded", "none")
        }
        text = (
            f"{words}: without decay, but with the norms of the run with Frobenius decay, accuracy is not more than "
            f"{POINTS:g} point below that run's"
        )
        book.judge(f"norms_suffice_{start}", SOURCE, text, found["recorded"], above=-POINTS, unit="percentage points")
        text = f"{words}: these norms make accuracy higher than no decay"
        book.judge(f"norms_matter_{start}", SOURCE, text, found["none"], above=0, unit="percentage points")


def _judge_norms(
    book: ledger.Ledger, here: pd.DataFrame, variants: Mapping[str, tuple[Any, ...]],
    dense: Mapping[int, np.ndarray], *, words: str, start: str,
) -> None:  # fmt: skip
    """Judge norms of weight and of Frobenius decay at the end of training, and effective step sizes along it."""
    ends = {
        (decay, name): {seed: values.iloc[-1] for seed, values in _by_seed(here, variants[decay], name).items()}
        for decay in ("weight", "recorded")
        for name in ("nuclear_norm", "nuclear_bound", "frobenius_norm")
    }
    text = f"{words}: the bound that weight decay makes small is tight, bound over nuclear norm at the end"
    tight = _ratios(ends["weight", "nuclear_bound"], ends["weight", "nuclear_norm"])
    book.judge(f"bound_tight_{start}", SOURCE, text, _geometric(tight), below=TIGHT, unit="times")
    text = f"{words}: nuclear norms at the end are smaller with weight decay than with Frobenius decay"
    smaller = _ratios(ends["weight", "nuclear_norm"], ends["recorded", "nuclear_norm"])
    book.judge(f"nuclear_smaller_{start}", SOURCE, text, _geometric(smaller), below=1, unit="times")
    text = (
        f"{words}: weight decay leaves fewer singular values than Frobenius decay, nuclear over Frobenius norm at the "
        "end, the root of how many there are if they are equal"
    )
    spread = {
        decay: _ratios(ends[decay, "nuclear_norm"], ends[decay, "frobenius_norm"]) for decay in ("weight", "recorded")
    }
    fewer = _geometric(_ratios(spread["weight"], spread["recorded"]))
    book.judge(f"rank_lower_{start}", SOURCE, text, fewer, below=1, unit="times")
    off = {
        decay: _off(_by_seed(here, variants[decay], "effective_rate_squared"), dense)
        for decay in ("weight", "recorded")
    }
    text = (
        f"{words}: effective step sizes (rate over squared norm) with Frobenius decay are nearer to those of the "
        "dense network than with weight decay, distance of logarithms along training"
    )
    nearer = _geometric(_ratios(off["recorded"], off["weight"]))
    book.judge(f"effective_step_{start}", SOURCE, text, nearer, below=1, unit="times")


def _judge_distillation(
    book: ledger.Ledger, answers: Answers, curves: pd.DataFrame, *,
    sources: Sequence[str], depths: Sequence[int], dense_depths: Sequence[int], deep: float, wide: float,
    coefficient: float,
) -> None:  # fmt: skip
    """Judge that Frobenius decay is better than weight decay with more parameters, and what these are worth."""
    dense = (0.0, "dense", "dense", "weight", coefficient)
    for source in sources:
        for depth in depths:
            deeper = min((other for other in dense_depths if other > depth), default=None)
            for name, scale, factors in (("deep", deep, "three"), ("wide", wide, "two")):
                frobenius, weight = (
                    (source, depth, scale, factors, "regular", decay, coefficient) for decay in ("frobenius", "weight")
                )
                words = f"{source}, {depth} layers, {name} (rank scale {scale:g}, {factors} factors)"
                text = f"{words}: Frobenius decay has a higher test accuracy than weight decay"
                found = _better(answers, frobenius, weight)
                book.judge(f"{name}_frobenius_{source}_{depth}", SOURCE, text, found, above=0, unit="percentage points")
                if deeper is None:
                    continue
                text = f"{words}: with Frobenius decay it reaches the dense network of {deeper} layers"
                found = _better(answers, frobenius, (source, deeper, *dense))
                book.judge(f"{name}_next_{source}_{depth}", SOURCE, text, found, above=-NEXT, unit="percentage points")


_CLAIMS: dict[str, Callable[..., None]] = {
    "resnet": _judge_resnet,
    "decay": _judge_decay,
    "normalization": _judge_normalization,
    "distillation": _judge_distillation,
}


def _by_seed(curves: pd.DataFrame, variant: tuple[Any, ...], name: str) -> dict[int, pd.Series]:
    """Return a quantity of a variant by seed and then by epoch."""
    own = rows_with(curves, **dict(zip(Variant._fields, variant, strict=True))).sort_values("epoch")
    return {int(seed): part.set_index("epoch")[name].astype(float) for seed, part in own.groupby("seed")}


def _ratios(one: Mapping[int, float], other: Mapping[int, float]) -> dict[int, float]:
    # Of networks that are no more, whose weights are 0, there is none.
    return {seed: one[seed] / other[seed] for seed in one if other.get(seed, 0) > 0 and np.isfinite(one[seed])}


def _off(own: Mapping[int, pd.Series], like: Mapping[int, pd.Series]) -> dict[int, float]:
    """Return by seed how far logarithms are from those of another run, mean over the epochs after the first.

    If one of them ended early, it is of the epochs that both have.
    """
    found = {}
    for seed, values in own.items():
        if seed in like and np.isfinite(values).all() and values.min() > 0:
            found[seed] = float(np.log(values / like[seed]).abs().dropna()[1:].mean())
    return found


def _geometric(values: Mapping[int, float]) -> ledger.Estimate | None:
    return ledger.geometric_mean(values.values()) if values else None
