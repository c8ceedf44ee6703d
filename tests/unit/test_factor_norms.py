"""Norms of products of factors, and setting them, against decompositions of the products."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tacit.analysis.factor_norms import frobenius_norms, measure, normalise
from tacit.nn.factorized import FactorizedLinear, factorized_layers
from tacit.nn.factorizing import factorize
from tacit.nn.factors import Factors, balanced, spectral_factors

DOUBLE = {"dtype": torch.float64}
SHAPES = [(9, 2, 12), (5, 30, 4), (9, 2, 12), (6, 1, 6), (7, 5, 20), (4, 4, 4)]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def factors(place, *, three=False):
    m, rank, n = SHAPES[place]
    M = random(rank, rank, seed=20 + place) if three else None
    return Factors(random(m, rank, seed=place), random(rank, n, seed=10 + place), M)


def layers(dtype=torch.float64):
    return [FactorizedLinear(factors(place)).to(dtype) for place in range(len(SHAPES))]


def off_diagonal(gram):
    gram = gram.numpy()
    return np.linalg.norm(gram - np.diag(np.diag(gram))) / np.linalg.norm(gram)


@pytest.mark.parametrize("batched", [True, False])
def test_norms_are_those_of_the_products(batched):
    weights = [factors(0), random(5, 8, seed=3), *(factors(place, three=place % 2 == 1) for place in range(1, 6))]
    weights += [random(5, 8, seed=4), random(8, 5, seed=5)]
    found = measure(weights, batched=batched)
    for place, weight in enumerate(weights):
        dense = isinstance(weight, Tensor)
        product = weight if dense else weight.product()
        values = np.linalg.svd(product.numpy(), compute_uv=False)
        assert found["frobenius_norms"][place] == pytest.approx(np.linalg.norm(product.numpy()), rel=1e-12)
        assert found["nuclear_norms"][place] == pytest.approx(values.sum(), rel=1e-12)
        if dense:
            assert np.isnan(found["nuclear_bounds"][place]) and np.isnan(found["non_orthogonality"][place])
            continue
        bound = sum(float(part.square().sum()) for part in weight if part is not None) / 2
        assert found["nuclear_bounds"][place] == pytest.approx(bound, rel=1e-12)
        if weight.M is None:
            expected = (off_diagonal(weight.U.T @ weight.U) + off_diagonal(weight.VT @ weight.VT.T)) / 2
            assert found["non_orthogonality"][place] == pytest.approx(expected, rel=1e-12)
        else:
            assert np.isnan(found["non_orthogonality"][place])


def test_weight_decay_bounds_the_nuclear_norm_and_meets_it_when_balanced():
    found = measure([factors(place) for place in range(6)])
    assert (found["nuclear_bounds"] > found["nuclear_norms"]).all()
    assert (found["non_orthogonality"][[0, 1, 2, 4, 5]] > 0.05).all() and found["non_orthogonality"][3] == 0
    started = [spectral_factors(random(*shape[::2], seed=place), shape[1]) for place, shape in enumerate(SHAPES)]
    again = [balanced(factors(place).U, factors(place).VT) for place in range(6)]
    for weights in (started, again):
        tight = measure(weights)
        np.testing.assert_allclose(tight["nuclear_bounds"], tight["nuclear_norms"], rtol=1e-10)
        assert (tight["non_orthogonality"] < 1e-10).all()


def test_a_network_of_single_precision_starts_balanced():
    made = factorize(nn.Sequential(*(nn.Conv2d(6, 6, 3) for _ in range(3))), rank_scale=0.4).model
    found = measure([layer.factors() for layer in factorized_layers(made).values()])
    np.testing.assert_allclose(found["nuclear_bounds"], found["nuclear_norms"], rtol=1e-5)
    assert (found["non_orthogonality"] < 1e-5).all()


def test_nothing_and_zeros_can_be_measured():
    assert measure([])["nuclear_norms"].shape == (0,)
    found = measure([Factors(torch.zeros(4, 2), torch.zeros(2, 3))])
    assert all(values[0] == 0 for values in found.values())


@pytest.mark.parametrize("batched", [True, False])
def test_norms_are_recorded_in_the_order_of_layers(batched):
    found = layers()
    expected = [torch.linalg.norm(layer.U @ layer.VT).item() for layer in found]
    record = torch.zeros(3, len(found), **DOUBLE)
    assert frobenius_norms(found, batched=batched).tolist() == pytest.approx(expected, rel=1e-12)
    row = frobenius_norms(found, out=record[1], batched=batched)
    assert record[1].tolist() == pytest.approx(expected, rel=1e-12) and row.data_ptr() == record[1].data_ptr()
    assert not record[0].any() and not record[2].any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("batched", [True, False])
def test_norms_can_be_set_and_directions_stay(dtype, tolerance, batched):
    found = layers(dtype)
    before = [layer.matrix().detach().clone() for layer in found]
    ratios = [(layer.U.norm() / layer.VT.norm()).item() for layer in found]
    targets = torch.tensor([0.5, 3.0, 7.0, 1e-3, 0.0, 2.0], dtype=dtype)
    normalise(found, targets, batched=batched)
    norms = torch.stack([torch.linalg.norm(layer.U @ layer.VT) for layer in found])
    torch.testing.assert_close(norms, targets, rtol=tolerance, atol=tolerance)
    for place, (layer, was, ratio) in enumerate(zip(found, before, ratios, strict=True)):
        if place != 4:
            torch.testing.assert_close(layer.matrix() / norms[place], was / was.norm(), rtol=tolerance, atol=tolerance)
            assert (layer.U.norm() / layer.VT.norm()).item() == pytest.approx(ratio, rel=tolerance)
    # What is zero stays zero, whatever it should be.
    normalise(found, torch.ones(6, dtype=dtype))
    assert not found[4].matrix().any() and frobenius_norms(found)[:4].tolist() == pytest.approx([1.0] * 4, rel=1e-5)
    assert all(layer.U.requires_grad and layer.U.is_leaf for layer in found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_replaying_the_norms_of_the_same_run_changes_nothing(dtype, tolerance):
    x = random(5, 12).to(dtype)

    def run(targets=None):
        chain = nn.Sequential(*(FactorizedLinear(factors(0)).to(dtype) for _ in range(1)), nn.Linear(9, 3)).to(dtype)
        nn.init.ones_(chain[1].weight)
        nn.init.zeros_(chain[1].bias)
        optimiser, record = torch.optim.SGD(chain.parameters(), lr=1e-3, momentum=0.9), torch.zeros(6, 1, dtype=dtype)
        for step in range(6):
            optimiser.zero_grad()
            chain(x).square().mean().backward()
            optimiser.step()
            frobenius_norms([chain[0]], out=record[step])
            if targets is not None:
                normalise([chain[0]], targets[step])
        return record, [parameter.detach() for parameter in chain.parameters()]

    record, plain = run()
    again, replayed = run(record)
    assert (record[1:] != record[:-1]).all()
    torch.testing.assert_close(again, record, rtol=tolerance, atol=0)
    for one, other in zip(plain, replayed, strict=True):
        torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)


def test_three_factors_are_refused():
    with pytest.raises(ValueError, match="three"):
        normalise([FactorizedLinear(factors(0, three=True))], torch.ones(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_is_never_waited_for():
    found = [layer.cuda() for layer in layers(torch.float32)]
    record, targets = torch.zeros(2, 6, device="cuda"), torch.ones(6, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        frobenius_norms(found, out=record[0])
        normalise(found, targets)
        frobenius_norms(found, out=record[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(record[1], targets, rtol=1e-5, atol=1e-5)
