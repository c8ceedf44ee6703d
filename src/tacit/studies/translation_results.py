"""Tables of compressed translation, sentences to read, and what Khodak, Tenenholtz, Mackey, Fusi 2021 claim of it.

Weight decay acts on weights apart from the gradient, Frobenius decay through a momentum that enlarges it, so that one
coefficient means two things. Families of networks are therefore compared at their best members, by coefficient and,
where several were asked for, by what starts spectrally and what decays: those with the least validation loss, mean over
seeds. BLEU is that of the test set, on which nothing is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tacit import files, store
from tacit.data.translation import Corpus, lines_of
from tacit.settings.translation import Variant
from tacit.studies import ledger
from tacit.studies.tables import rows_with
from tacit.studies.translation import AXES, STUDY, TRANSLATED, references

RUNS = store.Table(keys=AXES, numbers=TRANSLATED.attributes)
"""BLEU of the test set and what it is made of; sizes; the epoch whose weights translated, and their validation loss."""

SOURCE = "Khodak, Tenenholtz, Mackey, Fusi 2021, as others sum up its section on Transformers"
HELPS = 0.5
"""BLEU that something has to add to be said to help."""

FAMILIES: dict[str, Callable[[Variant], bool]] = {
    "regular, no FD": lambda one: one.initialization == "regular" and one.decay == "weight",
    "regular, FD": lambda one: one.initialization == "regular" and one.decay != "weight",
    "SI, no FD": lambda one: one.initialization != "regular" and one.decay == "weight",
    "SI, FD": lambda one: one.initialization != "regular" and one.decay != "weight",
}
"""Networks of one rank scale: none starts spectrally, or anything does; weight decay or none, or Frobenius decay."""


def tables(
    runs: Iterable[str | Path], *, missing: int, text: str, rank_scales: Sequence[float]
) -> dict[str, pd.DataFrame]:
    """Return a table of the translations, and what is claimed of them at each of `rank_scales`.

    `missing` is the number of runs that are not there.
    """
    rows = []
    for path in runs:
        run = store.read(path, kind=TRANSLATED, names=["scores"])
        rows.append({name: run.settings[name] for name in AXES} | {name: run.attributes[name] for name in RUNS.numbers})
    found = pd.DataFrame(rows, columns=[*AXES, *RUNS.numbers]).sort_values([*AXES], ignore_index=True)
    book = ledger.Ledger(STUDY, missing=missing)
    for scale in rank_scales:
        _judge(book, rows_with(found, rank_scale=scale), name=text, scale=scale)
    return {"runs": found, "claims": book.table()}


def variants_of(runs: pd.DataFrame) -> list[Variant]:
    """Return the variants in a table, each once."""
    rows = runs[list(Variant._fields)].drop_duplicates().itertuples(index=False)
    return [Variant(*row) for row in rows]


_STARTS = {
    "regular": "regular start",
    "linear": "spectral start of linear layers",
    "attention": "spectral start of attention",
    "all": "spectral start",
}
_DECAYS = {
    "weight": "weight decay",
    "linear": "Frobenius decay of linear layers",
    "ov": "Frobenius decay of output-value",
    "linear_ov": "Frobenius decay of linear layers and output-value",
    "attention": "Frobenius decay of attention",
    "all": "Frobenius decay",
}


def described(variant: Variant) -> str:
    """Return start and decay of a variant in words."""
    decay = f"{_DECAYS[variant.decay]} {variant.coefficient:g}" if variant.coefficient else "no decay"
    return f"{_STARTS[variant.initialization]}, {decay}"


def tuned(runs: pd.DataFrame, belongs: Callable[[Variant], bool]) -> Variant | None:
    """Return the member of a family with the least validation loss, mean over seeds; None if the family is empty.

    With runs missing, those are compared of which most seeds are there.
    """
    losses = {one: rows_with(runs, **one._asdict())["valid_loss"] for one in variants_of(runs) if belongs(one)}
    if not losses:
        return None
    most = max(map(len, losses.values()))
    return min((one for one in losses if len(losses[one]) == most), key=lambda one: float(losses[one].mean()))


def _judge(book: ledger.Ledger, runs: pd.DataFrame, *, name: str, scale: float) -> None:
    """Judge that the spectral start matters most, and that Frobenius decay helps with it alone, at one rank scale."""
    best = {name: tuned(runs, belongs) for name, belongs in FAMILIES.items()}
    words = f"{name}, rank scale {scale:g}, the best by validation loss"
    counts = {name: sum(map(belongs, variants_of(runs))) for name, belongs in FAMILIES.items()}

    def judge(id: str, text: str, one: str, other: str, **side: float) -> None:
        found = _difference(runs, best[one], best[other])
        if found is not None:
            chosen = f"chosen from {counts[one]} and {counts[other]} by validation loss"
            found = found._replace(how=f"{found.how}, {chosen}")
        book.judge(f"{id}_{scale:g}", SOURCE, f"{words}: {text}", found, unit="BLEU", **side)

    text = "a spectral start without Frobenius decay raises BLEU"
    judge("si", text, "SI, no FD", "regular, no FD", above=0)
    text = "a spectral start without Frobenius decay gives more than Frobenius decay from a regular start"
    judge("si_over_fd", text, "SI, no FD", "regular, FD", above=0)
    text = f"from a regular start, Frobenius decay does not help, by {HELPS:g} BLEU"
    judge("fd_alone", text, "regular, FD", "regular, no FD", below=HELPS)
    text = "from a spectral start, Frobenius decay raises BLEU"
    judge("fd_with_si", text, "SI, FD", "SI, no FD", above=0)


def _difference(runs: pd.DataFrame, one: Variant | None, other: Variant | None) -> ledger.Estimate | None:
    """Estimate by how much BLEU of a network is above that of another, over seeds of which both are there."""
    if one is None or other is None:
        return None
    by_seed = [rows_with(runs, **variant._asdict()).set_index("seed")["bleu"] for variant in (one, other)]
    differences = (by_seed[0] - by_seed[1]).dropna()
    if differences.empty:
        return None
    named = ", less ".join(described(of) for of in (one, other))
    return ledger.mean(differences)._replace(how=f"mean over seeds, Student's t ({named})")


# To be read.


def write_samples(
    out: str | Path, runs: str | Path, corpus: Corpus, decoded: Iterable[str | Path], *, number: int, scale: str
) -> None:
    """Write sentences of the test set to `out`, with what the tuned networks of each family make of them.

    `runs` is the table, `decoded` translations of one seed; `number` sentences are shown, of all lengths.
    """
    table = store.read_table(runs, expected=RUNS)
    shown = {"dense": tuned(rows_with(table, rank_scale=0), lambda one: True)}
    for own in sorted(set(table["rank_scale"]) - {0.0}):
        here = rows_with(table, rank_scale=own)
        shown |= {f"{own:g}, {name}": tuned(here, belongs) for name, belongs in FAMILIES.items()}
    found = {}
    for path in decoded:
        run = store.read(path, kind=TRANSLATED)
        found[Variant(*(run.settings[name] for name in Variant._fields))] = run
    texts = {
        (name, variant): lines_of(found[variant].arrays["translations"])
        for name, variant in shown.items()
        if variant is not None and variant in found
    }
    if not texts:
        # As may be while some runs are missing.
        files.write_bytes(out, b"No network of seed 0 has translated yet that would be shown here.\n")
        return
    first = next(iter(found.values())).settings
    note = (
        f"Sentences of the test set of {first['text']}, scale {scale}, translated by networks of seed "
        f"{first['seed']}. Compressed ones begin with their rank scale; of those that start regularly or spectrally "
        "(SI), without or with Frobenius decay (FD), it is the one with the least validation loss."
    )
    files.write_bytes(out, _samples(corpus, texts, number=number, note=note).encode())


def _samples(corpus: Corpus, texts: Mapping[tuple[str, Variant], Sequence[str]], *, number: int, note: str) -> str:
    source, sides = corpus.test.source, references(corpus)
    # Spread over the lengths, short ones first.
    order = np.argsort(source.lengths, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(number, len(order))).round().astype(int))]
    names = ["source", "reference", *(name for name, _ in texts)]
    width = max(map(len, names))
    lines = [note, ""]
    for (name, variant), own in texts.items():
        right = sum(text == reference for text, reference in zip(own, sides, strict=True))
        lines.append(f"{name:{width}}  {described(variant)}; {right} of {len(own)} sentences as in the reference")
    for place in chosen.tolist():
        lines += ["", f"{'source':{width}}  {corpus.source.decode(source.of(place))}"]
        lines.append(f"{'reference':{width}}  {sides[place]}")
        lines += [f"{name:{width}}  {own[place]}" for (name, _), own in texts.items()]
    return "\n".join(lines) + "\n"
