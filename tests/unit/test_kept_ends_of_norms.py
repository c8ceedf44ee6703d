"""Ends of factorizations that are kept, read back as models."""

from functools import reduce

import numpy as np
import pytest
import torch

from tacit import store
from tacit.data import sensing
from tacit.errors import UserError
from tacit.settings.base import SettingsError
from tacit.settings.factorizations import CPProblem, Descent
from tacit.settings.norms import MatrixDescent, Ranks, TensorRun, Variant
from tacit.settings.observed_matrices import ObservedMatrix
from tacit.studies import kept, matrix_norms, tensor_completion

BLOCK = ObservedMatrix()
WIDE = ObservedMatrix(task="completion", shape=(3, 5), rank=2, num_samples=9)
TALL = ObservedMatrix(task="sensing", shape=(4, 2), num_samples=6)
ROUNDING = {"float32": 1e-6, "float64": 1e-14}
"""Of an end matrix or tensor that is multiplied anew, in units of its largest entry."""


def fit(folder, problem=BLOCK, *, depth=3, **more):
    variant = Variant(depth=depth, learning_rate=0.01, init_scale=1e-2, balanced=False)
    descent = MatrixDescent.from_plain({"epochs": 5000} | more)
    arrays = matrix_norms.train(problem, variant, descent, seed=1)
    settings = {"problem": problem.plain(), "variant": variant.plain(), "seed": 1, "descent": descent.plain()}
    store.write(folder / "matrix.h5", arrays, kind=matrix_norms.RUN, settings=settings)
    return folder / "matrix.h5", arrays


def complete(folder, *, keep="last epoch", shape=(3, 5, 4), **more):
    problem = CPProblem(shape=shape, rank=1, norm=1.0, num_samples=int(np.prod(shape)))
    record = store.Record(sensing.make(problem, "completion"), {"problem": problem.plain()}, {})
    descent = Descent.from_plain({"epochs": 1000, "evaluate_every": 50, "tolerance": 1e-6, "patience": 2} | more)
    settings = TensorRun(descent=descent, ranks=Ranks(), keep=keep)
    identity = {"num_observations": record.arrays["target"].size * 3 // 4, "init_std": 0.01, "seed": 0}
    arrays = tensor_completion.train(record, settings, **identity, checkpoint=folder / "c.pt")
    own = identity | settings.plain() | {"problem": problem.plain()}
    store.write(folder / "tensor.h5", arrays, kind=tensor_completion.RUN, settings=own)
    return folder / "tensor.h5", arrays, record


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("problem", [BLOCK, WIDE, TALL], ids=["block", "wide", "tall"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_factors_of_a_matrix_multiply_to_what_was_measured_last(tmp_path, problem, precision, depth):
    path, arrays = fit(tmp_path, problem, depth=depth, keep="last epoch", precision=precision)
    assert kept.epochs(path) == [arrays["epochs"][-1]]
    model = kept.model(path)
    assert model.shape == problem.shape
    assert not model.training
    factors = [factor.detach().numpy() for factor in model.factors]
    assert len(factors) == depth
    assert {factor.dtype for factor in factors} == {np.dtype(precision)}
    end, largest = arrays["end"][-1], np.abs(arrays["end"][-1]).max()
    for product in (model.end_tensor().detach().numpy(), reduce(np.matmul, factors)):
        np.testing.assert_allclose(product, end, atol=largest * ROUNDING[precision], rtol=0)
    norm = np.linalg.svd(reduce(np.matmul, [factor.astype(np.float64) for factor in factors]), compute_uv=False).sum()
    assert norm == pytest.approx(arrays["nuclear_norm"][-1], rel=10 * ROUNDING[precision])


def test_a_matrix_that_is_fitted_early_keeps_its_end(tmp_path):
    path, arrays = fit(tmp_path, depth=2, keep="last epoch", tolerance=0.4, epochs=10**6)
    assert kept.epochs(path) == [arrays["epochs"][-1]]
    assert arrays["epochs"][-1] < 10**6
    np.testing.assert_allclose(kept.model(path).end_tensor().detach(), arrays["end"][-1], rtol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_end_tensor_is_that_of_its_factors_and_what_was_measured_last(tmp_path, precision):
    path, arrays, record = complete(tmp_path, precision=precision)
    assert kept.epochs(path) == [arrays["iterations"][-1]]
    model = kept.model(path)
    with torch.no_grad():
        # To the bit, on the same machine.
        np.testing.assert_array_equal(model.end_tensor().numpy(), arrays["end"])
        first, second, third = (factor.double().numpy() for factor in model.factors)
    assert arrays["end"].dtype == precision
    built = np.einsum("ir,jr,kr->ijk", first, second, third)
    largest = np.abs(built).max()
    np.testing.assert_allclose(arrays["end"], built, atol=10 * largest * ROUNDING[precision], rtol=0)
    target = record.arrays["target"]
    error = np.linalg.norm(built - target) / np.linalg.norm(target)
    last = arrays["normalized_reconstruction_error"][-1]
    assert error == pytest.approx(last, abs=100 * ROUNDING[precision])


def test_by_default_nothing_is_kept_and_what_is_kept_changes_nothing_else(tmp_path):
    assert "keep" not in MatrixDescent().plain()
    path, plain = fit(tmp_path)
    assert kept.epochs(path) == []
    with pytest.raises(UserError, match="keeps no weights; set keep"):
        kept.model(path)
    _, more = fit(tmp_path, keep="last epoch")
    tensor, own, _ = complete(tmp_path, keep="none")
    assert kept.epochs(tensor) == []
    assert "end" not in own
    with pytest.raises(UserError, match="keeps no weights"):
        kept.model(tensor)
    _, whole, _ = complete(tmp_path)
    for before, after in ((plain, more), (own, whole)):
        for name, values in before.items():
            np.testing.assert_array_equal(values, after[name])


def test_tables_have_no_word_of_what_is_kept(tmp_path):
    path, _ = fit(tmp_path, keep="last epoch")
    tables = matrix_norms.collect([path])
    assert not [name for name in (*tables.runs, *tables.curves) if "weights" in name]


def test_an_epoch_that_is_not_kept_is_refused(tmp_path):
    path, _ = fit(tmp_path, keep="last epoch")
    with pytest.raises(UserError, match="keeps no epoch 9; there are 5000"):
        kept.model(path, 9)
    with pytest.raises(SettingsError, match="input should be 'none' or 'last epoch'"):
        MatrixDescent.from_plain({"keep": "every epoch"})
