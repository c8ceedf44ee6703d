"""Translations by a trained network: beam search over many sentences at once.

As Khodak, Tenenholtz, Mackey, Fusi 2021 decode. A hypothesis is a row of tokens; its score is the sum of their
log-probabilities, once it has ended divided by a power of its length, the end included. From the K best of each
sentence, the beams, one step takes the best 2K continuations: those among the first K that end are finished, the first
K of those that do not are the next beams. A sentence is done as soon as K hypotheses are finished, and the best of them
is its translation. With one beam that is greedy decoding.

Each step computes one token of every beam (`Transformer.step`), of the sentences that are not done. Padding of sources
is hidden, so that it does not matter, but for rounding, which sentences are translated together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tacit.data.subwords import END
from tacit.errors import DivergenceError
from tacit.nn.transformer import Transformer
from tacit.training.objectives import full


class Search(NamedTuple):
    """How translations are searched for; the defaults are the published ones."""

    beams: int = 5
    """K"""
    shortest: int = 1
    """Tokens that a hypothesis has before it may end."""
    longest: int = 200
    """Tokens after which it ends in any case."""
    length_power: float = 1.0
    """The power of the length that scores are divided by."""
    end: int = END
    """Number of the token that ends a sentence, and that stands before each target."""


class Hypothesis(NamedTuple):
    """A translation."""

    tokens: list[int]
    """Without the end."""
    score: float
    """Log-probability, in nats, divided by a power of the length."""


PUBLISHED = Search()
"""How the paper searches."""


@torch.no_grad()
def beam_search(network: Transformer, source: Tensor, search: Search = PUBLISHED) -> list[list[Hypothesis]]:
    """Return the finished hypotheses of each source (B, S), padded on the left, the best first; K or fewer.

    Fewer than K there are only if no more are possible. The network is in evaluation mode meanwhile. Raises ValueError
    for limits that are none, and if the network has too few positions; DivergenceError if its logits are not finite.
    """
    _check(network, search)
    training = network.training
    network.eval()
    beams, batch, device = search.beams, len(source), source.device
    progress = network.begin(source)
    finished: list[list[Hypothesis]] = [[] for _ in range(batch)]
    going = list(range(batch))
    # All beams begin alike, so that only the first may go on.
    scores = torch.full((batch, beams), -torch.inf, device=device)
    scores[:, 0] = 0
    tokens = torch.full((batch, beams, 1), search.end, device=device)
    for length in range(search.longest + 1):
        logits, progress = network.step(tokens[..., -1], progress)
        totals = _totals(logits, scores, length, search, padding=network.padding)
        best, places = totals.flatten(1).topk(2 * beams, sorted=True)
        beam, token = places // totals.shape[-1], places % totals.shape[-1]
        ends = token == search.end
        rows, ranks = (ends[:, :beams] & best[:, :beams].isfinite()).nonzero(as_tuple=True)
        ended = tokens[rows, beam[rows, ranks], 1:].tolist()
        for row, hypothesis, total in zip(rows.tolist(), ended, best[rows, ranks].tolist(), strict=True):
            if len(finished[going[row]]) < beams:
                score = total / (length + 1) ** search.length_power
                finished[going[row]].append(Hypothesis(hypothesis, score))
        left = [row for row, number in enumerate(going) if len(finished[number]) < beams]
        if not left or length == search.longest:
            break
        rows = torch.tensor(left, device=device)
        if len(left) < len(going):
            going = [going[row] for row in left]
            progress = progress.sources(rows)
            tokens, best, beam, token, ends = (part[rows] for part in (tokens, best, beam, token, ends))
        # The first K that do not end, in their order.
        chosen = ends.int().argsort(dim=1, stable=True)[:, :beams]
        scores, beam, token = (part.gather(1, chosen) for part in (best, beam, token))
        progress = progress.targets((rows[:, None] * beams + beam).flatten())
        before = tokens.gather(1, beam[..., None].expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([before, token[..., None]], 2)
    network.train(training)
    if not all(finished):
        raise DivergenceError("no translation was found, as logits are not finite: the training has diverged")
    return [sorted(found, key=lambda hypothesis: -hypothesis.score) for found in finished]


def _totals(logits: Tensor, scores: Tensor, length: int, search: Search, *, padding: int) -> Tensor:
    """Return the scores (B, K, V) of all continuations of beams that have `length` tokens; -inf for what may not be."""
    totals = full(logits).log_softmax(-1).add_(scores[..., None])
    totals[..., padding] = -torch.inf
    if length < search.shortest:
        totals[..., search.end] = -torch.inf
    if length == search.longest:
        # Whatever has not ended does so now.
        totals[..., : search.end] = -torch.inf
        totals[..., search.end + 1 :] = -torch.inf
    return totals


def translate(
    network: Transformer,
    sources: Sequence[Sequence[int]],
    search: Search = PUBLISHED,
    *,
    batch_size: int = 128,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Hypothesis]:
    """Return the best hypothesis of each of many sources, which are numbers of tokens with their end.

    Sources of like length are translated together, `batch_size` of them at a time, where the network is. `advance`
    hears how many more are done. Raises ValueError as `beam_search` does.
    """
    order = sorted(range(len(sources)), key=lambda number: len(sources[number]))
    device = next(network.parameters()).device
    found: dict[int, Hypothesis] = {}
    for first in range(0, len(order), batch_size):
        numbers = order[first : first + batch_size]
        padded = left_padded([sources[number] for number in numbers], network.padding).to(device)
        searched = beam_search(network, padded, search)
        found.update(zip(numbers, (hypotheses[0] for hypotheses in searched), strict=True))
        advance(len(numbers))
    return [found[number] for number in range(len(sources))]


def left_padded(sentences: Sequence[Sequence[int]], padding: int) -> Tensor:
    """Return sentences as one tensor (B, S) int64, padded on the left to the length of the longest."""
    longest = max(map(len, sentences))
    return torch.tensor([[padding] * (longest - len(sentence)) + list(sentence) for sentence in sentences])


def _check(network: Transformer, search: Search) -> None:
    """Raise ValueError unless such hypotheses are possible."""
    if search.beams < 1:
        raise ValueError(f"beams = {search.beams}: there is 1 or more")
    if not 0 <= search.shortest <= search.longest:
        raise ValueError(f"shortest = {search.shortest}, longest = {search.longest}: 0 or more, and in this order")
    if search.longest + 1 > network.longest:
        raise ValueError(f"longest = {search.longest}: with its end, a target has {network.longest} tokens at most")
