"""Residual networks of one width and any depth, after the thesis on weight regularity in the depth limit.

h_0 = U_in x, then L layers with weights W_k (d, d), output U_out h_L; no biases; U_in and U_out are random and fixed.
With delta = L^-alpha and an activation s, as column vectors:

    skip          h_{k+1} = h_k + delta s(W_k h_k)
    none          h_{k+1} = delta s(W_k h_k)                                  as published
    plain         h_{k+1} = s(W_k h_k)                                        the same with delta 1
    linear_skip   h_{k+1} = h_k + W_k s(h_k)
    inc_skip      h_{k+1} = h_k + (W_k - W_{k-1})^T s(W_{k-1} h_k),  W_{-1} = 0

Here are the draws, and the passes in NumPy, layer by layer, which the quick ones are held against
(`tacit.training.depth_kernel` on a CPU, `tacit.training.depth_torch` on a GPU).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tacit.errors import UserError

FALLBACK = 1e-9
"""Half-width below which the published `ntrunc` is constant."""


class Network(NamedTuple):
    """What a network is besides its trained weights."""

    augmentation: str
    activation: str
    delta: float
    """Factor of each layer; `plain`, `linear_skip` and `inc_skip` do without, whatever it is."""
    input_weights: np.ndarray
    """U_in (d, inputs) float64"""
    output_weights: np.ndarray
    """U_out (outputs, d) float64"""
    p_loss: float = 2.0
    """Exponent of the loss of a regression."""
    trains_delta: bool = False

    @property
    def takes_delta(self) -> bool:
        """Whether delta changes what the network computes."""
        return self.augmentation in ("skip", "none")

    @property
    def dim(self) -> int:
        """Width."""
        return len(self.input_weights)


def exponent(*, alpha: float, gamma: float) -> float:
    """Return 1/gamma + 1 - alpha, by which initial weights fall with depth."""
    return 1 / gamma + 1 - alpha


def half_width(depth: int, *, alpha: float, gamma: float) -> float:
    """Return m = L^-(1/gamma + 1 - alpha) / 2, the scale of `constant` and `ntrunc`."""
    return depth ** -exponent(alpha=alpha, gamma=gamma) / 2


def falls_back(initialization: str, depth: int, *, alpha: float, gamma: float) -> bool:
    """Tell whether `ntrunc` is so narrow that, as published, all weights are its half-width."""
    return initialization == "ntrunc" and half_width(depth, alpha=alpha, gamma=gamma) <= FALLBACK


def initial_weights(
    initialization: str, depth: int, dim: int, *, alpha: float, gamma: float, generator: np.random.Generator
) -> np.ndarray:
    """Draw initial weights (L, d, d) float64.

    All but `ntrunc` have equal entries in a layer. `ntrunc` is a normal of standard deviation sqrt(m), cut at -m and
    m, where it is as good as uniform; drawn as the normal's quantiles of uniform numbers.
    """
    m, w = half_width(depth, alpha=alpha, gamma=gamma), exponent(alpha=alpha, gamma=gamma)
    if initialization == "ntrunc" and m > FALLBACK:
        from scipy import special

        edge = special.ndtr(m**0.5)
        shares = generator.uniform(1 - edge, edge, (depth, dim, dim))
        return np.clip(special.ndtri(shares) * m**0.5, -m, m)
    i, base = np.arange(depth, dtype=np.float64), depth**-w
    falling, rising = depth - i - 1, i
    match initialization:
        case "constant" | "ntrunc":
            values = np.full(depth, m)
        case "lin_dec":
            values = falling**w * base**2
        case "lin_inc":
            values = rising**w * base**2
        case "quad":
            values = (falling * rising) ** w * base**3
        case "lin_dec_sym":
            values = _signed_power(depth - 2 * (i - 1), w) * base**2
        case "lin_inc_sym":
            values = _signed_power(2 * i - depth, w) * base**2
        case _:
            raise UserError(f"{initialization}: no such initialisation")
    return np.broadcast_to(values[:, None, None], (depth, dim, dim)).copy()


def _signed_power(x: np.ndarray, w: float) -> np.ndarray:
    return np.where(x >= 0, 1.0, -1.0) * np.abs(x) ** w / 2**w


def frozen_weights(outputs: int, inputs: int, *, generator: np.random.Generator) -> np.ndarray:
    """Draw a matrix (outputs, inputs) uniformly in +-1/sqrt(inputs), as torch initialises linear layers."""
    return generator.uniform(-1, 1, (outputs, inputs)) / inputs**0.5


def activate(activation: str, x: np.ndarray) -> np.ndarray:
    """Return the activation of x."""
    from scipy import special

    match activation:
        case "tanh":
            return np.tanh(x)
        case "relu":
            return np.maximum(x, 0)
        case "elu":
            return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        case "gelu":
            return x * special.ndtr(x)
        case "sigmoid":
            return special.expit(x)
    raise UserError(f"{activation}: no such activation")


def forward(network: Network, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return outputs (N, outputs) of samples (N, inputs), in float64, layer by layer."""
    h = inputs @ network.input_weights.T
    delta, before = network.delta if network.takes_delta else 1.0, np.zeros_like(weights[0])
    for own in weights:
        match network.augmentation:
            case "skip":
                h = h + delta * activate(network.activation, h @ own.T)
            case "none" | "plain":
                h = delta * activate(network.activation, h @ own.T)
            case "linear_skip":
                h = h + activate(network.activation, h) @ own.T
            case "inc_skip":
                h = h + activate(network.activation, h @ before.T) @ (own - before)
        before = own
    return h @ network.output_weights.T
