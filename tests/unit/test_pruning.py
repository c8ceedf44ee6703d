"""Scores of weights against finite differences, sparsity to the weight, and training that keeps it."""

import logging
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from tacit.nn.factorizing import factorize
from tacit.nn.pruning import (
    Masks,
    grasp_scores,
    highest,
    kept_weights,
    lowest,
    maskable_layers,
    random_ticket,
    random_ticket_shares,
    snip_scores,
)
from tacit.nn.scaled_convnets import ScaledConvNet
from tacit.nn.vgg import VGG
from tacit.training.engine import Minimize
from tacit.training.images import LabelledImages
from tacit.training.objectives import CrossEntropy


def small():
    """Smooth, in float64; 27 + 36 + 24 weights compete."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.Tanh(),
        nn.Conv2d(3, 3, 2, stride=2, bias=True),
        nn.BatchNorm2d(3),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(12, 2),
    ).double()


IMAGES = torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 1, 0, 1, 0])


def weights_of(model):
    return {f"{name}.weight": layer.weight.detach().clone() for name, layer in maskable_layers(model).items()}


def mean_loss(model, weights, *, chunk=6, temperature=1.0):
    """The loss of chunks of images, each with statistics of its own; by weights that may be differentiated."""
    total = 0.0
    for images, labels in zip(IMAGES.split(chunk), LABELS.split(chunk), strict=True):
        logits = functional_call(model.train(), weights, (images,))
        total = total + cross_entropy(logits / temperature, labels, reduction="sum")
    return total / len(LABELS)


def slopes(function, weights, *, step=1e-5):
    """The derivative of `function` by a factor on each weight, at 1, by central differences."""
    found = {}
    for name, weight in weights.items():
        found[name] = torch.zeros_like(weight)
        for place in np.ndindex(*weight.shape):
            values = []
            for change in (step, -step):
                moved = weight.clone()
                moved[place] *= 1 + change
                values.append(function(weights | {name: moved}))
            found[name][place] = (values[0] - values[1]) / (2 * step)
    return found


@pytest.mark.parametrize("chunk", [6, 4])
def test_snip_scores_are_slopes_of_the_loss_in_masks(chunk):
    model = small()
    found = snip_scores(model, IMAGES, LABELS, chunk_size=chunk)
    expected = slopes(lambda weights: mean_loss(model, weights, chunk=chunk), weights_of(model))
    assert list(found) == ["0", "3", "7"]
    for name, scores in found.items():
        torch.testing.assert_close(scores, expected[f"{name}.weight"].abs(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("chunk", "temperature"), [(6, 1.0), (6, 7.0), (4, 2.0)])
def test_grasp_scores_are_slopes_of_the_squared_gradient(chunk, temperature):
    """Half of them, along -w: how |g|^2 / 2 rises as a weight is shrunk towards zero."""
    model = small()

    def half_square(weights):
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        loss = mean_loss(model, leaves, chunk=chunk, temperature=temperature)
        return sum(part.square().sum() for part in torch.autograd.grad(loss, list(leaves.values()))) / 2

    found = grasp_scores(model, IMAGES, LABELS, chunk_size=chunk, temperature=temperature)
    expected = slopes(half_square, weights_of(model))
    largest = max(scores.abs().max() for scores in found.values())
    for name, scores in found.items():
        torch.testing.assert_close(scores, -expected[f"{name}.weight"], rtol=1e-5, atol=1e-7 * largest.item())


def test_the_published_temperature_is_the_default():
    model = small()
    one, two = (grasp_scores(model, IMAGES, LABELS, **given) for given in ({}, {"temperature": 200.0}))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("scores_of", [snip_scores, grasp_scores])
def test_a_network_is_left_as_it_was(scores_of):
    model = small().eval()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, two = scores_of(model, IMAGES, LABELS), scores_of(model, IMAGES, LABELS)
    assert all(torch.equal(one[name], two[name]) and not one[name].requires_grad for name in one)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and not any(parameter.grad is not None for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == [False] + [True] * 8


# How many, and which.


def networks():
    torch.manual_seed(0)
    return [
        ScaledConvNet(14, width=4, in_channels=3, num_classes=10, kaiming=True, projected=True),
        VGG(11, width=4, side=8, in_channels=3, num_classes=10),
    ]


def random_scores(layers, *, levels=None):
    """Scores for layers; few `levels` make many equal."""
    generator = torch.Generator().manual_seed(5)
    shapes = {name: layer.weight.shape for name, layer in layers.items()}
    if levels:
        return {name: torch.randint(levels, shape, generator=generator).float() for name, shape in shapes.items()}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def flat(masks):
    return torch.cat([mask.flatten() for mask in masks.values()])


@pytest.mark.parametrize("ratio", [0.01, 0.02, 0.05, 0.1, 0.15, 0.3337, 0.5, 0.77, 0.98, 1.0])
def test_a_share_of_parameters_is_met_to_the_weight(ratio):
    for model, vgg in zip(networks(), (False, True), strict=True):
        total = sum(parameter.numel() for parameter in model.parameters())
        layers = maskable_layers(model)
        try:
            keep = kept_weights(model, ratio)
        except ValueError:
            assert ratio < 0.05
            continue
        scores = random_scores(layers, levels=7)
        choices = [highest(scores, keep), lowest(scores, keep)]
        if keep > 100:
            choices.append(random_ticket(layers, keep, generator=torch.Generator().manual_seed(0), vgg=vgg))
        for masks in choices:
            assert {name: mask.shape for name, mask in masks.items()} == {
                name: layer.weight.shape for name, layer in layers.items()
            }
            dense = total - sum(mask.numel() for mask in masks.values())
            assert dense + int(flat(masks).sum()) == round(ratio * total)


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, 1e-6, float("nan"), float("inf")])
def test_shares_that_cannot_be_are_refused(ratio):
    for model in networks():
        with pytest.raises(ValueError, match=r"ratio = .* never pruned"):
            kept_weights(model, ratio)


def test_what_is_never_pruned_is_normalisation_and_biases():
    model = small()
    assert kept_weights(model, 1.0) == 27 + 36 + 24
    rest = 6 + 3 + 6 + 2
    assert kept_weights(model, (rest + 1) / (rest + 87)) == 1
    shared = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    shared[1].weight = shared[0].weight
    assert kept_weights(shared, 1.0) == 16 and list(maskable_layers(shared)) == ["0"]


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("keep", [1, 7, 500, 4000])
def test_the_best_are_kept_and_of_equals_the_first(keep, levels):
    scores = random_scores(maskable_layers(networks()[0]), levels=levels)
    values = flat(scores).tolist()
    for choose, sign in ((highest, -1), (lowest, 1)):
        order = sorted(range(len(values)), key=lambda place, sign=sign: (sign * values[place], place))
        assert flat(choose(scores, keep)).nonzero().flatten().tolist() == sorted(order[:keep])


def test_a_choice_does_not_depend_on_threads():
    scores = {"a": torch.randint(50, (300_000,), generator=torch.Generator().manual_seed(0)).float()}
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        found.append(highest(scores, 123_457)["a"])
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@pytest.mark.parametrize("keep", [0, -1, 88])
def test_more_weights_than_there_are_or_none_are_refused(keep):
    layers = maskable_layers(small())
    scores = {name: layer.weight for name, layer in layers.items()}
    for choose in (highest, lowest):
        with pytest.raises(ValueError, match=f"keep = {keep}: of 87 weights"):
            choose(scores, keep)
    with pytest.raises(ValueError, match=f"keep = {keep}: of 87 weights"):
        random_ticket(layers, keep, generator=torch.Generator())
    with pytest.raises(ValueError, match="not finite"):
        highest({"a": torch.tensor([1.0, float("nan")])}, 1)


# Random tickets.


def convs(*sizes, linear=10):
    """Layers of that many weights, and a linear one."""
    layers = {f"conv{place}": nn.Conv2d(size, 1, 1) for place, size in enumerate(sizes)}
    return layers | {"head": nn.Linear(linear, 1)}


@pytest.mark.parametrize(("vgg", "parts"), [(False, [20, 12, 6]), (True, [20, 3, Fraction(2, 3)])])
def test_shares_fall_with_the_place_of_a_layer(vgg, parts):
    """L = 4, so that k = 4, 3, 2 for convolutions: k^2 + k, and that divided by l^2."""
    layers = convs(100, 200, 300, linear=20)
    scale = (60 - Fraction(3, 10) * 20) / (100 * parts[0] + 200 * parts[1] + 300 * parts[2])
    expected = [float(scale * part) for part in parts]
    assert list(random_ticket_shares(layers, 60, vgg=vgg).values()) == [*expected, 0.3]


def test_what_exceeds_a_layer_goes_to_the_next_with_room():
    """35 weights are for convolutions, which would have 2.7, 3.6, 1.6 and 27.1 of their 2, 4, 3 and 100."""
    parts = [2 * 30, 4 * 20, 3 * 12, 100 * 6]
    first, second, third, fourth = (Fraction(35 * part, sum(parts)) for part in parts)
    assert first > 2 and second < 4 < second + first - 2 and third + second + first - 6 < 3
    shares = random_ticket_shares(convs(2, 4, 3, 100, linear=10), 38)
    assert list(shares.values()) == [1, 1, float((third + second + first - 6) / 3), float(fourth / 100), 0.3]


def test_linear_layers_take_what_no_convolution_has_room_for_and_are_never_less_than_filled():
    layers = convs(5, 4)
    assert list(random_ticket_shares(layers, 9 + 3).values()) == [1, 1, 0.3]
    assert list(random_ticket_shares(layers, 9 + 7).values()) == [1, 1, 0.7]
    assert list(random_ticket_shares(layers, 3).values()) == [0, 0, 0.3]
    with pytest.raises(ValueError, match="keep = 2: linear layers alone keep 3 weights"):
        random_ticket_shares(layers, 2)


def test_tickets_are_rounded_by_largest_remainders():
    layers = convs(7, 7, 7, linear=7)
    for keep in range(3, 29):
        masks = random_ticket(layers, keep, generator=torch.Generator().manual_seed(0))
        counts = [int(mask.sum()) for mask in masks.values()]
        amounts = [7 * share for share in random_ticket_shares(layers, keep).values()]
        assert sum(counts) == keep
        remainders = [amount - int(amount + 1e-9) for amount in amounts]
        raised = [count > amount + 1e-9 for count, amount in zip(counts, amounts, strict=True)]
        assert all(abs(count - amount) < 1 for count, amount in zip(counts, amounts, strict=True))
        if any(raised):
            assert min(r for r, up in zip(remainders, raised, strict=True) if up) >= (
                max((r for r, up in zip(remainders, raised, strict=True) if not up), default=0) - 1e-9
            )


def test_weights_of_a_ticket_are_drawn_uniformly():
    layers = convs(12, linear=4)
    counts = np.zeros(12)
    for seed in range(4000):
        masks = random_ticket(layers, 6, generator=torch.Generator().manual_seed(seed))
        counts += masks["conv0"].flatten().numpy()
    assert counts.sum() == 4000 * 5
    # Of 12 places 5: each with probability p; places exclude each other, so the statistic has 11 degrees of freedom.
    p = 5 / 12
    statistic = ((counts - 4000 * p) ** 2).sum() / (4000 * p * (1 - p)) * 11 / 12
    assert abs(statistic - 11) / np.sqrt(22) < 4
    one, two = (random_ticket(layers, 6, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(flat(one), flat(two))


def test_published_networks_keep_something_everywhere():
    with torch.device("meta"):
        networks = {
            False: ScaledConvNet(32, width=32, in_channels=3, num_classes=10, kaiming=True, projected=True),
            True: VGG(19, width=64, side=32, in_channels=3, num_classes=10),
        }
    for vgg, model in networks.items():
        layers = maskable_layers(model)
        for ratio in (0.02, 0.05, 0.1):
            keep = kept_weights(model, ratio)
            shares = random_ticket_shares(layers, keep, vgg=vgg)
            assert sum(share * layers[name].weight.numel() for name, share in shares.items()) == pytest.approx(keep)
            assert shares["head"] == 0.3 and all(0 < share <= 1 for share in shares.values())
            *of_convs, _ = shares.values()
            assert of_convs == sorted(of_convs, reverse=True)


# Training.


def masked(model, *, share=0.3, seed=0):
    layers = maskable_layers(model)
    generator = torch.Generator().manual_seed(seed)
    masks = {name: torch.rand(layer.weight.shape, generator=generator) < share for name, layer in layers.items()}
    return Masks(model, masks), masks


def data():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (24, 3, 8, 8), dtype=np.uint8)
    return LabelledImages.on(
        torch.device("cpu"), pixels, random.integers(0, 10, 24), mean=[0.5] * 3, std=[0.25] * 3
    )  # fmt: skip


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_pruned_weights_are_exactly_zero_through_training(number, nesterov):
    """Weights that are kept start as they were and learn as if the others were multiplied by zero in every pass."""
    model, reference = networks()[number], networks()[number]
    before = {name: layer.weight.detach().clone() for name, layer in maskable_layers(model).items()}
    found, masks = masked(model)
    for name, layer in maskable_layers(model).items():
        assert torch.equal(layer.weight, torch.where(masks[name], before[name], 0.0))
        assert not layer.weight[~masks[name]].signbit().any()
    options = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01, "nesterov": nesterov}
    step = Minimize(
        model,
        data(),
        CrossEntropy(),
        torch.optim.SGD(model.parameters(), **options),
        decays=[found.mask_gradients],
    )
    for name, layer in maskable_layers(reference).items():
        nn.utils.parametrize.register_parametrization(layer, "weight", Multiplied(masks[name]))
    theirs = torch.optim.SGD(reference.parameters(), **options)
    step.begin(0, 4)
    for number in range(4):
        numbers = torch.arange(6 * number, 6 * number + 6)
        step.take(number, numbers)
        theirs.zero_grad()
        images = data().batch(numbers, torch.contiguous_format)
        cross_entropy(reference(images), data().labels[numbers]).backward()
        theirs.step()
    for (name, layer), other in zip(maskable_layers(model).items(), modules(reference), strict=True):
        assert not layer.weight[~masks[name]].any()
        assert (layer.weight != before[name])[masks[name]].all()
        torch.testing.assert_close(layer.weight, other.weight, rtol=1e-3, atol=1e-4)
    assert found.kept() == {name: int(mask.sum()) for name, mask in masks.items()}


class Multiplied(nn.Module):
    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, weight):
        return weight * self.mask


def modules(model):
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def test_without_masked_gradients_weights_come_back():
    """So that the test above can fail."""
    model = networks()[0]
    _, masks = masked(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    cross_entropy(model(data().batch(torch.arange(6), torch.contiguous_format)), data().labels[:6]).backward()
    optimizer.step()
    assert any(layer.weight[~masks[name]].any() for name, layer in maskable_layers(model).items())


@pytest.mark.parametrize(
    "move", [lambda model: model.double(), lambda model: model.to(memory_format=torch.channels_last)]
)
def test_masks_go_where_the_model_goes(move):
    model = networks()[0]
    found, masks = masked(model)
    model = move(model)
    for layer in maskable_layers(model).values():
        layer.weight.grad = torch.ones_like(layer.weight)
    model.head.weight.grad = None
    found.mask_gradients()
    for name, layer in maskable_layers(model).items():
        assert layer.weight.grad is None or torch.equal(layer.weight.grad, masks[name].to(layer.weight.dtype))
    # As gradients lie in memory, so that all are one computation.
    for layer in maskable_layers(model).values():
        if layer.weight.grad is not None:
            assert (layer.mask.dtype, layer.mask.stride()) == (layer.weight.dtype, layer.weight.stride())


def test_what_is_saved_of_a_network_says_which_weights_stay_zero():
    """As on a machine that would have chosen others."""
    model, other = networks()[0], networks()[0]
    found, masks = masked(model)
    theirs, _ = masked(other, seed=1)
    other.load_state_dict(model.state_dict())
    for layer in maskable_layers(other).values():
        layer.weight.grad = torch.ones_like(layer.weight)
    theirs.mask_gradients()
    for name, layer in maskable_layers(other).items():
        assert torch.equal(layer.weight.grad, masks[name].float())
    assert theirs.kept() == found.kept()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_masks_follow_to_a_gpu():
    model = networks()[0]
    found, masks = masked(model)
    model.cuda()
    for layer in maskable_layers(model).values():
        layer.weight.grad = torch.ones_like(layer.weight)
    found.mask_gradients()
    for name, layer in maskable_layers(model).items():
        assert torch.equal(layer.weight.grad.cpu(), masks[name].float())


def test_layers_that_lose_all_weights_are_told(caplog):
    model = small()
    masks = {name: torch.ones_like(layer.weight, dtype=torch.bool) for name, layer in maskable_layers(model).items()}
    with caplog.at_level(logging.WARNING):
        assert Masks(model, masks).empty() == [] and not caplog.messages
        masks["3"][:] = False
        found = Masks(model, masks)
    assert found.empty() == ["3"] and found.kept() == {"0": 27, "3": 0, "7": 24}
    assert caplog.messages == ["1 of 3 layers lose all their weights: 3"]


def test_masks_that_do_not_fit_are_refused():
    for masks in ({"1": torch.ones(3).bool()}, {"0": torch.ones(27).bool()}, {"7": torch.ones(2, 12)}):
        with pytest.raises(ValueError, match=r"a mask .* of '[017]': it is"):
            Masks(small(), masks)
    dense = ScaledConvNet(8, width=4, in_channels=3, num_classes=10)
    assert list(maskable_layers(factorize(dense, rank_scale=0.5).model)) == ["stem.0", "head"]


def test_scores_need_no_mode_and_no_use_of_every_layer():
    class Idle(nn.Sequential):
        def forward(self, images):
            return self.used(images)

    model = Idle(OrderedDict(used=small(), unused=nn.Linear(3, 3).double()))
    images, labels = torch.randn(4, 1, 6, 6, dtype=torch.float64), torch.arange(4) % 2
    for scores in (snip_scores, grasp_scores):
        with torch.no_grad():
            found = scores(model, images, labels)
        assert not found["unused"].any() and found["used.0"].any()
        for wrong in ({"chunk_size": 0}, {}):
            with pytest.raises(ValueError, match="one image or more"):
                scores(model, images if wrong else images[:0], labels if wrong else labels[:0], **wrong)


def test_weights_that_are_computed_are_not_masked():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    with pytest.raises(ValueError, match="computed from other parameters"):
        Masks(nn.Sequential(layer), {"0": torch.ones(4, 4).bool()})
