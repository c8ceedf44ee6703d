"""Settings of the study on compressed translation (Khodak, Tenenholtz, Mackey, Fusi 2021, section on Transformers)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from tacit.paths import Axes
from tacit.settings.base import (
    Count,
    Distinct,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    Seeds,
    Settings,
    Some,
    check_memory,
    check_runs,
)
from tacit.settings.corpora import ParallelText
from tacit.settings.networks import Precision

RankScale = Annotated[float, Field(ge=0, lt=1)]
"""Ranks, and widths of heads, as a share of those of the dense network; 0: dense."""
Coefficient = Annotated[float, Field(ge=1e-12, le=10)]

Initialization = Literal["regular", "linear", "attention", "all"]
"""What starts spectrally: nothing; factorized linear layers and embeddings; the heads of attention; both."""
Decay = Literal["weight", "linear", "ov", "linear_ov", "attention", "all"]
"""Of what: weight decay of all parameters; or Frobenius decay, and no other, of factorized linear layers and
embeddings, of the products by which heads write (output-value), of both, of these and the products by which heads
compare (query-key), of all."""
Behaviour = Literal["repaired", "published"]
Weights = Literal["best", "last"]

WITHOUT_LINEAR: dict[str, Decay] = {"linear": "weight", "linear_ov": "ov", "all": "attention"}
"""What is left of a decay without that of linear layers."""
OF_DENSE: tuple[tuple[Initialization, ...], tuple[Decay, ...]] = (
    ("regular", "attention"),
    ("weight", "ov", "attention"),
)
"""Starts and decays of a dense network, which has no factorized layers."""

UNUSED_POSITIONS = 2
"""Rows of a table of positions that are those of no token: of the placeholder and of padding."""

RUN = Axes(
    text=str,
    rank_scale=float,
    initialization=Initialization,
    decay=Decay,
    coefficient=float,
    seed=int,
)
"""What tells files from each other, of trained networks as of their translations; `text` is the name of a corpus."""


class Variant(NamedTuple):
    """How large a network is, how it starts and decays: axes of a run."""

    rank_scale: float
    initialization: Initialization
    decay: Decay
    coefficient: float

    def check(self) -> None:
        """Raise ValueError if there is no such network."""
        if not 0 <= self.rank_scale < 1:
            raise ValueError(f"rank scale {self.rank_scale:g}: it is 0, for dense, or a share between 0 and 1")
        starts, decays = OF_DENSE
        if self.rank_scale == 0 and (self.initialization not in starts or self.decay not in decays):
            raise ValueError(
                f"initialization {self.initialization}, decay {self.decay}: a dense network has no factorized layers; "
                f"it starts {' or '.join(starts)}, with decay {', '.join(decays)}"
            )
        if self.coefficient == 0 and self.decay != "weight":
            raise ValueError(f"decay {self.decay} with coefficient 0: without any decay, it is called weight")


class Architecture(Settings):
    """Sizes of the Transformer."""

    width: Annotated[int, Field(ge=2, le=4096)] = 256
    inner_width: Annotated[int, Field(ge=1, le=16384)] = 1024
    """Between the two linear layers of a part."""
    heads: Annotated[int, Field(ge=1, le=256)] = 4
    layers: Annotated[int, Field(ge=1, le=100)] = 2
    """In each of encoder and decoder."""
    positions: Annotated[int, Field(ge=4, le=16384)] = 1024
    """Learned positions, two more than a sentence can have tokens."""
    dropout: Annotated[float, Field(ge=0, le=0.99)] = 0.2
    """Share that is dropped of embeddings and of each part."""
    inner_dropout: Annotated[float, Field(ge=0, le=0.99)] = 0.1
    """Share that is dropped between the linear layers of a part."""

    @property
    def longest(self) -> int:
        """Tokens that a sentence can have, its end included."""
        return self.positions - UNUSED_POSITIONS

    def check(self, rank_scale: float) -> None:
        """Raise ValueError if heads do not divide the width, or nothing is left of them or of matrices."""
        if self.width % self.heads:
            raise ValueError(f"architecture: a width of {self.width} is not divided by {self.heads} heads")
        if rank_scale and int(rank_scale * self.width / self.heads) < 1:
            raise ValueError(
                f"rank scale {rank_scale:g} leaves nothing of heads of width {self.width // self.heads}; at least "
                f"{self.heads / self.width:g} does"
            )
        for name in ("width", "inner_width", "positions"):
            size = getattr(self, name)
            if rank_scale and round(rank_scale * min(self.width, size)) < 1:
                raise ValueError(
                    f"rank scale {rank_scale:g} leaves no rank to a matrix of architecture.{name} = {size}"
                )


class Training(Settings):
    """Nesterov's momentum at a rate that falls with the root of the number of updates."""

    updates: Annotated[int, Field(ge=1, le=10**7)] = 100_000
    most_tokens: Annotated[int, Field(ge=2, le=10**6)] = 4000
    """The most that pairs times the longest sentence of a batch may be."""
    learning_rate: Positive = 0.25
    momentum: Fraction = 0.99
    constant: Count = 4000
    """Updates at the whole rate, after which it falls."""
    clip: NonNegative = 0.1
    """Norm of the gradient above which it is shortened, that of the Frobenius decay included; 0: it is not."""
    smoothing: Fraction = 0.1
    """Share of each label that is spread over all tokens."""
    every: Count = 1
    """Epochs between two looks at the validation loss and at norms, and so between weights that may be the best."""
    precision: Precision = "float32"


class Decoding(Settings):
    """How translations are searched for."""

    weights: Weights = "best"
    """Those with the least validation loss, or the last ones."""
    beams: Annotated[int, Field(ge=1, le=1000)] = 5
    shortest: NonNegativeInt = 1
    """Tokens that a translation has at least."""
    longest: Count = 200
    """Tokens after which it ends in any case."""
    length_power: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Log-probabilities are divided by this power of the length."""
    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 128
    """Sentences that are translated together."""

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.shortest > self.longest:
            raise ValueError(f"shortest = {self.shortest} is more than longest = {self.longest}")
        return self


class Grid(Settings):
    """All combinations of values; with each start also a network without any decay."""

    rank_scales: Annotated[tuple[RankScale, ...], Some, Distinct]
    initializations: Annotated[tuple[Initialization, ...], Some, Distinct]
    decays: Annotated[tuple[Decay, ...], Some, Distinct]
    coefficients: Annotated[tuple[Coefficient, ...], Distinct]

    @property
    def variants(self) -> list[Variant]:
        """All of them."""
        return [
            variant
            for scale in self.rank_scales
            for start in self.initializations
            for variant in (
                Variant(scale, start, "weight", 0.0),
                *(Variant(scale, start, decay, value) for decay in self.decays for value in self.coefficients),
            )
        ]


class RunSettings(Settings):
    """What a trained network depends on besides its axes."""

    corpus: ParallelText
    architecture: Architecture
    training: Training
    masks: Behaviour = "repaired"
    """Whether the decoder sees padding of sources in training, as published."""
    flags: Behaviour = "repaired"
    """Whether Frobenius decay of anything is of linear layers too, as published."""


class TranslatedSettings(RunSettings):
    """What translations depend on besides their axes."""

    decoding: Decoding


class TranslationSettings(Settings):
    """The whole study."""

    corpus: ParallelText
    architecture: Architecture = Architecture()
    training: Training
    decoding: Decoding = Decoding()
    masks: Behaviour = "repaired"
    flags: Behaviour = "repaired"
    seeds: Seeds
    grids: Annotated[tuple[Grid, ...], Field(min_length=1, max_length=10)]
    samples: Annotated[int, Field(ge=1, le=1000)] = 8
    """Sentences of the test set whose translations are written down to be read."""

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        for number, grid in enumerate(self.grids):
            try:
                for variant in grid.variants:
                    variant.check()
                    self.architecture.check(variant.rank_scale)
            except ValueError as error:
                raise ValueError(f"grids.{number}: {error}") from None
        scales = self.rank_scales
        if len({f"{scale:g}" for scale in scales}) < len(scales):
            raise ValueError(f"grids: rank scales {', '.join(map(str, scales))}: two are equal in six digits")
        check_runs(len(self.variants) * self.seeds)
        if self.decoding.longest + 1 > self.architecture.longest:
            raise ValueError(
                f"decoding.longest = {self.decoding.longest}: with its end that is more than the "
                f"{self.architecture.longest} tokens that architecture.positions = {self.architecture.positions} allow"
            )
        self._check_size()
        return self

    def _check_size(self) -> None:
        own = self.architecture
        tokens = self.corpus.most_pieces
        weights = own.width * (3 * tokens + 2 * own.positions + own.layers * (12 * own.width + 4 * own.inner_width))
        check_memory(6 * weights, each=4, what="architecture: a network of these sizes")
        maps = tokens + own.layers * (30 * own.width + 4 * own.inner_width)
        batch = self.training.most_tokens
        check_memory(4 * batch * maps, each=4, what=f"training.most_tokens = {batch:,}: a batch")
        beams = self.decoding.batch_size * self.decoding.beams
        check_memory(4 * beams * tokens, each=4, what=f"decoding.beams times batch_size = {beams:,}: all beams")

    @property
    def variants(self) -> list[Variant]:
        """All networks, each once."""
        return list(dict.fromkeys(variant for grid in self.grids for variant in grid.variants))

    @property
    def rank_scales(self) -> list[float]:
        """All that there are, the dense one first."""
        return sorted({variant.rank_scale for variant in self.variants})

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Axes of all runs, but for their seeds."""
        return [{"text": self.corpus.name, **variant._asdict()} for variant in self.variants]

    @property
    def claimed(self) -> dict[str, Any]:
        """What the claims are about."""
        return {"text": self.corpus.name, "rank_scales": [scale for scale in self.rank_scales if scale]}

    def asked(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return what is asked of files of translations: axes, and the settings of those that have them."""
        found = {}
        for axes in self.runs:
            where = {name: axes[name] for name in ("text", "rank_scale", "decay")}
            found[tuple(where.values())] = where, self.translated(axes).plain()
        return list(found.values())

    def run(self, axes: dict[str, Any]) -> RunSettings:
        """Return what a trained network depends on besides its axes; raises ValueError if there is no such one."""
        if axes["text"] != self.corpus.name:
            raise ValueError(f"text~{axes['text']}: the present settings have {self.corpus.name}")
        variant = Variant(*(axes[name] for name in Variant._fields))
        variant.check()
        self.architecture.check(variant.rank_scale)
        # Linear layers, if there are factorized ones, have Frobenius decay on top where it is not of them anyway.
        matters = variant.rank_scale > 0 and variant.decay in ("ov", "attention")
        return RunSettings(
            corpus=self.corpus,
            architecture=self.architecture,
            training=self.training,
            masks=self.masks,
            flags=self.flags if matters else "repaired",
        )

    def translated(self, axes: dict[str, Any]) -> TranslatedSettings:
        """Return what translations by a trained network depend on besides its axes; raises ValueError as `run` does."""
        return TranslatedSettings.from_plain(self.run(axes).plain() | {"decoding": self.decoding.plain()})
