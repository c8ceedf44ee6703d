"""Parallel corpora as token ids: from sentences in two languages to one file.

IWSLT'14 as the published commands prepare it (Khodak et al. 2021 after fairseq): Moses tokenisation, lower case, pairs
left out whose lengths do not fit, every 23rd of the others for validation, a joint byte pair encoding learned on the
training text of both languages, and a dictionary for each by frequency. A user's own text goes the same way, but for
validation, which comes in files of its own; what is made by rule is clean, and its signs stand apart already.

In a file, the sentences of a split and a side lie one after the other in `<split>_<side>_ids`, each with the end
symbol; sentence k begins at `<split>_<side>_offsets[k]`. Pieces and merges are UTF-8 text, a line each.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tacit import store, streams
from tacit.data import number_words, translation_sources
from tacit.data.subwords import Dictionary, Segmenter, learn
from tacit.data.translation_sources import Advance, Begin, Pair, TextSourceError
from tacit.settings.corpora import SPLITS, ParallelText

SIDES = ("source", "target")

DATASET = store.Kind(
    "parallel corpus",
    {f"{split}_{side}_ids": store.Array("int32", "*") for split in SPLITS for side in SIDES}
    | {f"{split}_{side}_offsets": store.Array("int64", f"{split}_bounds") for split in SPLITS for side in SIDES}
    | {f"{side}_pieces": store.Array("uint8", "*") for side in SIDES}
    | {"merges": store.Array("uint8", "*")},
)
"""Kind of file."""

VALIDATION = 23
"""Of the training pairs of IWSLT'14, every so many-th is for validation."""

log = logging.getLogger("tacit")

Words = list[str]


class Lines(NamedTuple):
    """Sentences of one language as ids, one after the other."""

    ids: np.ndarray
    """(tokens,) int32; each sentence ends with the end symbol."""
    offsets: np.ndarray
    """(n + 1,) int64, where each begins, and the end of all."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens (n,) of each, with the end symbol."""
        return np.diff(self.offsets)

    def of(self, number: int) -> np.ndarray:
        """Return the ids of a sentence."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]


class Pairs(NamedTuple):
    """Sentences of source and target language, translations of each other."""

    source: Lines
    target: Lines

    def __len__(self) -> int:
        return len(self.source)


class Corpus(NamedTuple):
    """Three splits, and what their ids stand for."""

    train: Pairs
    valid: Pairs
    test: Pairs
    source: Dictionary
    target: Dictionary
    segmenter: Segmenter


def make(
    settings: ParallelText, *, texts_folder: str | Path, root: str | Path = ".", begin: Begin
) -> dict[str, np.ndarray]:
    """Return a corpus as arrays to be stored.

    The archive of IWSLT'14 is looked for in `texts_folder`; a user's own folder, if it is relative, is one in `root`.
    `begin` hears how many pairs there are to make words of, and gives what hears of each. Raises
    TextSourceError if files are missing, cannot be read or are not what they should be, or if there are fewer pairs
    than asked for.
    """
    words = _WORDS[settings.source](settings, Path(texts_folder), Path(root), begin)
    for split in SPLITS:
        if not words[split].source:
            raise TextSourceError(
                f"{settings.title}: no {split} pair is left of those with 1 to {settings.words} words a side, and "
                f"neither over {settings.ratio:g} times the other; look at the text, or change max_words or max_ratio"
            )
    chosen = {split: _subset(settings, split, words[split]) for split in SPLITS}
    return encoded(chosen, merges=settings.merges)


def read(path: str | Path) -> Corpus:
    """Return the corpus at `path`; raises StoreError if there is none, or if it is damaged."""
    arrays = store.read(path, kind=DATASET).arrays
    splits = {
        split: Pairs(*(Lines(arrays[f"{split}_{side}_ids"], arrays[f"{split}_{side}_offsets"]) for side in SIDES))
        for split in SPLITS
    }
    own = vocabulary_in(arrays)
    return Corpus(**splits, source=own.source, target=own.target, segmenter=own.segmenter)


class Vocabulary(NamedTuple):
    """What ids of both languages stand for, and how words are cut into pieces."""

    source: Dictionary
    target: Dictionary
    segmenter: Segmenter

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays to be stored."""
        merges = text_of(" ".join(pair) for pair in self.segmenter.merges)
        return {"merges": merges, **{f"{side}_pieces": text_of(getattr(self, side).pieces) for side in SIDES}}


def vocabulary_in(arrays: Mapping[str, np.ndarray]) -> Vocabulary:
    """Return what such arrays hold."""
    source, target = (Dictionary(lines_of(arrays[f"{side}_pieces"])) for side in SIDES)
    return Vocabulary(source, target, Segmenter([_pair(line) for line in lines_of(arrays["merges"])]))


def _pair(line: str) -> tuple[str, str]:
    left, _, right = line.partition(" ")
    return left, right


# Words.


@functools.lru_cache(maxsize=8)
def tokeniser(settings: ParallelText, language: str) -> Callable[[str], Words]:
    """Return what makes words of a sentence: the Moses tokeniser of a language, and lower case if that is asked for."""
    if settings.source == "numbers":
        return lambda line: (line.lower() if settings.lower_case else line).split()
    from sacremoses import MosesTokenizer

    moses = MosesTokenizer(language)

    def words(line: str) -> Words:
        # White space that the tokeniser leaves, such as between parts of a telephone number, separates words too.
        text = moses.tokenize(line, return_str=True)
        # Each word is kept once, however often it occurs.
        return [sys.intern(word) for word in (text.lower() if settings.lower_case else text).split()]

    return words


def detokeniser(settings: ParallelText, language: str) -> Callable[[Words], str]:
    """Return what makes text as people write it of words, but for lower case."""
    if settings.source == "numbers":
        return " ".join
    from sacremoses import MosesDetokenizer

    return MosesDetokenizer(language).detokenize


def fits(source: Sequence[str], target: Sequence[str], *, ratio: float, most: int) -> bool:
    """Tell whether a training pair is kept: 1 to `most` words a side, and neither over `ratio` times the other."""
    counts = len(source), len(target)
    return min(counts) >= 1 and max(counts) <= most and max(counts) <= ratio * min(counts)


class _Tokenised(NamedTuple):
    """Words of the sentences of source and target language."""

    source: list[Words]
    target: list[Words]

    def where(self, numbers: Iterable[int]) -> _Tokenised:
        """Return the pairs with these numbers."""
        numbers = list(numbers)
        return _Tokenised(*([side[number] for number in numbers] for side in self))


def _tokenised(settings: ParallelText, pair: Pair, advance: Advance) -> _Tokenised:
    source, target = (tokeniser(settings, language) for language in settings.languages)
    found = _Tokenised([], [])
    for first, second in zip(*pair, strict=True):
        found.source.append(source(first))
        found.target.append(target(second))
        advance(1)
    return found


def _cleaned(settings: ParallelText, pairs: _Tokenised) -> _Tokenised:
    kept = [
        number
        for number, (source, target) in enumerate(zip(*pairs, strict=True))
        if fits(source, target, ratio=settings.ratio, most=settings.words)
    ]
    log.info("%d of %d training pairs kept", len(kept), len(pairs.source))
    return pairs.where(kept)


def _of_iwslt14(settings: ParallelText, texts_folder: Path, root: Path, begin: Begin) -> dict[str, _Tokenised]:
    train, test = translation_sources.read_archive(texts_folder, settings.languages)
    advance = begin(len(train.source) + len(test.source))
    return published_split(_tokenised(settings, train, advance), _tokenised(settings, test, advance), settings)


def published_split(train: _Tokenised, test: _Tokenised, settings: ParallelText) -> dict[str, _Tokenised]:
    """Clean the training pairs, and put every 23rd of what is left aside for validation."""
    cleaned = _cleaned(settings, train)
    count = len(cleaned.source)
    valid = range(VALIDATION - 1, count, VALIDATION)
    rest = (number for number in range(count) if number % VALIDATION != VALIDATION - 1)
    return {"train": cleaned.where(rest), "valid": cleaned.where(valid), "test": test}


def _of_folder(settings: ParallelText, texts_folder: Path, root: Path, begin: Begin) -> dict[str, _Tokenised]:
    lines = translation_sources.read_own(settings, root=root)
    advance = begin(sum(len(pair.source) for pair in lines.values()))
    found = {split: _tokenised(settings, lines[split], advance) for split in SPLITS}
    for split in ("valid", "test"):
        _check_not_empty(settings, split, found[split])
    return found | {"train": _cleaned(settings, found["train"])}


def _check_not_empty(settings: ParallelText, split: str, pairs: _Tokenised) -> None:
    for name, side in zip(settings.files(split), pairs, strict=True):
        for number, words in enumerate(side, 1):
            if not words:
                raise TextSourceError(
                    f"{settings.folder}/{name}: line {number:,} is empty, and there is nothing to compare a "
                    f"translation with; leave it out of both files (in training text such lines are left out for you)"
                )
            if len(words) > MOST_WORDS:
                raise TextSourceError(
                    f"{settings.folder}/{name}: line {number:,} has {len(words):,} words, more than {MOST_WORDS}; is "
                    f"it one sentence?"
                )


MOST_WORDS = 1000
"""Of a sentence that is to be translated; models have a place for about as many pieces."""


def _of_numbers(settings: ParallelText, texts_folder: Path, root: Path, begin: Begin) -> dict[str, _Tokenised]:
    try:
        made = number_words.make(settings.sizes, seed=settings.seed, advance=lambda count: None)
    except ValueError as error:
        raise TextSourceError(str(error)) from error
    advance = begin(sum(settings.sizes.values()))
    order = (0, 1) if settings.languages == ("de", "en") else (1, 0)
    return {
        split: _tokenised(settings, Pair(*([sentence[side] for sentence in made[split]] for side in order)), advance)
        for split in SPLITS
    }


_WORDS: Mapping[str, Callable[[ParallelText, Path, Path, Begin], dict[str, _Tokenised]]] = {
    "iwslt14": _of_iwslt14,
    "folder": _of_folder,
    "numbers": _of_numbers,
}


def _subset(settings: ParallelText, split: str, pairs: _Tokenised) -> _Tokenised:
    """Return as many pairs as are asked for, the beginning of a random order, in the order in which they come."""
    number, there = getattr(settings, f"num_{split}"), len(pairs.source)
    if number is None or settings.source == "numbers":
        return pairs
    if number > there:
        raise TextSourceError(f"num_{split} = {number:,}: {settings.title} has only {there:,} {split} pairs")
    order = streams.numpy_generator("translation", "subset", settings.source, split, settings.seed).permutation(there)
    return pairs.where(np.sort(order[:number]).tolist())


# Ids.


def encoded(pairs: Mapping[str, _Tokenised], *, merges: int) -> dict[str, np.ndarray]:
    """Return the arrays of a file: pieces and dictionaries are learned on the training pairs, and applied to all."""
    train = pairs["train"]
    counts = Counter(word for side in train for words in side for word in words)
    segmenter = Segmenter(learn(counts, merges=merges))
    arrays, dictionaries = {}, []
    for place, side in enumerate(SIDES):
        cut = {split: [segmenter(words) for words in pairs[split][place]] for split in SPLITS}
        dictionary = Dictionary.of(cut["train"])
        dictionaries.append(dictionary)
        for split in SPLITS:
            ids = [dictionary.encode(pieces) for pieces in cut[split]]
            arrays[f"{split}_{side}_ids"] = np.concatenate(ids)
            arrays[f"{split}_{side}_offsets"] = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    source, target = dictionaries
    return arrays | Vocabulary(source, target, segmenter).arrays


def text_of(lines: Iterable[str]) -> np.ndarray:
    """Return lines of text as bytes (UTF-8), each with its end."""
    return np.frombuffer("".join(f"{line}\n" for line in lines).encode(), np.uint8)


def lines_of(array: np.ndarray) -> list[str]:
    """Return the lines of such bytes."""
    return array.tobytes().decode().split("\n")[:-1]
