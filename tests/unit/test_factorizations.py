"""Models, their end tensors and structured gradients, against einsum, autograd and the plain reference."""

import itertools
import string

import numpy as np
import pytest
import torch

from plain import factorizations as plain
from tacit.nn import factorizations as nn
from tacit.settings.mode_trees import count_parameters, level_widths, mode_tree
from tacit.training import observations
from tacit.training.gradients import structured_gradient

TREES = [(order, pool, "checkerboard") for order in range(2, 9) for pool in (2, 3, 4)]
TREES += [(order, 2, "half") for order in range(2, 9)]
TREES += [(4, 4, "checkerboard_sq"), (16, 4, "checkerboard_sq")]

# Pool sizes by level, `half` with others than pairs, square patches with remainders: none of them has a plain
# counterpart, so their groups are written out.
FURTHER = {
    "by level 8 [4, 2]": ((8, (4, 2), "checkerboard"), [[(0, 1, 2, 3), (4, 5, 6, 7)], [(0, 1)]]),
    "by level 7 [2, 4]": ((7, (2, 4), "checkerboard"), [[(0, 1), (2, 3), (4, 5), (6,)], [(0, 1, 2, 3)]]),
    "by level 7 [3, 2, 2] half": (
        (7, (3, 2, 2), "half"),
        [[(0, 4, 1), (5, 2, 6), (3,)], [(0, 2), (1,)], [(0, 1)]],
    ),
    "half 6 3": ((6, 3, "half"), [[(0, 3, 1), (4, 2, 5)], [(0, 1)]]),
    "half 7 4": ((7, 4, "half"), [[(0, 4, 1, 5), (2, 6, 3)], [(0, 1)]]),
    "squares 3 4": ((3, 4, "checkerboard_sq"), [[(0, 1, 2)]]),
    "squares 6 4": ((6, 4, "checkerboard_sq"), [[(0, 1, 2, 3), (4, 5)], [(0, 1)]]),
    "squares 9 4": ((9, 4, "checkerboard_sq"), [[(0, 1, 3, 4), (2, 5, 8, 6), (7,)], [(0, 1, 2)]]),
    "squares 10 [4, 9]": ((10, (4, 9), "checkerboard_sq"), [[(0, 1, 3, 4), (2, 5, 8, 6), (7, 9)], [(0, 1, 2)]]),
}


def hierarchical(order, pool_size, pattern="checkerboard", *, seed=0, std=1.0, linear_output=True):
    """A model in float64 whose mode sizes and widths all differ where that is possible in little memory."""
    shape = [2] * order if order > 8 else [2 + mode % 2 if order > 5 else 2 + mode for mode in range(order)]
    tree = mode_tree(order, pool_size, pattern)
    widths = [3 + level for level in range(tree.levels)]
    model = nn.HierarchicalTensorFactorization(shape, tree, widths, linear_output=linear_output).double()
    nn.set_normal(model, np.random.default_rng(seed), std=std)
    return model


def cp(shape, components, *, linear_output=False, seed=0, std=1.0):
    model = nn.CPFactorization(shape, components, linear_output=linear_output).double()
    nn.set_normal(model, np.random.default_rng(seed), std=std)
    return model


def matrix(rows, columns, depth, *, seed=0, std=1.0):
    model = nn.MatrixFactorization(rows, columns, depth).double()
    nn.set_normal(model, np.random.default_rng(seed), std=std)
    return model


def written_out(model, groups):
    """The end tensor by one einsum over the whole tree, whose groups are given."""
    letters = iter(string.ascii_letters)
    modes = [next(letters) for _ in model.shape]
    terms, operands = [], []
    above = modes
    for level, matrices in enumerate(model.matrices):
        # Children of one node share the letter of their channels.
        channels = {child: letter for group in groups[level] for letter in next(letters) for child in group}
        terms += [f"{above[node]}{channels[node]}" for node in range(len(matrices))]
        operands += list(matrices)
        above = [channels[group[0]] for group in groups[level]]
    if len(model.output):
        terms.append(above[0])
        operands.append(model.output_vector)
    return torch.einsum(f"{','.join(terms)}->{''.join(modes)}", *operands)


def counterpart(model):
    """The same model as the plain reference has it."""
    if isinstance(model, nn.MatrixFactorization):
        return plain.MatrixFactorization(list(model.factors))
    layers = [list(level) for level in model.matrices]
    widest = max(len(group) for group in model.tree.groups[0])
    pattern = "checkerboard"
    if model.tree.order > 2 and model.tree.groups[0][0] == (0, -(-model.tree.order // 2)):
        pattern = "half"
    elif widest == 4 and model.tree.order == 16 and model.tree.groups[0][0] == (0, 1, 4, 5):
        pattern = "checkerboard_sq"
    return plain.HierarchicalFactorization(layers, model.output_vector, widest, pattern)


MODELS = {
    **{f"matrix of depth {depth}": matrix(4, 3, depth) for depth in (1, 2, 3, 4)},
    "wide matrix": matrix(2, 5, 3),
    "cp": cp((2, 3, 4), 5),
    "cp of order 2": cp((3, 4), 5),
    "cp of order 4 with weights": cp((3, 2, 2, 4), 5, linear_output=True),
    **{f"tree {order} {pool} {pattern}": hierarchical(order, pool, pattern) for order, pool, pattern in TREES},
}
WRITTEN_OUT = {
    **{name: (hierarchical(*tree), groups) for name, (tree, groups) in FURTHER.items()},
    **{
        f"{name}, summed": (hierarchical(*tree, linear_output=False), groups)
        for name, (tree, groups) in FURTHER.items()
        if name.startswith(("by", "squares 9"))
    },
    "tree 4 2, summed": (hierarchical(4, 2, linear_output=False), [[(0, 1), (2, 3)], [(0, 1)]]),
}
ALL = MODELS | {name: model for name, (model, _) in WRITTEN_OUT.items()}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_the_end_tensor_is_that_of_the_plain_reference(model):
    torch.testing.assert_close(model.end_tensor(), counterpart(model).end(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("model", "groups"), WRITTEN_OUT.values(), ids=WRITTEN_OUT.keys())
def test_end_tensors_of_further_trees_are_one_einsum(model, groups):
    expected = written_out(model, groups)
    torch.testing.assert_close(model.end_tensor(), expected, rtol=1e-11, atol=1e-11)
    vectors = plain.one_hot(torch.tensor([[0] * len(model.shape), [1] * len(model.shape)]), model.shape, torch.float64)
    entries = torch.stack([expected[(0,) * len(model.shape)], expected[(1,) * len(model.shape)]])
    torch.testing.assert_close(model(vectors), entries, rtol=1e-11, atol=1e-11)


def test_without_a_linear_output_components_of_the_root_are_summed():
    model = hierarchical(4, 2, linear_output=False)
    (u1, u2, u3, u4), (w12, w34) = model.matrices
    expected = torch.einsum("is,js,sr,kt,lt,tr->ijkl", u1, u2, w12, u3, u4, w34)
    torch.testing.assert_close(model.end_tensor(), expected, rtol=1e-12, atol=1e-12)
    assert len(list(model.parameters())) == 6
    # Its components have the norms of the outer products of columns, with no weight.
    columns = [torch.einsum("is,js,s->ij", u1, u2, w12[:, 1]), torch.einsum("kt,lt,t->kl", u3, u4, w34[:, 1])]
    norms = model.local_component_norms()
    assert norms[2, 0][1] == pytest.approx((w12[:, 1].norm() * w34[:, 1].norm()).item())
    whole = sum(torch.einsum("ij,kl->ijkl", torch.einsum("is,js,s->ij", u1, u2, w12[:, r]),
                             torch.einsum("kt,lt,t->kl", u3, u4, w34[:, r])) for r in range(w12.shape[1]))  # fmt: skip
    torch.testing.assert_close(model.end_tensor(), whole, rtol=1e-12, atol=1e-12)
    assert columns[0].shape == (2, 3)


@pytest.mark.parametrize("tree", [(4, 2, "checkerboard"), (4, 2, "half"), (5, (3, 2), "checkerboard"), (3, 2, "half")])
def test_max_is_as_many_channels_as_any_tensor_needs(tree):
    """Every tensor is a sum of rank one tensors, one for each column along its largest mode."""
    tree = mode_tree(*tree)
    shape = [2, 3, 2, 2, 2][: tree.order]
    target = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    widths = level_widths("max", tree, shape)
    model = nn.HierarchicalTensorFactorization(shape, tree, widths).double()
    largest = shape.index(max(shape))
    others = [range(size) for mode, size in enumerate(shape) if mode != largest]
    with torch.no_grad():
        for component, place in enumerate(itertools.product(*others)):
            index = [*place[:largest], slice(None), *place[largest:]]
            for mode, matrix in enumerate(model.matrices[0]):
                matrix[:, component] = target[tuple(index)] if mode == largest else torch.eye(shape[mode])[index[mode]]
        for level in model.matrices[1:]:
            for matrix in level:
                matrix.copy_(torch.eye(*matrix.shape))
        model.output[0].fill_(1)
    torch.testing.assert_close(model.end_tensor(), target)
    assert nn.count_parameters(model) == count_parameters(tree, widths, shape) + widths[-1]


def test_end_tensor_of_order_four_by_einsum():
    model = hierarchical(4, 2)
    (u1, u2, u3, u4), (w12, w34) = model.matrices
    expected = torch.einsum("is,js,sr,kt,lt,tr,r->ijkl", u1, u2, w12, u3, u4, w34, model.output_vector)
    torch.testing.assert_close(model.end_tensor(), expected, rtol=1e-12, atol=1e-12)


def test_cp_end_tensor_by_einsum():
    model = cp((2, 3, 4), 5, linear_output=True)
    expected = torch.einsum("ir,jr,kr,r->ijk", *model.factors, model.output_vector)
    torch.testing.assert_close(model.end_tensor(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", [cp((2, 3, 4), 5), hierarchical(5, 2), hierarchical(4, 2, "half")])
def test_one_hot_inputs_give_entries(model):
    indices = list(itertools.product(*map(range, model.shape)))
    vectors = plain.one_hot(torch.tensor(indices), model.shape, dtype=torch.float64)
    torch.testing.assert_close(model(vectors).view(model.shape), model.end_tensor(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", [cp((2, 3, 4), 5), hierarchical(5, 2), hierarchical(4, 2, "half")])
def test_the_form_is_linear_in_each_mode(model):
    random = torch.Generator().manual_seed(0)
    vectors = [torch.randn(6, size, generator=random, dtype=torch.float64) for size in model.shape]
    for mode, size in enumerate(model.shape):
        other = torch.randn(6, size, generator=random, dtype=torch.float64)
        moved = [*vectors[:mode], vectors[mode] + 2.5 * other, *vectors[mode + 1 :]]
        replaced = [*vectors[:mode], other, *vectors[mode + 1 :]]
        torch.testing.assert_close(model(moved), model(vectors) + 2.5 * model(replaced), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", ALL.values(), ids=ALL.keys())
def test_end_tensors_are_homogeneous_of_the_number_of_parameters(model):
    before, degree = model.end_tensor().detach().clone(), len(list(model.parameters()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        after = model.end_tensor().clone()
        for parameter in model.parameters():
            parameter.div_(1.5)
    torch.testing.assert_close(after, 1.5**degree * before, rtol=1e-10, atol=1e-10)


def test_the_degree_of_a_tree_of_order_four_is_seven():
    assert len(list(hierarchical(4, 2).parameters())) == 7


def test_numbers_of_parameters_are_the_published_ones():
    assert nn.count_parameters(nn.MatrixFactorization(64, 64, 3)) == 12_288
    assert nn.count_parameters(nn.CPFactorization((16, 16, 16), 256)) == 12_288
    tree = mode_tree(4, 2)
    assert nn.count_parameters(nn.HierarchicalTensorFactorization((8, 8, 8, 8), tree, (512, 512))) == 541_184


def test_local_component_norms_are_those_of_the_components_written_out():
    for model in (hierarchical(4, 2), hierarchical(5, 2), hierarchical(4, 2, "half"), hierarchical(6, 3)):
        expected = plain.local_component_norms(counterpart(model))
        found = {tuple(sorted(model.tree.modes[level][node])): norms for (level, node), norms in _joined(model)}
        assert found.keys() == expected.keys()
        for modes, norms in expected.items():
            torch.testing.assert_close(found[modes], norms, rtol=1e-12, atol=1e-12)


def _joined(model):
    """Local component norms of nodes of several children, as the plain reference has them."""
    for (level, node), norms in model.local_component_norms().items():
        if len(model.tree.groups[level - 1][node]) > 1:
            yield (level, node), norms


@pytest.mark.parametrize("linear_output", [False, True])
def test_component_norms_are_those_of_the_components_written_out(linear_output):
    model = cp((2, 3, 4), 5, linear_output=linear_output)
    weights = model.output_vector if linear_output else None
    expected = plain.component_norms(plain.CPFactorization(model.factors, weights))
    torch.testing.assert_close(model.component_norms(), expected, rtol=1e-12, atol=1e-12)


def test_orthogonal_components_are_one_an_entry():
    model = nn.CPFactorization((2, 3, 2), 12)
    model.set_orthogonal(0.5)
    torch.testing.assert_close(model.end_tensor(), torch.full((2, 3, 2), 0.5**3))
    with pytest.raises(ValueError, match="12 components"):
        nn.CPFactorization((2, 3, 2), 5).set_orthogonal(0.5)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_the_identity_initialisation_gives_a_multiple_of_the_identity(shape):
    model = nn.MatrixFactorization(*shape, 3)
    model.set_identity(0.5)
    torch.testing.assert_close(model.end_tensor(), 0.125 * torch.eye(*shape))


def test_a_tree_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="3 modes and 2 widths do not fit a tree of order 4"):
        nn.HierarchicalTensorFactorization((2, 2, 2), mode_tree(4, 2), (3, 3))


def test_matricizations_hold_the_same_numbers():
    tensor = torch.arange(24.0).view(2, 3, 4)
    assert nn.matricize(tensor, [1]).tolist() == [tensor[:, row].flatten().tolist() for row in range(3)]
    assert nn.matricize(tensor, [0, 2]).shape == (8, 3)


# Gradients


def structured(model, fill):
    """Gradients by structure, where `fill(end, out)` writes the gradient with respect to the end tensor."""
    parameters = [parameter.detach() for parameter in model.parameters()]
    gradients = [torch.full_like(parameter, torch.nan) for parameter in parameters]
    structure = structured_gradient(model, parameters, gradients)
    structure.forward()
    fill(structure.end, structure.end_gradient)
    structure.backward()
    return structure.end.clone(), gradients


@pytest.mark.parametrize("model", ALL.values(), ids=ALL.keys())
def test_structured_gradients_are_those_of_autograd(model):
    end = model.end_tensor()
    direction = torch.randn(end.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad((end * direction).sum(), list(model.parameters()))
    found_end, found = structured(model, lambda end, out: out.copy_(direction))
    torch.testing.assert_close(found_end, end.detach(), rtol=1e-11, atol=1e-11)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "model",
    [
        hierarchical(4, 2, std=0.7),
        hierarchical(7, (3, 2, 2), "half", std=0.7),
        hierarchical(6, 3, "half", std=0.7, linear_output=False),
        hierarchical(9, 4, "checkerboard_sq", std=0.7),
        hierarchical(8, (4, 2), std=0.7, linear_output=False),
    ],
)
def test_structured_gradients_are_finite_differences(model):
    direction = torch.randn(model.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, found = structured(model, lambda end, out: out.copy_(direction))
    step = 1e-6
    for parameter, gradient in zip(model.parameters(), found, strict=True):
        place = tuple(torch.nonzero(gradient.abs() == gradient.abs().max())[0])
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * step
                values.append((model.end_tensor() * direction).sum().item())
                parameter[place] -= sign * step
        difference = (values[0] - values[1]) / (2 * step)
        assert difference == pytest.approx(gradient[place].item(), rel=1e-7)


def observed(kind, model, loss):
    """Observations of another target, and what a plain reference takes in for them."""
    random = torch.Generator().manual_seed(2)
    shape = model.shape
    target = 2 * torch.randn(shape, generator=random, dtype=torch.float64)
    size = target.numel()
    indices = torch.randperm(size, generator=random)[: size * 2 // 3]
    multi = torch.stack(torch.unravel_index(indices, shape), 1)
    if kind == "entries":
        values = target.flatten()[indices]
        inputs = plain.one_hot_matrices if len(shape) == 2 else plain.one_hot
        return observations.Entries(shape, indices, values, loss), inputs(multi, shape, torch.float64)
    if kind == "matrices":
        matrices = torch.randn(9, *shape, generator=random, dtype=torch.float64)
        values = (matrices * target).sum((1, 2))
        return observations.Matrices(matrices, values, loss), matrices
    vectors = [torch.randn(9, size, generator=random, dtype=torch.float64) for size in shape]
    values = torch.randn(9, generator=random, dtype=torch.float64)
    return observations.RankOne(vectors, values, loss), vectors


CASES = [("matrix", "entries"), ("matrix", "matrices")]
CASES += [(model, kind) for model in ("cp", "long first mode", "tree", "half") for kind in ("entries", "rank one")]


@pytest.mark.parametrize("loss", ["l2", "l1", "huber"])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_gradients_of_losses_are_those_of_autograd_on_the_plain_formula(name, kind, loss):
    model = {
        "matrix": matrix(4, 5, 3),
        "cp": cp((2, 3, 4), 5),
        "long first mode": cp((9, 2, 2), 5),
        "tree": hierarchical(4, 2),
        "half": hierarchical(5, 2, "half"),
    }[name]
    reference = counterpart(model)
    seen, inputs = observed(kind, model, observations.Loss(loss, 0.7))
    value = plain.loss_value(loss, reference(inputs), seen.values, huber_beta=0.7)
    value.backward()
    if name == "matrix":
        expected = list(reference.factors)
    else:
        expected = [matrix for layer in reference.layers for matrix in layer] + [reference.output]
    _, found = structured(model, seen.gradient)
    predictions = seen.predictions(model.end_tensor().detach())
    torch.testing.assert_close(predictions, reference(inputs).detach(), rtol=1e-11, atol=1e-11)
    mean = seen.loss.mean(predictions - seen.values)
    torch.testing.assert_close(mean, value.detach(), rtol=1e-11, atol=1e-11)
    # A CP factorization has no trained output, which the plain reference has.
    for ours, theirs in zip(found, expected, strict=False):
        torch.testing.assert_close(ours, theirs.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["entries", "rank one"])
def test_a_subset_of_observations_is_the_observations_of_a_subset(kind):
    model = cp((2, 3, 4), 5)
    seen, _ = observed(kind, model, observations.Loss("l2"))
    rows = torch.tensor([5, 0, 3])
    part, end = seen.subset(rows), model.end_tensor().detach()
    assert len(part) == 3
    torch.testing.assert_close(part.predictions(end), seen.predictions(end)[rows])
    out = torch.empty_like(end)
    part.gradient(end, out)
    # Predictions are linear in the end tensor, so those of unit tensors make their matrix.
    units = torch.eye(end.numel(), dtype=end.dtype).view(-1, *end.shape)
    matrix = torch.stack([part.predictions(unit) for unit in units], 1)
    expected = 2 / 3 * matrix.T @ (matrix @ end.flatten() - part.values)
    torch.testing.assert_close(out.flatten(), expected)
