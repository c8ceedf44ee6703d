"""Frobenius decay against autograd and finite differences; which parameter decays how against the published table."""

import io
import itertools
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from tacit.nn.factorized import FactorizedLinear, factorized_layers
from tacit.nn.factorizing import collapse, factorize
from tacit.nn.factors import Factors
from tacit.nn.scaled_convnets import ScaledConvNet, in_blocks
from tacit.nn.tensor_layers import TensorConv2d, tensorize
from tacit.nn.vgg import VGG, after_the_first, published_leak
from tacit.nn.wide_resnets import WideResNet
from tacit.optim.decay_groups import Row, decay_groups
from tacit.optim.frobenius_decay import FrobeniusDecay, Part, Term, output_value, query_key

DOUBLE = {"dtype": torch.float64}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def close(one, other, tolerance=1e-11):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def layers(factors=2):
    """Of several shapes, two of each; some where products are cheaper, some where Gram matrices are."""
    found = []
    for seed, (m, rank, n) in enumerate([(9, 2, 12), (5, 30, 4), (9, 2, 12), (6, 1, 6), (5, 30, 4), (1, 1, 1)]):
        M = random(rank, rank, seed=20 + seed) / rank**0.5 if factors == 3 else None
        found.append(FactorizedLinear(Factors(random(m, rank, seed=seed), random(rank, n, seed=10 + seed), M)))
    return found


def by_autograd(products, parameters, coefficient):
    penalty = coefficient / 2 * sum(product.square().sum() for product in products)
    return torch.autograd.grad(penalty, parameters), penalty


def parameters_of(modules):
    return [parameter for module in modules for parameter in module.parameters()]


def product_of(layer):
    return layer.U @ layer.VT if layer.M is None else layer.U @ layer.M @ layer.VT


@pytest.mark.parametrize("factors", [2, 3])
@pytest.mark.parametrize("start", [None, 0.0, 1.5])
@pytest.mark.parametrize("batched", [True, False])
def test_gradients_are_those_of_the_penalty(factors, start, batched):
    """Added to what is there, where there is nothing too."""
    found = layers(factors)
    parameters = parameters_of(found)
    expected, penalty = by_autograd(map(product_of, found), parameters, 0.3)
    for parameter in parameters:
        parameter.grad = None if start is None else torch.full_like(parameter, start)
    decay = FrobeniusDecay(found, 0.3, batched=batched)
    decay.add_gradients()
    for parameter, gradient in zip(parameters, expected, strict=True):
        close(parameter.grad, gradient + (start or 0.0))
    close(decay.penalty(), penalty)
    decay.add_gradients()
    for parameter, gradient in zip(parameters, expected, strict=True):
        close(parameter.grad, 2 * gradient + (start or 0.0))


def attention(heads=3, size=4, width=10):
    torch.manual_seed(0)
    q, k, v = (nn.Linear(width, heads * size, bias=False, **DOUBLE) for _ in range(3))
    return q, k, v, nn.Linear(heads * size, width, bias=False, **DOUBLE)


@pytest.mark.parametrize("start", [None, 1.5])
@pytest.mark.parametrize("batched", [True, False])
def test_heads_of_attention_decay_by_their_products(start, batched):
    heads, size = 3, 4
    modules = [attention(), attention()]
    terms = []
    for q, k, v, o in modules:
        terms += [query_key(q, k, heads=heads), output_value(o, v, heads=heads)]
    everything = [part for module in modules for part in parameters_of(module)]
    products = []
    for q, k, v, o in modules:
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            products += [q.weight[rows].T @ k.weight[rows], o.weight[:, rows] @ v.weight[rows]]
    expected, penalty = by_autograd(products, everything, 0.7)
    for parameter in everything:
        parameter.grad = None if start is None else torch.full_like(parameter, start)
    decay = FrobeniusDecay(terms, 0.7, batched=batched)
    close(decay.penalty(), penalty)
    decay.add_gradients()
    for parameter, gradient in zip(everything, expected, strict=True):
        close(parameter.grad, gradient + (start or 0.0))


def test_factors_can_lie_in_one_parameter():
    """As those of queries and keys in PyTorch's attention."""
    module = nn.MultiheadAttention(8, 2, bias=False, **DOUBLE)
    term = Term(
        Part(module, "in_proj_weight", lambda weight: weight[:8].unflatten(0, (2, 4)).mT),
        Part(module, "in_proj_weight", lambda weight: weight[8:16].unflatten(0, (2, 4))),
    )
    weight = module.in_proj_weight
    products = [weight[4 * h : 4 * h + 4].T @ weight[8 + 4 * h : 12 + 4 * h] for h in range(2)]
    (expected,), _ = by_autograd(products, [weight], 1.0)
    FrobeniusDecay([term], 1.0).add_gradients()
    close(weight.grad, expected)
    assert not weight.grad[16:].any()


@pytest.mark.parametrize("factors", [2, 3])
def test_the_gradient_is_the_slope_of_the_penalty(factors):
    """By central differences of the definition."""
    layer = layers(factors)[0]
    decay = FrobeniusDecay([layer], 0.4)
    decay.add_gradients()
    for parameter in layer.parameters():
        direction = random(*parameter.shape, seed=77)
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += step * direction
                ends.append(0.2 * product_of(layer).square().sum())
                parameter -= step * direction
        slope = (ends[0] - ends[1]) / 2e-5
        close((parameter.grad * direction).sum(), slope, 1e-7)


def test_only_the_product_counts():
    """Another choice of factors changes weight decay, and neither the penalty nor the outputs."""
    layer, x, change = layers()[0], random(3, 12), random(2, 2, seed=5)
    decay = FrobeniusDecay([layer], 1.0)
    before = decay.penalty(), layer(x), layer.U.square().sum() + layer.VT.square().sum()
    with torch.no_grad():
        layer.U.copy_(layer.U @ change)
        layer.VT.copy_(torch.linalg.inv(change) @ layer.VT)
    close(decay.penalty(), before[0])
    close(layer(x), before[1])
    assert abs(layer.U.square().sum() + layer.VT.square().sum() - before[2]) > 1


def test_a_coefficient_of_zero_and_frozen_factors_leave_gradients_untouched():
    first, second, *_ = layers()
    FrobeniusDecay([first, second], 0.0).add_gradients()
    assert all(parameter.grad is None for parameter in parameters_of([first, second]))
    first.U.requires_grad_(False)
    FrobeniusDecay([first, second], 0.5).add_gradients()
    assert first.U.grad is None and first.VT.grad is not None and second.U.grad is not None
    FrobeniusDecay([], 0.5).add_gradients()
    assert FrobeniusDecay([], 0.5).penalty() == 0
    for coefficient in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="coefficient"):
            FrobeniusDecay([first], coefficient)


def test_a_layer_given_twice_decays_once():
    layer = layers()[0]
    FrobeniusDecay([layer, layer], 0.5).add_gradients()
    once = layer.U.grad.clone()
    layer.U.grad = layer.VT.grad = None
    FrobeniusDecay([layer], 0.5).add_gradients()
    assert torch.equal(layer.U.grad, once)


def test_one_factor_decays_as_weights_do():
    """Beside an orthonormal factor that stays, Frobenius decay is the optimiser's weight decay."""
    basis, _ = torch.linalg.qr(random(6, 6))
    layer = FactorizedLinear(Factors(random(4, 6, seed=1), basis))
    layer.VT.requires_grad_(False)
    dense = nn.Parameter(layer.U.detach().clone())
    decay = FrobeniusDecay([layer], 0.01)
    ours = torch.optim.SGD([layer.U], lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD([dense], lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(5):
        layer.U.grad, dense.grad = (random(4, 6, seed=30 + step) for _ in range(2))
        decay.add_gradients()
        ours.step()
        theirs.step()
        close(layer.U, dense)


@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_any_optimiser_takes_the_same_path_as_with_the_penalty_in_the_loss(optimiser):
    def model():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 3))
        return factorize(made.double(), rank_scale=0.4).model

    by_hand, by_loss = model(), model()
    decay = FrobeniusDecay(factorized_layers(by_hand).values(), 0.2)
    one, two = (optimiser(net.parameters(), lr=0.01) for net in (by_hand, by_loss))
    x, labels = random(6, 1, 8, 8), torch.arange(6) % 3
    for _ in range(4):
        one.zero_grad()
        cross_entropy(by_hand(x), labels).backward()
        decay.add_gradients()
        one.step()
        two.zero_grad()
        penalty = 0.1 * sum(product_of(layer).square().sum() for layer in factorized_layers(by_loss).values())
        (cross_entropy(by_loss(x), labels) + penalty).backward()
        two.step()
    for ours, theirs in zip(by_hand.parameters(), by_loss.parameters(), strict=True):
        close(ours, theirs, 1e-8)


def test_it_follows_a_model_that_is_moved_or_loaded():
    found = nn.ModuleList(layers())
    decay = FrobeniusDecay(found, 0.3)
    saved = {name: value * 2 for name, value in found.state_dict().items()}
    for assign in (False, True):
        found.load_state_dict({name: value.clone() for name, value in saved.items()}, assign=assign)
        for single in (False, True):
            found.to(torch.float32 if single else torch.float64)
            found.requires_grad_(True)
            for parameter in found.parameters():
                parameter.grad = None
            expected, _ = by_autograd(map(product_of, found), list(found.parameters()), 0.3)
            decay.add_gradients()
            for parameter, gradient in zip(found.parameters(), expected, strict=True):
                assert parameter.grad.dtype == parameter.dtype
                torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-3)
        found.double()


# Tensors

TENSORS = [("tensor_train", "tensor_train"), ("tucker", "tensor_train"), ("tucker", "dense")]


def tensor_layer(kind, core, *, inputs=6, outputs=10, seed=0):
    """With parts far from orthonormal, as they are once they have learned."""
    made = tensorize(
        nn.Conv2d(inputs, outputs, 3, **DOUBLE), select=lambda *_: True, kind=kind, core=core, rank_scale=0.6
    ).model
    for number, part in enumerate(made.factors()):
        part.data = random(*part.shape, seed=100 * seed + number) / 1.5
    return made


def tensor_by_einsum(layer):
    parts = layer.factors()
    formula = {3: "zaj,jbk,kcy->abc", 4: "ijk,ai,bj,ck->abc", 6: "zil,ljm,mky,ai,bj,ck->abc"}[len(parts)]
    return torch.einsum(formula, *parts)


@pytest.mark.parametrize("start", [None, 0.0, 1.5])
@pytest.mark.parametrize("batched", [True, False, None])
def test_parts_of_tensors_decay_by_their_product(start, batched):
    """Beside matrices, and in stacks of equal shapes; filters and biases are left alone."""
    tensors = [tensor_layer(*form, seed=seed) for seed, form in enumerate([*TENSORS, *TENSORS])]
    tensors.append(tensor_layer("tucker", "dense", inputs=5, seed=9))
    matrices = layers()[:2]
    found = [tensors[0], matrices[0], *tensors[1:], matrices[1]]
    parameters = [part for layer in found for part in layer.factors() if part is not None]
    products = [tensor_by_einsum(layer) if isinstance(layer, TensorConv2d) else product_of(layer) for layer in found]
    expected, penalty = by_autograd(products, parameters, 0.3)
    for parameter in parameters:
        parameter.grad = None if start is None else torch.full_like(parameter, start)
    decay = FrobeniusDecay(found, 0.3, batched=batched)
    close(decay.penalty(), penalty)
    by_penalty = torch.autograd.grad(decay.penalty(), parameters)
    decay.add_gradients()
    for parameter, gradient, slope in zip(parameters, expected, by_penalty, strict=True):
        close(parameter.grad, gradient + (start or 0.0))
        close(slope, gradient)
        assert not parameter.grad.requires_grad
    assert all(layer.depthwise.weight.grad is None and layer.bias.grad is None for layer in tensors)


@pytest.mark.parametrize(("kind", "core"), TENSORS)
def test_the_gradient_by_parts_of_a_tensor_is_the_slope_of_the_penalty(kind, core):
    layer = tensor_layer(kind, core)
    FrobeniusDecay([layer], 0.4).add_gradients()
    for parameter in layer.factors():
        direction = random(*parameter.shape, seed=77)
        ends = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter += step * direction
                ends.append(0.2 * tensor_by_einsum(layer).square().sum())
                parameter -= step * direction
        slope = (ends[0] - ends[1]) / 2e-5
        assert slope.abs() > 1e-4
        close((parameter.grad * direction).sum(), slope, 1e-7)


@pytest.mark.parametrize(("kind", "core"), TENSORS)
def test_only_the_tensor_counts(kind, core):
    """A change between neighbours changes weight decay, and neither the penalty nor the outputs."""
    layer, x = tensor_layer(kind, core), random(2, 6, 7, 7)
    decay = FrobeniusDecay([layer], 1.0)
    before = decay.penalty(), layer(x), sum(part.square().sum() for part in layer.factors())
    with torch.no_grad():
        if core == "dense":
            change = random(layer.core.shape[1], layer.core.shape[1], seed=5)
            layer.core.copy_(torch.einsum("ijk,jl->ilk", layer.core, change))
            layer.factor2.copy_(layer.factor2 @ torch.linalg.inv(change).T)
        else:
            change = random(layer.core1.shape[2], layer.core1.shape[2], seed=5)
            layer.core1.copy_(layer.core1 @ change)
            layer.core2.copy_(torch.einsum("ij,jbk->ibk", torch.linalg.inv(change), layer.core2))
    close(decay.penalty(), before[0], 1e-9)
    close(layer(x), before[1], 1e-9)
    assert abs(sum(part.square().sum() for part in layer.factors()) - before[2]) > 1


def test_frozen_parts_and_a_coefficient_of_zero_leave_gradients_of_tensors_untouched():
    layer = tensor_layer("tucker", "tensor_train")
    FrobeniusDecay([layer], 0.0).add_gradients()
    assert all(parameter.grad is None for parameter in layer.parameters())
    layer.core2.requires_grad_(False)
    FrobeniusDecay([layer, layer], 0.5).add_gradients()
    assert layer.core2.grad is None
    kept = [part for part in layer.factors() if part.requires_grad]
    for part, gradient in zip(kept, by_autograd([tensor_by_einsum(layer)], kept, 0.5)[0], strict=True):
        close(part.grad, gradient)


def test_decay_of_tensors_follows_a_model_that_is_moved_or_loaded():
    layer = tensor_layer("tensor_train", "tensor_train")
    decay = FrobeniusDecay([layer], 0.3)
    layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()}, assign=True)
    layer.float().requires_grad_(True)
    expected, _ = by_autograd([tensor_by_einsum(layer)], list(layer.factors()), 0.3)
    decay.add_gradients()
    for part, gradient in zip(layer.factors(), expected, strict=True):
        assert part.grad.dtype == torch.float32
        torch.testing.assert_close(part.grad, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "core"), TENSORS)
def test_published_decay_of_tensors_does_nothing_and_the_repaired_one_acts(kind, core):
    def gradients(factors, coefficient):
        torch.manual_seed(0)
        made = tensorize(
            WideResNet(10, width=1, in_channels=3, num_classes=4), select=threes_by_three, kind=kind, core=core,
            rank_scale=0.4, spectral=True,
        ).model  # fmt: skip
        plan = decay_groups(made, coefficient, factors=factors)
        cross_entropy(made(torch.randn(4, 3, 8, 8)), torch.arange(4)).backward()
        plan.frobenius.add_gradients()
        parts = {id(part) for layer in factorized_layers(made).values() for part in layer.factors()}
        return {name: (p.grad, id(p) in parts) for name, p in made.named_parameters()}

    without, published, repaired = gradients("none", 0.0), gradients("none", 0.1), gradients("frobenius", 0.1)
    assert sum(is_part for _, is_part in without.values()) == 6 * {"dense": 4}.get(core, 3 if kind != "tucker" else 6)
    for name, (gradient, is_part) in without.items():
        assert torch.equal(published[name][0], gradient)
        assert torch.equal(repaired[name][0], gradient) == (not is_part)


class Calls(TorchDispatchMode):
    """Counts what is computed, views left out."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not any(word in str(function) for word in ("view", "expand", "transpose", "unbind", "detach")):
            self.found[str(function)] += 1
        return function(*args, **(kwargs or {}))


def test_a_deep_network_takes_a_handful_of_computations_where_each_has_to_be_launched():
    made = factorize(
        ScaledConvNet(110, width=16, delta_exponent=0.0, in_channels=3, num_classes=10),
        rank_scale=0.111,
        spectral=False,
    )
    found = factorized_layers(made.model)
    assert len(found) == 108
    for parameter in made.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with Calls() as calls:
        FrobeniusDecay(found.values(), 1e-4, batched=True).add_gradients()
    assert calls.found.total() < 40 and calls.found["aten._foreach_add_.List"] == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_is_never_waited_for():
    found = nn.ModuleList(layers()).float().cuda()
    decay = FrobeniusDecay(found, 0.3)
    decay.add_gradients()
    torch.cuda.set_sync_debug_mode("error")
    try:
        decay.add_gradients()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, _ = by_autograd(map(product_of, found), list(found.parameters()), 0.6)
    for parameter, gradient in zip(found.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-3)


# Who decays how

LAMBDA, RATIO = 5e-4, 0.25


def residual_network():
    """As the original's: 18 convolutions are factorized."""
    model = ScaledConvNet(20, width=4, delta_exponent=0.0, in_channels=3, num_classes=10)
    return factorize(model, rank_scale=0.5, spectral=False)


def wide_network():
    """Blocks with normalisation, two convolutions and, where the width changes, a convolution as shortcut."""
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3, bias=False)})
    for name, inputs, outputs in (("one", 4, 6), ("two", 6, 6), ("three", 6, 8)):
        parts = {"bn1": nn.BatchNorm2d(inputs), "conv1": nn.Conv2d(inputs, outputs, 3, bias=False)}
        parts |= {"bn2": nn.BatchNorm2d(outputs), "conv2": nn.Conv2d(outputs, outputs, 3, bias=False)}
        if inputs != outputs:
            parts["convShortcut"] = nn.Conv2d(inputs, outputs, 1, bias=False)
        model[name] = nn.ModuleDict(parts)
    model["head"] = nn.Linear(8, 10)
    return factorize(model, rank_scale=0.5, spectral=False)


# What the command's flags say, as settings here, and what factors receive; all else receives weight decay.
TABLE = [
    (residual_network, "no flag", {"factors": "weight"}, ("weight", LAMBDA)),
    (residual_network, "--wd2fd", {"factors": "frobenius"}, ("frobenius", LAMBDA)),
    (residual_network, "--wd2fd --no-frob", {"factors": "none"}, ("none", 0.0)),
    (wide_network, "default", {"factors": "scaled", "ratio": RATIO}, ("scaled", LAMBDA * RATIO)),
    (wide_network, "--nocrswd", {"factors": "weight"}, ("weight", LAMBDA)),
    (wide_network, "--wd2fd, with --nocrswd or without", {"factors": "frobenius"}, ("frobenius", LAMBDA)),
]


def threes_by_three(name, module):
    return name.endswith(("conv1", "conv2"))


def factored_wide_resnet():
    """As the tensor command's `Conv`: every convolution but the stem, shortcuts too."""
    return factorize(WideResNet(16, width=2, in_channels=3, num_classes=10), rank_scale=0.1, spectral=False)


def train_wide_resnet():
    model = WideResNet(16, width=2, in_channels=3, num_classes=10)
    return tensorize(model, select=threes_by_three, kind="tensor_train", rank_scale=0.3)


def tucker_wide_resnet():
    model = WideResNet(16, width=2, in_channels=3, num_classes=10)
    return tensorize(model, select=threes_by_three, kind="tucker", rank_scale=0.3)


# Of the tensor command: form, flags, and whether as published or repaired.
COMMANDS = [
    (build, flag, mode)
    for build in (factored_wide_resnet, train_wide_resnet, tucker_wide_resnet)
    for flag in ("default", "--nocrswd", "--wd2fd", "--wd2fd --nocrswd")
    for mode in ("published", "repaired")
]


@pytest.mark.parametrize(("build", "flag", "mode"), COMMANDS)
def test_decay_of_the_tensor_command(build, flag, mode):
    made = build()
    model, ratio = made.model, made.ratio
    tensors, published = build is not factored_wide_resnet, mode == "published"
    options = {"factors": {"default": "scaled", "--nocrswd": "weight"}.get(flag, "frobenius")}
    if options["factors"] == "scaled":
        options["ratio"] = ratio
    if published and tensors and "--wd2fd" in flag:
        options["factors"] = "none"
    if published and not tensors and "--wd2fd" not in flag:
        options["also_frobenius"] = lambda name: name.endswith("shortcut")
    plan = decay_groups(model, LAMBDA, **options)

    if "--wd2fd" in flag:
        of_parts = ("none", 0.0) if tensors and published else ("frobenius", LAMBDA)
    else:
        of_parts = ("scaled", LAMBDA * ratio) if flag == "default" else ("weight", LAMBDA)
    endings = ("U", "VT", *(f"{part}{k}" for part in ("core", "factor") for k in (1, 2, 3)))
    expected = []
    for name, _ in model.named_parameters():
        is_part = name.rsplit(".", 1)[-1] in endings
        expected.append(Row(name, *(of_parts if is_part else ("weight", LAMBDA))))
        if is_part and "shortcut" in name and published and "--wd2fd" not in flag:
            expected.append(Row(name, "frobenius", LAMBDA))
    assert plan.report == expected
    rows = Counter(row.parameter for row in plan.report)
    twice = 6 if published and not tensors and "--wd2fd" not in flag else 0
    assert sum(number == 2 for number in rows.values()) == twice
    weights = in_groups(plan, model)
    for row in expected:
        if row.kind != "frobenius" or rows[row.parameter] == 1:
            assert weights[row.parameter] == (row.coefficient if row.kind in ("weight", "scaled") else 0.0)
    assert in_frobenius(plan, model) == {row.parameter for row in expected if row.kind == "frobenius"}
    parts = [row.parameter for row in expected if row.parameter.rsplit(".", 1)[-1] in endings]
    layers_of = 12 + 3 * (not tensors)
    assert len(set(parts)) == layers_of * {factored_wide_resnet: 2, train_wide_resnet: 3, tucker_wide_resnet: 6}[build]
    assert sum("depthwise" in row.parameter for row in expected if row.kind == "weight") == 12 * tensors


def test_scaled_decay_of_the_published_network():
    with torch.device("meta"):
        model = WideResNet(28, width=10, in_channels=3, num_classes=10)
    made = tensorize(model, select=threes_by_three, kind="tensor_train", rank_scale=0.234)
    plan = decay_groups(made.model, LAMBDA, factors="scaled", ratio=made.ratio)
    amounts = Counter()
    for group in plan.groups:
        amounts[round(group["weight_decay"], 9)] += sum(parameter.numel() for parameter in group["params"])
    assert amounts == {8.322e-6: 248_782, LAMBDA: 358_378}


def in_groups(plan, model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(part)]: group["weight_decay"] for group in plan.groups for part in group["params"]}


def in_frobenius(plan, model):
    decayed = {id(part.parameter()) for term in plan.frobenius.terms for part in term.parts()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in decayed}


@pytest.mark.parametrize(("build", "flags", "options", "received"), TABLE, ids=[row[1] for row in TABLE])
def test_the_report_is_the_published_table(build, flags, options, received):
    model = build().model
    plan = decay_groups(model, LAMBDA, **options)
    kind, _ = received
    expected = [
        Row(name, *(received if name.endswith((".U", ".VT")) else ("weight", LAMBDA)))
        for name, _ in model.named_parameters()
    ]
    assert plan.report == expected
    weights = in_groups(plan, model)
    assert list(weights) and set(weights) == {name for name, _ in model.named_parameters()}
    for row in expected:
        assert weights[row.parameter] == (row.coefficient if row.kind in ("weight", "scaled") else 0.0)
    factors = {row.parameter for row in expected if row.parameter.endswith((".U", ".VT"))}
    assert in_frobenius(plan, model) == (factors if kind == "frobenius" else set())
    assert plan.frobenius.coefficient == LAMBDA
    torch.optim.SGD(plan.groups, lr=0.1)


@pytest.mark.parametrize("options", [{"factors": "weight"}, {"factors": "scaled", "ratio": RATIO}])
def test_the_published_leak_of_shortcuts_can_be_had(options):
    """Three factorized shortcuts of WRN-28-10, two here, receive Frobenius decay on top; repaired there is none."""
    model = wide_network().model
    plan = decay_groups(model, LAMBDA, also_frobenius=lambda name: name.endswith("convShortcut"), **options)
    rows = Counter(row.parameter for row in plan.report)
    twice = {name for name, number in rows.items() if number == 2}
    assert twice == {f"{block}.convShortcut.{part}" for block, part in itertools.product(("one", "three"), ("U", "VT"))}
    repaired = decay_groups(model, LAMBDA, **options)
    assert [row for row in plan.report if row not in repaired.report] == [
        Row(name, "frobenius", LAMBDA) for name in rows if name in twice
    ]
    assert in_frobenius(plan, model) == twice and not in_frobenius(repaired, model)
    assert in_groups(plan, model) == in_groups(repaired, model)


def vgg(layers=19, **changes):
    """As the original's comparisons of compressed networks have it, but narrow: 15 convolutions are factorized."""
    options = {"width": 2, "side": 32, "in_channels": 3, "num_classes": 10} | changes
    return factorize(VGG(layers, **options), select=after_the_first, rank_scale=0.5, spectral=False)


def projected_network():
    """The other network of these comparisons: 32 convolutions are factorized, two of them shortcuts."""
    model = ScaledConvNet(32, width=2, in_channels=3, num_classes=10, kaiming=True, projected=True)
    return factorize(model, select=in_blocks, rank_scale=0.5, spectral=False)


@pytest.mark.parametrize(("build", "coefficient", "convs"), [(vgg, 2e-4, 15), (projected_network, 1e-4, 32)])
@pytest.mark.parametrize(("flags", "factors"), [("no flag", "weight"), ("--wd2fd", "frobenius")])
def test_the_report_of_compressed_networks_is_the_published_table(build, coefficient, convs, flags, factors):
    """Repaired, factors are the only parameters that Frobenius decay spares; shortcuts are among them."""
    model = build().model
    plan = decay_groups(model, coefficient, factors=factors)
    names = [name for name, _ in model.named_parameters()]
    of_factors = {name for name in names if name.endswith((".U", ".VT"))}
    assert len(of_factors) == 2 * convs
    assert sum("downsample." in name for name in of_factors) == (4 if build is projected_network else 0)
    assert plan.report == [Row(name, factors if name in of_factors else "weight", coefficient) for name in names]
    frobenius = of_factors if factors == "frobenius" else set()
    assert in_frobenius(plan, model) == frobenius
    assert in_groups(plan, model) == {name: 0.0 if name in frobenius else coefficient for name in names}


def test_the_published_leak_of_normalisation_can_be_had():
    """VGG's layers have numbers for names: '3' is found in 31, 34 and 37, '7' in 37 and 47."""
    model = vgg().model
    plan = decay_groups(model, LAMBDA, factors="frobenius", without_weight_decay=published_leak(model))
    repaired = decay_groups(model, LAMBDA, factors="frobenius")
    leaked = [row.parameter for row in plan.report if row.kind == "none"]
    assert leaked == [f"features.{place}.{part}" for place in (31, 34, 37, 47) for part in ("weight", "bias")]
    assert all(in_groups(plan, model)[name] == 0.0 for name in leaked)
    assert {row.kind for row in repaired.report} == {"weight", "frobenius"}
    assert [row for row in plan.report if row not in repaired.report] == [Row(name, "none", 0.0) for name in leaked]
    assert in_frobenius(plan, model) == in_frobenius(repaired, model)


def test_the_leak_follows_the_numbers_of_layers():
    """VGG11 has convolutions at 4, 8, 11, 15, 18, 22, 25; none of its normalisations has such a number in its own."""
    model = vgg(11).model
    factorized = list(factorized_layers(model))
    assert factorized == [f"features.{place}" for place in (4, 8, 11, 15, 18, 22, 25)]
    leaks = published_leak(model)
    assert {name for name, _ in model.named_parameters() if leaks(name)} == {
        f"{name}.{part}" for name in factorized for part in ("U", "VT")
    }


def test_biases_of_factorized_layers_and_frozen_parameters_are_told_apart():
    model = factorize(
        nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), select=lambda *_: True, rank_scale=0.5, factors=3
    )
    model.model[1].requires_grad_(False)
    plan = decay_groups(model.model, 0.1, factors="frobenius")
    kinds = {row.parameter: row.kind for row in plan.report}
    assert [kinds[f"0.{part}"] for part in ("U", "VT", "M", "bias")] == ["frobenius"] * 3 + ["weight"]
    assert [kinds[f"1.{part}"] for part in ("U", "VT", "M", "bias")] == ["none"] * 4
    assert in_groups(plan, model.model) == {"0.U": 0.0, "0.VT": 0.0, "0.M": 0.0, "0.bias": 0.1}


def test_equal_coefficients_make_one_group():
    model = residual_network().model
    (group,) = decay_groups(model, 1e-4).groups
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))
    (none,) = decay_groups(model, 0.0, factors="frobenius").groups
    assert none["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factors": "nuclear"}, "nuclear"),
        ({"factors": "scaled"}, "ratio = None"),
        ({"factors": "weight", "ratio": 0.5}, "ratio = 0.5"),
        ({"factors": "scaled", "ratio": 0.0}, "ratio = 0.0"),
        ({"weight_decay": -1.0}, "weight_decay"),
    ],
)
def test_wrong_plans_are_refused(options, said):
    model = residual_network().model
    with pytest.raises(ValueError, match=said):
        decay_groups(model, **({"weight_decay": 0.1} | options))
    with pytest.raises(ValueError, match="no layer of this model"):
        decay_groups(collapse(model), 0.1, factors="frobenius")


def test_a_saved_network_decays_the_same():
    first, second = residual_network().model, residual_network().model
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second.load_state_dict(torch.load(stream, weights_only=True))
    for model in (first, second):
        decay_groups(model, 0.1, factors="frobenius").frobenius.add_gradients()
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert (one.grad is None and two.grad is None) or torch.equal(one.grad, two.grad)
