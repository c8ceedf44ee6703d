"""Settings of parallel corpora, shared by all that learns to translate."""

from __future__ import annotations

import posixpath
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from tacit.paths import Axes
from tacit.settings.base import (
    Count,
    Digest,
    Folder,
    Seed,
    Settings,
    check_unused,
    digest,
    is_harmless,
)

SourceName = Literal["iwslt14", "numbers", "folder"]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""The code of a language, as in names of files and as the Moses tokeniser knows it."""

SPLITS = ("train", "valid", "test")

PREPARED = Axes(source=SourceName, corpus=Digest)
"""What tells files of token ids from each other."""


class Facts(NamedTuple):
    """What is known of a source before it is read."""

    title: str
    num_train: int
    """Pairs of each split, where the settings do not say how many."""
    num_valid: int
    num_test: int


FACTS: dict[str, Facts] = {
    "iwslt14": Facts("IWSLT'14", 160_239, 7283, 6750),
    "numbers": Facts("number words", 4000, 400, 400),
}
"""Those of IWSLT'14 are the published ones, after cleaning; training and validation pairs may be a few more or less, as
another version of the Moses tokeniser counts words. A user's own text is as long as it is."""

MOST_MADE = 100_000
"""The most pairs that are made by rule; there are not many more short ones."""


def _check_name(name: str) -> str:
    if not is_harmless(name) or name.startswith(("/", "~")) or ".." in name.split("/"):
        raise ValueError("must be the name of a file in the folder, of letters, digits, blanks and . ~ + , : @ = _ -")
    if posixpath.normpath(name) != name:
        raise ValueError(f"must be written as {posixpath.normpath(name)}")
    if len(name.encode()) > 255:
        raise ValueError("is longer than the name of a file can be")
    return name


FileName = Annotated[str, AfterValidator(_check_name)]
FilePair = tuple[FileName, FileName]
"""Names of two files in the folder, line by line translations of each other: source and target language."""


class ParallelText(Settings):
    """A parallel corpus: where its sentences come from, how they are cleaned, and into which pieces they are cut."""

    source: SourceName
    """`iwslt14`, the published archive; `numbers`, numbers, dates and times in words, made by rule; `folder`, a user's
    own text."""
    source_language: Language = "de"
    """The language that is translated."""
    target_language: Language = "en"
    folder: Folder | None = None
    """Of a user's own text, relative to where Snakemake runs."""
    train_files: FilePair | None = None
    """Names in that folder; by default train.de and train.en, with the codes of the two languages."""
    valid_files: FilePair | None = None
    test_files: FilePair | None = None
    merges: Annotated[int, Field(ge=0, le=100_000)]
    """Pairs of pieces that are joined to one piece, learned on the training text of both languages; with none, words
    are cut into letters."""
    lower_case: bool = True
    max_ratio: Annotated[float, Field(ge=1, le=1000)] | None = None
    """Training pairs of which one side has more than so many times the words of the other are left out; by default
    1.5."""
    max_words: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Training pairs of which one side has more words are left out; by default 175."""
    num_train: Count | None = None
    """Pairs that are kept, drawn at random, after cleaning; by default all. Of what is made by rule, how many are."""
    num_valid: Count | None = None
    num_test: Count | None = None
    seed: Seed = 0
    """Of these draws. A smaller training set is part of a larger one."""

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if self.source_language == self.target_language:
            raise ValueError(f"source_language and target_language are both {self.source_language}")
        if self.source == "folder":
            self._check_folder()
        else:
            why = f"means nothing with source: {self.source}"
            check_unused(self, "folder", *(f"{split}_files" for split in SPLITS), why=why)
            self._check_known()
        if self.source == "numbers":
            check_unused(self, "max_ratio", "max_words", why="means nothing for what is made by rule and clean")
        elif (self.num_train, self.num_valid, self.num_test) == (None, None, None):
            check_unused(self, "seed", why="means nothing where all pairs are kept")
        return self

    def _check_folder(self) -> None:
        if self.folder is None:
            raise ValueError("source: folder needs a folder")
        named = [name for split in SPLITS for name in self.files(split)]
        if len(set(named)) < len(named):
            raise ValueError(f"a file is named twice among {', '.join(named)}")

    def _check_known(self) -> None:
        facts = FACTS[self.source]
        if {self.source_language, self.target_language} != {"de", "en"}:
            raise ValueError(f"{facts.title} are in German and English, so languages are de and en")
        # Of cleaned training text nobody knows to the pair how much there is.
        bounds = (("num_test", facts.num_test),) if self.source == "iwslt14" else ()
        for name, most in bounds:
            number = getattr(self, name)
            if number is not None and number > most:
                raise ValueError(f"{name} = {number}: {facts.title} has only {most:,}")
        if self.source == "numbers" and sum(self.sizes.values()) > MOST_MADE:
            raise ValueError(f"num_train, num_valid and num_test: at most {MOST_MADE:,} together of {facts.title}")

    @property
    def title(self) -> str:
        """Name of the source, as it is written."""
        return FACTS[self.source].title if self.source in FACTS else f"the text in {self.folder}"

    @property
    def name(self) -> str:
        """What tells results from those of another text, as part of paths and tables.

        Of a user's own text it is where that lies, with dashes in place of slashes, and its languages.
        """
        own = self.folder.strip("/~").replace("/", "-") if self.source == "folder" and self.folder else self.source
        usual = self.source != "folder" and self.languages == ("de", "en")
        return own if usual else "-".join((own, *self.languages))

    @property
    def languages(self) -> tuple[str, str]:
        """Codes of source and target language."""
        return self.source_language, self.target_language

    @property
    def sizes(self) -> dict[str, int]:
        """Pairs that are to be made of each split, or that are about to be there."""
        facts = FACTS.get(self.source, FACTS["iwslt14"])
        return {split: getattr(self, f"num_{split}") or getattr(facts, f"num_{split}") for split in SPLITS}

    @property
    def ratio(self) -> float:
        """The most words of one side over those of the other, in training."""
        return 1.5 if self.max_ratio is None else self.max_ratio

    @property
    def words(self) -> int:
        """The most words of a side, in training."""
        return 175 if self.max_words is None else self.max_words

    @property
    def most_pieces(self) -> int:
        """Entries of a dictionary, at most: of a user's own text letters may be thousands, with and without a mark."""
        return self.merges + (20_000 if self.source == "folder" else 1000)

    def files(self, split: str) -> tuple[str, str]:
        """Names in the folder of a user's own files of a split, source and target."""
        given: tuple[str, str] | None = getattr(self, f"{split}_files")
        source, target = self.languages
        return given or (f"{split}.{source}", f"{split}.{target}")

    @property
    def decided(self) -> dict[str, Any]:
        """What decides which token ids these are, as plain values, defaults written out."""
        plain = self.plain()
        if self.source == "folder":
            plain |= {f"{split}_files": list(self.files(split)) for split in SPLITS}
        if self.source == "numbers":
            plain |= {f"num_{split}": number for split, number in self.sizes.items()}
        else:
            plain |= {"max_ratio": self.ratio, "max_words": self.words}
        return plain

    @property
    def identity(self) -> str:
        """A short name of exactly this corpus, for file names."""
        return digest(self.decided)
