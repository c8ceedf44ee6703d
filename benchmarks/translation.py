"""Milliseconds per training step of the Transformer, and sentences translated a second, beside plain ones.

The plain network (`plain/translation.py`) computes head by head, the plain search sentence by sentence, without what
was computed in the step before. Steps have label smoothing, clipping and Nesterov's momentum; without dropout, losses
of the first steps agree. Searches are by networks as they are drawn, with logits spread so that hypotheses of different
lengths end; all hypotheses of a few sentences and their scores agree. Then either is timed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from comparison import Case, arguments, best_time, chosen_device, report
from plain import translation as plain
from tacit.data.subwords import END, PAD
from tacit.nn.transformer import Shape, Transformer
from tacit.optim.nesterov import Nesterov
from tacit.training import engine, optimizers
from tacit.training.decoding import Search, beam_search, left_padded, translate
from tacit.training.objectives import LabelSmoothedCrossEntropy, Tokens

RATE, MOMENTUM, CLIP, SMOOTHING = 0.25, 0.99, 0.1, 0.1
FIRST = 4
"""Number of the first token that is a word."""


class Sentences:
    """Random sentences, as many in each of a number of batches."""

    def __init__(self, vocabulary: int, *, batches: int, size: int, length: int):
        random = np.random.default_rng(0)

        def sentence() -> list[int]:
            words = random.integers(length // 2, length)
            return [*random.integers(FIRST, vocabulary, size=words).tolist(), END]

        self.batches = [[(sentence(), sentence()) for _ in range(size)] for _ in range(batches)]
        self.labels = torch.arange(batches)

    def begin(self, epoch: int) -> None:
        """Draw nothing."""

    def batch(self, numbers: Tensor, memory_format: torch.memory_format) -> Tokens:
        """Return the batch with this number."""
        pairs = self.batches[int(numbers)]
        longest = max(len(target) for _, target in pairs)
        targets = torch.tensor([target + [PAD] * (longest - len(target)) for _, target in pairs])
        # The end of each goes to its front.
        previous = torch.tensor([[END, *target[:-1]] + [PAD] * (longest - len(target)) for _, target in pairs])
        return Tokens(left_padded([source for source, _ in pairs], PAD), previous, targets)


def network(vocabulary: int, *, dropout: bool) -> Transformer:
    """Return the network that both start from."""
    torch.manual_seed(0)
    shape = Shape() if dropout else Shape(dropout=0.0, inner_dropout=0.0)
    return Transformer(vocabulary, vocabulary, shape)


def copied(ours: Transformer) -> plain.PlainTransformer:
    """Return the plain network of the same weights."""
    state = {name: tensor.detach() for name, tensor in ours.state_dict().items()}
    shape = ours.shape
    rest = {"dropout": shape.dropout, "inner_dropout": shape.inner_dropout}
    return plain.PlainTransformer(state, heads=shape.heads, padding=PAD, **rest)


class Steps:
    """Training steps of both."""

    def __init__(self, vocabulary: int, *, batches: int, size: int, length: int):
        self.vocabulary, self.size, self.length = vocabulary, size, length
        self.data = Sentences(vocabulary, batches=batches, size=size, length=length)

    def ours(self, *, dropout: bool) -> engine.Minimize:
        """Return our training at its start."""
        made = network(self.vocabulary, dropout=dropout)
        optimizer = Nesterov(made.parameters(), lr=RATE, momentum=MOMENTUM)
        objective = LabelSmoothedCrossEntropy(smoothing=SMOOTHING, padding=PAD)
        clip = optimizers.clipping(made.parameters(), CLIP)
        step = engine.Minimize(made, self.data, objective, optimizer, decays=[clip])
        step.begin(0, len(self.data.labels))
        return step

    def plain(self, *, dropout: bool) -> list[float]:
        """Take plain steps, and return losses."""
        made, losses = copied(network(self.vocabulary, dropout=dropout)), []
        optimizer = plain.PlainNesterov(list(made.parameters()), lr=RATE, momentum=MOMENTUM, clip=CLIP)
        for number in self.data.labels:
            source, previous, target = self.data.batch(number, torch.contiguous_format)
            loss = plain.smoothed_loss(made(source, previous), target, smoothing=SMOOTHING, padding=PAD)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def compare(self) -> Case:
        """Find losses to agree, then time steps with dropout."""
        step = self.ours(dropout=False)
        pairs = zip(self.data.labels, self.plain(dropout=False), strict=True)
        difference = max(abs(step.take(int(number), number[None]).tolist()[0] / loss - 1) for number, loss in pairs)
        assert difference < 1e-4, f"losses differ by {difference:.2g}"
        moving, count = self.ours(dropout=True), len(self.data.labels)

        def take() -> None:
            for number in self.data.labels:
                moving.take(int(number), number[None])

        fast = best_time(take) / count
        slow = best_time(lambda: self.plain(dropout=True), repeats=2) / count
        name = f"training step, {self.size} pairs of up to {self.length} tokens, {self.vocabulary} words"
        agreement = f"losses of {count} steps within {difference:.1e}"
        return Case(name, 1e3 * fast, 1e3 * slow, "ms/step", slow / fast, agreement)


def decoding(vocabulary: int, *, sentences: int, plain_sentences: int, length: int) -> Case:
    """Compare searches."""
    ours = network(vocabulary, dropout=False).eval()
    with torch.no_grad():
        ours.logits.weight.mul_(3)
        # As if a sentence ended every so many words.
        ours.logits.bias[END] += 10
    theirs = copied(ours).eval()
    pairs = Sentences(vocabulary, batches=1, size=sentences, length=length).batches[0]
    sources = [source for source, _ in pairs]
    search = Search(longest=2 * length)
    limits = {"beams": search.beams, "shortest": search.shortest, "longest": search.longest, "end": search.end}
    few = sources[:: sentences // plain_sentences]
    made = beam_search(ours, left_padded(few, PAD), search)
    difference = 0.0
    for source, found in zip(few, made, strict=True):
        for (tokens, score), own in zip(plain.beam_search(theirs, source, **limits), found, strict=True):
            assert tokens == own.tokens, "hypotheses differ"
            difference = max(difference, abs(score - own.score))
    assert difference < 1e-4, f"scores differ by {difference:.2g}"
    fast = sentences / best_time(lambda: translate(ours, sources, search))
    slow = len(few) / best_time(lambda: [plain.beam_search(theirs, source, **limits) for source in few], repeats=2)
    lengths = [len(found[0].tokens) for found in made]
    name = f"beam search, {sentences} sentences of up to {length} tokens, {vocabulary} words"
    agreement = f"{search.beams} hypotheses of {len(few)} sentences equal, scores within {difference:.1e}"
    note = f"translations of {min(lengths)} to {max(lengths)} tokens"
    return Case(name, fast, slow, "sentences/s", fast / slow, agreement, note)


def main() -> None:
    """Compare training steps and searches."""
    parser = arguments(__doc__)
    parser.add_argument("--device", choices=["cpu"], default="cpu", help="the plain loops know no other")
    parser.add_argument("--threads", type=int, default=1, help="jobs of the workflow have one")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--length", type=int, default=25)
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=128)
    parser.add_argument("--plain-sentences", type=int, default=8)
    given = parser.parse_args()
    _, name = chosen_device(given)

    def cases() -> Iterator[Case]:
        size, length = given.vocabulary, given.length
        yield Steps(size, batches=given.steps, size=given.pairs, length=length).compare()
        yield decoding(size, sentences=given.sentences, plain_sentences=given.plain_sentences, length=length)

    report(cases(), device=f"{name}, float32", as_json=given.json)


if __name__ == "__main__":
    main()
