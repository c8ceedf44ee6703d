"""The Transformer that translates, dense and compressed, of Khodak, Tenenholtz, Mackey, Fusi 2021.

After Vaswani et al. 2017. Encoder and decoder are stacks of layers that normalise before each part and add it to what
they were given, x + dropout(part(norm(x))): attention, in the decoder to the source as well, and two linear layers with
a ReLU. A norm follows each stack, a linear layer makes logits of what comes out of the decoder. Positions are learned;
nothing is shared between embeddings and logits.

Sources (B, S) and targets (B, T) are numbers of tokens, with `padding` where a sentence is shorter: before it in a
source, after it in a target. Logits are (B, T, V).

Compressed with a rank scale below 1, embeddings, the two linear layers and the logits are factorized, and heads are
narrower: all products that attention has are of lower rank.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from tacit.data.subwords import PAD
from tacit.nn.attention import HIDDEN, Attention, KeysValues
from tacit.nn.factorizing import FactorizedModel, factorize
from tacit.nn.rank_solver import Factorizable

SPREAD = 0.1
"""Standard deviation of embeddings at their start, and bound of all else that is drawn."""

Masks = Literal["repaired", "published"]
"""What hides padding. "published" leaves that of the source in the sight of the decoder."""


class LayerNorm(nn.Module):
    """Returns weight (x - mean) / (deviation + epsilon) + bias, over the last dimension.

    The deviation is the unbiased one, and epsilon outside its root, other than PyTorch has it.
    """

    def __init__(self, width: int, *, epsilon: float = 1e-6):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) of (..., D)."""
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().sum(-1, keepdim=True) / (x.shape[-1] - 1)
        # The root has no slope at 0, where a vector is constant, as one is that was dropped altogether.
        varies = variance > 0
        deviation = torch.where(varies, torch.where(varies, variance, 1.0) ** 0.5, 0.0)
        return torch.addcmul(self.bias, centred / (deviation + self.epsilon), self.weight)


class FeedForward(nn.Module):
    """Two linear layers without biases, and a ReLU between them of which some is dropped."""

    def __init__(self, width: int, inner_width: int, *, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(width, inner_width, bias=False)
        self.fc2 = nn.Linear(inner_width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) of (..., D)."""
        return self.fc2(self.dropout(relu(self.fc1(x))))


class Shape(NamedTuple):
    """Sizes of a Transformer; the defaults are the published `transformer_small`."""

    width: int = 256
    """D"""
    inner_width: int = 1024
    """Between the linear layers of a part."""
    heads: int = 4
    layers: int = 2
    """In each of encoder and decoder."""
    positions: int = 1024
    """Rows of the tables of positions, of which those up to `padding` are those of no token."""
    dropout: float = 0.2
    """Share that is dropped of embeddings and of each part."""
    inner_dropout: float = 0.1
    """Share that is dropped between the linear layers of a part."""


class EncoderLayer(nn.Module):
    """Attention of a source to itself, and two linear layers."""

    def __init__(self, shape: Shape, head_width: int):
        super().__init__()
        self.attention = Attention(shape.width, heads=shape.heads, head_width=head_width)
        self.feed_forward = FeedForward(shape.width, shape.inner_width, dropout=shape.inner_dropout)
        self.norms = nn.ModuleList(LayerNorm(shape.width) for _ in range(2))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, S, D) of (B, S, D)."""
        normed = self.norms[0](x)
        x = x + self.dropout(self.attention(normed, normed, mask))
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Attention of a target to its past, attention to the source, and two linear layers."""

    def __init__(self, shape: Shape, head_width: int):
        super().__init__()
        self.attention, self.source_attention = (
            Attention(shape.width, heads=shape.heads, head_width=head_width) for _ in range(2)
        )
        self.feed_forward = FeedForward(shape.width, shape.inner_width, dropout=shape.inner_dropout)
        self.norms = nn.ModuleList(LayerNorm(shape.width) for _ in range(3))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, mask: Tensor, source: KeysValues, source_mask: Tensor | None) -> Tensor:
        """Return (B, T, D) of (B, T, D)."""
        normed = self.norms[0](x)
        x = x + self.dropout(self.attention(normed, normed, mask))
        return self._after_attention(x, source, source_mask)

    def step(
        self, x: Tensor, past: KeysValues | None, source: KeysValues, source_mask: Tensor
    ) -> tuple[Tensor, KeysValues]:
        """Return the same of one token in each of K targets to each source, (B, K, D), and the longer past.

        The past has a row for each of the B K targets; keys and values of the source are not repeated for them.
        """
        normed = self.norms[0](x).flatten(0, 1).unsqueeze(1)
        own = self.attention.offer(normed)
        past = own if past is None else past.followed_by(own)
        x = x + self.dropout(self.attention.read(normed, past).view_as(x))
        return self._after_attention(x, source, source_mask), past

    def _after_attention(self, x: Tensor, source: KeysValues, source_mask: Tensor | None) -> Tensor:
        x = x + self.dropout(self.source_attention.read(self.norms[1](x), source, source_mask))
        return x + self.dropout(self.feed_forward(self.norms[2](x)))


class Progress(NamedTuple):
    """What the next token of each of K targets to each of B sources follows from, besides the last one."""

    source: tuple[KeysValues, ...]
    """Of each layer, (B, H, S, d)."""
    source_mask: Tensor
    """(B, 1, 1, S)"""
    past: tuple[KeysValues, ...]
    """Of each layer, (B K, H, t, d); none before the first step."""
    length: int
    """Tokens t that each target has."""

    def targets(self, numbers: Tensor) -> Progress:
        """Return the targets with these numbers (B K), out of all."""
        return self._replace(past=tuple(layer.rows(numbers) for layer in self.past))

    def sources(self, numbers: Tensor) -> Progress:
        """Return the sources with these numbers (n,); targets stay as they are."""
        kept = tuple(layer.rows(numbers) for layer in self.source)
        return self._replace(source=kept, source_mask=self.source_mask[numbers])


class Transformer(nn.Module):
    """A network that gives logits of the next tokens of a translation; draws its start from torch's generator.

    Embeddings start as N(0, 0.01), matrices and the bias of logits uniformly within 0.1 of 0.

    Args:
        source_tokens: number of tokens in the dictionary of the source.
        target_tokens: V, the same of the target.
        shape: all sizes.
        rank_scale: narrows heads to int(rank_scale D / H) if above 0; `compressed` factorizes the rest.
        padding: number of the token that is none; it has an embedding, which is not learned.
        masks: whether the decoder sees padding of sources. With "published" it does, but not in `step`: the original
            decodes sentences of one length together, and so has none.

    Raises ValueError for sizes of which there is no Transformer.
    """

    def __init__(
        self,
        source_tokens: int,
        target_tokens: int,
        shape: Shape | None = None,
        *,
        rank_scale: float = 0.0,
        padding: int = PAD,
        masks: Masks = "repaired",
    ):
        super().__init__()
        shape = shape or Shape()
        if masks not in ("repaired", "published"):
            raise ValueError(f"masks = {masks!r}: they are 'repaired' or 'published'")
        head_width = narrowed(shape, rank_scale)
        self.shape, self.padding, self.masks = shape, padding, masks
        self.source_embedding = nn.Embedding(source_tokens, shape.width, padding_idx=padding)
        self.source_positions = nn.Embedding(shape.positions, shape.width, padding_idx=padding)
        self.target_embedding = nn.Embedding(target_tokens, shape.width, padding_idx=padding)
        self.target_positions = nn.Embedding(shape.positions, shape.width, padding_idx=padding)
        self.dropout = nn.Dropout(shape.dropout)
        self.encoder = nn.ModuleList(EncoderLayer(shape, head_width) for _ in range(shape.layers))
        self.encoder_norm = LayerNorm(shape.width)
        self.decoder = nn.ModuleList(DecoderLayer(shape, head_width) for _ in range(shape.layers))
        self.decoder_norm = LayerNorm(shape.width)
        self.logits = nn.Linear(shape.width, target_tokens)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                # The row of padding too, which attention as published sees.
                nn.init.normal_(module.weight, std=SPREAD)
            elif isinstance(module, nn.Linear):
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -SPREAD, SPREAD)

    @property
    def longest(self) -> int:
        """Tokens that a sentence can have, its end included."""
        return self.shape.positions - self.padding - 1

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Return logits (B, T, V) of the tokens after each of `previous` (B, T), given sources (B, S).

        Raises ValueError if there are more tokens than positions.
        """
        mask = self._hidden(source)
        encoded = self._encode(source, mask)
        x = self._embed(previous, self.target_embedding, self.target_positions, self._positions(previous))
        length = previous.shape[1]
        future = torch.full((length, length), HIDDEN, dtype=x.dtype, device=x.device).triu(1)
        # Where both apply, one of them will do.
        own_mask = torch.minimum(self._hidden(previous), future)
        for layer in self._decoder_layers():
            offered = layer.source_attention.offer(encoded)
            x = layer(x, own_mask, offered, None if self.masks == "published" else mask)
        return self.logits(self.decoder_norm(x))

    def begin(self, source: Tensor) -> Progress:
        """Return what targets to these sources (B, S), as many to each as one likes, begin with."""
        mask = self._hidden(source)
        encoded = self._encode(source, mask)
        return Progress(tuple(layer.source_attention.offer(encoded) for layer in self._decoder_layers()), mask, (), 0)

    def step(self, last: Tensor, progress: Progress) -> tuple[Tensor, Progress]:
        """Return logits (B, K, V) of the tokens after `last` (B, K), and the progress after these.

        In evaluation mode they are those of `forward` at the last place, for the work that one place takes.
        `last` is no padding. Raises ValueError if there are more tokens than positions.
        """
        place = self.padding + 1 + progress.length
        self._check(progress.length + 1)
        x = self._embed(last, self.target_embedding, self.target_positions, torch.full_like(last, place))
        past = []
        for number, layer in enumerate(self._decoder_layers()):
            before = progress.past[number] if progress.past else None
            x, after = layer.step(x, before, progress.source[number], progress.source_mask)
            past.append(after)
        made = progress._replace(past=tuple(past), length=progress.length + 1)
        return self.logits(self.decoder_norm(x)), made

    def _decoder_layers(self) -> list[DecoderLayer]:
        return [cast(DecoderLayer, layer) for layer in self.decoder]

    def _encode(self, source: Tensor, mask: Tensor) -> Tensor:
        x = self._embed(source, self.source_embedding, self.source_positions, self._positions(source))
        for layer in self.encoder:
            x = layer(x, mask)
        return self.encoder_norm(x)

    def _embed(self, tokens: Tensor, embedding: nn.Module, table: nn.Module, positions: Tensor) -> Tensor:
        # Products of factors come in half precision from autocast, tables as they are.
        x = (embedding(tokens) + table(positions)).to(self.decoder_norm.weight.dtype)
        return self.dropout(x)

    def _positions(self, tokens: Tensor) -> Tensor:
        """Return the position of each token, counted from padding + 1 without padding, whose own is `padding`."""
        self._check(tokens.shape[1])
        there = tokens != self.padding
        return there.cumsum(1) * there + self.padding

    def _check(self, length: int) -> None:
        if length > self.longest:
            raise ValueError(f"{length} tokens: there are positions for {self.longest}")

    def _hidden(self, tokens: Tensor) -> Tensor:
        """Return the mask (B, 1, 1, S) that hides padding."""
        zeros = torch.zeros(tokens.shape, dtype=self.decoder_norm.weight.dtype, device=tokens.device)
        return zeros.masked_fill_(tokens == self.padding, HIDDEN)[:, None, None]


def narrowed(shape: Shape, rank_scale: float) -> int:
    """Return the width of a head: D / H, or int(rank_scale D / H) with a rank scale above 0.

    Raises ValueError for a scale that is 1 or more, with which the original widens heads and factorizes nothing, and
    where nothing is left of a head or heads do not divide D.
    """
    if shape.width % shape.heads:
        raise ValueError(f"a width of {shape.width} is not divided by {shape.heads} heads")
    if not 0 <= rank_scale < 1:
        raise ValueError(f"rank_scale = {rank_scale}: it is 0, for dense, or a share between 0 and 1")
    width = int(rank_scale * shape.width / shape.heads) if rank_scale else shape.width // shape.heads
    if not width:
        raise ValueError(f"rank_scale = {rank_scale} leaves nothing of heads of {shape.width // shape.heads}")
    return width


def compressible(name: str, module: nn.Module) -> bool:
    """Tell whether a layer of `Transformer` is one that is factorized: all but the matrices of attention.

    Those are narrowed instead.
    """
    return isinstance(module, nn.Embedding) or name == "logits" or name.endswith(("fc1", "fc2"))


def draw(factor: Tensor, layer: Factorizable, generator: torch.Generator | None) -> None:
    """Draw a factor as the layer that it replaces is drawn (`factorize`), as published."""
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(factor, std=SPREAD, generator=generator)
    else:
        nn.init.uniform_(factor, -SPREAD, SPREAD, generator=generator)


def compressed(model: Transformer, rank_scale: float, *, spectral: bool) -> FactorizedModel:
    """Return a copy of a Transformer, whose heads have been narrowed, with the rest factorized.

    `spectral` starts from the weights of `model`, otherwise factors are drawn from torch's generator.
    """
    return factorize(model, select=compressible, rank_scale=rank_scale, spectral=spectral, draw=draw)
