"""A Transformer and its beam search as they are written down, head by head and sentence by sentence.

Every head has matrices of its own and is computed by itself. Targets are searched for one sentence at a time, and each
step passes all that the beams have so far through the decoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, embedding, linear, relu


class Head(nn.Module):
    """One head of attention, with weights (d, D) of queries, keys and values and one (D, d) of what it writes."""

    def __init__(self, query: Tensor, key: Tensor, value: Tensor, output: Tensor):
        super().__init__()
        self.query, self.key, self.value, self.output = (
            nn.Parameter(weight.detach().clone()) for weight in (query, key, value, output)
        )

    def forward(self, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return what x reads from y."""
        logits = linear(x, self.query) @ linear(y, self.key).transpose(1, 2) / math.sqrt(len(self.query))
        return linear(torch.softmax(logits + mask, -1) @ linear(y, self.value), self.output)


class Norm(nn.Module):
    """Normalisation with the unbiased deviation."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) of (..., D)."""
        mean, deviation = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return self.weight * (x - mean) / (deviation + 1e-6) + self.bias


class PlainTransformer(nn.Module):
    """The dense Transformer of `tacit.nn.transformer`, from a state of it; padding of sources is hidden."""

    def __init__(self, state: dict[str, Tensor], *, heads: int, padding: int, dropout: float, inner_dropout: float):
        super().__init__()
        self.padding, self.dropout, self.inner_dropout = padding, dropout, inner_dropout
        self.tables = nn.ParameterDict(
            {
                f"{side}_{kind}": nn.Parameter(state[f"{side}_{kind}.weight"].clone())
                for side in ("source", "target")
                for kind in ("embedding", "positions")
            }
        )
        self.layers = nn.ModuleDict()
        for stack, attentions in (("encoder", ["attention"]), ("decoder", ["attention", "source_attention"])):
            number = 0
            while f"{stack}.{number}.norms.0.weight" in state:
                at = f"{stack}.{number}"
                parts: dict[str, nn.Module] = {name: self.heads_of(state, f"{at}.{name}", heads) for name in attentions}
                parts |= {
                    f"norm{k}": Norm(state[f"{at}.norms.{k}.weight"], state[f"{at}.norms.{k}.bias"])
                    for k in range(len(attentions) + 1)
                }
                parts["weights"] = nn.ParameterDict(
                    {k: nn.Parameter(state[f"{at}.feed_forward.{k}.weight"].clone()) for k in ("fc1", "fc2")}
                )
                self.layers[at.replace(".", "_")] = nn.ModuleDict(parts)
                number += 1
        self.encoder_norm = Norm(state["encoder_norm.weight"], state["encoder_norm.bias"])
        self.decoder_norm = Norm(state["decoder_norm.weight"], state["decoder_norm.bias"])
        self.weight, self.bias = (nn.Parameter(state[f"logits.{name}"].clone()) for name in ("weight", "bias"))

    @staticmethod
    def heads_of(state: dict[str, Tensor], name: str, heads: int) -> nn.ModuleList:
        """Return the heads, cut out of the matrices of all."""
        rows = [state[f"{name}.{part}.weight"].chunk(heads) for part in ("query", "key", "value")]
        return nn.ModuleList(
            Head(*parts) for parts in zip(*rows, state[f"{name}.output.weight"].chunk(heads, 1), strict=True)
        )

    def embed(self, tokens: Tensor, side: str) -> Tensor:
        """Return vectors of tokens, with those of their positions."""
        positions = torch.full_like(tokens, self.padding)
        for row in range(len(tokens)):
            position = self.padding + 1
            for column in range(tokens.shape[1]):
                if tokens[row, column] != self.padding:
                    positions[row, column] = position
                    position += 1
        tables = (self.tables[f"{side}_embedding"], self.tables[f"{side}_positions"])
        x = sum(embedding(which, table, self.padding) for which, table in zip((tokens, positions), tables, strict=True))
        return dropout(x, self.dropout, self.training)

    def attend(self, heads: nn.ModuleList, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
        """Return what all heads write."""
        total = torch.zeros_like(x)
        for head in heads:
            total = total + head(x, y, mask)
        return dropout(total, self.dropout, self.training)

    def feed(self, weights: nn.ParameterDict, x: Tensor) -> Tensor:
        """Return what the two linear layers make."""
        inner = dropout(relu(linear(x, weights["fc1"])), self.inner_dropout, self.training)
        return dropout(linear(inner, weights["fc2"]), self.dropout, self.training)

    def hidden(self, tokens: Tensor) -> Tensor:
        """Return the mask of padding (B, 1, S)."""
        return -1e9 * (tokens == self.padding).float()[:, None]

    def encode(self, source: Tensor) -> Tensor:
        """Return the encoded source."""
        x = self.embed(source, "source")
        for name, layer in self.layers.items():
            if name.startswith("encoder"):
                normed = layer["norm0"](x)
                x = x + self.attend(layer["attention"], normed, normed, self.hidden(source))
                x = x + self.feed(layer["weights"], layer["norm1"](x))
        return self.encoder_norm(x)

    def decode(self, encoded: Tensor, source: Tensor, previous: Tensor) -> Tensor:
        """Return what logits are made of at every place."""
        x, length = self.embed(previous, "target"), previous.shape[1]
        mask = self.hidden(previous) - 1e9 * torch.ones(length, length).triu(1)
        for name, layer in self.layers.items():
            if name.startswith("decoder"):
                normed = layer["norm0"](x)
                x = x + self.attend(layer["attention"], normed, normed, mask)
                x = x + self.attend(layer["source_attention"], layer["norm1"](x), encoded, self.hidden(source))
                x = x + self.feed(layer["weights"], layer["norm2"](x))
        return self.decoder_norm(x)

    def forward(self, source: Tensor, previous: Tensor) -> Tensor:
        """Return logits."""
        return linear(self.decode(self.encode(source), source, previous), self.weight, self.bias)


def smoothed_loss(logits: Tensor, target: Tensor, *, smoothing: float, padding: int) -> Tensor:
    """Return the loss, a token after the other."""
    total, count = torch.zeros(()), 0
    for row, answers in zip(torch.log_softmax(logits, -1), target, strict=True):
        for log_p, answer in zip(row, answers.tolist(), strict=True):
            if answer != padding:
                total = total - (1 - smoothing) * log_p[answer] - smoothing * log_p.mean()
                count += 1
    return total / count


class PlainNesterov:
    """The optimizer, with clipping, a parameter after the other."""

    def __init__(self, parameters: list[nn.Parameter], *, lr: float, momentum: float, clip: float):
        self.parameters, self.lr, self.momentum, self.clip = parameters, lr, momentum, clip
        self.velocities = [torch.zeros_like(parameter) for parameter in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Take a step, at a rate that does not change."""
        norm = math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in self.parameters))
        factor = min(1.0, self.clip / (norm + 1e-6))
        for parameter, velocity in zip(self.parameters, self.velocities, strict=True):
            gradient = parameter.grad * factor
            parameter += self.momentum**2 * velocity - (1 + self.momentum) * self.lr * gradient
            velocity.mul_(self.momentum).sub_(self.lr * gradient)
            parameter.grad = None


@torch.no_grad()
def beam_search(
    network: PlainTransformer, source: list[int], *, beams: int, shortest: int, longest: int, end: int
) -> list[tuple[list[int], float]]:
    """Return finished hypotheses of one sentence with their scores, the best first."""
    sentence = torch.tensor([source])
    encoded = network.encode(sentence)
    finished: list[tuple[list[int], float]] = []
    alive: list[tuple[list[int], float]] = [([], 0.0)]
    for length in range(longest + 1):
        previous = torch.tensor([[end, *tokens] for tokens, _ in alive])
        decoded = network.decode(encoded.expand(len(alive), -1, -1), sentence.expand(len(alive), -1), previous)
        log_p = torch.log_softmax(linear(decoded[:, -1], network.weight, network.bias), -1)
        log_p[:, network.padding] = -math.inf
        if length < shortest:
            log_p[:, end] = -math.inf
        candidates = []
        for (tokens, total), row in zip(alive, log_p, strict=True):
            if length == longest:
                candidates.append((total + row[end].item(), tokens, end))
                continue
            values, which = row.topk(min(2 * beams, len(row)))
            pairs = zip(values.tolist(), which.tolist(), strict=True)
            candidates += [(total + value, tokens, token) for value, token in pairs if value > -math.inf]
        candidates = sorted(candidates, key=lambda candidate: -candidate[0])[: 2 * beams]
        for total, tokens, token in candidates[:beams]:
            if token == end and len(finished) < beams:
                finished.append((tokens, total / (length + 1)))
        if len(finished) == beams:
            break
        going = [([*tokens, token], total) for total, tokens, token in candidates if token != end]
        alive = going[:beams]
    return sorted(finished, key=lambda hypothesis: -hypothesis[1])
