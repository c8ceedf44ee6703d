"""Locally connected layers and conversion, against loops, PyTorch's convolution and the counts of the reference."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from tacit.analysis import layer_norms, normalized_norms
from tacit.nn import convnets, local, untying
from tacit.nn.local import LocalConv2d
from tacit.settings.convnets import Architecture

DRAWS = torch.default_generator


def with_biases(network):
    """Give a network biases that are far from zero, so that none can be forgotten."""
    for module in untying.weighted(network):
        nn.init.normal_(module.bias, std=0.3)
    return network


def skinny(width=64, *, side=32, channels=3, name="skinny", dtype=torch.float64):
    torch.manual_seed(0)
    network = convnets.build(Architecture(name=name, width=width), side=side, in_channels=channels, classes=10)
    return with_biases(network).to(dtype).eval()


def count(network):
    """All weights and biases, those that are never trained too."""
    return sum(tensor.numel() for tensor in network.state_dict().values())


def random_local(channels, outputs, kernel, stride, side, *, padding=0, live=None, dtype=torch.float64):
    """A layer whose filters differ from position to position."""
    torch.manual_seed(1)
    layer = LocalConv2d(
        channels,
        outputs,
        kernel,
        side=side,
        stride=stride,
        padding=padding,
        live=live,
        generator=DRAWS,
    ).to(dtype)
    for tensor in (layer.weight, layer.bias, layer.inert_weight, layer.inert_bias):
        nn.init.normal_(tensor)
    return layer


def by_loops(layer, images, kernel, stride):
    """The definition, one product at a time."""
    weight, bias = layer.all_filters()
    batch, channels, side, _ = images.shape
    out = (side - kernel) // stride + 1
    outputs = torch.zeros(batch, bias.shape[1], out, out, dtype=images.dtype)
    for n, o, i, j in itertools.product(range(batch), range(bias.shape[1]), range(out), range(out)):
        total = bias[i * out + j, o]
        for c, a, b in itertools.product(range(channels), range(kernel), range(kernel)):
            number = (a * kernel + b) * channels + c
            total = total + weight[i * out + j, number, o] * images[n, c, stride * i + a, stride * j + b]
        outputs[n, o, i, j] = total
    return outputs


@pytest.mark.parametrize("budget", [1, 2000, 2**30])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 1), (3, 1), (4, 3)])
def test_equals_the_triple_loop_with_weights_of_each_position(monkeypatch, budget, kernel, stride):
    """However many positions are taken at a time: one, part of a row, all."""
    monkeypatch.setitem(local._CHUNK_BYTES, "cpu", budget)
    layer = random_local(2, 3, kernel, stride, 7)
    images = torch.randn(4, 2, 7, 7, dtype=torch.float64)
    expected = by_loops(layer, images, kernel, stride)
    torch.testing.assert_close(layer(images), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("padding", "live"), [(2, None), (0, 3), (1, 4)])
def test_padding_and_positions_that_are_left_out(padding, live):
    """Outside of the first `live` rows and columns the map is zero; within it is as if nothing were left out."""
    layer = random_local(2, 3, 3, 1, 6, padding=padding, live=live)
    images = torch.randn(2, 2, 6, 6, dtype=torch.float64)
    framed = nn.functional.pad(images, (padding,) * 4)
    expected = by_loops(layer, framed, 3, 1)
    if live is not None:
        expected[:, :, live:] = 0
        expected[:, :, :, live:] = 0
    torch.testing.assert_close(layer(images), expected, rtol=1e-12, atol=1e-12)
    others = tuple(tensor + 1 for tensor in layer.all_filters())
    layer.set_filters(*others)
    torch.testing.assert_close(layer.all_filters(), others)


@pytest.mark.parametrize("budget", [1, 2000, 2**30])
def test_gradients_are_those_of_finite_differences(monkeypatch, budget):
    monkeypatch.setitem(local._CHUNK_BYTES, "cpu", budget)
    layer = random_local(2, 3, 3, 2, 7)
    images = torch.randn(2, 7, 7, 2, dtype=torch.float64, requires_grad=True)
    weight, bias = layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()

    def product(images, weight, bias):
        return local.LocalProduct.apply(images, weight, bias, 3, 2, 3)

    assert torch.autograd.gradcheck(product, (images, weight, bias))


def test_half_precision_is_that_of_products_alone():
    """Under autocast a locally connected layer does as a convolution: half precision inside, float32 gradients."""
    torch.manual_seed(0)
    layer, images = (
        LocalConv2d(3, 4, 3, side=8, padding=1, generator=DRAWS),
        torch.randn(5, 3, 8, 8, requires_grad=True),
    )
    found = {}
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            maps = layer(images)
            loss = maps.float().square().sum()
        found[enabled] = maps, *torch.autograd.grad(loss, [images, layer.weight, layer.bias])
    assert found[True][0].dtype == torch.bfloat16
    for exact, rounded in zip(found[False][1:], found[True][1:], strict=True):
        assert exact.dtype == rounded.dtype == torch.float32
        assert 0 < (exact - rounded).norm() < 2e-2 * exact.norm()


def test_equals_the_published_broadcast_in_value_and_gradient():
    """The formula of the original: windows (n, 1, C, d, d, k k) times weights (1, O, C, d, d, k k), summed."""
    kernel, stride, side, out = 3, 2, 7, 3
    layer = random_local(2, 3, kernel, stride, side)
    images = torch.randn(4, 2, side, side, dtype=torch.float64, requires_grad=True)
    weight = layer.weight.detach().view(out, out, kernel, kernel, 2, 3).permute(5, 4, 0, 1, 2, 3).flatten(4)
    weight.requires_grad_()
    windows = images.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
    expected = (windows[:, None] * weight).sum((2, 5)) + layer.bias.detach().view(out, out, 3).permute(2, 0, 1)
    target = torch.randn_like(expected)
    grad_images, grad_weight = torch.autograd.grad((expected * target).sum(), (images, weight))
    ours = layer(images)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    (own_images,) = torch.autograd.grad((ours * target).sum(), images, retain_graph=True)
    (own_weight,) = torch.autograd.grad((ours * target).sum(), layer.weight)
    torch.testing.assert_close(own_images, grad_images)
    grad_weight = grad_weight.unflatten(4, (kernel, kernel)).permute(2, 3, 4, 5, 1, 0).reshape(layer.weight.shape)
    torch.testing.assert_close(own_weight, grad_weight)


@settings(deadline=None, max_examples=40)
@given(
    channels=st.integers(1, 3),
    outputs=st.integers(1, 3),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    side=st.integers(4, 9),
)
def test_an_untied_convolution_is_the_convolution(channels, outputs, kernel, stride, padding, side):
    conv = nn.Conv2d(channels, outputs, kernel, stride=stride, padding=padding).double()
    network = untying.to_local(nn.Sequential(conv), side=side)
    images = torch.randn(3, channels, side, side, dtype=torch.float64)
    torch.testing.assert_close(network(images), conv(images), rtol=1e-12, atol=1e-12)
    dense = untying.to_dense(nn.Sequential(conv), side=side)
    torch.testing.assert_close(dense(images), conv(images), rtol=1e-12, atol=1e-12)


def test_locality():
    """An output sees its window and nothing else."""
    layer = random_local(1, 1, 3, 2, 9)
    images = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    for u, v in itertools.product(range(9), repeat=2):
        touched = images.clone()
        touched[0, 0, u, v] = 1
        changed = {tuple(at) for at in torch.nonzero((layer(touched) != layer(images))[0, 0]).tolist()}
        covering = {
            (i, j) for i, j in itertools.product(range(4), repeat=2) if 0 <= u - 2 * i < 3 and 0 <= v - 2 * j < 3
        }
        assert changed == covering


COUNTS = {
    "skinny": (143_178, 7_797_002, 110_606_602),
    "alexnet": (2_848_906, 40_229_834, 239_049_674),
}


def test_counts_sides_and_equal_outputs_of_the_skinny_network():
    cnn = skinny(dtype=torch.float32)
    images = torch.randn(6, 3, 32, 32)
    sides, maps = [], images
    for module in cnn[:-2]:
        maps = module(maps)
        sides.append(maps.shape[-1])
    assert list(dict.fromkeys([sides[0], sides[1], sides[3]])) == [36, 17, 8]
    assert sides == [36, 17, 17, 8, 12, 8, 8, 3, 5, 3, 3, 1]
    lcn, fcn = untying.to_local(cnn, side=32), untying.to_dense(cnn, side=32)
    assert (count(cnn), count(lcn), count(fcn)) == COUNTS["skinny"]
    with torch.no_grad():
        for other in (lcn, fcn):
            assert (other(images) - cnn(images)).abs().max() < 1e-6 * max(1, cnn(images).abs().max())
    assert {name for name in fcn.state_dict() if name.endswith("weight")} == {f"{i}.weight" for i in (2, 8, 14, 19)}
    assert {name for name in lcn.state_dict() if name.endswith(".weight")} == {f"{i}.weight" for i in (1, 5, 9, 13)}
    sizes = {1: (887_808, 18_496), 5: (6_553_600, 4_096), 9: (331_776, 576)}
    for place, (weights, biases) in sizes.items():
        weight, bias = lcn[place].all_filters()
        assert (weight.numel(), bias.numel()) == (weights, biases)

    def by_layer(network):
        return [(module.weight.numel(), module.bias.numel()) for module in untying.weighted(network)]

    assert by_layer(cnn) == [(3_072, 64), (102_400, 64), (36_864, 64), (640, 10)]
    assert by_layer(fcn) == [(71_912_448, 18_496), (37_748_736, 4_096), (921_600, 576), (640, 10)]


def test_live_and_local_weights_of_the_skinny_network():
    layers = untying.layers(skinny(), side=32)
    live = [int(layer.live.sum()) * layer.in_channels * layer.out_channels for layer in layers]
    assert live == [786_432, 3_936_256, 200_704]
    assert [int(layer.live_outputs.sum()) * layer.out_channels for layer in layers] == [18_496, 3_136, 576]
    assert [int((~layer.mask()).sum()) for layer in layers] == [71_024_640, 31_195_136, 589_824]
    dense = [int(layer.live_outputs.sum() * layer.live_inputs.sum()) for layer in layers]
    dense = [number * layer.in_channels * layer.out_channels for number, layer in zip(dense, layers, strict=True)]
    assert dense == [56_819_712, 12_845_056, 331_776]


@pytest.mark.parametrize("name", ["skinny", "alexnet"])
def test_outputs_are_equal_in_double_precision(name):
    cnn = skinny(8, name=name)
    images = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    lcn = untying.to_local(cnn, side=32)
    for other in (lcn, untying.to_dense(cnn, side=32), untying.to_dense(lcn, side=32)):
        assert (other(images) - cnn(images)).abs().max() < 1e-13
    assert all(torch.equal(a, b) for a, b in zip(
        untying.to_dense(cnn, side=32).state_dict().values(),
        untying.to_dense(lcn, side=32).state_dict().values(), strict=True,
    ))  # fmt: skip


@pytest.mark.slow
def test_counts_and_equal_outputs_of_alexnet():
    cnn = skinny(name="alexnet", dtype=torch.float32)
    images = torch.randn(2, 3, 32, 32)
    lcn = untying.to_local(cnn, side=32)
    fcn = untying.to_dense(lcn, side=32)
    assert (count(cnn), count(lcn), count(fcn)) == COUNTS["alexnet"]
    with torch.no_grad():
        for other in (lcn, fcn):
            torch.testing.assert_close(other(images), cnn(images), rtol=1e-5, atol=1e-6)


def test_gradients_at_the_split():
    """Summed over positions they are the CNN's; of the dense network, on the mask, those of the local one."""
    cnn = skinny(3)
    lcn, fcn = untying.to_local(cnn, side=32), untying.to_dense(cnn, side=32)
    images, labels = torch.randn(7, 3, 32, 32, dtype=torch.float64), torch.arange(7)
    for network in (cnn, lcn, fcn):
        cross_entropy(network(images), labels).backward()
    layers = untying.layers(cnn, side=32)
    trios = list(zip(untying.weighted(cnn), untying.weighted(lcn), untying.weighted(fcn), strict=True))
    for layer, (tied, free, dense) in zip(layers, trios, strict=False):
        summed = free.weight.grad.sum(0).view(layer.kernel, layer.kernel, layer.in_channels, -1)
        torch.testing.assert_close(summed.permute(3, 2, 0, 1), tied.weight.grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(free.bias.grad.sum(0), tied.bias.grad, rtol=1e-9, atol=1e-12)
        by_position = dense.weight.grad.unflatten(0, (layer.out_channels, layer.positions))
        local_part = by_position.gather(2, layer.columns().expand(layer.out_channels, -1, -1)).permute(1, 2, 0)
        used = layer.live_outputs.view(layer.side, layer.side)[: free.live, : free.live].flatten()
        assert used.all()
        numbers = torch.nonzero(layer.live_outputs).flatten()
        torch.testing.assert_close(local_part[numbers], free.weight.grad, rtol=1e-9, atol=1e-12)
        assert local_part[~layer.live_outputs].abs().max() == 0 if (~layer.live_outputs).any() else True
        dense_bias = dense.bias.grad.unflatten(0, (layer.out_channels, layer.positions)).T
        torch.testing.assert_close(dense_bias[numbers], free.bias.grad, rtol=1e-9, atol=1e-12)
    tied, free, dense = trios[-1]
    torch.testing.assert_close(tied.weight.grad, free.weight.grad)
    torch.testing.assert_close(tied.weight.grad, dense.weight.grad)


def test_inert_weights_get_no_gradient_and_all_others_do():
    """With ReLUs left out and means in place of maxima, so that no unit is dead by chance."""
    plain = [nn.AvgPool2d(3, 2) if isinstance(module, nn.MaxPool2d) else module for module in skinny(3)]
    cnn = nn.Sequential(*(module for module in plain if not isinstance(module, nn.ReLU)))
    lcn = untying.to_local(cnn, side=32)
    layers = untying.layers(skinny(3), side=32)
    cross_entropy(lcn(torch.randn(9, 3, 32, 32, dtype=torch.float64)), torch.arange(9)).backward()
    for layer, module in zip(layers, untying.weighted(lcn), strict=False):
        live = layer.live.repeat_interleave(layer.in_channels, 1)[layer.live_outputs]
        grads = module.weight.grad
        assert (grads[live] != 0).all() and not (grads[~live] != 0).any()


def test_inert_weights_stay_bit_for_bit():
    cnn = skinny(8, dtype=torch.float32)
    lcn = untying.to_local(cnn, side=32)
    start = [[tensor.clone() for tensor in module.all_filters()] for module in untying.weighted(lcn)[:3]]
    optimizer = torch.optim.SGD(lcn.parameters(), lr=0.1)
    images, labels = torch.randn(50, 3, 32, 32), torch.arange(50) % 10
    for _ in range(10):
        optimizer.zero_grad()
        cross_entropy(lcn(images), labels).backward()
        optimizer.step()
    layers = untying.layers(cnn, side=32)
    for layer, module, before in zip(layers, untying.weighted(lcn), start, strict=False):
        weights, biases = (now != then for now, then in zip(module.all_filters(), before, strict=True))
        assert weights.any() and biases.any()
        assert not weights[~layer.live.repeat_interleave(layer.in_channels, 1)].any()
        assert not biases[~layer.live_outputs].any()
    second = layers[1].live.view(8, 8, -1)
    assert not second[7].any() and not second[:, 7].any() and second[:7, :7].any(-1).all()


def test_dense_weights_leave_the_mask_in_one_step():
    fcn = untying.to_dense(skinny(3), side=32)
    layers = untying.layers(skinny(3), side=32)
    for layer, module in zip(layers, untying.weighted(fcn), strict=False):
        assert module.weight[~layer.mask()].abs().max() == 0
    cross_entropy(fcn(torch.randn(4, 3, 32, 32, dtype=torch.float64)), torch.arange(4)).backward()
    torch.optim.SGD(fcn.parameters(), lr=0.1).step()
    for layer, module in zip(layers, untying.weighted(fcn), strict=False):
        assert module.weight[~layer.mask()].abs().max() > 0


def test_a_network_untied_in_part_can_be_untied_further():
    cnn = skinny(3)
    half = untying.to_local(cnn, side=32)
    half[9] = cnn[9]
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for convert in (untying.to_local, untying.to_dense):
        whole = convert(half, side=32)
        assert not any(isinstance(module, nn.Conv2d) for module in whole)
        torch.testing.assert_close(whole(images), cnn(images), rtol=1e-9, atol=1e-9)


def test_tying_again_gives_the_cnn_back():
    cnn = skinny(5)
    tied = untying.tie(untying.to_local(cnn, side=32))
    for own, other in zip(cnn.state_dict().values(), tied.state_dict().values(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-14, atol=0)


def test_an_untied_network_with_summed_gradients_is_the_cnn():
    """Each copy steps by the sum over all: the trajectory of the CNN."""
    cnn = skinny(3)
    lcn = untying.to_local(cnn, side=32)
    images, labels = torch.randn(20, 3, 32, 32, dtype=torch.float64), torch.arange(20) % 10
    for _ in range(5):
        for network in (cnn, lcn):
            network.zero_grad()
            cross_entropy(network(images), labels).backward()
        for module in untying.weighted(lcn)[:3]:
            for tensor in (module.weight, module.bias):
                tensor.grad = tensor.grad.sum(0, keepdim=True).expand_as(tensor).clone()
        for network in (cnn, lcn):
            torch.optim.SGD(network.parameters(), lr=0.1).step()
    torch.testing.assert_close(lcn(images), cnn(images), rtol=1e-9, atol=1e-9)
    for layer, tied, free in zip(
        untying.layers(cnn, side=32), untying.weighted(cnn), untying.weighted(lcn), strict=False
    ):
        torch.testing.assert_close(free.weight[0], layer.local_weight(tied)[0], rtol=1e-9, atol=1e-12)


def test_a_gap_between_pooling_windows_is_inert_and_the_end_is_left_out():
    """Windows of 2, 3 apart, on 8 x 8: rows 2 and 5 are never seen, and after row 7 nothing is missing."""
    cnn = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 3), nn.Flatten(), nn.Linear(18, 3))
    (layer,) = untying.layers(cnn, side=10)
    used = layer.live_outputs.view(8, 8)
    assert used.any(1).tolist() == [True, True, False, True, True, False, True, True]
    images = torch.randn(3, 1, 10, 10)
    torch.testing.assert_close(untying.to_local(cnn, side=10)(images), cnn(images))
    # On 7 x 7 of 3 apart the last row is not seen either, and is not computed.
    shorter = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, 3), nn.Flatten(), nn.Linear(8, 3))
    local_one = untying.to_local(shorter, side=9)
    assert (local_one[0].side_out, local_one[0].live, len(local_one[0].inert_weight)) == (7, 5, 49 - 25)
    images = torch.randn(3, 1, 9, 9)
    torch.testing.assert_close(local_one(images), shorter(images))


def test_checkpoints_load_by_name_into_networks_built_from_scratch():
    cnn = skinny(3)
    for convert in (untying.to_local, untying.to_dense):
        trained = convert(cnn, side=32)
        scratch = untying.reset(convert(skinny(3), side=32), torch.Generator().manual_seed(5))
        assert not torch.equal(scratch[-1].weight, trained[-1].weight)
        scratch.load_state_dict(trained.state_dict())
        images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
        assert torch.equal(scratch(images), trained(images))


def test_networks_from_scratch_start_like_pytorchs_layers():
    """Uniform within 1 / sqrt(fan in): variance 1 / (3 fan in), for every position of its own."""
    torch.manual_seed(3)
    lcn = untying.reset(untying.to_local(skinny(16, dtype=torch.float32), side=32), torch.Generator().manual_seed(1))
    for place, fan_in in ((1, 48), (5, 400), (9, 144)):
        weight, bias = lcn[place].all_filters()
        assert weight.abs().max() <= 1 / math.sqrt(fan_in) and bias.abs().max() <= 1 / math.sqrt(fan_in)
        assert weight.var().item() == pytest.approx(1 / (3 * fan_in), rel=0.05)
        assert not torch.equal(weight[0], weight[1])


def test_initial_norms_are_the_published_ones():
    """With the generator at 0, and the 3,072 numbers drawn between convolutions and head that the original draws."""
    torch.manual_seed(0)
    drawn = [nn.Conv2d(3, 64, 4), nn.Conv2d(64, 64, 5), nn.Conv2d(64, 64, 3)]
    torch.randn(1, 3, 32, 32)
    drawn.append(nn.Linear(64, 10))
    assert drawn[0].weight.flatten()[0].item() == pytest.approx(-0.00108063, abs=1e-8)
    assert drawn[3].weight.flatten()[0].item() == pytest.approx(-0.00796631, abs=1e-8)
    cnn = skinny(dtype=torch.float32)
    for own, layer in zip(untying.weighted(cnn), drawn, strict=True):
        own.load_state_dict(layer.state_dict())
    layers = untying.layers(cnn, side=32)
    for network in (cnn, untying.to_local(cnn, side=32), untying.to_dense(cnn, side=32)):
        norms = layer_norms.layer_measures(network, network, layers)["squared_norms"]
        assert norms == pytest.approx([6091.548, 1362.060, 192.168, 3.3600], abs=6e-4)
        assert normalized_norms.squared_norm(norms) == pytest.approx(7649.14, abs=0.01)
        assert normalized_norms.log_product(norms) == pytest.approx(11.2009, abs=1e-4)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(2, 2, 3, dilation=2),
        nn.Conv2d(2, 2, (3, 1)),
        nn.Conv2d(2, 2, 3, stride=(1, 2)),
        nn.Conv2d(2, 2, 3, padding="same"),
        nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(2),
        nn.MaxPool2d(2, dilation=2),
        nn.MaxPool2d((2, 3)),
        nn.ZeroPad2d((1, 0, 0, 0)),
    ],
)
def test_layers_without_exact_conversion_are_refused(module):
    for convert in (untying.to_local, untying.to_dense):
        with pytest.raises(ValueError, match=r"only|no exact"):
            convert(nn.Sequential(nn.Conv2d(2, 2, 1), module), side=8)


def test_convolutions_without_bias_convert():
    cnn = nn.Sequential(nn.Conv2d(2, 3, 3, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 2))
    images = torch.randn(2, 2, 8, 8)
    for convert in (untying.to_local, untying.to_dense):
        torch.testing.assert_close(convert(cnn, side=8)(images), cnn(images))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_the_gpu_computes_the_same():
    layer = random_local(3, 4, 3, 2, 9, dtype=torch.float32)
    images = torch.randn(5, 3, 9, 9)
    expected = layer(images)
    expected.square().sum().backward()
    own = random_local(3, 4, 3, 2, 9, dtype=torch.float32).cuda()
    outputs = own(images.cuda())
    outputs.square().sum().backward()
    torch.testing.assert_close(outputs.cpu(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.weight.grad.cpu(), layer.weight.grad, rtol=1e-4, atol=1e-4)


def test_the_order_of_taps_and_channels():
    """Spelled out once."""
    cnn = nn.Sequential(nn.Conv2d(2, 3, 3))
    (layer,) = untying.layers(cnn, side=5)
    weight = layer.local_weight(cnn[0])
    assert weight[4, (1 * 3 + 2) * 2 + 1, 0] == cnn[0].weight[0, 1, 1, 2]
    # Position (1, 1), tap (1, 2), channel 1 of a 5 x 5 map.
    assert layer.columns()[4, (1 * 3 + 2) * 2 + 1] == 1 * 25 + (1 + 1) * 5 + (1 + 2)
