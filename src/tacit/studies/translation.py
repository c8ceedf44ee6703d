"""The study on compressed translation (Khodak, Tenenholtz, Mackey, Fusi 2021, section on Transformers).

A Transformer translates from German to English. Its embeddings, linear layers and logits are products of low rank and
its heads narrower; what starts spectrally and what has Frobenius decay is told for linear layers and heads apart.
Stages: `train` one network, `decode` its translations of the test set; `tacit.studies.translation_results` collects and
judges. A run file is all that it takes to translate other text (`translator`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tacit import store, streams
from tacit.analysis.bleu import REFERENCE_UNKNOWN, Bleu, bleu
from tacit.data.subwords import PAD, UNKNOWN, Dictionary, Segmenter
from tacit.data.translation import Corpus, Lines, Vocabulary, text_of, tokeniser, vocabulary_in
from tacit.errors import UserError
from tacit.runlog import log
from tacit.settings.corpora import ParallelText
from tacit.settings.translation import UNUSED_POSITIONS, WITHOUT_LINEAR, Decoding, RunSettings, Variant

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tacit.nn.factors import Factors
    from tacit.nn.transformer import Transformer
    from tacit.optim.decay_groups import DecayPlan

STUDY = "translation"
AXES = ("text", *Variant._fields, "seed")
"""What tells runs from each other, as their files and tables have it."""

_STEPS, _MEASURED, _TEXT = (
    store.Array("float64", "steps"),
    store.Array("float64", "measured"),
    store.Array("uint8", "*"),
)
PARTS = ("linear", "query_key", "output_value")
"""Of what norms are measured: of the linear layers between attention, and of the products of each head."""
RUN = store.Kind(
    "translation run",
    {
        # Of the batch before each step, nats a token: with labels smoothed, and as they are.
        "step_loss": _STEPS,
        "step_nll": _STEPS,
        # By epoch, the first before training.
        **{name: _MEASURED for name in ("epoch", "learning_rate", "valid_loss", "valid_nll")},
        **{f"{part}_frobenius_norms": store.Array("float64", f"measured {part}") for part in PARTS},
        **{f"{part}_nuclear_norms": store.Array("float64", f"measured {part}") for part in PARTS},
        **{f"{part}_nuclear_bounds": store.Array("float64", f"measured {part}", optional=True) for part in PARTS},
        **{f"{part}_non_orthogonality": store.Array("float64", f"measured {part}", optional=True) for part in PARTS},
        # At the epoch with the least validation loss, and at the end.
        "weights_best_*": store.Array("float32", "..."),
        "weights_last_*": store.Array("float32", "..."),
        # UTF-8, a line each.
        "source_pieces": _TEXT,
        "target_pieces": _TEXT,
        "merges": _TEXT,
    },
    attributes=("parameters", "dense_parameters", "best_epoch", "pairs_left_out"),
)
"""Kind of file. Pairs that are left out are longer than a batch, or than there are positions."""

TRANSLATED = store.Kind(
    "translations",
    {"translations": _TEXT, "scores": store.Array("float64", "sentences")},
    attributes=(
        "bleu", *(f"precision_{order}" for order in range(1, 5)), "brevity_penalty", "hypothesis_length",
        "reference_length", "parameters", "dense_parameters", "decoded_epoch", "valid_loss", "valid_nll",
    ),
)  # fmt: skip
"""Kind of file: the test set translated, a line (UTF-8) of whole words for each sentence in its order, with
log-probabilities over a power of the length; validation losses are those of the weights that translated."""


class Sizes(NamedTuple):
    """Tokens in the dictionaries of both languages."""

    source: int
    target: int


def build(settings: RunSettings, variant: Variant, sizes: Sizes, *, seed: int) -> Transformer:
    """Return the network of a variant at its start; what all variants of a seed and rank scale share is drawn alike."""
    import torch

    from tacit.nn.attention import balance

    torch.manual_seed(streams.torch_seed(STUDY, "train", seed, "init"))
    model = _assembled(settings, variant, sizes, spectral=variant.initialization in ("linear", "all"))
    if variant.initialization in ("attention", "all"):
        balance(model)
    return model


def _assembled(settings: RunSettings, variant: Variant, sizes: Sizes, *, spectral: bool) -> Transformer:
    """Return a network whose heads have a regular start."""
    from tacit.nn import transformer

    shape = transformer.Shape(**settings.architecture.plain())
    model = transformer.Transformer(*sizes, shape, rank_scale=variant.rank_scale, masks=settings.masks)
    if not variant.rank_scale:
        return model
    return cast("Transformer", transformer.compressed(model, variant.rank_scale, spectral=spectral).model)


def plan(settings: RunSettings, variant: Variant, model: nn.Module) -> DecayPlan:
    """Return how the parameters of a network decay: by one coefficient, that of weight or of Frobenius decay."""
    from tacit.optim.transformer_decay import transformer_decay

    if variant.decay == "weight":
        return transformer_decay(model, weight_decay=variant.coefficient)
    rest = WITHOUT_LINEAR.get(variant.decay, variant.decay)
    return transformer_decay(
        model,
        frobenius_decay=variant.coefficient,
        linear=variant.decay in WITHOUT_LINEAR,
        query_key=rest == "attention",
        output_value=rest in ("ov", "attention"),
        flags=settings.flags,
    )


def train(
    corpus: Corpus, settings: RunSettings, variant: Variant, *, seed: int, checkpoint: str | Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """Train one network and return arrays and attributes of RUN.

    Order of batches and what is dropped depend on the seed alone. Raises UserError for a corpus with longer sentences
    than there are positions, and as `tacit.training.fitting.fit` does; an interrupted training continues from
    `checkpoint`.
    """
    # Here, because the tables do without torch.
    from tacit import devices
    from tacit.optim.nesterov import Nesterov
    from tacit.training import evaluation, fitting, optimizers, resumable
    from tacit.training.keeping import Best
    from tacit.training.objectives import LabelSmoothedCrossEntropy
    from tacit.training.sentences import Sentences, TokenBatches, evaluation_batches

    own, stream = settings.training, (STUDY, "train", seed)
    check_lengths(corpus.valid.source, corpus.valid.target, settings=settings, of="validation set")
    # Before a training whose translations would be refused.
    check_lengths(corpus.test.source, settings=settings, of="test set")
    try:
        batches = TokenBatches(
            corpus.train.source.lengths,
            corpus.train.target.lengths,
            most_tokens=own.most_tokens,
            most_positions=settings.architecture.longest,
            stream=stream,
            updates=own.updates,
        )
    except ValueError as error:
        raise UserError(f"{error}; raise training.most_tokens or architecture.positions") from None
    log.info("%d of %d training pairs in %d batches", len(batches.kept), len(corpus.train), batches.steps)
    objective = LabelSmoothedCrossEntropy(smoothing=own.smoothing, padding=PAD)
    sizes = Sizes(len(corpus.source), len(corpus.target))
    with devices.acquire() as device:
        try:
            network = build(settings, variant, sizes, seed=seed).to(device)
        except ValueError as error:
            # How many pieces there are is not known before there is a corpus.
            raise UserError(f"{error}; raise the rank scale, or corpus.merges") from None
        valid = Sentences(device, corpus.valid)
        lengths = (side.lengths for side in corpus.valid)
        groups = [valid.group(numbers) for numbers in evaluation_batches(*lengths, most_tokens=own.most_tokens)]
        decay = plan(settings, variant, network)
        decays = [decay.frobenius.add_gradients] if decay.frobenius.terms else []
        if own.clip:
            decays.append(optimizers.clipping(network.parameters(), own.clip))
        rate = optimizers.inverse_square_root(own.learning_rate, steps=batches.steps, constant=own.constant)

        def look(current: nn.Module) -> dict[str, Any]:
            seen = evaluation.token_losses(current, valid, groups, objective, precision=own.precision)
            return {f"valid_{name}": value for name, value in seen.items()} | norms(current)

        trained = fitting.fit(
            network,
            Sentences(device, corpus.train),
            Nesterov(decay.groups, lr=own.learning_rate, momentum=own.momentum),
            batches,
            epochs=batches.epochs,
            advice=f"reduce learning_rate (now {own.learning_rate:g}) or coefficient (now {variant.coefficient:g})",
            measure=look,
            measured=sorted({*range(0, batches.epochs + 1, own.every), batches.epochs}),
            kept=[batches.epochs],
            checkpoint=checkpoint,
            settings={"seed": seed} | variant._asdict() | settings.plain(),
            longer=resumable.Longer(("training.updates",)),
            objective=objective,
            precision=own.precision,
            rate=rate,
            decays=decays,
            best=Best("valid_loss"),
            run=f"{STUDY}, {', '.join(f'{name} {value}' for name, value in variant._asdict().items())}, seed {seed}",
        )
    assert trained.best is not None
    arrays: dict[str, Any] = trained.steps | trained.measures
    # Before a time it is the rate of the step that follows, after the last that of the last.
    ends = np.minimum(arrays["epoch"] * batches.steps, own.updates - 1)
    arrays["learning_rate"] = np.array([rate(step / batches.steps) for step in ends])
    arrays |= {f"weights_best_{name}": weights.numpy() for name, weights in trained.best.weights.items()}
    arrays |= {f"weights_last_{name}": weights.numpy() for name, weights in trained.weights[batches.epochs].items()}
    return arrays | Vocabulary(corpus.source, corpus.target, corpus.segmenter).arrays, {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "dense_parameters": dense_parameters(settings, sizes),
        "best_epoch": trained.best.epoch,
        "pairs_left_out": batches.skipped,
    }


def check_lengths(*sides: Lines, settings: RunSettings, of: str) -> None:
    """Raise UserError if a sentence has more tokens than there are positions."""
    longest = settings.architecture.longest
    for side in sides:
        if (side.lengths > longest).any():
            number = int(side.lengths.argmax())
            tokens = side.lengths[number]
            raise UserError(
                f"sentence {number + 1:,} of the {of} has {tokens:,} tokens, and the network has positions for "
                f"{longest:,}; raise architecture.positions to {tokens + UNUSED_POSITIONS}, or leave the sentence out"
            )


def dense_parameters(settings: RunSettings, sizes: Sizes) -> int:
    """Return how many parameters the dense network has, which is not made for it."""
    import torch

    with torch.device("meta"):
        dense = _assembled(settings, Variant(0.0, "regular", "weight", 0.0), sizes, spectral=False)
    return sum(parameter.numel() for parameter in dense.parameters())


def norms(network: nn.Module) -> dict[str, np.ndarray]:
    """Return what is measured of the matrices of PARTS, each (matrices,), but what they have none of."""
    from tacit.analysis import factor_norms
    from tacit.nn.attention import Attention
    from tacit.nn.factorized import FactorizedMatrix
    from tacit.nn.factors import Factors
    from tacit.nn.transformer import FeedForward

    def heads(stack: Factors) -> list[Factors]:
        return [Factors(U, VT) for U, VT in zip(stack.U.detach(), stack.VT.detach(), strict=True)]

    linear: list[Any] = []
    products: dict[str, list[Any]] = {"query_key": [], "output_value": []}
    for module in network.modules():
        if isinstance(module, FeedForward):
            layers: tuple[Any, ...] = module.fc1, module.fc2
            linear += [
                layer.factors() if isinstance(layer, FactorizedMatrix) else layer.weight.detach() for layer in layers
            ]
        elif isinstance(module, Attention):
            products["query_key"] += heads(module.query_key())
            products["output_value"] += heads(module.output_value())
    found: dict[str, np.ndarray] = {}
    for part, weights in {"linear": linear, **products}.items():
        measured = factor_norms.measure(weights)
        found |= {f"{part}_{name}": values for name, values in measured.items() if not np.isnan(values).all()}
    return found


# Translations.


class Translator(NamedTuple):
    """A trained network, and what its tokens stand for."""

    network: Transformer
    source: Dictionary
    target: Dictionary
    segmenter: Segmenter
    settings: RunSettings
    run: store.Record
    """The file, without weights."""

    @property
    def corpus(self) -> ParallelText:
        """What it was trained on, and so how its words are made."""
        return self.settings.corpus

    @property
    def longest(self) -> int:
        """Tokens that a sentence can have, its end included."""
        return self.network.longest


def translator(path: str | Path, *, weights: str, device: torch.device) -> Translator:
    """Return the network of a run file with its best or last weights, on a device.

    Raises StoreError if there is none, or if it is damaged.
    """
    import torch

    run = store.read(path, kind=RUN)
    vocabulary = vocabulary_in(run.arrays)
    settings = RunSettings.from_plain({name: run.settings[name] for name in RunSettings.model_fields})
    variant = Variant(*(run.settings[name] for name in Variant._fields))
    network = _assembled(settings, variant, Sizes(len(vocabulary.source), len(vocabulary.target)), spectral=False)
    prefix = f"weights_{weights}_"
    state = {
        name.removeprefix(prefix): torch.from_numpy(array)
        for name, array in run.arrays.items()
        if name.startswith(prefix)
    }
    network.load_state_dict(state)
    kept = {name: array for name, array in run.arrays.items() if not name.startswith("weights_")}
    return Translator(network.to(device).eval(), *vocabulary, settings, run._replace(arrays=kept))


def translate(
    translating: Translator, sources: Sequence[np.ndarray], decoding: Decoding, *, advance: Callable[[int], None]
) -> tuple[list[str], list[float]]:
    """Return translations of sentences of ids, whole words between blanks, and their scores.

    `advance` hears how many more are done.
    """
    from tacit.training import decoding as search

    asked = {name: getattr(decoding, name) for name in ("beams", "shortest", "longest", "length_power")}
    found = search.translate(
        translating.network,
        [source.tolist() for source in sources],
        search.Search(**asked),
        batch_size=decoding.batch_size,
        advance=advance,
    )
    texts = [translating.target.decode(best.tokens) for best in found]
    return texts, [best.score for best in found]


def decode(
    path: str | Path, corpus: Corpus, decoding: Decoding, *, advance: Callable[[int], None]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Translate the test set by the network of the run file at `path`; return arrays and attributes of TRANSLATED.

    Raises UserError for a sentence longer than there are positions, and if the network was trained on another corpus.
    """
    from tacit import devices
    from tacit.training import precision

    with devices.acquire() as device:
        # However it was trained.
        precision.use("float32", device)
        own = translator(path, weights=decoding.weights, device=device)
        check_lengths(corpus.test.source, settings=own.settings, of="test set")
        if (own.source.pieces, own.target.pieces, own.segmenter.merges) != (
            corpus.source.pieces,
            corpus.target.pieces,
            corpus.segmenter.merges,
        ):
            # Its ids would stand for other pieces.
            raise UserError(f"{path}: was trained on another text than is to be translated; delete it, and train anew")
        sources = [corpus.test.source.of(number) for number in range(len(corpus.test))]
        texts, scores = translate(own, sources, decoding, advance=advance)
    found = bleu(texts, references(corpus))
    log.info("%s", found.line)
    epochs = own.run.arrays["epoch"]
    epoch = own.run.attributes["best_epoch"] if decoding.weights == "best" else epochs[-1]
    seen = int(np.flatnonzero(epochs == epoch)[0])
    attributes = {name: own.run.attributes[name] for name in ("parameters", "dense_parameters")}
    attributes |= {name: float(own.run.arrays[name][seen]) for name in ("valid_loss", "valid_nll")}
    arrays = {"translations": text_of(texts), "scores": np.array(scores)}
    return arrays, attributes | {"decoded_epoch": float(epoch)} | _attributes(found)


def _attributes(found: Bleu) -> dict[str, float]:
    precisions = {f"precision_{order}": value for order, value in enumerate(found.precisions, 1)}
    lengths = {name: getattr(found, name) for name in ("brevity_penalty", "hypothesis_length", "reference_length")}
    return {"bleu": found.score} | precisions | lengths


def references(corpus: Corpus) -> list[str]:
    """Return the translations of the test set that are compared with, whole words between blanks."""
    target = corpus.test.target
    return [corpus.target.decode(target.of(number), unknown=REFERENCE_UNKNOWN) for number in range(len(target))]


def _encoded(translating: Translator, line: str, number: int) -> np.ndarray:
    """Return the ids of a line of text, with the end; raises UserError if it cannot be cut into pieces."""
    words = tokeniser(translating.corpus, translating.corpus.source_language)(line)
    try:
        return translating.source.encode(translating.segmenter(words))
    except ValueError as error:
        raise UserError(f"line {number + 1:,}: {error}") from None


def translate_text(
    translating: Translator, lines: Sequence[str], decoding: Decoding, *, advance: Callable[[int], None]
) -> list[str]:
    """Return translations of lines of text as people write it, words between blanks; of an empty line an empty one.

    They are cut where the network has no position left. What it does not know is logged. Raises UserError for a line
    longer than there are positions.
    """
    encoded = {number: _encoded(translating, line, number) for number, line in enumerate(lines)}
    # An end alone is of a line without words.
    sources = {number: own for number, own in encoded.items() if len(own) > 1}
    if long := [number for number, own in sources.items() if len(own) > translating.longest]:
        raise UserError(
            f"the network has positions for {translating.longest:,} tokens, and there are more in {_named(long)}; "
            "split them into sentences, or train with more architecture.positions"
        )
    unknown = {number: int((own == UNKNOWN).sum()) for number, own in sources.items()}
    if total := sum(unknown.values()):
        named = _named([number for number, count in unknown.items() if count])
        log.warning("%d pieces are unknown to the network, in %s", total, named)
    longest = min(decoding.longest, translating.longest - 1)
    asked = decoding.model_copy(update={"longest": longest, "shortest": min(decoding.shortest, longest)})
    texts, _ = translate(translating, list(sources.values()), asked, advance=advance)
    found: Mapping[int, str] = dict(zip(sources, texts, strict=True))
    return [found.get(number, "") for number in range(len(lines))]


def _named(numbers: Sequence[int], *, most: int = 5) -> str:
    """Return lines as a message names them, the first few of many; numbers are from 0."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return f"lines {', '.join(f'{number + 1:,}' for number in numbers[:most])}{more}"
