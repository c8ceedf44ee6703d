"""BLEU of a corpus (Papineni et al. 2002) as the published figures have it: of words that are words already.

Precisions of runs of one to four words, counts clipped, over the whole corpus, their geometric mean times a brevity
penalty; no smoothing, case as it is given. Computed by `sacrebleu`, which is told to leave words as they are. Such a
number must not be compared with one of text as people write it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from tacit.data.subwords import SPECIAL, UNKNOWN

REFERENCE_UNKNOWN = f"<{SPECIAL[UNKNOWN]}>"
"""How what is not known is written in a reference: a translation cannot have it, so that two unknowns never match."""


class Bleu(NamedTuple):
    """BLEU of a corpus, and what it is made of."""

    score: float
    """From 0 to 100."""
    precisions: tuple[float, float, float, float]
    """Of runs of one to four words, from 0 to 100."""
    brevity_penalty: float
    hypothesis_length: int
    """Words of all translations."""
    reference_length: int

    @property
    def ratio(self) -> float:
        """Words of all translations over those of all references."""
        return self.hypothesis_length / self.reference_length

    @property
    def line(self) -> str:
        """The published line: score, precisions, brevity penalty, lengths."""
        precisions = "/".join(f"{precision:.1f}" for precision in self.precisions)
        return (
            f"BLEU4 = {self.score:.2f}, {precisions} (BP={self.brevity_penalty:.3f}, ratio={self.ratio:.3f}, "
            f"syslen={self.hypothesis_length}, reflen={self.reference_length})"
        )


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> Bleu:
    """Return BLEU of translations, each with its one reference; words stand between blanks, pieces put together.

    Raises ValueError if there are not as many of both, or no word in any reference.
    """
    from sacrebleu.metrics import BLEU

    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses):,} translations of {len(references):,} references")
    if not any(reference.split() for reference in references):
        raise ValueError("the references have no words")
    logging.getLogger("sacrebleu").setLevel(logging.ERROR)
    metric = BLEU(lowercase=False, force=True, tokenize="none", smooth_method="none", max_ngram_order=4)
    found = metric.corpus_score(list(hypotheses), [list(references)])
    first, second, third, fourth = found.precisions
    return Bleu(found.score, (first, second, third, fourth), found.bp, found.sys_len, found.ref_len)
