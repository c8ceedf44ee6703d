"""Parallel corpora."""

from __future__ import annotations

from tacit.memory import NUMPY, total
from tacit.settings.corpora import ParallelText

_PER_PAIR = 4000
"""Bytes of a pair as text, as words and as pieces on both sides, of the length of those of IWSLT'14 (measured)."""
_WORDS = 100_000_000
"""Bytes of all different words, and of what learns pieces of them."""


_PER_BYTE = 20
"""The same of a byte of a user's own text."""


def prepare(settings: ParallelText, *, own: int = 0) -> int:
    """Text, words and pieces of all pairs, and what is known of each word; `own` bytes are those of a user's text."""
    pairs = _PER_BYTE * own if settings.source == "folder" else _PER_PAIR * sum(settings.sizes.values())
    return total(NUMPY, _WORDS + pairs)
