"""Products by NumPy's BLAS on a CPU, beside PyTorch's own."""

import pytest
import torch
from torch import nn

from tacit.nn.products import Linear, multiply, product


def draw(*shape, kind=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=kind)


SHAPES = {
    "matrices": ((5, 7), (7, 3)),
    "many matrices": ((4, 5, 7), (4, 7, 3)),
    "with a vector": ((5, 7), (7,)),
    "nothing to add": ((5, 0), (0, 3)),
    "no rows": ((0, 7), (7, 3)),
}


@pytest.mark.parametrize("left, right", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_products_are_those_of_torch(left, right, kind):
    left, right = draw(*left, kind=kind), draw(*right, kind=kind)
    expected = left @ right
    out = torch.full_like(expected, torch.nan)
    assert multiply(left, right, out=out) is out
    torch.testing.assert_close(out, expected)


def test_transposed_factors_and_results_are_taken_as_they_lie():
    left, right, out = draw(7, 5), draw(3, 7), torch.empty(3, 5).double()
    multiply(left.T, right.T, out=out.T)
    torch.testing.assert_close(out.T, left.T @ right.T)


def test_a_prepared_product_follows_its_factors():
    left, right, out = draw(5, 7), draw(7, 3), torch.empty(5, 3).double()
    again = product(left, right, out=out)
    for _ in range(2):
        again()
        torch.testing.assert_close(out, left @ right)
        left.mul_(3)
        right.sub_(1)


def both(inputs=7, outputs=5):
    own = Linear(inputs, outputs).double()
    theirs = nn.Linear(inputs, outputs).double()
    theirs.load_state_dict(own.state_dict())
    return own, theirs


def test_a_linear_layer_computes_and_learns_as_that_of_torch():
    own, theirs = both()
    results = []
    for layer in (own, theirs):
        inputs = draw(4, 7).requires_grad_()
        outputs = layer(inputs)
        gradients = torch.autograd.grad(outputs.pow(3).sum(), [inputs, layer.weight, layer.bias])
        results.append([outputs, *gradients])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_a_linear_layer_of_images_needs_no_gradient_of_them():
    own, theirs = both()
    for layer in (own, theirs):
        layer(draw(4, 7)).sum().backward()
    torch.testing.assert_close(own.weight.grad, theirs.weight.grad)


def test_a_linear_layer_is_drawn_as_that_of_torch():
    layers = []
    for kind in (Linear, nn.Linear):
        torch.manual_seed(0)
        layers.append(kind(7, 5))
    assert torch.equal(layers[0].weight, layers[1].weight) and torch.equal(layers[0].bias, layers[1].bias)


def test_a_linear_layer_follows_autocast():
    own, theirs = (layer.float() for layer in both())
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = own(draw(4, 7).float()), theirs(draw(4, 7).float())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected)
