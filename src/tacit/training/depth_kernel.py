"""Forward and backward pass of residual networks of thousands of layers, compiled as one function.

Layers of a dozen units are too small for the functions of a library: starting one for each of them takes longer than
what it computes, and states of all samples at all layers do not fit a cache. Here a tile of samples goes through all
layers and back while its state stays in the innermost cache. Weight gradients are summed over the tiles of a group,
then over groups, in a fixed order, so that any number of threads gives the same bits; so does any processor
(`tacit.training.lanes`, `tacit.training.elementary`).

Networks and their gradients are those of `tacit.nn.deep_residual`. Of `skip` and `none` only the values of the
activation are kept, and states rebuilt on the way back, h_k = h_{k+1} - delta s_k (`none`: h_k = delta s_{k-1}, exact).
Taking away exactly what was added mostly gives back the state before, to the bit: gradients in float32 were off those
in float64 by 8e-7 at 2,000 layers and 3e-6 to 7e-6 at 12,000, no more than outputs are. Of the others states are kept.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit

from tacit.compiled import kernel
from tacit.nn.deep_residual import Network
from tacit.training.activations import CODES, GELU, activate, activate_and_differentiate, differentiate, gelu
from tacit.training.elementary import exponential, logarithm
from tacit.training.lanes import INNER, PADDED, fused, multiply, padded

TILE = 64
"""Samples that go through the network together; a multiple of PADDED."""

GROUPS = 16
"""Into so many groups the tiles are divided, whatever the number of threads, of which no more are of use."""

_SKIP, _NONE, _LINEAR, _INCREMENTS = range(4)
_AUGMENTATIONS = {"skip": _SKIP, "none": _NONE, "plain": _NONE, "linear_skip": _LINEAR, "inc_skip": _INCREMENTS}


class Samples(NamedTuple):
    """What a pass is over, N samples."""

    inputs: np.ndarray
    """(N, d), the states before the first layer"""
    labels: np.ndarray
    """(N,) int64; of a regression none, (0,)"""
    targets: np.ndarray
    """(N, outputs) float64; of a classification none, (0, outputs)"""

    def part(self, first: int, last: int) -> Samples:
        """Return the samples from `first` to before `last`."""
        return Samples(*(array[first:last] for array in self))


class Pass(NamedTuple):
    """What a pass gives."""

    loss: float
    """Mean over samples."""
    omega: float
    """Mean over samples of the squared norm of the loss's gradient with respect to the output of one."""
    outputs: np.ndarray
    """(N, outputs) float64"""
    gradient: np.ndarray
    """(L, d, d) of the loss with respect to the weights, in their precision; (0, d, d) if none was asked for"""
    delta_gradient: float
    """Of the loss with respect to the factor of all layers; 0 if it is not trained."""


def pass_through(
    network: Network, weights: np.ndarray, samples: Samples, *, threads: int, gradient: bool = True
) -> Pass:
    """Send samples through a network with `weights` (L, d, d), and back if a gradient is asked for.

    Computed in the precision of the weights (float32 or float64); `threads` changes no number.
    """
    depth, dim, _ = weights.shape
    width, kind, count = padded(dim), weights.dtype, len(samples.inputs)
    inputs = np.zeros((count, width), kind)
    inputs[:, :dim] = samples.inputs
    layers = _layers(network.augmentation, weights, width)
    outputs = np.empty((count, len(network.output_weights)))
    tiles = -(-count // TILE)
    groups = min(GROUPS, tiles)
    bounds = [tiles * number // groups * TILE for number in range(groups + 1)]
    gradients = np.empty((groups if gradient else 0, depth if gradient else 0, width * width), kind)
    sums = np.zeros((groups, 3))
    head = np.ascontiguousarray(network.output_weights, np.float64)
    spare: list[np.ndarray] = []
    codes = _AUGMENTATIONS[network.augmentation], CODES[network.activation]
    delta = kind.type(network.delta if network.takes_delta else 1)

    def of_group(number: int) -> None:
        first, last = bounds[number], min(bounds[number + 1], count)
        kept = spare.pop() if spare else np.empty((depth, TILE * width), kind)
        own = gradients[number] if gradient else np.empty((0, width * width), kind)
        _group(
            *codes, kind == np.float32, delta, float(network.p_loss), 1.0 / count, network.trains_delta, gradient,
            inputs[first:last], samples.labels[first:last], samples.targets[first:last], *layers, head, dim,
            kept, own, outputs[first:last], sums[number],
        )  # fmt: skip
        spare.append(kept)

    if threads == 1 or groups == 1:
        for number in range(groups):
            of_group(number)
    else:
        with ThreadPoolExecutor(min(threads, groups)) as pool:
            list(pool.map(of_group, range(groups)))
    loss, omega, delta_gradient = _in_order(sums)
    summed = np.empty((depth if gradient else 0, dim, dim), kind)
    if gradient:
        _sum_groups(gradients, summed, width)
    return Pass(loss / count, omega / count, outputs, summed, delta_gradient)


def _in_order(sums: np.ndarray) -> tuple[float, float, float]:
    loss, omega, delta = 0.0, 0.0, 0.0
    for row in sums.tolist():
        loss, omega, delta = loss + row[0], omega + row[1], delta + row[2]
    return loss, omega, delta


def _layers(augmentation: str, weights: np.ndarray, width: int) -> tuple[np.ndarray, ...]:
    """Return what the passes multiply by, flat, each (L, d, width): on the way there, back, and of increments both."""
    depth, dim, _ = weights.shape

    def rows(matrices: np.ndarray) -> np.ndarray:
        out = np.zeros((depth, dim, width), weights.dtype)
        out[:, :, :dim] = matrices
        return out.reshape(-1)

    none = np.zeros(0, weights.dtype)
    if augmentation != "inc_skip":
        return rows(weights.swapaxes(1, 2)), rows(weights), none, none
    before = np.zeros_like(weights)
    before[1:] = weights[:-1]
    steps = weights - before
    return rows(before.swapaxes(1, 2)), rows(before), rows(steps), rows(steps.swapaxes(1, 2))


@kernel(nogil=True, error_model="numpy")
def _group(
    augmentation, activation, single, delta, p_loss, share, trains_delta, gradient, inputs, labels, targets,
    ahead, back, steps, steps_back, head, dim, kept, gradients, outputs, sums,
):  # fmt: skip
    """Send the samples of one group through, tile by tile; add loss, Omega and the gradient of delta to `sums`.

    `share` is 1 / N of the whole batch, by which gradients are scaled.
    """
    count, width = inputs.shape
    length = kept.shape[1]
    flat = inputs.reshape(-1)
    state, grown, other = np.empty(length, kept.dtype), np.empty(length, kept.dtype), np.empty(length, kept.dtype)
    moved, slopes, values = np.empty_like(state), np.empty_like(state), np.empty_like(state)
    if gradient:
        gradients[:] = 0
    for first in range(0, count, TILE):
        rows = min(TILE, count - first)
        state[: rows * width] = flat[first * width : (first + rows) * width]
        state[rows * width :] = 0
        _go_ahead(
            augmentation, activation, single, delta, state, other, values, kept, ahead, steps, dim, width
        )  # fmt: skip
        grown[:] = 0
        _judge(
            state, grown, head, labels[first : first + rows], targets[first : first + rows], p_loss, share,
            outputs[first : first + rows], width, sums,
        )  # fmt: skip
        if gradient:
            _go_back(
                augmentation, activation, single, delta, trains_delta, flat[first * width :], rows, state, grown, other,
                moved, slopes, values, kept, back, ahead, steps_back, gradients, dim, width, sums,
            )  # fmt: skip


@njit(**INNER)  # type: ignore[call-overload]
def _go_ahead(augmentation, activation, single, delta, state, other, values, kept, ahead, steps, dim, width):
    """Send a tile through all layers, from `state` to `state`; keep what the way back needs."""
    rows, zero = len(state) // width, delta - delta
    for k in range(len(kept)):
        own, at = kept[k], k * dim * width
        if augmentation in (_SKIP, _NONE):
            multiply(other, state, width, 1, ahead, at, rows, dim, width, False)
            if activation == GELU:
                activate(activation, single, other, values)
                own[:] = other
            else:
                activate(activation, single, other, own)
                values = own
            if augmentation == _SKIP:
                for n in range(len(state)):
                    state[n] = fused(delta, values[n], state[n])
            else:
                for n in range(len(state)):
                    state[n] = fused(delta, values[n], zero)
        elif augmentation == _LINEAR:
            own[:] = state
            activate(activation, single, state, values)
            multiply(other, values, width, 1, ahead, at, rows, dim, width, False)
            _add(state, other)
        else:
            own[:] = state
            multiply(other, state, width, 1, ahead, at, rows, dim, width, False)
            activate(activation, single, other, values)
            multiply(other, values, width, 1, steps, at, rows, dim, width, False)
            _add(state, other)


@njit(**INNER)  # type: ignore[call-overload]
def _go_back(
    augmentation, activation, single, delta, trains_delta, first, rows_there, state, grown, other, moved, slopes,
    values, kept, back, ahead, steps_back, gradients, dim, width, sums,
):  # fmt: skip
    """Send the gradient `grown` with respect to the last states of a tile back; add to those of the weights."""
    rows = len(state) // width
    for k in range(len(kept) - 1, -1, -1):
        own, at = kept[k], k * dim * width
        if augmentation in (_SKIP, _NONE):
            if activation == GELU:
                gelu(single, own, values, slopes)
            else:
                values = own
                differentiate(activation, values, slopes)
            if trains_delta:
                total = 0.0
                for n in range(len(state)):
                    total += np.float64(grown[n]) * np.float64(values[n])
                sums[2] += total
            if augmentation == _SKIP:
                for n in range(len(state)):
                    state[n] = fused(-delta, values[n], state[n])
                    moved[n] = delta * slopes[n] * grown[n]
            else:
                for n in range(len(state)):
                    moved[n] = delta * slopes[n] * grown[n]
                _restore(activation, single, k, kept, first, rows_there, delta, state, width)
            multiply(gradients[k], moved, 1, width, state, 0, width, rows, width, True)
            multiply(other, moved, width, 1, back, at, rows, dim, width, False)
            if augmentation == _SKIP:
                _add(grown, other)
            else:
                grown[:] = other
        elif augmentation == _LINEAR:
            activate_and_differentiate(activation, single, own, values, slopes)
            multiply(gradients[k], grown, 1, width, values, 0, width, rows, width, True)
            multiply(other, grown, width, 1, back, at, rows, dim, width, False)
            for n in range(len(state)):
                grown[n] = fused(slopes[n], other[n], grown[n])
        else:
            multiply(other, own, width, 1, ahead, at, rows, dim, width, False)
            activate_and_differentiate(activation, single, other, values, slopes)
            multiply(gradients[k], values, 1, width, grown, 0, width, rows, width, True)
            multiply(other, grown, width, 1, steps_back, at, rows, dim, width, False)
            for n in range(len(state)):
                other[n] = slopes[n] * other[n]
            if k > 0:
                for n in range(len(state)):
                    values[n] = -values[n]
                multiply(gradients[k - 1], values, 1, width, grown, 0, width, rows, width, True)
                multiply(gradients[k - 1], other, 1, width, own, 0, width, rows, width, True)
            multiply(values, other, width, 1, back, at, rows, dim, width, False)
            _add(grown, values)


@njit(**INNER)  # type: ignore[call-overload]
def _add(total, part):
    """Add `part`, summed by itself before: of a small sum that is added at once little is lost, layer after layer."""
    for n in range(len(total)):
        total[n] += part[n]


@njit(**INNER)  # type: ignore[call-overload]
def _restore(activation, single, k, kept, first, rows_there, delta, state, width):
    """Write the states before layer k of a network without skips: the layer before is all that they are."""
    if k == 0:
        state[:] = 0
        state[: rows_there * width] = first[: rows_there * width]
        return
    if activation == GELU:
        activate(activation, single, kept[k - 1], state)
    else:
        state[:] = kept[k - 1]
    zero = delta - delta
    for n in range(len(state)):
        state[n] = fused(delta, state[n], zero)


@njit(**INNER)  # type: ignore[call-overload]
def _judge(state, grown, head, labels, targets, p_loss, share, outputs, width, sums):
    """Write outputs of a tile, and the gradient of the mean loss with respect to its states; add up loss and Omega."""
    rows, classes = outputs.shape
    dim = head.shape[1]
    of_output = np.empty(classes)
    for row in range(rows):
        for c in range(classes):
            total = 0.0
            for i in range(dim):
                total += head[c, i] * np.float64(state[row * width + i])
            outputs[row, c] = total
        if len(labels):
            largest = outputs[row].max()
            total = 0.0
            for c in range(classes):
                of_output[c] = exponential(outputs[row, c] - largest)
                total += of_output[c]
            for c in range(classes):
                of_output[c] /= total
            of_output[labels[row]] -= 1.0
            sums[0] += logarithm(total) + largest - outputs[row, labels[row]]
        else:
            for c in range(classes):
                away = outputs[row, c] - targets[row, c]
                sums[0] += _power(abs(away), p_loss)
                of_output[c] = p_loss * _power(abs(away), p_loss - 1.0) * np.sign(away)
        for c in range(classes):
            sums[1] += of_output[c] * of_output[c]
        for i in range(dim):
            total = 0.0
            for c in range(classes):
                total += of_output[c] * head[c, i]
            grown[row * width + i] = share * total


@njit(**INNER)  # type: ignore[call-overload]
def _power(x, p):
    """Return x^p for x from 0 on; 0^0 is 1."""
    if p == 0.0:
        return 1.0
    if p == 1.0:
        return x
    if p == 2.0:
        return x * x
    if x < 2.3e-308:
        return 0.0
    return exponential(min(p * logarithm(x), 709.0))


@kernel(nogil=True, error_model="numpy")
def _sum_groups(gradients, summed, width):
    """Add up the gradients of all groups, in order, without what is padding."""
    depth, dim, _ = summed.shape
    for k in range(depth):
        for i in range(dim):
            for j in range(dim):
                total = gradients[0, k, i * width + j]
                for number in range(1, len(gradients)):
                    total += gradients[number, k, i * width + j]
                summed[k, i, j] = total


assert TILE % PADDED == 0


@kernel(nogil=True, error_model="numpy")
def product(a, b):
    """Return the product of matrices (N, k) and (k, d), C-contiguous float64; each entry is summed in order of k."""
    found = np.zeros((len(a), b.shape[1]))
    for row in range(len(a)):
        for k in range(a.shape[1]):
            factor = a[row, k]
            for column in range(b.shape[1]):
                found[row, column] += factor * b[k, column]
    return found
