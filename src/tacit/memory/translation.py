"""Parallel corpora, networks that translate, and their translations."""

from __future__ import annotations

from tacit.memory import FLOAT, NUMPY, total, training
from tacit.settings.corpora import ParallelText
from tacit.settings.translation import Architecture, RunSettings, TranslatedSettings

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


def train(settings: RunSettings, *, gpu: bool, own_text: int = 0) -> int:
    """One training: the corpus, eight copies of the weights, and of a batch what all layers keep.

    Copies are weights, gradients, velocities, the best ones, and those of a checkpoint being written; of the logits of
    a batch there are five, with those of labels smoothed and of gradients. `own_text` are the bytes of a user's text.
    """
    own, tokens = settings.architecture, settings.corpus.most_pieces
    batch = settings.training.most_tokens
    # Batches of few long sentences have large maps of attention.
    attention = own.heads * min(own.longest, batch) * 4
    maps = own.layers * (40 * own.width + 6 * own.inner_width + attention)
    # Losses of all steps, collected and written.
    steps = 8 * settings.training.updates
    content = FLOAT * (8 * _weights(own, tokens) + batch * (5 * tokens + maps) + steps)
    return training(_corpus(settings.corpus, own_text) + content, gpu=gpu)


def decode(settings: TranslatedSettings, *, gpu: bool, own_text: int = 0) -> int:
    """Translations of one network: both of its weights, logits of all beams four times, keys and values.

    Those of what is translated are there twice, as the best beams are chosen; those of sources once for all beams.
    """
    own, tokens, search = settings.architecture, settings.corpus.most_pieces, settings.decoding
    sources = min(search.batch_size, settings.corpus.sizes["test"])
    each = own.layers * 2 * own.width
    kept = sources * each * (2 * search.beams * search.longest + own.longest)
    content = FLOAT * (4 * _weights(own, tokens) + 4 * sources * search.beams * tokens + kept)
    return training(_corpus(settings.corpus, own_text) + content, gpu=gpu)


def _weights(own: Architecture, tokens: int) -> int:
    return own.width * (3 * tokens + 2 * own.positions + own.layers * (12 * own.width + 4 * own.inner_width))


def _corpus(settings: ParallelText, own_text: int) -> int:
    """Bytes of all sentences as ids, on a device too."""
    return 8 * own_text if settings.source == "folder" else 300 * sum(settings.sizes.values())
