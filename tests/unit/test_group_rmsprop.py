import math

import pytest
import torch

from plain import factorizations as plain
from tacit.optim.group_rmsprop import AdaptiveRate, GroupRMSprop, ResidentRate


@pytest.mark.parametrize("size", [1e3, 1.0, 1e-3, 1e-6, 1e-9])
def test_the_first_step_is_as_long_as_the_rate_says(size):
    parameter = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    parameter.grad = size * torch.ones(7, dtype=torch.float64)
    GroupRMSprop([parameter], lr=1e-2, epsilon=1e-6).step()
    norm = size * math.sqrt(7)
    assert torch.linalg.vector_norm(parameter.detach()).item() == pytest.approx(1e-2 * norm / (norm + 1e-6), rel=1e-12)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_two_hundred_steps_are_those_of_the_plain_reference(weight_decay):
    def train(make):
        start = torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)
        parameters = [start[:1].clone().requires_grad_(), start[1:].clone().requires_grad_()]
        optimizer = make(parameters)
        for _ in range(200):
            for parameter in parameters:
                parameter.grad = None
            (parameters[0].pow(4).sum() + parameters[1].square().sum() + parameters[1][0]).backward()
            optimizer.step()
        return torch.cat(parameters).detach()

    ours = train(lambda parameters: GroupRMSprop(parameters, lr=1e-2, weight_decay=weight_decay))
    theirs = train(lambda parameters: plain.GroupRMSprop(parameters, lr=1e-2, weight_decay=weight_decay))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_two_hundred_steps_are_those_of_the_formula_for_one_number():
    place, mean_square = 3.0, 0.0
    parameter = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    optimizer = GroupRMSprop([parameter])
    for step in range(1, 201):
        gradient = 4 * place**3
        mean_square = 0.99 * mean_square + 0.01 * gradient**2
        place -= 1e-2 / (math.sqrt(mean_square / (1 - 0.99**step)) + 1e-6) * gradient
        optimizer.zero_grad()
        (parameter**4).backward()
        optimizer.step()
    assert parameter.item() == pytest.approx(place, rel=1e-12)


def test_the_division_into_parameters_changes_nothing():
    def train(sizes):
        parameters = [part.clone().requires_grad_() for part in torch.arange(1.0, 7, dtype=torch.float64).split(sizes)]
        optimizer = GroupRMSprop(parameters, lr=0.1)
        for _ in range(50):
            optimizer.zero_grad()
            torch.cat(parameters).pow(4).sum().backward()
            optimizer.step()
        return torch.cat(parameters).detach()

    torch.testing.assert_close(train([6]), train([1, 2, 3]), rtol=1e-12, atol=0)


def test_no_gradient_and_zero_gradient_leave_parameters_alone():
    with_none, with_zero, moving = (torch.ones(2, requires_grad=True) for _ in range(3))
    with_zero.grad, moving.grad = torch.zeros(2), torch.ones(2)
    GroupRMSprop([with_none, with_zero, moving]).step()
    assert with_none.tolist() == with_zero.tolist() == [1, 1]
    assert moving.tolist() != [1, 1]
    GroupRMSprop([with_none]).step()


RATE = {"learning_rate": 1e-2, "decay": 0.9, "epsilon": 1e-6}
SQUARED = (1.0, 0.25, 1e-12, 3e7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rate_on_a_device_has_the_precision_of_that_of_numbers(dtype):
    """Its mean is one of float64 whatever the gradients are; in float32 it would be off by 1e-8 and more."""
    of_numbers, of_tensors = AdaptiveRate(**RATE), ResidentRate(**RATE, device=torch.device("cpu"))
    for number, squared in enumerate(SQUARED * 50, start=1):
        squared = torch.tensor(squared, dtype=dtype)
        found = of_tensors(squared)
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx(of_numbers(squared.item()), rel=1e-13), number


@pytest.mark.parametrize("first", [AdaptiveRate, ResidentRate])
@pytest.mark.parametrize("second", [AdaptiveRate, ResidentRate])
def test_a_rate_goes_on_from_the_state_of_another_on_any_device(first, second):
    def fresh(kind):
        return kind(**RATE) if kind is AdaptiveRate else kind(**RATE, device=torch.device("cpu"))

    def feed(rate, values):
        for squared in values:
            found = rate(squared if isinstance(rate, AdaptiveRate) else torch.tensor(squared, dtype=torch.float64))
        return float(found)

    before, again = fresh(first), fresh(second)
    feed(before, SQUARED)
    state = before.state()
    assert all(isinstance(value, int | float) for value in state.values())
    again.load_state(state)
    expected, found = feed(before, SQUARED[::-1]), feed(again, SQUARED[::-1])
    assert found == (expected if first is second else pytest.approx(expected, rel=1e-13))


def test_it_goes_on_from_a_saved_state():
    def fresh():
        parameter = torch.ones(2, dtype=torch.float64, requires_grad=True)
        return parameter, GroupRMSprop([parameter])

    def step(parameter, optimizer):
        optimizer.zero_grad()
        parameter.pow(2).sum().backward()
        optimizer.step()

    parameter, optimizer = fresh()
    for _ in range(5):
        step(parameter, optimizer)
    saved, place = optimizer.state_dict(), parameter.detach().clone()
    step(parameter, optimizer)
    again, resumed = fresh()
    resumed.load_state_dict(saved)
    with torch.no_grad():
        again.copy_(place)
    step(again, resumed)
    assert torch.equal(again, parameter)


def test_several_groups_are_refused():
    with pytest.raises(ValueError, match="one group"):
        GroupRMSprop([{"params": [torch.ones(1)]}, {"params": [torch.ones(1)]}])
    optimizer = GroupRMSprop([torch.ones(1)])
    with pytest.raises(ValueError, match="one group"):
        optimizer.add_param_group({"params": [torch.ones(1)]})


def test_hyper_parameters_may_be_changed_along_the_way():
    moved = {}
    for decay, epsilon in ((0.5, 1.0), (0.99, 1e-6)):
        parameter = torch.ones(1, dtype=torch.float64, requires_grad=True)
        optimizer = GroupRMSprop([parameter])
        optimizer.param_groups[0].update(decay=decay, epsilon=epsilon, lr=0.1)
        parameter.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
        moved[epsilon] = 1 - parameter.item()
    assert moved[1.0] == pytest.approx(0.1 / 2)
    assert moved[1e-6] == pytest.approx(0.1, rel=1e-5)
