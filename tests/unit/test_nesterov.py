"""Nesterov's momentum against its formula by hand, and in forms that hold for rates that change."""

import pytest
import torch

from tacit.optim.nesterov import Nesterov

DOUBLE = {"dtype": torch.float64}


def take(parameter, optimizer, gradient):
    parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    return parameter.item()


def test_steps_by_hand():
    """With rate 0.1 and momentum 0.9; the third at half the rate, the fourth with another gradient."""
    parameter = torch.ones(1, **DOUBLE, requires_grad=True)
    optimizer = Nesterov([parameter], lr=0.1, momentum=0.9)
    # p = 1 - 1.9 * 0.1, v = -0.1
    assert take(parameter, optimizer, 1.0) == pytest.approx(0.81, rel=1e-14)
    # p = 0.81 - 0.81 * 0.1 - 1.9 * 0.1, v = -0.09 - 0.1
    assert take(parameter, optimizer, 1.0) == pytest.approx(0.539, rel=1e-14)
    optimizer.param_groups[0]["lr"] = 0.05
    # c = 1/2: p = 0.539 - 0.81 * 0.19 / 2 - 1.9 * 0.05, v = -0.9 * 0.19 / 2 - 0.05 = -0.1355
    assert take(parameter, optimizer, 1.0) == pytest.approx(0.36705, rel=1e-14)
    # p = 0.36705 - 0.81 * 0.1355 + 1.9 * 0.05 * 2
    assert take(parameter, optimizer, -2.0) == pytest.approx(0.447295, rel=1e-14)


def rates(step):
    return 0.2 / (1 + step) ** 0.5


def test_with_the_rate_taken_out_the_velocity_is_of_gradients():
    """With u = v / rate: u <- m u - g, and p moves by rate (m u - g), u being the new one; whatever the rate is."""
    torch.manual_seed(0)
    gradients = torch.randn(9, 4, **DOUBLE)
    parameter = torch.zeros(4, **DOUBLE, requires_grad=True)
    optimizer = Nesterov([parameter], momentum=0.8)
    place, velocity = torch.zeros(4, **DOUBLE), torch.zeros(4, **DOUBLE)
    for step, gradient in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = rates(step)
        parameter.grad = gradient.clone()
        optimizer.step()
        velocity = 0.8 * velocity - gradient
        place = place + rates(step) * (0.8 * velocity - gradient)
        torch.testing.assert_close(parameter.detach(), place, rtol=1e-13, atol=1e-13)


def test_at_one_rate_it_goes_where_pytorchs_goes():
    parameters = [torch.arange(3.0, **DOUBLE).requires_grad_() for _ in range(2)]
    optimizers = [
        Nesterov(parameters[:1], lr=0.05, momentum=0.9),
        torch.optim.SGD(parameters[1:], lr=0.05, momentum=0.9, nesterov=True),
    ]
    for _ in range(20):
        for parameter, optimizer in zip(parameters, optimizers, strict=True):
            optimizer.zero_grad()
            (parameter.cos() + parameter.square()).sum().backward()
            optimizer.step()
    torch.testing.assert_close(*parameters, rtol=1e-12, atol=1e-12)


def test_decay_does_not_pass_through_the_velocity():
    """With gradients of 0, after one that is not."""
    parameter = torch.ones(1, **DOUBLE, requires_grad=True)
    optimizer = Nesterov([parameter], lr=0.1, momentum=0.9, weight_decay=0.5)
    # The decay comes first, of the parameter as it was.
    assert take(parameter, optimizer, 1.0) == pytest.approx(0.95 - 0.19, rel=1e-14)
    assert take(parameter, optimizer, 0.0) == pytest.approx(0.76 * 0.95 - 0.081, rel=1e-14)
    assert optimizer.state[parameter]["velocity"].item() == pytest.approx(-0.09, rel=1e-14)


def test_groups_have_their_own():
    parameters = [torch.ones(1, **DOUBLE, requires_grad=True) for _ in range(3)]
    groups = [
        {"params": parameters[:1], "weight_decay": 0.5},
        {"params": parameters[1:2], "lr": 0.01},
        {"params": parameters[2:], "momentum": 0.0},
    ]
    optimizer = Nesterov(groups, lr=0.1, momentum=0.9)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert [one.item() for one in parameters] == pytest.approx([0.95 - 0.19, 1 - 0.019, 0.9], rel=1e-14)


def test_what_has_no_gradient_stays():
    parameters = [torch.ones(2, requires_grad=True) for _ in range(2)]
    optimizer = Nesterov(parameters, lr=0.1, weight_decay=0.5)
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(parameters[1], torch.ones(2)) and parameters[1] not in optimizer.state
    assert not torch.equal(parameters[0], torch.ones(2))


def test_parameters_of_several_precisions_and_shapes():
    parameters = [torch.ones(shape, dtype=dtype, requires_grad=True) for shape, dtype in
                  (((2, 3), torch.float32), ((4,), torch.float64), ((), torch.float32))]  # fmt: skip
    optimizer = Nesterov(parameters, lr=0.1, momentum=0.9)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    for parameter in parameters:
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, 0.539))


def test_a_rate_of_zero_on_the_way_forgets_the_velocity():
    parameter = torch.ones(1, **DOUBLE, requires_grad=True)
    optimizer = Nesterov([parameter], lr=0.1, momentum=0.9)
    take(parameter, optimizer, 1.0)
    optimizer.param_groups[0]["lr"] = 0.0
    assert take(parameter, optimizer, 1.0) == pytest.approx(0.81, rel=1e-14)
    optimizer.param_groups[0]["lr"] = 0.1
    assert take(parameter, optimizer, 1.0) == pytest.approx(0.81 - 0.19, rel=1e-14)


def test_it_goes_on_from_a_saved_state(tmp_path):
    """Between two steps of which the second has another rate."""

    def fresh():
        parameter = torch.arange(3.0, **DOUBLE).requires_grad_()
        return parameter, Nesterov([parameter], lr=0.1, momentum=0.9, weight_decay=0.01)

    def step(parameter, optimizer, rate):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        parameter.pow(2).sum().backward()
        optimizer.step()

    parameter, optimizer = fresh()
    for _ in range(5):
        step(parameter, optimizer, 0.1)
    torch.save((optimizer.state_dict(), parameter.detach().clone()), tmp_path / "state.pt")
    step(parameter, optimizer, 0.03)
    again, resumed = fresh()
    state, place = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(state)
    with torch.no_grad():
        again.copy_(place)
    step(again, resumed, 0.03)
    assert torch.equal(again, parameter)
    assert torch.equal(optimizer.state[parameter]["velocity"], resumed.state[again]["velocity"])


def test_the_loss_of_a_closure_is_returned():
    parameter = torch.ones(1, requires_grad=True)
    optimizer = Nesterov([parameter])

    def closure():
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1
    assert parameter.item() != 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -0.1}, "lr = -0.1: it is 0 or larger"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"momentum": 1.0}, "momentum = 1.0: it is 0 or larger, below 1"),
        ({"weight_decay": float("inf")}, "weight_decay = inf"),
    ],
)
def test_hyper_parameters_that_are_none_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Nesterov([torch.ones(1)], **options)
    with pytest.raises(ValueError, match=said):
        Nesterov([{"params": [torch.ones(1)], **options}])
