"""Convolutions with tensor networks: outputs, sizes, start, what is kept from pass to pass, collapsing."""

import copy
import io
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from tacit.analysis.factor_norms import frobenius_norms, normalise
from tacit.nn.factorized import factorized_layers
from tacit.nn.factorizing import collapse, factorize
from tacit.nn.tensor_layers import TensorConv2d, tensorize
from tacit.nn.tensor_networks import Tucker, decompose, fold
from tacit.nn.wide_resnets import WideResNet

DOUBLE = {"dtype": torch.float64}
FORMS = [("tensor_train", "tensor_train"), ("tucker", "tensor_train"), ("tucker", "dense")]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), **DOUBLE)


def close(one, other, tolerance=1e-11):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def everything(name, module):
    return True


def of_blocks(name, module):
    return name.endswith(("conv1", "conv2"))


def one_layer(layer, kind="tensor_train", core="tensor_train", scale=0.5, **options):
    options = {"generator": generator()} | options
    return tensorize(layer, select=everything, kind=kind, rank_scale=scale, core=core, **options).model


def matrix_by_einsum(layer):
    parts = layer.factors()
    formula = {3: "zaj,jbk,kcy->abc", 4: "ijk,ai,bj,ck->abc", 6: "zil,ljm,mky,ai,bj,ck->abc"}[len(parts)]
    return torch.einsum(formula, *parts).reshape(layer.out_channels, layer.in_channels)


CONVOLUTIONS = [
    {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "bias": bias}
    for kernel, stride, padding, dilation, bias in [
        (3, 1, 1, 1, False),
        (3, 2, 1, 1, True),
        ((3, 2), (1, 2), (2, 1), (2, 1), True),
        (1, 2, 0, 1, False),
        (1, (2, 3), (1, 2), 1, True),
        (1, 1, 0, 1, False),
        ((1, 3), (2, 1), (0, 1), 1, False),
    ]
]


@pytest.mark.parametrize(("kind", "core"), FORMS)
@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_outputs_are_those_of_one_convolution_with_the_kernel_by_the_formula(kind, core, options):
    for inputs, outputs in ((6, 20), (16, 12), (1, 5)):
        dense = nn.Conv2d(inputs, outputs, **options, **DOUBLE)
        layer = one_layer(dense, kind, core)
        assert (layer.depthwise is None) == (options["kernel_size"] == 1)
        matrix = matrix_by_einsum(layer)
        kernel = matrix[:, :, None, None].expand_as(dense.weight).clone()
        if layer.depthwise is not None:
            for o, i, p, q in itertools.product(*map(range, kernel.shape)):
                kernel[o, i, p, q] = matrix[o, i] * layer.depthwise.weight[i, 0, p, q]
        x = random(2, inputs, 11, 9)
        expected = functional.conv2d(x, kernel, dense.bias, dense.stride, dense.padding, dense.dilation)
        assert expected.shape == dense(x).shape and expected.abs().max() > 0.01
        close(layer(x), expected)
        close(layer.weight, kernel)
        close(layer.matrix(), matrix)
        close(layer.squared_norm(), matrix.square().sum())
        single = collapse(nn.Sequential(layer))[0]
        assert type(single) is nn.Conv2d and count(single) == count(dense) and single.stride == dense.stride
        close(single(x), expected)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 8), (16, 1), (3, 8)])
def test_images_keep_their_order_in_memory(kernel, inputs, outputs):
    dense = nn.Conv2d(inputs, outputs, kernel, stride=2)
    for kind, core in FORMS:
        layer = one_layer(dense, kind, core)
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(4, inputs, 12, 12).to(memory_format=order)
            assert layer(x).stride() == dense(x).stride()


def test_parameters_come_in_their_order():
    conv = nn.Conv2d(4, 4, 3)
    train, factors = [f"core{k}" for k in (1, 2, 3)], [f"factor{k}" for k in (1, 2, 3)]
    for (kind, core), names in zip(FORMS, (train, train + factors, ["core", *factors]), strict=True):
        layer = one_layer(conv, kind, core)
        assert [name for name, _ in layer.named_parameters()] == [*names, "bias", "depthwise.weight"]
        assert set(layer.state_dict()) == {*names, "bias", "depthwise.weight"}
        assert list(map(id, layer.factors())) == [id(getattr(layer, name)) for name in names]
        assert torch.equal(layer.bias, conv.bias) and layer.bias is not conv.bias


# Sizes

WIDE = {
    ("tensor_train", 0.234): (607_160, 0.016644, 248_782),
    ("tucker", 0.211): (608_501, 0.016681, 250_123),
    ("tensor_train", 0.705): (2_434_702, 0.066742, 2_076_324),
    ("tucker", 0.68): (2_444_223, 0.067003, 2_085_845),
    ("tensor_train", 0.26): (664_226, 0.018208, 305_848),
    ("tucker", 0.25): (681_248, 0.018675, 322_870),
}


def wide(**options):
    return tensorize(WideResNet(28, width=10, in_channels=3, num_classes=10), select=of_blocks, **options)


@pytest.mark.parametrize(("kind", "scale"), WIDE)
def test_the_wide_network_has_the_published_sizes(kind, scale):
    parameters, ratio, of_tensors = WIDE[kind, scale]
    with torch.device("meta"):
        made = wide(kind=kind, rank_scale=scale)
    assert made.parameters == count(made.model) == parameters and made.dense_parameters == 36_479_194
    assert round(made.ratio, 6) == ratio and made.ratio == parameters / 36_479_194
    layers = factorized_layers(made.model)
    assert len(layers) == 24 and list(layers) == list(made.ranks)
    assert sum(part.numel() for layer in layers.values() for part in layer.factors()) == of_tensors
    assert parameters - of_tensors == 358_378
    shortcuts = [module for name, module in made.model.named_modules() if name.endswith("shortcut")]
    assert sum(map(count, shortcuts)) == 258_560 and len(shortcuts) == 3
    assert sum(layer.depthwise.weight.numel() for layer in layers.values()) == 358_378 - 258_560 - 24_794
    assert collapse(made.model).get_parameter("groups.2.0.conv1.weight").shape == (640, 320, 3, 3)
    assert count(collapse(made.model)) == 36_479_194


def test_the_published_example_and_a_network_that_is_built():
    made = wide(kind="tucker", rank_scale=0.211, generator=generator())
    assert made.parameters == count(made.model) == 608_501 and made.ranks["groups.2.1.conv1"] == (17, 17, 14)
    layer = made.model.groups[2][1].conv1
    assert sum(part.numel() for part in layer.factors()) == 24_212 and layer.matrix().shape == (640, 640)
    assert [tuple(part.shape) for part in layer.factors()] == [
        (1, 17, 80), (80, 17, 14), (14, 14, 1), (80, 17), (80, 17), (64, 14)
    ]  # fmt: skip
    dense = wide(kind="tucker", rank_scale=0.211, core="dense")
    assert isinstance(dense.model.groups[2][1].conv1.factors(), Tucker) and count(dense.model) < 608_501
    close(frobenius_norms([layer])[0], layer.matrix().norm(), 1e-5)


# Start


@pytest.mark.parametrize(("spectral", "realised"), [(False, 0.0067), (True, 0.0163)])
def test_the_start(spectral, realised):
    """As drawn, in this order, by this generator, and then truncated; the weights of before do not matter."""
    dense = nn.Conv2d(640, 640, 3, padding=1, bias=False)
    layer = one_layer(dense, scale=0.234, spectral=spectral, generator=generator(3))
    again = generator(3)
    filters = torch.empty(640, 1, 3, 3).normal_(std=(2 / (9 * 640)) ** 0.5, generator=again)
    close(layer.depthwise.weight, filters, 0)
    matrix = torch.empty(640, 640)
    if spectral:
        matrix.normal_(std=(2 / 640) ** 0.5, generator=again)
    else:
        matrix.uniform_(-(640**-0.5), 640**-0.5, generator=again)
    close(layer.matrix(), decompose(matrix, "tensor_train", (19, 15)).tensor().reshape(640, 640), 1e-6)
    assert abs(layer.matrix().std() / realised - 1) < 0.02


def test_draws_go_by_the_number_of_inputs_or_of_outputs():
    dense = nn.Conv2d(64, 400, 3, bias=False)
    for spectral, std in ((False, (1 / (3 * 64)) ** 0.5), (True, (2 / 400) ** 0.5)):
        layer = tensorize(dense, select=everything, kind="tucker", rank_scale=1.0, spectral=spectral).model
        assert abs(layer.matrix().std() / std - 1) < 0.02


def test_a_seed_makes_the_same_network():
    model = WideResNet(10, width=1, in_channels=3, num_classes=10)
    options = {"select": of_blocks, "kind": "tucker", "rank_scale": 0.4}
    one, two, other = (tensorize(model, **options, generator=generator(seed)).model for seed in (1, 1, 2))
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    assert not torch.equal(one.groups[0][0].conv1.core1, other.groups[0][0].conv1.core1)
    torch.manual_seed(5)
    first = tensorize(model, **options).model
    torch.manual_seed(5)
    assert all(map(torch.equal, first.parameters(), tensorize(model, **options).model.parameters()))


def test_what_the_layer_was_is_kept():
    shared = nn.Conv2d(8, 8, 3, padding=1, **DOUBLE)
    shared.weight.requires_grad_(False)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, **DOUBLE), shared, nn.ReLU(), shared).eval()
    made = tensorize(model, kind="tensor_train", rank_scale=0.5)
    layer = made.model[1]
    assert layer is made.model[3] and isinstance(layer, TensorConv2d) and made.ranks == {"1": (2, 2)}
    assert type(model[1]) is nn.Conv2d and type(made.model[0]) is nn.Conv2d and not layer.training
    frozen = {name for name, parameter in layer.named_parameters() if not parameter.requires_grad}
    assert frozen == {"core1", "core2", "core3", "depthwise.weight"} and layer.core1.dtype == torch.float64
    dense = collapse(made.model)[1]
    assert not dense.weight.requires_grad and dense.bias.requires_grad and not dense.training


@pytest.mark.parametrize(
    ("layer", "options", "said"),
    [
        (nn.Linear(4, 4), {}, "cannot be a tensor: only convolutions"),
        (nn.Conv2d(4, 4, 3, groups=2), {}, "cannot be factorized: it has groups"),
        (nn.Conv2d(4, 4, 3, padding="same"), {}, "no number of pixels"),
        (nn.Conv2d(4, 4, 3, padding_mode="circular"), {}, "'circular'"),
        (nn.ReLU(), {}, "no layer is selected"),
        (nn.Conv2d(4, 4, 3), {"rank_scale": 1.5}, "rank_scale = 1.5"),
        (nn.Conv2d(4, 4, 3), {"rank_scale": 0}, "rank_scale = 0"),
        (nn.Conv2d(4, 4, 3), {"kind": "ring"}, "kind = 'ring'"),
        (nn.Conv2d(4, 4, 3), {"kind": "tucker", "core": "sparse"}, "core = 'sparse'"),
    ],
)
def test_what_cannot_be_replaced_is_refused(layer, options, said):
    with pytest.raises(ValueError, match=said):
        tensorize(layer, select=everything, **({"kind": "tensor_train", "rank_scale": 0.5} | options))


def test_parts_of_other_channels_are_refused():
    network = decompose(random(8, 8), "tensor_train", (2, 2))
    with pytest.raises(ValueError, match="64 entries is no matrix 8 x 7"):
        TensorConv2d(network, out_channels=8, in_channels=7)
    with pytest.raises(ValueError, match=r"filters .* \(8, 1, kh, kw\)"):
        TensorConv2d(network, random(4, 1, 3, 3), out_channels=8, in_channels=8)


def test_norms_are_set_for_matrices_alone():
    layer = one_layer(nn.Conv2d(4, 4, 3))
    with pytest.raises(ValueError, match="tensor networks"):
        normalise([layer], torch.ones(1))


def test_norms_of_matrices_and_tensors_are_told_together():
    conv = nn.Conv2d(8, 8, 3, **DOUBLE)
    layers = [one_layer(conv), factorize(conv, select=everything, rank_scale=0.5).model, one_layer(conv, "tucker")]
    for batched in (True, False):
        found = frobenius_norms([*layers, layers[0]], batched=batched)
        close(found, torch.stack([layer.matrix().norm() for layer in [*layers, layers[0]]]))


# What is kept


def fresh(layer, x):
    """Outputs without anything kept."""
    with torch.enable_grad():
        return layer(x).detach()


def is_kept(layer):
    with torch.no_grad():
        return layer._matrix() is layer._matrix()


def edit_in_place(layer):
    with torch.no_grad():
        layer.core2.mul_(2)


def edit_data(layer):
    layer.core1.data.mul_(2)


def replace_data(layer):
    layer.core3.data = layer.core3.data + 1


def replace_parameter(layer):
    layer.core2 = nn.Parameter(layer.core2.detach() + 1)


def load(layer):
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})


def assign(layer):
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()}, assign=True)


def round_trip(layer):
    layer.bfloat16().double()


def stepped(**options):
    def step(layer):
        optimiser = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, **options)
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimiser.step()

    return step


EDITS = {
    "in place": edit_in_place,
    "data in place": edit_data,
    "data": replace_data,
    "parameter": replace_parameter,
    "load": load,
    "assign": assign,
    "round trip": round_trip,
    "fused": stepped(fused=True),
    "foreach": stepped(foreach=True),
    "plain": stepped(foreach=False),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_matrix_is_kept_for_evaluation_and_never_stale(edit):
    layer, x = one_layer(nn.Conv2d(8, 12, 3, **DOUBLE)).eval(), random(2, 8, 6, 6)
    with torch.no_grad():
        before = layer(x)
        assert torch.equal(layer(x), before) and is_kept(layer)
    EDITS[edit](layer)
    with torch.no_grad():
        after = layer(x)
    close(after, fresh(layer, x))
    assert (after - before).abs().max() > 1e-6 and is_kept(layer)


def test_nothing_is_kept_where_gradients_flow_or_while_training():
    layer, x = one_layer(nn.Conv2d(8, 12, 3, **DOUBLE)), random(2, 8, 6, 6)
    with torch.no_grad():
        layer(x)
    assert layer._kept is None
    layer.eval()(x).sum().backward()
    assert layer._kept is None and layer.core1.grad.abs().max() > 0
    with torch.no_grad():
        layer(x)
    assert layer._kept is not None
    # With gradients again, though there is something kept.
    slope = layer.core1.grad.clone()
    layer(x).sum().backward()
    close(layer.core1.grad, 2 * slope)
    assert layer.train()._kept is None


def test_precision_of_a_context_is_told_apart():
    layer, x = one_layer(nn.Conv2d(8, 12, 3)).eval(), torch.randn(2, 8, 6, 6)
    exact = fresh(layer, x)
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = layer(x)
        assert rough.dtype == torch.bfloat16 and torch.equal(layer(x), exact)
    with torch.inference_mode():
        close(layer(x), exact, 0)
    with torch.no_grad():
        close(layer(x), exact, 0)


def test_copies_and_saved_weights_go_their_own_way():
    layer, x = one_layer(nn.Conv2d(8, 12, 3, **DOUBLE), "tucker").eval(), random(2, 8, 6, 6)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            before = layer(x)
        other = copy.deepcopy(layer)
        edit_in_place(other)
        with torch.no_grad():
            close(other(x), fresh(other, x))
            close(layer(x), before)
            assert (other(x) - before).abs().max() > 1e-6
    stream = io.BytesIO()
    torch.save(layer.state_dict(), stream)
    stream.seek(0)
    third = one_layer(nn.Conv2d(8, 12, 3, **DOUBLE), "tucker", generator=generator(9)).eval()
    with torch.no_grad():
        third(x)
        third.load_state_dict(torch.load(stream, weights_only=True))
        assert torch.equal(third(x), before)


def test_functions_of_parameters_can_be_mapped():
    layer, x = one_layer(nn.Conv2d(8, 12, 3, **DOUBLE)).eval(), random(2, 8, 6, 6)
    several = {name: torch.stack([value, 2 * value]) for name, value in layer.named_parameters()}
    with torch.no_grad():
        layer(x)
        outputs = torch.vmap(lambda weights: torch.func.functional_call(layer, weights, (x,)))(several)
        for k in range(2):
            one = {name: value[k] for name, value in several.items()}
            close(outputs[k], torch.func.functional_call(layer, one, (x,)))
        assert (outputs[1] - outputs[0]).abs().max() > 1e-3
        close(layer(x), outputs[0])


# Networks


@pytest.mark.parametrize(("kind", "core"), FORMS)
def test_a_network_learns_and_collapses(kind, core):
    torch.manual_seed(0)
    model = WideResNet(10, width=2, in_channels=3, num_classes=4)
    made = tensorize(model, select=of_blocks, kind=kind, rank_scale=0.4, core=core)
    x, labels = torch.randn(8, 3, 16, 16), torch.arange(8) % 4
    optimiser = torch.optim.SGD(made.model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = functional.cross_entropy(made.model(x), labels)
        loss.backward()
        assert all(parameter.grad is not None for parameter in made.model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    deployed = collapse(made.model.eval())
    assert count(deployed) == count(model) == made.dense_parameters and not factorized_layers(deployed)
    assert [name for name, _ in deployed.named_parameters()] == [name for name, _ in model.named_parameters()]
    with torch.no_grad():
        outputs = made.model(x)
        error = (deployed(x) - outputs).abs().max() / outputs.abs().max()
    assert 0 < error < 1e-5
    assert factorized_layers(made.model).keys() == made.ranks.keys()


def test_shapes_are_those_that_fold_says():
    layer = one_layer(nn.Conv2d(16, 160, 3, bias=False), scale=0.234)
    n1, n2, n3 = fold(160, 16)
    assert [tuple(part.shape) for part in layer.factors()] == [(1, n1, 4), (4, n2, 2), (2, n3, 1)]
    assert "core2 (4, 16, 2)" in repr(layer)


def test_a_compiled_step_is_the_same():
    torch.manual_seed(0)
    model = nn.Sequential(one_layer(nn.Conv2d(4, 8, 3)), nn.ReLU(), one_layer(nn.Conv2d(8, 8, 3), "tucker"))
    x = torch.randn(2, 4, 8, 8)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    slopes = []
    for forward in (model, compiled):
        model.zero_grad()
        forward(x).square().sum().backward()
        slopes.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*slopes, strict=True):
        close(one, other, 1e-5)
    model.eval()
    with torch.no_grad():
        before = compiled(x)
        close(before, model(x), 1e-5)
        model[0].core1.mul_(2)
        close(compiled(x), fresh(model, x), 1e-5)
