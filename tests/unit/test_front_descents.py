"""Descents of factorizations, Tacit's and those of one's own, from plain arguments."""

import numpy as np
import pytest
import torch
from torch import nn

import tacit
from tacit.errors import DivergenceError
from tacit.nn.factorizations import CPFactorization, MatrixFactorization, set_normal


class Product(nn.Module):
    """What MatrixFactorization is, as anybody would write it."""

    def __init__(self, sizes=(6, 5, 5), std=0.05, dtype=torch.float64):
        super().__init__()
        drawn = MatrixFactorization(sizes[0], sizes[-1], len(sizes) - 1)
        set_normal(drawn, np.random.default_rng(0), std=std)
        self.layers = nn.ParameterList(factor.detach().to(dtype) for factor in drawn.factors)

    def forward(self):
        end = self.layers[0]
        for layer in list(self.layers)[1:]:
            end = end @ layer
        return end


def known(std=0.05, dtype=torch.float64):
    model = MatrixFactorization(6, 5, 2).to(dtype)
    set_normal(model, np.random.default_rng(0), std=std)
    return model


RANDOM = np.random.default_rng(1)
TARGET = RANDOM.normal(size=(6, 1)) @ RANDOM.normal(size=(1, 5))
FLAT = RANDOM.permutation(30)[:20]
PLACES = np.stack(np.unravel_index(FLAT, (6, 5)), 1)


def error(end):
    return {
        "error": float((end.detach().double() - torch.from_numpy(TARGET)).norm()),
        "values": torch.linalg.svdvals(end),
    }


def fit(model, **more):
    return tacit.descend(model, PLACES, TARGET.ravel()[FLAT], **{"measure": error, "tolerance": 1e-9} | more)


@pytest.mark.parametrize("optimizer", ["group_rmsprop", "sgd"])
def test_of_ones_own_it_is_that_of_tacits(optimizer):
    more = {"optimizer": optimizer, "learning_rate": 1e-2 if optimizer == "group_rmsprop" else 0.3, "epochs": 400}
    ours, own = (
        fit(known(), weight_decay=1e-3, tolerance=1e-12, **more),
        fit(Product(), weight_decay=1e-3, tolerance=1e-12, **more),
    )
    assert list(ours) == list(own) and ours["iterations"].tolist() == list(range(25, 401, 25))
    assert ours["values"].shape == (16, 5) and ours["train_loss"][-1] < 0.1 * ours["train_loss"][0]
    for name in ours:
        np.testing.assert_allclose(own[name], ours[name], rtol=1e-6, atol=1e-9)


def test_a_small_start_completes_a_matrix_of_rank_one():
    model = Product(std=1e-3)
    history = fit(model, epochs=50_000)
    assert history["train_mse"][-1] < 1e-9 and history["iterations"][-1] < 50_000
    np.testing.assert_allclose(model().detach().numpy(), TARGET, atol=0.02)
    assert history["error"][-1] == pytest.approx(float(np.linalg.norm(model().detach().numpy() - TARGET)), rel=1e-9)


def test_forms_of_indices_are_the_same():
    values = TARGET.ravel()[FLAT]
    found = [
        tacit.descend(known(), indices, given, epochs=50)["train_loss"]
        for indices, given in [(FLAT, values), (PLACES, values.tolist()), (torch.tensor(PLACES), torch.tensor(values))]
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_tensors_and_single_precision():
    model = CPFactorization((3, 4, 2), 6)
    set_normal(model, np.random.default_rng(0), std=0.3)
    history = tacit.descend(model, [[0, 0, 0], [2, 3, 1], [1, 1, 0]], [1.0, -1.0, 0.5], loss="huber", tolerance=1e-6)
    assert history["train_mse"][-1] < 1e-6 and history["train_loss"].dtype == np.float32
    assert model.end_tensor()[2, 3, 1].item() == pytest.approx(-1, abs=0.01)


def test_what_a_descent_sets_for_the_process_is_put_back():
    before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    model = Product(dtype=torch.float32)
    fit(model, epochs=25)
    assert before == (
        torch.get_deterministic_debug_mode(),
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    storages = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    assert len(storages) == 2 and all(own.grad is None for own in model.parameters())


def test_the_rule_of_stopping():
    eager, patient = (fit(known(), patience=patience, tolerance=1e-6)["iterations"] for patience in (0, 3))
    assert len(patient) == len(eager) + 3


def zeros():
    return Product(std=0.0)


def frozen():
    model = Product()
    model.layers[0].requires_grad_(False)
    return model


def mixed():
    model = Product()
    model.layers[0].data = model.layers[0].data.float()
    model.forward = lambda: model.layers[1]
    return model


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tacit.descend(Product(), [[6, 0]], [1.0]), r"entry \[6, 0\] is outside of a tensor of 6 x 5"),
        (lambda: tacit.descend(Product(), [-1], [1.0]), r"entry \[-1\] is outside"),
        (lambda: tacit.descend(Product(), [30], [1.0]), "outside"),
        (lambda: tacit.descend(Product(), [[1, 1], [1, 1]], [1.0, 2.0]), "1 entries are observed twice"),
        (lambda: tacit.descend(Product(), [[1, 1, 1]], [1.0]), r"they are \(n,\), flat, or \(n, 2\)"),
        (lambda: tacit.descend(Product(), [0.5], [1.0]), "whole numbers"),
        (lambda: tacit.descend(Product(), [1, 2], [1.0]), "2 indices and values of shape"),
        (lambda: tacit.descend(Product(), np.zeros(0, int), []), "0 indices"),
        (lambda: tacit.descend(Product(), [1, 2], [1.0, np.nan]), "value number 1, counted from 0, is not finite"),
        (lambda: tacit.descend(zeros(), [1], [1.0]), "gradient is 0 at the start"),
        (lambda: tacit.descend(known(std=0.0), [1], [1.0]), "gradient is 0 at the start"),
        (lambda: tacit.descend(frozen(), [1], [1.0]), "some parameters are frozen"),
        (lambda: tacit.descend(mixed(), [1], [1.0]), "all are float32, or all float64"),
        (lambda: tacit.descend(Product().half(), [1], [1.0]), "all are float32"),
        (lambda: tacit.descend(nn.Identity(), [1], [1.0]), "missing|no matrix or tensor"),
        (lambda: tacit.descend(Product(), [1], [1.0], learning_rate=-1.0), "learning_rate"),
        (lambda: tacit.descend(Product(), [1], [1.0], optimizer="adam"), "group_rmsprop"),
    ],
)
def test_what_cannot_descend_is_refused(call, said):
    with pytest.raises((ValueError, TypeError), match=said):
        call()


def test_divergence_is_said():
    with pytest.raises(DivergenceError, match="lower the learning rate"):
        fit(Product(std=1.0), optimizer="sgd", learning_rate=100.0)
