"""What run files hold of descents on factorizations, whatever else a study measures (`tacit.training.descent`)."""

from __future__ import annotations

from tacit import store

EVALUATIONS = {
    "iterations": store.Array("int64", "evaluations"),
    **{
        name: store.Array("float", "evaluations")
        for name in (
            "train_loss",
            "train_mse",
            "train_prediction_mean",
            "train_prediction_max",
            "normalized_reconstruction_error",
        )
    },
}
"""Arrays of a kind of file, with a number for each evaluation."""
