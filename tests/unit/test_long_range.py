import numpy as np
import pytest
import torch
from torch import nn

from tacit.nn import resnets
from tacit.nn.double_backward import adapt, input_gradients_only, normalization_second_derivatives
from tacit.optim.long_range import Patch, draw_distant_patches, exchanged, regularizer
from tacit.settings.networks import LongRangeRegularizer, Network

I, J = Patch(0, 0, 2, 2), Patch(3, 2, 2, 2)  # noqa: E741


@pytest.fixture(autouse=True)
def double():
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def value(model, images, patch=I, other=J):
    images = images.clone().requires_grad_()
    return regularizer(model, images, model(images), patch, other)


def small_images(batch=5, channels=1):
    return torch.randn(batch, channels, 6, 5)


def test_the_exchange_takes_the_next_image_and_leaves_the_input_alone():
    images = small_images()
    before = images.clone()
    mixed = exchanged(images, J)
    assert torch.equal(images, before)
    for b in range(5):
        assert torch.equal(J.of(mixed)[b], J.of(images)[(b + 1) % 5])
    J.of(mixed).copy_(J.of(images))
    assert torch.equal(mixed, images)


def test_a_quadratic_form_has_its_closed_form():
    images, form = small_images(), torch.randn(4, 4)

    def model(x):
        return ((I.of(x).flatten(1) @ form) * J.of(x).flatten(1)).sum(1)

    contents = J.of(images).flatten(1)
    before, after = contents @ form.T, contents.roll(-1, 0) @ form.T
    expected = torch.cosine_similarity(before, after).abs().mean()
    torch.testing.assert_close(value(model, images), expected, rtol=1e-12, atol=0)


def g(x):
    return I.of(x).flatten(1).sin().sum(1)


def h(x):
    return (J.of(x).flatten(1) ** 2).sum(1).exp() + 0.3


@pytest.mark.parametrize(
    "model", [lambda x: g(x) * h(x), lambda x: g(x) + h(x), lambda x: x.flatten(1) @ torch.ones(30)]
)
def test_functions_without_interaction_give_one(model):
    assert value(model, small_images()).item() == pytest.approx(1, abs=1e-12)


def interacting(x):
    return (I.of(x).flatten(1).sin() * J.of(x).flatten(1)).sum(1) + g(x) * h(x)


def test_one_image_alone_gives_one():
    assert value(interacting, small_images(batch=1)).item() == pytest.approx(1, abs=1e-12)


def test_scale_and_pixels_outside_do_not_matter():
    images = small_images()
    expected = value(interacting, images)
    assert 0 < expected.item() < 1

    def changed(x):
        return -7.5 * interacting(x) + (x[:, 0, 5, 4] ** 3) + x[:, 0, 0, 4].exp()

    torch.testing.assert_close(value(changed, images), expected, rtol=1e-10, atol=0)


def tiny_network():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.Tanh(), nn.Conv2d(3, 2, 3, bias=False), nn.Tanh(), nn.Flatten(),
        nn.Linear(24, 1), nn.Flatten(0),
    )  # fmt: skip


@pytest.mark.parametrize("adapted", [False, True])
def test_the_gradient_is_that_of_finite_differences(adapted):
    """Central differences of the regulariser itself: second order in the network, no stop-gradient."""
    model, images = tiny_network(), small_images()
    if adapted:
        adapt(model)
    value(model, images).backward()
    step = 1e-6
    for parameter in (model[0].weight, model[2].weight):
        assert parameter.grad.abs().max() > 1e-4
        for index in range(0, parameter.numel(), 5):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[index] += sign * step
                ends.append(value(model, images).item())
                with torch.no_grad():
                    parameter.view(-1)[index] -= sign * step
            slope = (ends[0] - ends[1]) / (2 * step)
            assert parameter.grad.view(-1)[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_adapted_networks_have_the_gradients_of_autograd(name, channels_last):
    """Every parameter's gradient of loss and regulariser, in double precision, training mode."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    model = resnets.build(Network(name=name, width=16 if name == "resnet8" else 64), in_channels=2)
    model = model.to(memory_format=order)
    images = torch.randn(4, 2, 32, 32).contiguous(memory_format=order)
    gradients = []
    for adapted in (False, True):
        if adapted:
            adapt(model)
        model.zero_grad()
        inputs = images.clone().requires_grad_()
        logits = model(inputs)
        penalty = regularizer(model, inputs, logits, Patch(3, 3, 2, 2), Patch(20, 9, 2, 2))
        (logits.square().mean() + 3 * penalty).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12 * theirs.abs().max().item() + 1e-14)


@pytest.mark.parametrize("channels_last", [False, True])
def test_second_derivatives_of_batch_normalisation_are_those_of_autograd(channels_last):
    order = torch.channels_last if channels_last else torch.contiguous_format
    x, dy, u = (torch.randn(5, 3, 9, 7).contiguous(memory_format=order) for _ in range(3))
    x, dy = x.requires_grad_(), dy.requires_grad_()
    weight = torch.randn(3, requires_grad=True)
    y = nn.functional.batch_norm(x, None, None, weight, training=True, eps=1e-2)
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    expected = torch.autograd.grad((u * dx).sum(), (dy, x, weight))
    variance, mean = torch.var_mean(x.detach(), (0, 2, 3), correction=0)
    scale = (variance + 1e-2).rsqrt()
    ours = normalization_second_derivatives(u, dy.detach(), x.detach(), weight.detach(), mean, scale)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_adapting_changes_neither_values_nor_names_nor_statistics():
    torch.set_default_dtype(torch.float32)
    plain = resnets.build(Network(name="resnet8", width=8), in_channels=1)
    images = torch.randn(8, 1, 16, 16)
    ours = adapt(resnets.build(Network(name="resnet8", width=8), in_channels=1))
    ours.load_state_dict(plain.state_dict())
    for model in (plain, ours):
        model.train()
    torch.testing.assert_close(ours(images), plain(images))
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor)
    torch.testing.assert_close(ours.eval()(images), plain.eval()(images))


def test_what_cannot_be_differentiated_twice_says_so():
    with pytest.raises(ValueError, match="groups"):
        adapt(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2, bias=False)))
    model = adapt(tiny_network())
    weight = model[0].weight
    (gradient,) = torch.autograd.grad(model(small_images()).sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError):
        gradient.square().sum().backward()


def test_weights_are_left_out_on_request_alone():
    model, images = adapt(tiny_network()), small_images().requires_grad_()
    with input_gradients_only():
        model(images).sum().backward()
    assert model[0].weight.grad is None
    assert images.grad is not None
    model(images).sum().backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize(("distance", "adjacent"), [(0, False), (1, False), (0, True), (1, True)])
def test_second_patches_fill_the_chebyshev_rule_and_nothing_else(distance, adjacent):
    """Support by enumeration, at corners, edges and inside; every allowed place is drawn, uniformly."""
    settings = LongRangeRegularizer(patch_size=2, distance=distance, adjacent_only=adjacent)
    generator = np.random.default_rng(0)
    seen = {}
    for _ in range(30_000):
        first, second = draw_distant_patches(settings, height=7, width=8, generator=generator)
        seen.setdefault(first[:2], []).append(second[:2])
        assert first[2:] == second[2:] == (2, 2)
    assert set(seen) == {(i, j) for i in range(6) for j in range(7)}
    for (i, j), others in seen.items():
        gap = 2 + distance
        allowed = {
            (k, m)
            for k in range(6)
            for m in range(7)
            if (max(abs(k - i), abs(m - j)) == gap if adjacent else max(abs(k - i), abs(m - j)) >= gap)
        }
        assert set(others) == allowed
    counts = np.array([len(others) for others in seen.values()])
    assert abs(counts - 30_000 / 42).max() < 5 * np.sqrt(30_000 / 42)


def test_a_distance_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="reduce patch_size or distance"):
        draw_distant_patches(
            LongRangeRegularizer(patch_size=2, distance=9), height=8, width=8, generator=np.random.default_rng(0)
        )
