import math

import numpy as np
import pytest
import torch
from scipy import stats

from tacit.analysis import factorizations as measures
from tacit.analysis import ranks, spectra
from tacit.nn.factorizations import CPFactorization, HierarchicalTensorFactorization, MatrixFactorization, set_normal
from tacit.settings.mode_trees import mode_tree


def test_effective_rank_in_closed_form():
    values = torch.tensor([[1.0, 1, 0], [3, 0, 0], [2, 1, 1], [0, 0, 0]], dtype=torch.float64)
    mixed = math.exp(0.5 * math.log(2) + 0.5 * math.log(4))
    for array in (values, values.numpy(), values.float()):
        assert ranks.effective_rank(array).tolist() == pytest.approx([2, 1, mixed, 0], rel=1e-6)


def test_effective_rank_is_exp_of_the_entropy():
    values = np.random.default_rng(0).random((4, 5, 6)) ** 4
    expected = np.exp(stats.entropy(values, axis=-1))
    np.testing.assert_allclose(ranks.effective_rank(values), expected, rtol=1e-13)
    np.testing.assert_allclose(ranks.effective_rank(torch.from_numpy(values)), expected, rtol=1e-13)


def test_numerical_rank_leaves_out_what_rounding_makes():
    left, right = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), torch.eye(3, 7)
    values = torch.linalg.svdvals(left @ right)
    found = ranks.numerical_rank(values, longer_side=9, precision=torch.finfo().eps)
    assert found == torch.linalg.matrix_rank(left @ right) == 3


def test_spectra_are_those_of_the_matrices_by_numpy():
    tensor = torch.randn(3, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mode_sets = [(0,), (2,), (0, 1), (0, 2), (1, 3)]
    for modes, values in zip(mode_sets, spectra.spectra(tensor, mode_sets), strict=True):
        others = [mode for mode in range(4) if mode not in modes]
        rows = math.prod(tensor.shape[mode] for mode in modes)
        expected = np.linalg.svd(tensor.numpy().transpose([*modes, *others]).reshape(rows, -1), compute_uv=False)
        np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_the_largest_are_in_order_and_no_more_than_there_are():
    assert spectra.largest(torch.tensor([1.0, 3, 2]), 2).tolist() == [3, 2]
    assert spectra.largest(torch.tensor([1.0, 3]), 5).tolist() == [3, 1]


def test_measures_of_a_matrix():
    model = MatrixFactorization(5, 4, 2)
    set_normal(model, np.random.default_rng(0), std=1.0)
    row = measures.measure_matrix(model, model.end_tensor().detach(), tracked=3)
    values = torch.linalg.svdvals(model.end_tensor().detach())
    torch.testing.assert_close(row["singular_values"], values[:3])
    torch.testing.assert_close(row["frobenius_norm"], values.square().sum().sqrt())
    torch.testing.assert_close(row["nuclear_norm"], values.sum())
    assert row["rank"] == 4
    assert 1 < row["effective_rank"] < 4


def test_measures_of_a_cp_factorization():
    model = CPFactorization((3, 4, 2), 6)
    set_normal(model, np.random.default_rng(0), std=1.0)
    row = measures.measure_cp(model, model.end_tensor(), tracked=4)
    assert list(row) == [
        "component_norms",
        *(f"{name}_{m}" for m in (1, 2, 3) for name in ("column_norms", "factor_norm")),
    ]
    components = torch.einsum("ir,jr,kr->rijk", *model.factors).flatten(1).norm(dim=1)
    torch.testing.assert_close(row["component_norms"], components.sort(descending=True).values[:4])
    torch.testing.assert_close(row["factor_norm_2"], model.factors[1].norm())
    torch.testing.assert_close(row["column_norms_3"][0], model.factors[2].norm(dim=0).max())


def test_measures_of_a_tree_are_named_by_modes():
    model = HierarchicalTensorFactorization((3, 3, 2, 2), mode_tree(4, 2), (5, 4))
    set_normal(model, np.random.default_rng(0), std=1.0)
    end = model.end_tensor().detach()
    row = measures.measure_hierarchical(model, end, tracked=3, extra=[(0, 2)])
    local = {name for name in row if name.startswith("local")}
    assert local == {f"local_component_norms_{node}" for node in ("1_2", "3_4", "1_2_3_4")}
    spectra = {name for name in row if name.startswith("singular")}
    assert spectra == {f"singular_values_{modes}" for modes in ("1", "2", "3", "4", "1_2", "3_4", "1_3")}
    assert {name for name in row if name.startswith("column")} == {
        f"column_norms_{node}" for node in ("1", "2", "3", "4", "1_2", "3_4")
    }
    assert len(row) == 3 + 6 + 2 * 7
    (_, _, u3, u4), (w12, w34) = model.matrices
    norms = w12.norm(dim=0) * w34.norm(dim=0) * model.output_vector.abs()
    torch.testing.assert_close(row["local_component_norms_1_2_3_4"], norms.sort(descending=True).values[:3])
    norms = u3.norm(dim=0) * u4.norm(dim=0) * w34.norm(dim=1)
    torch.testing.assert_close(row["local_component_norms_3_4"], norms.sort(descending=True).values[:3])
    torch.testing.assert_close(
        row["singular_values_1_3"], torch.linalg.svdvals(end.permute(0, 2, 1, 3).reshape(6, 6))[:3]
    )
