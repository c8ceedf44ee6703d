"""Factorized layers, their start, and replacing and collapsing, against dense layers and decompositions."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from tacit.nn import factorizing
from tacit.nn.factorized import (
    FactorizedConv2d,
    FactorizedEmbedding,
    FactorizedLinear,
    factorized_layers,
    kernel_of,
    matricised,
)
from tacit.nn.factorizing import collapse, factorize
from tacit.nn.factors import Factors, balanced, each, spectral_factors
from tacit.nn.scaled_convnets import ScaledConvNet

DOUBLE = {"dtype": torch.float64}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def everything(name, module):
    return True


def random(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), **DOUBLE)


def close(one, other, tolerance=1e-11):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def one_layer(layer, **options):
    """Factorize a single layer."""
    return factorize(layer, select=everything, **options).model


# Layers


CONVOLUTIONS = [
    {"stride": stride, "padding": padding, "dilation": dilation, "kernel_size": kernel, "bias": bias}
    for kernel, stride, padding, dilation, bias in [
        (3, 1, 0, 1, True),
        (3, 2, 1, 1, False),
        ((3, 2), (1, 2), (2, 1), (2, 1), True),
        ((1, 3), (2, 1), (0, 1), 1, True),
        ((3, 1), (1, 3), (1, 2), 1, False),
        (1, 2, 0, 1, False),
        (1, (2, 3), (1, 2), 1, True),
        (5, 3, (2, 0), 1, False),
    ]
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 16), (16, 16)])
def test_one_and_two_convolutions_agree_with_a_kernel_by_the_formula(inputs, outputs, options):
    conv = nn.Conv2d(inputs, outputs, **options, **DOUBLE)
    height, width = conv.kernel_size
    x = random(2, inputs, 11, 9)
    for scale, factors in itertools.product((0.01, 0.5, 1.0, 4.0), (2, 3)):
        both = []
        for one in (True, False):
            layer = one_layer(
                conv, rank_scale=scale, factors=factors, spectral=False, one_convolution=one, generator=generator(1)
            )
            if factors == 3:
                layer.M.data = random(layer.rank, layer.rank, seed=2)
            both.append(layer)
        product = both[0].U @ both[0].M @ both[0].VT if factors == 3 else both[0].U @ both[0].VT
        kernel = torch.empty_like(conv.weight)
        for o, i, p, q in itertools.product(*map(range, kernel.shape)):
            kernel[o, i, p, q] = product[o * height + p, i * width + q]
        expected = functional.conv2d(x, kernel, conv.bias, conv.stride, conv.padding, conv.dilation)
        assert expected.shape == conv(x).shape
        for layer in both:
            close(layer(x), expected)


def test_both_forms_agree_in_single_precision():
    x = torch.randn(4, 64, 16, 16, generator=generator())
    for factors in (2, 3):
        layer = one_layer(nn.Conv2d(64, 64, 3, padding=1), rank_scale=0.5, factors=factors)
        other = copy.deepcopy(layer)
        other.one_convolution = not layer.one_convolution
        error = (layer(x) - other(x)).norm() / layer(x).norm()
        assert 0 < error < 1e-5


def test_the_form_goes_by_the_scale_and_can_be_chosen():
    for scale, forced, one in ((0.99, None, False), (1.0, None, True), (0.5, True, True), (2.0, False, False)):
        layer = one_layer(nn.Conv2d(4, 4, 3), rank_scale=scale, one_convolution=forced)
        assert layer.one_convolution is one


@pytest.mark.parametrize("kernel", [1, 3, (3, 1), (1, 3)])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 8), (16, 1), (3, 8)])
def test_images_keep_their_order_in_memory(kernel, inputs, outputs):
    """With one channel or a rank of 1 too, where strides are those of either order."""
    dense = nn.Conv2d(inputs, outputs, kernel, stride=2)
    for scale, one in itertools.product((0.01, 2.0), (True, False)):
        layer = one_layer(dense, rank_scale=scale, one_convolution=one)
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(4, inputs, 12, 12).to(memory_format=order)
            assert layer(x).stride() == dense(x).stride()


@pytest.mark.parametrize("factors", [2, 3])
def test_linear_layers_and_embeddings_are_their_products(factors):
    linear, table = nn.Linear(7, 5, **DOUBLE), nn.Embedding(11, 6, **DOUBLE)
    options = {"rank_scale": 0.6, "factors": factors, "residual": 0.3 if factors == 3 else 0.0}
    made, looked = one_layer(linear, **options), one_layer(table, **options)
    assert isinstance(made, FactorizedLinear) and isinstance(looked, FactorizedEmbedding)
    x, numbers = random(2, 3, 7), torch.tensor([[0, 3], [10, 3]])
    close(made(x), x @ made.matrix().T + linear.bias)
    close(looked(numbers), looked.matrix()[numbers])
    if factors == 3:
        close(made.matrix(), made.U @ made.M @ made.VT)
        assert (made.M - torch.eye(3, **DOUBLE)).abs().max() > 0.01


def test_parameters_come_in_their_order():
    for factors, names in ((2, ["U", "VT", "bias"]), (3, ["U", "VT", "M", "bias"])):
        for layer in (nn.Conv2d(4, 4, 3), nn.Linear(4, 4)):
            assert [name for name, _ in one_layer(layer, rank_scale=0.5, factors=factors).named_parameters()] == names
        plain = one_layer(nn.Conv2d(4, 4, 3, bias=False), rank_scale=0.5, factors=factors)
        assert [name for name, _ in plain.named_parameters()] == names[:-1]
        assert set(plain.state_dict()) == set(names[:-1])


def test_matrices_and_kernels_turn_into_each_other():
    kernel = random(4, 3, 2, 5)
    matrix = matricised(kernel)
    assert matrix.shape == (8, 15)
    assert matrix[3 * 2 + 1, 2 * 5 + 4] == kernel[3, 2, 1, 4]
    for way in ("repaired", "published"):
        assert torch.equal(kernel_of(matricised(kernel, way), (2, 5), way), kernel)
    assert not torch.equal(matrix, matricised(kernel, "published"))
    for call in (lambda: matricised(kernel, "direct"), lambda: kernel_of(matrix, (2, 5), "direct")):
        with pytest.raises(ValueError, match="repaired"):
            call()


# Spectral start


def dense_layers():
    torch.manual_seed(3)
    return [
        nn.Conv2d(6, 8, 3, padding=1, stride=2, **DOUBLE),
        nn.Conv2d(8, 5, (2, 3), bias=False, **DOUBLE),
        nn.Conv2d(4, 12, 1, **DOUBLE),
        nn.Linear(9, 14, **DOUBLE),
        nn.Embedding(13, 7, **DOUBLE),
    ]


def as_matrix(layer):
    weight = layer.weight.detach()
    return weight.permute(0, 2, 1, 3).reshape(len(weight) * weight.shape[2], -1) if weight.ndim == 4 else weight


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("scale", [0.15, 0.4, 0.8])
def test_the_start_is_the_best_approximation_and_balanced(place, scale):
    dense = dense_layers()[place]
    layer, matrix = one_layer(dense, rank_scale=scale), as_matrix(dense)
    values = torch.linalg.svdvals(matrix)
    kept, left_out = values[: layer.rank], values[layer.rank :]
    close((layer.matrix() - matrix).norm(), left_out.square().sum().sqrt())
    close(torch.linalg.svdvals(layer.matrix())[: len(kept)], kept)
    balance = torch.diag(functional.pad(kept, (0, layer.rank - len(kept))))
    close(layer.U.T @ layer.U, balance)
    close(layer.VT @ layer.VT.T, balance)


@pytest.mark.parametrize("place", range(5))
def test_at_full_rank_a_layer_computes_what_the_dense_one_does(place):
    dense = dense_layers()[place]
    x = torch.arange(13) if place == 4 else random(3, 9) if place == 3 else random(2, dense.in_channels, 7, 8)
    for scale, factors in ((1.0, 2), (3.0, 2), (1.0, 3)):
        close(one_layer(dense, rank_scale=scale, factors=factors)(x), dense(x))


def test_the_published_start_permutes_each_filter():
    outputs, inputs, height, width = 5, 4, 3, 2
    dense = nn.Conv2d(inputs, outputs, (height, width), **DOUBLE)
    layer = one_layer(dense, rank_scale=1.0, matricisation="published")
    made, filters = layer.kernel().detach(), dense.weight.detach().flatten(1)
    for o, i, p, q in itertools.product(*map(range, made.shape)):
        close(made[o, i, p, q], filters[o, p * inputs * width + i * width + q])
    close(made.flatten(1).sort().values, filters.sort().values)
    close(made.norm(), dense.weight.norm())
    assert (made - dense.weight).norm() > 0.5 * made.norm()
    for same in (nn.Conv2d(4, 6, 1, **DOUBLE), nn.Conv2d(1, 6, 3, **DOUBLE), nn.Conv2d(4, 6, (1, 3), **DOUBLE)):
        close(one_layer(same, rank_scale=4.0, matricisation="published").kernel(), same.weight)


def test_surplus_columns_are_zero_and_never_learn():
    dense = nn.Conv2d(2, 8, 3, padding=1, **DOUBLE)
    layer = one_layer(dense, rank_scale=1.0)
    assert layer.U.shape == (24, 24) and layer.VT.shape == (24, 6)
    assert not layer.U[:, 6:].any() and not layer.VT[6:].any() and layer.U[:, :6].any(0).all()
    layer(random(2, 2, 5, 5)).square().sum().backward()
    assert not layer.U.grad[:, 6:].any() and not layer.VT.grad[6:].any() and layer.VT.grad[:6].any(1).all()


def test_the_start_can_be_trained_weights_in_any_precision():
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.bfloat16, 0.02), (torch.float64, 1e-12)):
        matrix = random(9, 6).to(dtype)
        found = spectral_factors(matrix, 6)
        assert found.U.dtype == found.VT.dtype == dtype
        close(found.product().double(), matrix.double(), tolerance * 3)


def test_stacks_are_balanced_and_their_products_stay():
    for shape, n in (((3, 9, 4), 7), ((2, 2, 9, 4), 3), ((9, 5), 9), ((2, 3, 6), 4)):
        U, VT = random(*shape), random(*shape[:-2], shape[-1], n, seed=1)
        found = balanced(U, VT)
        assert found.U.shape == U.shape and found.VT.shape == VT.shape
        close(found.product(), U @ VT)
        values = torch.linalg.svdvals(U @ VT)
        padded = functional.pad(values, (0, shape[-1]))[..., : shape[-1]]
        close(found.U.mT @ found.U, torch.diag_embed(padded))
        close(found.VT @ found.VT.mT, torch.diag_embed(padded))


def test_balancing_attention_leaves_its_outputs():
    heads, size, width = 4, 8, 32
    q, k, v, o = (random(heads * size, width, seed=seed) / width**0.5 for seed in range(4))
    x = random(2, 5, width, seed=9)

    def attend(q, k, v, o):
        query, key, value = ((x @ part.T).unflatten(-1, (heads, size)).transpose(1, 2) for part in (q, k, v))
        logits = query @ key.mT / size**0.5
        return logits, (logits.softmax(-1) @ value).transpose(1, 2).flatten(2) @ o

    def of_heads(matrix):
        return matrix.view(heads, size, width)

    compare = balanced(of_heads(q).mT, of_heads(k))
    write = balanced(of_heads(o).mT, of_heads(v))
    new = [part.reshape(heads * size, width) for part in (compare.U.mT, compare.VT, write.VT, write.U.mT)]
    assert all((one - other).norm() > 0.1 * other.norm() for one, other in zip(new, (q, k, v, o), strict=True))
    for one, other in zip(attend(*new), attend(q, k, v, o), strict=True):
        close(one, other)
    for head in range(heads):
        close(compare.product()[head], of_heads(q)[head].T @ of_heads(k)[head])
        close(compare.U[head].T @ compare.U[head], compare.VT[head] @ compare.VT[head].T)


# Random starts


def spread(layer):
    return layer.U.std().item(), layer.VT.std().item()


def test_random_factors_have_the_published_spread():
    conv = nn.Conv2d(64, 96, 3)
    options = {"rank_scale": 0.5, "spectral": False, "generator": generator()}
    layer = one_layer(conv, **options)
    assert spread(layer) == pytest.approx(((2 / layer.rank) ** 0.5, (2 / (64 * 3)) ** 0.5), rel=0.02)
    inside = spread(one_layer(conv, draw=factorizing.fan_in_normal, **options))
    assert inside == pytest.approx([(2 / (9 * 64)) ** 0.5] * 2, rel=0.02)
    outside = spread(one_layer(conv, draw=factorizing.fan_out_normal, **options))
    assert outside == pytest.approx([(2 / (9 * 96)) ** 0.5] * 2, rel=0.02)
    table = nn.Embedding(500, 64)
    assert spread(one_layer(table, draw=factorizing.normal(0.1), **options)) == pytest.approx([0.1, 0.1], rel=0.05)
    flat = one_layer(nn.Linear(64, 500), draw=factorizing.uniform(0.1), **options)
    assert spread(flat) == pytest.approx([0.1 / 3**0.5] * 2, rel=0.05)
    assert 0.099 < flat.U.abs().max() <= 0.1
    deep = one_layer(conv, factors=3, residual=0.2, **options)
    noise = deep.M - torch.eye(deep.rank)
    assert noise.std().item() == pytest.approx(0.2, rel=0.02) and abs(noise.mean().item()) < 0.01


def test_draws_are_those_of_the_generator_and_m_starts_as_the_identity():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    options = {"rank_scale": 1.0, "factors": 3, "spectral": False}
    one, two, other = (factorize(model, generator=generator(seed), **options).model for seed in (0, 0, 1))
    for a, b, c in zip(one.parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == (a.ndim != 2 or torch.equal(a, torch.eye(len(a))))
    torch.manual_seed(5)
    global_one = factorize(model, **options).model
    torch.manual_seed(5)
    assert torch.equal(global_one[2].VT, factorize(model, **options).model[2].VT)


# Models


def network():
    torch.manual_seed(0)
    return ScaledConvNet(20, width=4, delta_exponent=0.0, in_channels=3, num_classes=10).double()


def size(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("scale", "factors"), [(0.2, 2), (1.0, 3), (3.0, 2)])
def test_a_collapsed_network_has_the_outputs_and_the_size_of_the_dense_one(scale, factors):
    dense, x = network(), random(2, 3, 8, 8)
    made = factorize(dense, rank_scale=scale, factors=factors, spectral=False, generator=generator())
    assert size(made.model) == made.parameters != size(dense) == made.dense_parameters
    before = copy.deepcopy(made.model.state_dict())
    plain = collapse(made.model)
    assert size(plain) == size(dense) and not factorized_layers(plain)
    assert [(name, value.shape) for name, value in plain.state_dict().items()] == [
        (name, value.shape) for name, value in dense.state_dict().items()
    ]
    close(plain.eval()(x), made.model.eval()(x))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in made.model.state_dict().items())


def test_by_default_all_convolutions_but_the_first_are_factorized():
    dense = network()
    made = factorize(dense, rank_scale=0.5)
    assert len(made.ranks) == 18 and all(name.startswith("blocks.") for name in made.ranks)
    assert list(factorized_layers(made.model)) == list(made.ranks)
    assert isinstance(made.model.stem[0], nn.Conv2d) and isinstance(made.model.head, nn.Linear)
    assert not factorized_layers(dense) and dense.blocks[0].first is not made.model.blocks[0].first
    assert made.ratio == made.parameters / size(dense)


def test_a_ratio_leads_to_the_scale_that_meets_it():
    dense = network()
    made = factorize(dense, ratio=0.5)
    assert abs(made.ratio - 0.5) < 0.05 and made.parameters == size(made.model)
    again = factorize(dense, rank_scale=made.rank_scale)
    assert again.ranks == made.ranks and again.parameters == made.parameters


def test_what_a_layer_was_it_stays():
    dense = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)).eval()
    dense[1].weight.requires_grad_(False)
    made = factorize(dense, rank_scale=0.5).model
    assert not made[1].training and not made[1].U.requires_grad and not made[1].VT.requires_grad
    assert made[1].bias.requires_grad and made[2].U.requires_grad
    back = collapse(made)
    assert not back[1].training and not back[1].weight.requires_grad and back[1].bias.requires_grad
    for dtype in (torch.float64, torch.bfloat16):
        assert {value.dtype for value in factorize(dense.to(dtype), rank_scale=0.5).model.parameters()} == {dtype}


def test_modules_in_two_places_are_replaced_once_in_both():
    shared = nn.Conv2d(4, 4, 3, padding=1, **DOUBLE)
    dense = nn.Sequential(nn.Conv2d(3, 4, 3, **DOUBLE), shared, nn.Sequential(nn.ReLU(), shared), shared)
    x = random(1, 3, 6, 6)
    made = factorize(dense, rank_scale=1.0)
    assert made.model[1] is made.model[2][1] is made.model[3] and isinstance(made.model[1], FactorizedConv2d)
    assert made.ranks == {"1": 12} and made.parameters == size(made.model)
    close(made.model(x), dense(x))
    back = collapse(made.model)
    assert back[1] is back[2][1] is back[3] and size(back) == size(dense)
    close(back(x), dense(x))


def test_a_model_can_be_a_single_layer():
    dense = nn.Linear(6, 4, **DOUBLE)
    made = factorize(dense, select=everything, rank_scale=1.0)
    assert isinstance(made.model, FactorizedLinear) and made.ranks == {"": 4}
    back = collapse(made.model)
    assert type(back) is nn.Linear
    close(back(random(3, 6)), dense(random(3, 6)))


def test_padding_of_an_embedding_stays_zero_while_the_rest_learns():
    for spectral in (True, False):
        table = nn.Embedding(9, 6, padding_idx=2, **DOUBLE)
        layer = one_layer(table, rank_scale=0.7, spectral=spectral)
        before = layer.matrix().detach().clone()
        (layer(torch.tensor([[1, 2, 2], [4, 5, 2]])) + 1).square().sum().backward()
        assert not layer.U.grad[2].any() and layer.U.grad[1].any()
        torch.optim.SGD(layer.parameters(), lr=0.1).step()
        assert not layer.matrix()[2].any() and not layer(torch.tensor([2])).any()
        assert (layer.matrix() - before).norm() > 0
        assert layer.dense().padding_idx == 2 and not layer.dense().weight[2].any()
    # A row that is not zero is approximated as the others are.
    with torch.no_grad():
        table.weight[2] = 1.0
    close(one_layer(table, rank_scale=1.0).matrix()[2], table.weight[2])


def test_layers_can_be_told_by_name_and_normalisation_is_never_asked_for():
    made = factorize(network(), select=lambda name, module: name.startswith("blocks.2."), rank_scale=0.5)
    assert list(made.ranks) == ["blocks.2.first", "blocks.2.second"]


TIED = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6, bias=False))
TIED[1].weight = TIED[0].weight


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (nn.Sequential(nn.ReLU()), {"rank_scale": 0.5}, "no layer is selected"),
        (nn.Conv2d(3, 4, 3), {"rank_scale": 0.5}, "no layer is selected"),
        (network(), {"rank_scale": 0.5, "select": lambda name, module: name == "steam"}, r"no layer.*'stem\.0'"),
        (network(), {}, "either"),
        (network(), {"rank_scale": 0.5, "ratio": 0.5}, "either"),
        (network(), {"ratio": 0.0}, "between 0 and 1"),
        (network(), {"ratio": 1.0}, "between 0 and 1"),
        (network(), {"ratio": 0.01}, "leads to ratios from"),
        (network(), {"rank_scale": 0.0}, "larger than 0"),
        (network(), {"rank_scale": float("nan")}, "larger than 0"),
        (network(), {"rank_scale": 0.01, "select": lambda name, module: name == "head"}, "rank of 0 to head"),
        (network(), {"rank_scale": 0.5, "factors": 4}, "factors = 4"),
        (network(), {"rank_scale": 0.5, "residual": 0.1}, "residual = 0.1"),
        (network(), {"rank_scale": 0.5, "matricisation": "direct"}, "repaired"),
        (nn.Conv2d(4, 4, 3, groups=2), {"rank_scale": 0.5, "select": everything}, "groups"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), {"rank_scale": 0.5, "select": everything}, "reflect"),
        (nn.Conv2d(4, 4, 3, padding="same"), {"rank_scale": 0.5, "select": everything}, "same"),
        (nn.Embedding(4, 4, max_norm=1.0), {"rank_scale": 0.5, "select": everything}, "max_norm"),
        (nn.Embedding(4, 4, scale_grad_by_freq=True), {"rank_scale": 0.5, "select": everything}, "scale_grad_by_freq"),
        (nn.Embedding(4, 4, sparse=True), {"rank_scale": 0.5, "select": everything}, "sparse"),
        (TIED, {"rank_scale": 0.5, "select": lambda name, module: name == "1"}, r"also that of \['0'\]"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), {"rank_scale": 0.5, "select": everything}, "computed"),
    ],
)
def test_what_cannot_be_factorized_is_refused(model, options, said):
    before = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=said):
        factorize(model, **options)
    assert [type(module) for module in model.modules()] == before


@pytest.mark.parametrize(
    "factors",
    [
        Factors(torch.zeros(4, 2), torch.zeros(3, 5)),
        Factors(torch.zeros(4, 2), torch.zeros(2, 5), torch.zeros(2, 3)),
        Factors(torch.zeros(4, 0), torch.zeros(0, 5)),
        Factors(torch.zeros(2, 4, 2), torch.zeros(2, 2, 5)),
    ],
)
def test_factors_that_do_not_fit_are_refused(factors):
    with pytest.raises(ValueError, match=r"factors"):
        FactorizedLinear(factors)
    with pytest.raises(ValueError, match="none of kernels"):
        FactorizedConv2d(Factors(torch.zeros(4, 2), torch.zeros(2, 6)), kernel_size=(3, 3))


@pytest.mark.parametrize("batched", [True, False, None])
def test_each_is_computed_in_its_place_and_norms_go_either_way(batched):
    """By Gram matrices where the rank is small, by the product where it is large."""
    members = [
        Factors(random(5, 2), random(2, 4, seed=1)),
        Factors(random(5, 9), random(9, 4, seed=2), random(9, 9, seed=3)),
        Factors(random(5, 2, seed=4), random(2, 4, seed=5)),
        Factors(random(5, 1), random(1, 4), random(1, 1)),
    ]
    given = []

    def compute(factors, places):
        given.append((places, factors.U.shape))
        return [factors.product(), factors.squared_norm()]

    for (product, norm), (U, VT, M) in zip(each(compute, members, batched=batched), members, strict=True):
        expected = U @ VT if M is None else U @ M @ VT
        close(product, expected)
        close(norm, expected.square().sum())
    assert given == (
        [([0, 2], (2, 5, 2)), ([1], (1, 5, 9)), ([3], (1, 5, 1))]
        if batched
        else [([0], (5, 2)), ([1], (5, 9)), ([2], (5, 2)), ([3], (5, 1))]
    )


def test_inside_of_attention_modules_of_torch_they_serve_as_dense_layers_do():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0).double()
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    made = factorize(layer, select=lambda name, module: True, rank_scale=0.5).model
    dense = collapse(made)
    for mode in (True, False):
        for one in (made, dense):
            one.train(mode)
        torch.testing.assert_close(made(x), dense(x), rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(made(x), dense(x), rtol=1e-9, atol=1e-9)
    made.train()(x).square().sum().backward()
    assert all(parameter.grad is not None for parameter in made.parameters())


class _Standardised(nn.Conv2d):
    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias)


def test_layers_that_would_compute_something_else_are_refused():
    with pytest.raises(ValueError, match="_Standardised has a forward pass of its own"):
        factorize(_Standardised(3, 4, 3), select=lambda name, module: True, rank_scale=0.5)
    hooked = nn.Linear(4, 4)
    hooked.register_forward_hook(lambda *given: None)
    with pytest.raises(ValueError, match="it has hooks"):
        factorize(hooked, select=lambda name, module: True, rank_scale=0.5)
    broken = nn.Linear(4, 4)
    broken.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="is not finite"):
        factorize(broken, select=lambda name, module: True, rank_scale=0.5)
    with pytest.raises(ValueError, match="1 that are factorized already"):
        factorize(factorize(nn.Linear(4, 4), select=lambda n, m: True, rank_scale=0.5).model, rank_scale=0.5)
