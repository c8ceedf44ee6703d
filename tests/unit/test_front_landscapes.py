"""Landscapes of networks of one's own."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import tacit
from tacit.analysis.landscapes import LandscapeError


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 3)
    ).eval()


X, Y = torch.randn(20, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3


def test_it_is_the_loss_of_moved_networks_and_the_network_stays():
    model = network()
    state = {name: own.clone() for name, own in model.state_dict().items()}
    found = tacit.landscape(model, functional.cross_entropy, (X, Y), points=5, step=0.4, seed=3)
    assert all(torch.equal(own, state[name]) for name, own in model.state_dict().items())
    assert found.losses.shape == (5, 5) and found.a.tolist() == found.b.tolist() == pytest.approx(
        [-0.8, -0.4, 0, 0.4, 0.8]
    )
    assert found.loss == pytest.approx(functional.cross_entropy(model(X), Y).item(), rel=1e-6)
    assert found.losses[2, 2] == pytest.approx(found.loss, rel=1e-6)
    moving = [own for own in model.parameters() if own.ndim > 1]
    assert len(moving) == len(found.directions.first) == 2
    with torch.no_grad():
        for own, first, second in zip(moving, *found.directions, strict=True):
            own += torch.from_numpy(0.8 * first - 0.4 * second).to(own)
    assert found.losses[1, 4] == pytest.approx(functional.cross_entropy(model(X), Y).item(), rel=1e-5)


@pytest.mark.parametrize("per", ["row", "layer"])
def test_directions_have_the_norms_of_filters(per):
    model = network()
    found = tacit.landscape(model, functional.cross_entropy, (X, Y), points=1, per=per, move_vectors=True)
    parameters = [own.detach().double() for own in model.parameters()]
    assert len(found.directions.first) == len(parameters)
    for own, direction in zip(parameters, found.directions.first, strict=True):
        groups = (len(own), -1) if per == "row" and own.ndim > 1 else (1, -1)
        norms = np.linalg.norm(direction.reshape(groups), axis=1)
        np.testing.assert_allclose(norms, own.reshape(groups).norm(dim=1), rtol=1e-9)


def test_batches_are_weighed_by_their_size_and_seeds_name_directions():
    of = [
        tacit.landscape(network(), functional.cross_entropy, data, points=3, seed=seed).losses
        for data, seed in [
            ((X, Y), 1), ([(X[:13], Y[:13]), (X[13:], Y[13:])], 1),
            (DataLoader(TensorDataset(X, Y), 7, shuffle=True), 1),
            ((X, Y), 2),
        ]
    ]  # fmt: skip
    np.testing.assert_allclose(of[1], of[0], rtol=1e-5)
    np.testing.assert_allclose(of[2], of[0], rtol=1e-5)
    assert not np.isclose(of[3], of[0])[0].any()


def test_where_it_diverges_it_is_not_finite():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()

    def loss(outputs, targets):
        return outputs.square().mean().exp().exp()

    found = tacit.landscape(model, loss, (X, Y), points=3, step=30.0)
    assert np.isfinite(found.losses[1, 1]) and not np.isfinite(found.losses[0, 0])


def without_parameters():
    return nn.Flatten()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda cross: tacit.landscape(network().train(), cross, (X, Y)), r"draws random numbers.*call model\.eval"),
        (
            lambda cross: tacit.landscape(nn.Sequential(*network()[:3], *network()[4:]).train(), cross, (X, Y)),
            r"normalises by the batch it sees in training mode; call model\.eval",
        ),
        (lambda cross: tacit.landscape(network(), cross, iter([(X, Y)])), "read only once"),
        (lambda cross: tacit.landscape(network(), cross, []), "no examples"),
        (lambda cross: tacit.landscape(network(), lambda a, b: (a - 1).square(), (X, Y)), "its mean"),
        (lambda cross: tacit.landscape(network(), lambda a, b: a.mean() / 0, (X, Y)), "itself is"),
        (lambda cross: tacit.landscape(without_parameters(), cross, (X, Y)), "no parameters"),
        (lambda cross: tacit.landscape(network(), cross, (X, Y), points=0), "points = 0"),
        (lambda cross: tacit.landscape(network(), cross, (X, Y), per="filter"), "per layer or per row"),
    ],
)
def test_what_has_no_landscape_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(functional.cross_entropy)
    assert issubclass(LandscapeError, ValueError)


def test_what_returns_no_tensor_is_refused():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(36, 3)

        def forward(self, x):
            return self.layer(x.flatten(1)), x

    with pytest.raises(TypeError, match="returns a tuple"):
        tacit.landscape(Two(), functional.cross_entropy, (X, Y))
