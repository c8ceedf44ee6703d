"""Words cut into pieces by byte pair encoding, and dictionaries of pieces.

After Sennrich, Haddow, Birch 2016: each word begins as its letters, the last of them marked as an end; the pair of
neighbours that is most frequent in the training text becomes one piece, again and again. Pieces that do not end their
word are written with `@@` behind them, so that leaving out every `@@ ` gives the words back.

Pairs are learned by `tokenizers`, which takes seconds where the published Python program takes minutes. It breaks ties
by the order in which it happens to meet symbols, so they are numbered for it beforehand: the result is then the same in
every process. Pairs are joined by code of our own, as that library drops letters that the training text does not have,
where the published program keeps them.

Dictionaries begin with four entries that are no piece: a placeholder, padding, the end of a sentence and the unknown.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

PLACEHOLDER, PAD, END, UNKNOWN = range(4)
"""Ids of the entries that are no piece."""

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
"""How these are written."""

CONTINUED = "@@"
"""What is written behind a piece that does not end its word."""

_END_OF_WORD = "</w>"
_LEAST = 2
"""How often a pair must occur to become one piece."""

Pair = tuple[str, str]


def learn(words: Mapping[str, int], *, merges: int) -> list[Pair]:
    """Return up to `merges` pairs of pieces to join, in order, learned on words and how often each occurs.

    Of pairs that are equally frequent, the one whose pieces are older is first: letters by code point, then letters
    that end a word, then pieces as they were made. Words hold no white space.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    letters = sorted({letter for word in words for letter in word})
    ends = [f"{letter}{_END_OF_WORD}" for letter in sorted({word[-1] for word in words})]
    if not merges or not letters:
        return []
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + len(ends) + merges,
        min_frequency=_LEAST,
        special_tokens=[*letters, *ends],
        end_of_word_suffix=_END_OF_WORD,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_repeated(words), trainer)
    found = json.loads(tokenizer.to_str())["model"]["merges"]
    # Two pairs may make the same piece, which the library counts once.
    return [(left, right) for left, right in found[:merges]]


def _repeated(words: Mapping[str, int], *, at_once: int = 1000) -> Iterable[str]:
    """Yield text in which each word occurs as often as it should."""
    for word in sorted(words):
        count = words[word]
        while count:
            taken = min(count, at_once)
            yield " ".join([word] * taken)
            count -= taken


class Segmenter:
    """Cuts words into pieces, as the pairs that were learned say."""

    def __init__(self, merges: Sequence[Pair]):
        self.merges = list(merges)
        self._ranks = {pair: rank for rank, pair in reversed(list(enumerate(self.merges)))}
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, words: Iterable[str]) -> list[str]:
        """Return the pieces of `words`; all but the last of a word have `@@` behind them.

        Raises ValueError for a word with `@@` at its end, which could not be told from a piece of one.
        """
        return [piece for word in words for piece in self._pieces(word)]

    def _pieces(self, word: str) -> tuple[str, ...]:
        if word not in self._known:
            self._known[word] = self._cut(word)
        return self._known[word]

    def _cut(self, word: str) -> tuple[str, ...]:
        if word.endswith(CONTINUED):
            raise ValueError(f"the word {word[:40]!r} ends in {CONTINUED}, which marks pieces of words")
        symbols = [*word[:-1], word[-1] + _END_OF_WORD]
        while len(symbols) > 1:
            ranked = [self._ranks.get(pair) for pair in itertools.pairwise(symbols)]
            first = min((rank for rank in ranked if rank is not None), default=None)
            if first is None:
                break
            symbols = _joined(symbols, self.merges[first])
        return (*(f"{symbol}{CONTINUED}" for symbol in symbols[:-1]), symbols[-1].removesuffix(_END_OF_WORD))


def _joined(symbols: Sequence[str], pair: Pair) -> list[str]:
    """Return `symbols` with every `pair` in them made one, from the left."""
    found, place = [], 0
    while place < len(symbols):
        if tuple(symbols[place : place + 2]) == pair:
            found.append(symbols[place] + symbols[place + 1])
            place += 2
        else:
            found.append(symbols[place])
            place += 1
    return found


def whole_words(text: str) -> str:
    """Return text of pieces between blanks with its words put together again."""
    return f"{text} ".replace(f"{CONTINUED} ", "").rstrip()


class Dictionary:
    """Pieces of one language by id, those that are no piece first."""

    def __init__(self, pieces: Iterable[str]):
        self.pieces = tuple(pieces)
        # What is spelt like an entry that is no piece, is none.
        self._ids = {piece: number for number, piece in enumerate(self.pieces) if number >= len(SPECIAL)}

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def of(cls, lines: Iterable[Sequence[str]]) -> Dictionary:
        """Return the pieces of `lines`, the most frequent first, those that are equally frequent by code points."""
        counts = Counter(piece for line in lines for piece in line)
        return cls((*SPECIAL, *sorted(counts, key=lambda piece: (-counts[piece], piece))))

    def encode(self, pieces: Sequence[str]) -> np.ndarray:
        """Return the ids (n + 1,) int32 of n pieces, and that of the end; of pieces that are not there the unknown."""
        return np.array([*(self._ids.get(piece, UNKNOWN) for piece in pieces), END], np.int32)

    def decode(self, ids: Iterable[int], *, unknown: str = SPECIAL[UNKNOWN]) -> str:
        """Return the text of `ids` up to the first end, words whole; padding and placeholders are left out.

        `unknown` is what is written for what is not known. Raises IndexError for an id that there is not.
        """
        pieces = []
        for number in ids:
            if number == END:
                break
            if number < 0:
                raise IndexError(f"no piece has the id {number}")
            if number not in (PAD, PLACEHOLDER):
                pieces.append(unknown if number == UNKNOWN else self.pieces[number])
        return whole_words(" ".join(pieces))
