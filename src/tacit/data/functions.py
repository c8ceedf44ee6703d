"""Regression sets with one input and one output: a sine, a constant (thesis on weight regularity, code and README).

Data and split come from streams of their own, so that no seed of a network changes them, nor the other way round.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tacit import streams
from tacit.settings.depth_limit import Function


class Regression(NamedTuple):
    """Inputs and targets (N, 1) float64, in two parts."""

    train_inputs: np.ndarray
    train_targets: np.ndarray
    test_inputs: np.ndarray
    test_targets: np.ndarray


def draw(settings: Function) -> Regression:
    """Draw a set, and which nine tenths of it are learned from.

    The original's check that no two inputs of the sine have a product above K cannot fail for inputs below its root,
    and is left out.
    """
    number = settings.num_samples
    drawn = streams.numpy_generator("functions", settings.source, settings.seed).uniform(-1, 1, (number, 1))
    if settings.source == "constant":
        inputs, targets = drawn, np.full_like(drawn, settings.constant)
    elif settings.form == "readme":
        inputs, targets = drawn, np.sin(drawn)
    else:
        bound = (np.exp(-4 * settings.constant) / (8 * number)) ** 0.5
        inputs, targets = bound * drawn, np.sin(np.pi * drawn)
    order = streams.numpy_generator("functions", "split", settings.seed).permutation(number)
    train, test = np.split(order, [settings.num_train])
    return Regression(inputs[train], targets[train], inputs[test], targets[test])
