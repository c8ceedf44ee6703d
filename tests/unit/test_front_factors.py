"""Factorized layers in models of torchvision, and their decay."""

import pytest
import torch
from torch import nn
from torchvision import models

import tacit
from tacit.nn.factorized import FactorizedConv2d


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_by_default_convolutions_but_the_first_that_can_be():
    model = models.mobilenet_v2(width_mult=0.25, num_classes=10).eval()
    found = tacit.factorize(model, ratio=0.6)
    grouped = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    plain = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d) and module.groups == 1]
    assert grouped and list(found.ranks) == plain[1:]
    assert found.ratio == sum(own.numel() for own in found.model.parameters()) / found.dense_parameters < 1
    images = torch.rand(2, 3, 32, 32)
    full = tacit.factorize(model, 1.0).model
    torch.testing.assert_close(full(images), model(images), rtol=1e-3, atol=1e-4)
    again = tacit.collapse(found.model)
    torch.testing.assert_close(again(images), found.model(images), rtol=1e-4, atol=1e-4)
    assert {name: own.shape for name, own in again.state_dict().items()} == {
        name: own.shape for name, own in model.state_dict().items()
    }


def test_layers_by_name_and_a_ratio():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 64), nn.Linear(64, 10))
    found = tacit.factorize(model, ratio=0.6, select=["0", "2"], factors=3, generator=torch.Generator().manual_seed(0))
    assert set(found.ranks) == {"0", "2"} and found.ratio == pytest.approx(0.6, abs=0.05)
    assert isinstance(found.model[0], FactorizedConv2d) and found.model[2].M is not None
    assert set(tacit.factorize(model, 0.5, select="2").ranks) == {"2"}
    drawn = [
        tacit.factorize(model, 0.5, select="2", spectral=False, generator=torch.Generator().manual_seed(seed)).model
        for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0][2].U, drawn[1][2].U) and not torch.equal(drawn[0][2].U, drawn[2][2].U)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tacit.factorize(nn.Linear(4, 4)), "either rank_scale or ratio"),
        (lambda: tacit.factorize(nn.Sequential(nn.Linear(4, 4)), 0.5), "no layer is selected; there are '0'"),
        (lambda: tacit.factorize(nn.Sequential(nn.Linear(4, 4)), 0.5, select=["1"]), "named 1"),
        (lambda: tacit.factorize(nn.Sequential(nn.Linear(4, 4)), 0.01, select=["0"]), "rank of 0 to 0"),
        (
            lambda: tacit.factorize(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), 0.5, select=["0"]),
            "cannot be factorized: it has groups",
        ),
        (lambda: tacit.FrobeniusDecay(models.resnet18(), 1e-4), "no factorized layers; make them by tacit.factorize"),
        (
            lambda: tacit.FrobeniusDecay(tacit.factorize(nn.Linear(4, 4), 0.5, select=[""]).model, -1),
            "coefficient = -1",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_the_decay_is_that_of_the_products():
    model = tacit.factorize(models.mobilenet_v2(width_mult=0.25), 0.5).model.double()
    decay = tacit.FrobeniusDecay(model, 0.3)
    decay.add_gradients()
    added = {name: own.grad for name, own in model.named_parameters() if own.grad is not None}
    layers = [module for module in model.modules() if isinstance(module, FactorizedConv2d)]
    penalty = 0.15 * sum(layer.weight.square().sum() for layer in layers)
    assert added and penalty.item() == pytest.approx(decay.penalty().item(), rel=1e-12)
    parameters = dict(model.named_parameters())
    for name, slope in zip(added, torch.autograd.grad(penalty, [parameters[name] for name in added]), strict=True):
        torch.testing.assert_close(added[name], slope, rtol=1e-9, atol=1e-12)
    one = tacit.FrobeniusDecay(layers[:1], 0.3)
    assert len(one.terms) == 1
