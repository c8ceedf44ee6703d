"""The long-range regulariser on networks of any kind: values, derivatives, and what is refused."""

import numpy as np
import pytest
import torch
from test_long_range import double as _double
from torch import nn
from torchvision import models

import tacit
from tacit.front.passes import twice_differentiable
from tacit.nn.double_backward import adapt
from tacit.optim.long_range import Patch, regularizer

PATCHES = ((2, 3), (4, 4))
"""Next to each other, so that small networks see both at once."""


double = _double


def images(batch=5, channels=2, height=12, width=13):
    return torch.randn(batch, channels, height, width)


class Gate(nn.Module):
    """Branches, and functions between modules."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(2, 4, 3, padding="same", padding_mode="reflect")
        self.two = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.scale, self.gate, self.end = nn.Conv2d(4, 4, 1), nn.Hardsigmoid(), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.tanh(self.one(x)) * self.gate(self.scale(self.two(x))) + self.two(x)
        return self.end(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def plain(bias=False):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 3, 3, stride=2, bias=bias),
        nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(90, 1),
    )  # fmt: skip


NETWORKS = {
    "batch normalisation": plain,
    "bias": lambda: plain(bias=True),
    "groups and dilation": lambda: nn.Sequential(
        nn.Conv2d(2, 6, 3, dilation=2, groups=2), nn.GroupNorm(3, 6), nn.SiLU(),
        nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.GELU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(24, 1), nn.Flatten(0),
    ),
    "maxima and kinks": lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ELU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 3, bias=False), nn.LeakyReLU(0.2), nn.AdaptiveMaxPool2d(2),
        nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 4),
    ),
    "averages without weights": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False, momentum=None), nn.Softplus(), nn.AvgPool2d(3),
        nn.Flatten(), nn.Linear(36, 2),
    ),
    "branches": Gate,
}  # fmt: skip


def labels_of(logits):
    return None if logits.ndim == 1 or logits.shape[1] == 1 else torch.arange(len(logits)) % logits.shape[1]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NETWORKS)
def test_its_gradient_is_that_of_finite_differences(name, mode):
    model, given = NETWORKS[name]().train(mode == "train"), images()
    labels, term = labels_of(model(given)), tacit.LongRangeRegularizer()
    value = term(model, given, labels=labels, patches=PATCHES)
    assert 0 < value.item() < 1 and value.ndim == 0
    value.backward()

    def at(parameter, index, step):
        with torch.no_grad():
            parameter.view(-1)[index] += step
            moved = term(model, given, labels=labels, patches=PATCHES).item()
            parameter.view(-1)[index] -= step
        return moved

    largest = max(parameter.grad.abs().max() for parameter in model.parameters() if parameter.grad is not None)
    assert largest > 1e-3
    for parameter in model.parameters():
        for index in {0, parameter.numel() // 2, parameter.numel() - 1}:
            slope = (at(parameter, index, 1e-6) - at(parameter, index, -1e-6)) / 2e-6
            own = 0.0 if parameter.grad is None else parameter.grad.view(-1)[index].item()
            assert own == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_with_given_logits_it_is_the_same_by_other_derivatives(name):
    """Of given logits PyTorch's own second derivatives are taken, without them the quick ones where there are such."""
    model, given = NETWORKS[name](), images().requires_grad_()
    if name == "branches":
        with pytest.raises(ValueError, match="layer gate, Hardsigmoid"):
            tacit.LongRangeRegularizer()(model, given, model(given), labels=torch.zeros(5, dtype=int), patches=PATCHES)
        model.gate = nn.Sigmoid()
    labels, found = labels_of(model(given)), []
    for logits in (None, model(given)):
        model.zero_grad()
        value = tacit.LongRangeRegularizer()(model, given, logits, labels=labels, patches=PATCHES)
        value.backward()
        found.append([value.detach(), *(own.grad for own in model.parameters() if own.grad is not None)])
    for quick, slow in zip(*found, strict=True):
        torch.testing.assert_close(quick, slow, rtol=1e-9, atol=1e-12)


def test_it_is_the_published_one_of_adapted_networks():
    model, given = plain(), images().requires_grad_()
    ours = tacit.LongRangeRegularizer()(model, given, patches=PATCHES)
    adapt(model)
    first, second = (Patch(*corner, 2, 2) for corner in PATCHES)
    theirs = regularizer(model, given, model(given), first, second)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    # And an adapted network serves as one's own.
    again = tacit.LongRangeRegularizer()(model, given, model(given), patches=PATCHES)
    torch.testing.assert_close(again, theirs, rtol=1e-12, atol=0)


def test_of_two_classes_it_is_that_of_the_difference_of_logits():
    model, given = nn.Sequential(NETWORKS["bias"](), nn.Tanh(), nn.Linear(1, 2)).eval(), images()
    labels, term = torch.tensor([0, 1, 1, 0, 1]), tacit.LongRangeRegularizer()
    one = term(lambda x: model(x).diff(dim=1), given, patches=PATCHES)
    torch.testing.assert_close(term(model, given, labels=labels, patches=PATCHES), one, rtol=1e-10, atol=0)


def test_what_all_logits_have_in_common_does_not_matter():
    model, given = NETWORKS["branches"](), images()
    labels, term = torch.tensor([0, 1, 2, 0, 1]), tacit.LongRangeRegularizer()
    shifted = term(lambda x: model(x) + x.exp().sum((1, 2, 3))[:, None], given, labels=labels, patches=PATCHES)
    torch.testing.assert_close(term(model, given, labels=labels, patches=PATCHES), shifted, rtol=1e-9, atol=0)


def test_functions_without_interaction_give_one_and_products_less():
    given, term = images(), tacit.LongRangeRegularizer(distance=3)
    one = term(lambda x: x.sin().sum((1, 2, 3)), given)
    assert one.item() == pytest.approx(1, abs=1e-12)
    first, second = (Patch(*corner, 2, 2) for corner in PATCHES)
    value = term(lambda x: (first.of(x) * second.of(x)).sum((1, 2, 3)), given, patches=PATCHES)
    there = second.of(given).flatten(1)
    expected = torch.cosine_similarity(there, there.roll(-1, 0)).abs().mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


def test_it_leaves_no_trace():
    model = nn.Sequential(plain(), nn.Dropout(0.5), nn.Hardsigmoid())
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = images()
    random, kinds, before = torch.get_rng_state(), [type(module) for module in model.modules()], given.clone()
    tacit.LongRangeRegularizer(skip_zero_gradients=True, distance=2)(model, given).backward()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in state.items())
    assert torch.equal(torch.get_rng_state(), random) and kinds == [type(module) for module in model.modules()]
    assert torch.equal(given, before) and not given.requires_grad and given.grad is None


def test_layers_are_put_back_after_an_error():
    class Fails(nn.Module):
        def forward(self, x):
            raise KeyError("own")

    model = nn.Sequential(plain(), Fails())
    with pytest.raises(KeyError, match="own"):
        tacit.LongRangeRegularizer(distance=2)(model, images())
    assert type(model[0][0]) is nn.Conv2d and type(model[0][1]) is nn.BatchNorm2d


def test_quick_derivatives_are_those_of_the_layers_that_have_some():
    model = nn.Sequential(*plain(), *NETWORKS["groups and dilation"]())
    with twice_differentiable(model):
        changed = [type(module).__module__.startswith("tacit.") for module in model]
    assert changed == [name in (0, 1, 3, 4) for name in range(len(model))]


def test_dropout_is_the_same_in_both_passes():
    model, given = nn.Sequential(nn.Flatten(), nn.Dropout(0.4), nn.Linear(312, 1)), images()
    # Linear: without interaction, unless another pass drops others.
    value = tacit.LongRangeRegularizer(skip_zero_gradients=True)(model, given, patches=PATCHES)
    assert value.item() == pytest.approx(1, abs=1e-12)
    given.requires_grad_()
    with pytest.raises(ValueError, match="draws random numbers"):
        tacit.LongRangeRegularizer()(model, given, model(given), patches=PATCHES)
    model.eval()
    assert tacit.LongRangeRegularizer()(model, given, model(given), patches=PATCHES).item() == pytest.approx(1)


def test_it_can_be_measured_alone():
    model, given = plain(), images()
    with torch.no_grad():
        measured = tacit.LongRangeRegularizer()(model, given, patches=PATCHES)
    trained = tacit.LongRangeRegularizer()(model, given, patches=PATCHES)
    assert not measured.requires_grad and trained.requires_grad and torch.equal(measured, trained.detach())
    with torch.inference_mode(), pytest.raises(ValueError, match="measure under"):
        tacit.LongRangeRegularizer()(model, images(), patches=PATCHES)


def test_seeds_name_patches():
    model, given = plain(), images()

    def values(seed):
        term = tacit.LongRangeRegularizer(2, 3, seed=seed)
        return [term(model, given).item() for _ in range(4)]

    one = values(1)
    assert one == values(1) and len(set(one)) == 4 and set(one).isdisjoint(values(2))


@pytest.mark.parametrize("adjacent", [False, True])
def test_room_is_refused_before_any_patch_is_drawn_and_only_then(adjacent):
    given = images(height=11, width=8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 88, 1))
    term = tacit.LongRangeRegularizer(2, 3, adjacent_only=adjacent)
    for _ in range(100):
        term(model, given)
    with pytest.raises(ValueError, match="fit in at most 3 px apart"):
        tacit.LongRangeRegularizer(2, 4, adjacent_only=adjacent)(model, given)
    with pytest.raises(ValueError, match="fit in nowhere"):
        tacit.LongRangeRegularizer(9, 0)(model, given)


def test_images_whose_gradient_is_zero_are_refused_or_left_out():
    first, second = (Patch(*corner, 2, 2) for corner in PATCHES)

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            inner = first.of(x)[:, 0].flatten(1) @ self.weight * second.of(x)[:, 0].flatten(1)
            return inner.sum(1) * (x[:, 0, 0, 0] > 0)

    model, given = Half(), images(batch=6)
    given[:2, 0, 0, 0], given[2:, 0, 0, 0] = -1, 1
    with pytest.raises(ValueError, match=r"2 x 2 px at \(2, 3\) is 0 for 2 of 6 images.*skip_zero_gradients"):
        tacit.LongRangeRegularizer()(model, given, patches=PATCHES)
    value = tacit.LongRangeRegularizer(skip_zero_gradients=True)(model, given, patches=PATCHES)
    value.backward()
    there = second.of(given)[:, 0].flatten(1)
    expected = torch.cosine_similarity(there @ model.weight.T, there.roll(-1, 0) @ model.weight.T)[2:].abs().mean()
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(expected, model.weight)
    torch.testing.assert_close(model.weight.grad, slope, rtol=1e-9, atol=1e-13)
    given[:, 0, 0, 0] = -1
    with pytest.raises(ValueError, match="6 of 6 images"):
        tacit.LongRangeRegularizer(skip_zero_gradients=True)(model, given, patches=PATCHES)


def one_logit(x):
    return x.square().sum((1, 2, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda term: term(one_logit, images()[0]), "they are"),
        (lambda term: term(one_logit, torch.ones(3, 1, 9, 9, dtype=torch.uint8)), "floating point"),
        (lambda term: term(one_logit, images(batch=1)), "a batch of 1"),
        (lambda term: term(one_logit, images(), patches=[(0, 0)]), "they are two"),
        (lambda term: term(one_logit, images(), patches=[(0, 0), (11, 3)]), r"at \(11, 3\) is not inside of images"),
        (lambda term: term(one_logit, images(), patches=[(0, -1), (6, 3)]), r"at \(0, -1\) is not inside"),
        (lambda term: term(one_logit, images(), patches=[(0, 0, 3, 0), (6, 3)]), "is not inside"),
        (lambda term: term(one_logit, images(), patches=[(0, 0, 4, 4), (3, 3)]), "overlap, in 1 x 1 px"),
        (lambda term: term(one_logit, images(), patches=[(0, 0.5), (3, 3)]), "is no patch"),
        (lambda term: term(one_logit, images(), patches=[(0, 0, 1), (3, 3)]), "is no patch"),
        (lambda term: term(lambda x: x, images()), r"logits of shape \(5, 2, 12, 13\)"),
        (lambda term: term(lambda x: x[:, 0, 0], images()), "say by labels"),
        (lambda term: term(lambda x: x[:, 0, 0], images(), labels=torch.full((5,), 13)), "classes are 0 to 12"),
        (lambda term: term(lambda x: x[:, 0, 0], images(), labels=torch.ones(5)), "whole numbers"),
        (lambda term: term(lambda x: x[:, 0, 0], images(), labels=torch.ones(4).long()), "of shape"),
        (lambda term: term(lambda x: x.mean((0, 2, 3)), images()), "2 logits of 5 images"),
        (lambda term: term(lambda x: one_logit(x.detach()), images()), "not connected to the images"),
        (lambda term: term(one_logit, images(), one_logit(images())), "not connected to the images"),
        (
            lambda term: term(one_logit, images().requires_grad_(), one_logit(images().requires_grad_())),
            "not connected to the images",
        ),
        (lambda term: term(lambda x: one_logit(x) * float("nan"), images()), "is not finite"),
        (lambda term: term(lambda x: one_logit(x) * 0, images()), "0 for 5 of 5 images"),
        (lambda term: term(torch.compile(plain()), images()), "give the module itself"),
        (lambda term: term(tacit.to_local(plain()[:1], side=12), images(width=12)), "cannot be differentiated twice"),
        (lambda term: tacit.LongRangeRegularizer(0), "patch_size = 0"),
        (lambda term: tacit.LongRangeRegularizer(2, -1), "distance = -1"),
    ],
)  # fmt: skip
def test_what_has_no_value_is_refused_in_words(call, said):
    with pytest.raises(ValueError, match=said):
        call(tacit.LongRangeRegularizer(2, 2))


def test_a_model_that_returns_no_tensor_is_refused():
    with pytest.raises(TypeError, match="returns a dict, not a tensor; wrap it"):
        tacit.LongRangeRegularizer(2, 2)(lambda x: {"logits": x}, images())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "densenet121"]
)
def test_networks_of_torchvision(name):
    """In single precision, in training mode, with several classes; quick and slow derivatives agree."""
    torch.set_default_dtype(torch.float32)
    model, given = getattr(models, name)(num_classes=10).double(), torch.rand(3, 3, 32, 32, dtype=torch.float64)
    labels, found = torch.tensor([3, 9, 0]), []
    for dropout in (module for module in model.modules() if isinstance(module, nn.Dropout)):
        dropout.eval()
    given.requires_grad_()
    for logits in (None, None if "mobilenet" in name else model(given)):
        model.zero_grad()
        value = tacit.LongRangeRegularizer()(model, given, logits, labels=labels, patches=[(2, 3), (20, 9)])
        value.backward()
        found.append(np.concatenate([own.grad.flatten() for own in model.parameters() if own.grad is not None]))
    assert 0 < value.item() < 1 and np.abs(found[0]).max() > 0
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6, atol=1e-9 * np.abs(found[1]).max())
