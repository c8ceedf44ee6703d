"""Loss landscapes: directions, and the loss on a plane of them."""

import numpy as np
import pytest
import torch

from tacit.analysis.landscapes import LandscapeError, axis, draw_directions, evaluate, orthogonal, scaled

RANDOM = np.random.default_rng(0)
THETA = RANDOM.normal(size=(7, 4, 4))


def test_directions_are_those_of_the_original():
    first = np.array([[[0.5, 0], [1, 0.1]], [[0, 1], [1, 0.3]]])
    drawn = np.array([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])
    theta = np.array([[[1.0, 2], [3, 4]], [[0, 0], [0, 2]]])
    second = np.stack([orthogonal(e, d) for e, d in zip(drawn, first, strict=True)])
    expected = [[[-0.1293319134, 0.4723426402], [-0.0224925067, 0.8715846336]],
                [[0.6426845869, -0.1758926278], [-0.0473557064, 0.7441611006]]]  # fmt: skip
    np.testing.assert_allclose(second, expected, atol=6e-11)
    sized = np.stack([scaled(d, t) for d, t in zip(first, theta, strict=True)])
    expected = [[[2.43975019, 0], [4.87950039, 0.48795004]], [[0, 1.38342893], [1.38342893, 0.41502869]]]
    np.testing.assert_allclose(sized, expected, atol=6e-9)


@pytest.mark.parametrize("per", ["layer", "row"])
def test_directions_are_orthogonal_and_as_large_as_parameters_group_by_group(per):
    first, second = draw_directions(THETA, generator=np.random.default_rng(1), per=per)
    axes = (1, 2) if per == "layer" else (2,)
    of = np.stack(first), np.stack(second)
    for direction in of:
        np.testing.assert_allclose(np.sqrt((direction**2).sum(axes)), np.sqrt((THETA**2).sum(axes)), rtol=1e-12)
    np.testing.assert_allclose((of[0] * of[1]).sum(axes), 0, atol=1e-12)


def test_seeds_give_directions_and_parameters_that_are_0_none():
    one, two, other = (draw_directions(THETA, generator=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one.first, two.first, strict=True))
    assert not np.isclose(one.first[0], other.first[0]).any()
    still = draw_directions([np.zeros((2, 2)), np.array([3.0])], generator=np.random.default_rng(0))
    assert not still.first[0].any() and not still.second[0].any()
    assert abs(still.first[1]) == 3 and still.second[1] == 0


@pytest.mark.parametrize("points", [1, 8, 9])
def test_of_a_quadratic_loss_it_is_the_quadratic(points):
    matrix = RANDOM.normal(size=(THETA.size, THETA.size))
    directions = draw_directions(THETA, generator=np.random.default_rng(2))

    def loss(parameters):
        assert parameters.shape == THETA.shape
        return float(parameters.ravel() @ matrix @ parameters.ravel())

    found = evaluate(loss, THETA, directions, points=points, step=0.3)
    d, e, t = (np.stack(array).ravel() for array in (*directions, THETA))
    a, b = np.meshgrid((np.arange(points) - points // 2) * 0.3, (np.arange(points) - points // 2) * 0.3)
    sides = {(x, y): v @ (matrix + matrix.T) / 2 @ w for x, v in enumerate((t, d, e)) for y, w in enumerate((t, d, e))}
    exact = sides[0, 0] + 2 * a * sides[0, 1] + 2 * b * sides[0, 2] + a**2 * sides[1, 1] + b**2 * sides[2, 2]
    np.testing.assert_allclose(found, exact + 2 * a * b * sides[1, 2], rtol=1e-11)
    assert found[points // 2, points // 2] == loss(THETA)


def test_rows_are_those_of_the_whole():
    arrays = [RANDOM.normal(size=(3, 2)), RANDOM.normal(size=5)]
    directions = draw_directions(arrays, generator=np.random.default_rng(3), per="row")
    seen = []

    def loss(parameters):
        return float(np.sin(parameters[0]).sum() + parameters[1][0] ** 2)

    whole = evaluate(loss, arrays, directions, points=6, step=0.1, advance=lambda: seen.append(1))
    assert len(seen) == 6 and whole.shape == (6, 6)
    parts = [evaluate(loss, arrays, directions, points=6, step=0.1, rows=rows) for rows in ([4, 5], [0], range(1, 4))]
    np.testing.assert_array_equal(np.concatenate([parts[1], parts[2], parts[0]]), whole)


def test_a_network_of_ones_own_in_torch():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()
    x, y = torch.randn(20, 3).double(), torch.randint(0, 2, (20,))
    names, tensors = zip(*network.named_parameters(), strict=True)
    arrays = [tensor.detach().numpy() for tensor in tensors]

    def loss(parameters):
        given = dict(zip(names, map(torch.from_numpy, parameters), strict=True))
        return torch.nn.functional.cross_entropy(torch.func.functional_call(network, given, x), y).item()

    directions = draw_directions(arrays, generator=np.random.default_rng(0), per="row")
    found = evaluate(loss, arrays, directions, points=5, step=0.5)
    assert found[2, 2] == torch.nn.functional.cross_entropy(network(x), y).item()
    for tensor, d, e in zip(tensors, *directions, strict=True):
        tensor.data += 1.0 * torch.from_numpy(d) - 0.5 * torch.from_numpy(e)
    assert found[1, 4] == pytest.approx(torch.nn.functional.cross_entropy(network(x), y).item(), rel=1e-12)


def test_parameters_of_a_module_serve_as_they_are():
    network = torch.nn.Linear(3, 2)
    arrays = [parameter.detach().numpy() for parameter in network.parameters()]

    def loss(parameters):
        return float(sum((array**2).sum() for array in parameters))

    of_arrays, of_module = (
        evaluate(loss, own, draw_directions(own, generator=np.random.default_rng(1)), points=3, step=0.5)
        for own in (arrays, list(network.parameters()))
    )
    np.testing.assert_array_equal(of_arrays, of_module)
    # And a single one of several layers.
    layers = torch.randn(2, 3, 3, requires_grad=True)
    directions = draw_directions(layers, generator=np.random.default_rng(1))
    assert evaluate(lambda moved: moved.shape[0], layers, directions, points=3, step=1).tolist() == [[2.0] * 3] * 3


def test_coordinates_are_in_units_of_the_parameters():
    np.testing.assert_allclose(axis(4, 0.5), [-1, -0.5, 0, 0.5])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: draw_directions([], generator=RANDOM), "no parameters"),
        (lambda: draw_directions(np.ones(3), generator=RANDOM), "one array is one of layers"),
        (lambda: draw_directions([np.array([np.nan])], generator=RANDOM), "not finite"),
        (lambda: draw_directions(THETA, generator=RANDOM, per="filter"), "per layer or per row"),
        (
            lambda: evaluate(len, THETA, draw_directions(THETA[:3], generator=RANDOM), points=3, step=1),
            "first direction",
        ),
        (lambda: evaluate(len, THETA, draw_directions(THETA, generator=RANDOM), points=3, step=1, rows=[3]), "row 3"),
        (lambda: evaluate(len, THETA, draw_directions(THETA, generator=RANDOM), points=-2, step=1), "points = -2"),
        (lambda: evaluate(len, THETA, draw_directions(THETA, generator=RANDOM), points=3, step=np.nan), "step = nan"),
        (lambda: draw_directions({"weight": np.ones(3)}, generator=RANDOM), "parameters are a list"),
        (lambda: draw_directions(torch.nn.Linear(2, 2).parameters(), generator=RANDOM), "can be read again"),
    ],
)
def test_what_has_no_landscape_is_refused(call, said):
    with pytest.raises(LandscapeError, match=said):
        call()
