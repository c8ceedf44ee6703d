"""What is claimed of residual networks in the depth limit, and whether it held; the tables of the study."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tacit.studies import depth_gradients, ledger
from tacit.studies import depth_limit as study

SOURCE = "thesis on weight regularity; Cont, Rossier, Xu 2022"

GROWS = 0.05
"""Power of the depth from which on something counts as growing with it."""

EXPONENT_ERROR = 0.1
"""By which a measured power of the depth may differ from that of theory."""

LEAST_RATE = 0.01
"""Of a power law, from which on something counts as falling."""

_GRID = np.linspace(0, 1, 501)
"""Positions at which profiles of two depths are compared."""


def tables(
    runs: Iterable[str | Path],
    *,
    shown: Mapping[str, Any],
    power_law: Mapping[str, Any],
    alphas: Iterable[float],
    missing: int,
) -> dict[str, pd.DataFrame]:
    """Return the tables of all runs, and what is claimed of those that are `shown`.

    `power_law` says how Omega is fitted, `alphas` are those asked for, `missing` the number of runs that are not there.
    """
    found = study.collect(runs, shown=shown)
    gradients = depth_gradients.table(found.omegas, power_law)
    laws = depth_gradients.laws(gradients, power_law)
    return {
        "gradients": gradients,
        "power_laws": laws,
        "runs": found.runs,
        "variation": study.variation_table(found.variation),
        "profiles": study.profile_table(found.profiles),
        "entries": found.entries,
        "claims": claims(found, laws, shown=shown, alphas=alphas, missing=missing),
    }


def further_tables(runs: Iterable[str | Path], *, shown: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the tables of runs of any experiment, of which nothing is claimed or shown."""
    found = study.collect(runs, shown=shown)
    return {"runs": found.runs, "variation": study.variation_table(found.variation)}


def claims(
    found: study.Collected, laws: pd.DataFrame, *, shown: Mapping[str, Any], alphas: Iterable[float], missing: int
) -> pd.DataFrame:
    """Judge what is stated, in a row of the ledger for each claim and alpha. Slopes are of one seed over depths."""
    book = ledger.Ledger(study.STUDY, missing=missing)
    runs, variation = (study.of_shown(table, shown) for table in (found.runs, found.variation))
    exponents = sorted({p for p in variation["p"] if p > 1} - _initial_only(variation))
    for alpha in alphas:
        own = _of(runs, alpha, "scaled")
        words = f"rate as L^{2 * alpha - 1:g}, alpha {alpha:g}"
        text = f"Norms of rescaled weights along depth change the less by e-fold of depth the deeper ({words})"
        differences = _differences(found.profiles, alpha)
        book.judge(f"profile_converges_{alpha:g}", SOURCE, text, differences, below=0, unit="power of L")
        text = f"The training loss that is reached grows with depth by less than L^{GROWS:g} ({words})"
        book.judge(
            f"loss_bounded_{alpha:g}", SOURCE, text, study.power_of(own, "final_loss"), below=GROWS, unit="power of L"
        )
        of_variation = _of(variation, alpha, "scaled")
        if exponents:
            p = exponents[0]
            text = (
                f"The {p:g}-variation norm of the trained, rescaled path, and so that of all larger exponents, none of "
                f"which is greater, grows by less than L^{GROWS:g} ({words})"
            )
            of_p = study.power_of(of_variation[of_variation["p"] == p], "final")
            book.judge(f"variation_bounded_{alpha:g}", SOURCE, text, of_p, below=GROWS, unit="power of L")
        text = f"For exponents above 1 that norm is the distance of the path's ends, in the worst of depths ({words})"
        book.judge(
            f"ends_{alpha:g}", SOURCE, text, _beside_ends(of_variation, own, exponents), below=1.01, unit="times"
        )
        _judge_omega(book, laws, alpha, words)
        of_fixed = study.power_off(_of(runs, alpha, "fixed"), "mean_norm", 1 - 2 * alpha)
        text = (
            f"At a rate that is fixed in depth, norms of rescaled weights go as L^{1 - 2 * alpha:g} (alpha {alpha:g}): "
            "difference of the powers"
        )
        book.judge(f"fixed_rate_{alpha:g}", SOURCE, text, of_fixed, below=EXPONENT_ERROR, unit="power of L")
    if shown["initialization"] == "ntrunc" and shown["gamma"] >= 1:
        first = variation[(variation["p"] == shown["gamma"]) & (variation["alpha"] == shown["alpha"])]
        text = "The gamma-variation norm of the initial rescaled path does not depend on depth: size of the power"
        book.judge(
            "initial_variation", SOURCE, text, study.power_off(first, "initial", 0), below=0.02, unit="power of L"
        )
    return book.table()


def _judge_omega(book: ledger.Ledger, laws: pd.DataFrame, alpha: float, words: str) -> None:
    """Judge the power laws C / (t + 1)^rho of Omega along the training, of one alpha."""
    own, fixed = _of(laws, alpha, "scaled"), _of(laws, alpha, "fixed")
    rates, _ = study.by_seed(own, "rate")
    deepest = ledger.mean(rates[:, -1]) if len(rates) else None
    text = f"Omega falls along the training: rate rho of its power law, in the deepest network ({words})"
    book.judge(f"omega_rate_{alpha:g}", SOURCE, text, deepest, above=LEAST_RATE, unit="rho")
    for name, spoken in (("rate", "rate rho"), ("size", "size C")):
        text = f"The {spoken} of Omega's power law is the same in all depths: size of its power of L ({words})"
        found = study.power_off(depth_gradients.comparable(own, name), name, 0)
        book.judge(f"omega_{name}_depth_{alpha:g}", SOURCE, text, found, below=EXPONENT_ERROR, unit="power of L")
    if alpha > 0.5:
        text = (
            f"At a rate that is fixed in depth Omega falls the more slowly the deeper (alpha {alpha:g}): power of L of "
            "the rate rho of its power law"
        )
        slower = study.power_of(fixed, "rate")
        book.judge(f"omega_fixed_rate_{alpha:g}", SOURCE, text, slower, below=-EXPONENT_ERROR, unit="power of L")


def _initial_only(variation: pd.DataFrame) -> set[float]:
    """Return the exponents that nothing was measured of after training."""
    return {p for p, own in variation.groupby("p") if own["final"].isna().all()}


def _of(table: pd.DataFrame, alpha: float, rule: str) -> pd.DataFrame:
    """Return the rows of a rule; at alpha 1/2 both rules are one, and were run once."""
    own = table[table["alpha"] == alpha]
    there = own[own["rule"] == rule]
    return own if alpha == 0.5 and there.empty else there


def _differences(profiles: Mapping[tuple[Any, ...], np.ndarray], alpha: float) -> ledger.Estimate | None:
    """Estimate the power of the depth that relative changes of profiles, by e-fold of depth, go with."""
    by_seed: dict[int, dict[int, np.ndarray]] = {}
    rules = {key[5] for key in profiles if key[0] == alpha}
    rule = "scaled" if "scaled" in rules else "fixed"
    for (own_alpha, *_, own_rule, _rate, depth, seed), norms in profiles.items():
        if own_alpha == alpha and own_rule == rule and (rule == "scaled" or alpha == 0.5):
            by_seed.setdefault(seed, {})[depth] = np.interp(_GRID, study.positions(depth), norms)
    whole = {depth for own in by_seed.values() for depth in own}
    complete = [own for own in by_seed.values() if set(own) == whole]
    depths = sorted(whole)
    if len(depths) < 3 or not complete:
        return None
    pairs = list(itertools.pairwise(depths))
    # By e-fold of depth, as with equal steps of it consecutive depths become ever more alike, whatever profiles do.
    logs = [
        [np.log(np.linalg.norm(own[b] - own[a]) / np.linalg.norm(own[b]) / np.log(b / a)) for a, b in pairs]
        for own in complete
    ]
    return ledger.slope([np.log(a * b) / 2 for a, b in pairs], np.array(logs))


def _beside_ends(variation: pd.DataFrame, runs: pd.DataFrame, exponents: Iterable[float]) -> ledger.Estimate | None:
    keys = ["depth", "seed"]
    both = variation[variation["p"].isin(list(exponents))].merge(runs[[*keys, "end_distance"]], on=keys)
    if both.empty:
        return None
    return ledger.geometric_mean((both["final"] / both["end_distance"]).groupby(both["seed"]).max())
