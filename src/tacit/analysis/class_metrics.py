"""Accuracy, and precision and recall as means over classes, as torchmetrics averages them (`macro`, top 1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ClassMetrics(NamedTuple):
    """Shares from 0 to 1."""

    accuracy: float
    """Of samples that are right."""
    macro_recall: float
    """Mean over classes of the share of their samples that are right. What the original logs as `accuracy`."""
    macro_precision: float
    """Mean over classes of the share of right ones among what is taken for them."""


def class_metrics(predicted: np.ndarray, labels: np.ndarray, *, num_classes: int) -> ClassMetrics:
    """Return the metrics of predictions (N,) of classes.

    A class that is neither predicted nor a label is left out of the means; 0 of 0 counts as 0. Raises ValueError if
    there is no sample.
    """
    if not len(labels):
        raise ValueError("metrics of no sample")
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    of_label = np.bincount(labels, minlength=num_classes)
    of_prediction = np.bincount(predicted, minlength=num_classes)
    there = (of_label + of_prediction) > 0
    recall = right[there] / np.maximum(of_label[there], 1)
    precision = right[there] / np.maximum(of_prediction[there], 1)
    return ClassMetrics(float(np.mean(predicted == labels)), float(recall.mean()), float(precision.mean()))
