"""Tensor networks against einsum, singular value decompositions, and the published shapes."""

import itertools
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tacit.nn.factors import each
from tacit.nn.tensor_networks import TensorTrain, Tucker, TuckerTrain, decompose, fold, ranks, shapes, size

DOUBLE = {"dtype": torch.float64}
FORMS = [("tensor_train", "tensor_train"), ("tucker", "tensor_train"), ("tucker", "dense")]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


def close(one, other, tolerance=1e-11):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def by_einsum(network):
    """The definition, with every index written out."""
    if isinstance(network, TensorTrain):
        return torch.einsum("zaj,jbk,kcy->abc", *network)
    if isinstance(network, Tucker):
        return torch.einsum("ijk,ai,bj,ck->abc", *network)
    return torch.einsum("zil,ljm,mky,ai,bj,ck->abc", *network)


def drawn(kind, dims, of, core, *stack):
    """A network with random parts, far from orthonormal."""
    form = TensorTrain if kind == "tensor_train" else Tucker if core == "dense" else TuckerTrain
    made = shapes(kind, dims, of, core=core)
    return form(*(random(*stack, *shape, seed=seed) for seed, shape in enumerate(made.values())))


# inputs, outputs: dims, TT 0.234, TT 0.705, Tucker 0.211, Tucker 0.68
TABLE = {
    (16, 160): ((16, 16, 10), (4, 2), (11, 7), (3, 3, 2), (11, 11, 7)),
    (160, 160): ((32, 32, 25), (7, 6), (23, 18), (7, 7, 5), (22, 22, 17)),
    (160, 320): ((40, 40, 32), (9, 7), (28, 23), (8, 8, 7), (27, 27, 22)),
    (320, 320): ((50, 64, 32), (12, 7), (35, 23), (11, 14, 7), (34, 44, 22)),
    (320, 640): ((64, 64, 50), (15, 12), (45, 35), (14, 14, 11), (44, 44, 34)),
    (640, 640): ((80, 80, 64), (19, 15), (56, 45), (17, 17, 14), (54, 54, 44)),
}


@pytest.mark.parametrize(("inputs", "outputs"), TABLE)
def test_dimensions_and_ranks_are_the_published_ones(inputs, outputs):
    dims, *found = TABLE[inputs, outputs]
    assert fold(outputs, inputs) == dims
    assert ranks("tensor_train", dims, 0.234) == found[0] and ranks("tensor_train", dims, 0.705) == found[1]
    assert ranks("tucker", dims, 0.211) == found[2] and ranks("tucker", dims, 0.68) == found[3]


def test_tuckers_core_is_stored_as_a_train():
    dims = fold(640, 640)
    of = ranks("tucker", dims, 0.211)
    made = shapes("tucker", dims, of)
    assert list(made.values()) == [(1, 17, 80), (80, 17, 14), (14, 14, 1), (80, 17), (80, 17), (64, 14)]
    assert size(made) == 24_212
    assert size(shapes("tucker", dims, of, core="dense")) == 17 * 17 * 14 + 2 * 80 * 17 + 64 * 14
    assert size(shapes("tensor_train", dims, (19, 15))) == 80 * 19 + 19 * 80 * 15 + 15 * 64


def test_folding():
    assert fold(27, 1) == (3, 3, 3) and fold(64, 64) == (16, 16, 16) and fold(1000, 1000) == (100, 100, 100)
    # Ten, the rounded cube root of 990, divides it; what is left then has no divisor below eleven.
    assert fold(99, 10) == (10, 11, 9)
    assert fold(7, 1) == (7, 1, 1) and fold(1, 1) == (1, 1, 1) and fold(3, 1) == (1, 1, 3)
    for outputs, inputs in itertools.product(range(1, 40), range(1, 40)):
        assert math.prod(fold(outputs, inputs)) == outputs * inputs


def test_ranks_are_rounded_to_even_and_at_least_one():
    assert ranks("tucker", (5, 7, 1), 0.5) == (2, 4, 1) and ranks("tucker", (80, 80, 64), 0.001) == (1, 1, 1)
    assert ranks("tensor_train", (6, 5, 3), 0.5) == (2, 2) and ranks("tensor_train", (5, 6, 30), 1.0) == (5, 6)


@pytest.mark.parametrize(("kind", "core"), FORMS)
@pytest.mark.parametrize(("outputs", "inputs"), [(8, 8), (12, 10), (5, 7), (1, 3), (13, 1), (64, 20)])
def test_full_ranks_reproduce_the_matrix(kind, core, outputs, inputs):
    matrix = random(outputs, inputs)
    n1, n2, n3 = dims = fold(outputs, inputs)
    full = (min(n1, n2 * n3), min(n3, n1 * n2)) if kind == "tensor_train" else dims
    network = decompose(matrix, kind, full, core=core)
    assert [part.shape for part in network] == [torch.Size(s) for s in shapes(kind, dims, full, core=core).values()]
    close(by_einsum(network).reshape(outputs, inputs), matrix)
    close(network.tensor().reshape(outputs, inputs), matrix)


@pytest.mark.parametrize(("kind", "core"), FORMS)
@pytest.mark.parametrize("scale", [0.1, 0.4, 0.8, 1.0])
def test_all_parts_but_one_are_orthonormal_and_that_has_the_norm(kind, core, scale):
    dims = fold(36, 20)
    network = decompose(random(36, 20), kind, ranks(kind, dims, scale), core=core)
    named = network._asdict()
    for name in ("core2", "core3"):
        if name in named:
            rows = named[name].flatten(1)
            close(rows @ rows.T, torch.eye(len(rows), **DOUBLE))
    for factor in (part for name, part in named.items() if name.startswith("factor")):
        close(factor.T @ factor, torch.eye(factor.shape[1], **DOUBLE))
    close(network[0].norm(), by_einsum(network).norm())


def truncated(matrix, rank):
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank] * values[:rank] @ right[:rank]


def test_trains_are_truncated_from_the_last_bond():
    """The best approximation at the last bond, and then of that the best at the first."""
    matrix, (left, right) = random(36, 20), (3, 4)
    n1, n2, n3 = fold(36, 20)
    step = truncated(matrix.reshape(n1 * n2, n3), right)
    step = truncated(step.reshape(n1, n2 * n3), left)
    close(by_einsum(decompose(matrix, "tensor_train", (left, right))), step.reshape(n1, n2, n3))


@pytest.mark.parametrize("core", ["tensor_train", "dense"])
def test_tuckers_modes_are_truncated_from_the_last(core):
    """Each to the best approximation of what is left; another order leads elsewhere."""
    matrix, dims = random(36, 20), fold(36, 20)
    ends = []
    for order in ((2, 1, 0), (0, 1, 2)):
        tensor = matrix.reshape(dims)
        for mode in order:
            unfolded = tensor.movedim(mode, 0)
            tensor = truncated(unfolded.flatten(1), (3, 4, 2)[mode]).view(unfolded.shape).movedim(0, mode)
        ends.append(tensor)
    network = decompose(matrix, "tucker", (3, 4, 2), core=core)
    close(by_einsum(network), ends[0])
    assert (ends[1] - ends[0]).norm() > 1e-3


def test_all_that_can_be_learned_at_the_bonds_of_a_core_is_there():
    """The second core has the row space of the tensor before its first mode is truncated."""
    matrix, dims = random(36, 20), fold(36, 20)
    network = decompose(matrix, "tucker", (2, 4, 3))
    left = torch.einsum("abc,bj,ck->ajk", matrix.reshape(dims), network.factor2, network.factor3).flatten(1)
    second = torch.einsum("ljm,mky->ljk", network.core2, network.core3).flatten(1)
    assert len(second) == min(dims[0], 4 * 3)
    close(left @ second.T @ second, left)


# Energy kept, and standard deviations of what is realised at 640 x 640 from the default and the spectral start.
KEPT = {
    ("tensor_train", 0.234): ((0.085, 0.10), 0.0067, 0.0163),
    ("tucker", 0.211): ((0.029, 0.05), 0.0039, 0.0097),
}


@pytest.mark.parametrize(("kind", "scale"), KEPT)
def test_little_of_a_random_matrix_is_kept(kind, scale):
    (least, most), regular, spectral = KEPT[kind, scale]
    generator = torch.Generator().manual_seed(0)
    dims = fold(640, 640)
    for std, realised in (((1 / 1920) ** 0.5, regular), ((2 / 640) ** 0.5, spectral)):
        matrix = std * torch.randn(640, 640, generator=generator)
        network = decompose(matrix, kind, ranks(kind, dims, scale))
        share = network.squared_norm() / matrix.square().sum()
        assert least < share < most
        assert abs(network.tensor().std() / realised - 1) < 0.02


@pytest.mark.parametrize(("kind", "core"), FORMS)
def test_products_and_norms_are_those_of_the_definition(kind, core):
    """Through both orders of multiplication, and for stacks; autograd goes through the norm."""
    tucker = {(6, 5, 4): [(2, 3, 4), (6, 5, 4), (1, 1, 1)], (2, 9, 3): [(2, 5, 1)], (7, 1, 1): [(1, 1, 1)]}
    train = {(6, 5, 4): [(2, 3), (5, 1), (1, 4)], (2, 9, 3): [(2, 3)], (3, 2, 9): [(3, 6)], (7, 1, 1): [(1, 1)]}
    for dims, several in (tucker if kind == "tucker" else train).items():
        for of in several:
            network = drawn(kind, dims, of, core)
            expected = by_einsum(network)
            assert expected.shape == dims
            close(network.tensor(), expected)
            close(network.squared_norm(), expected.square().sum())
            parts = [part.requires_grad_() for part in network]
            slopes = torch.autograd.grad(network.squared_norm(), parts)
            for one, other in zip(slopes, torch.autograd.grad(by_einsum(network).square().sum(), parts), strict=True):
                close(one, other)
            stack = drawn(kind, dims, of, core, 3)
            members = [type(stack)(*parts) for parts in zip(*stack, strict=True)]
            close(stack.tensor(), torch.stack([by_einsum(member) for member in members]))
            norms = torch.stack([by_einsum(member).square().sum() for member in members])
            close(stack.squared_norm(), norms)
            for batched in (True, False):
                found = each(lambda part, _: [part.squared_norm()], members, batched=batched)
                close(torch.stack([norm for (norm,) in found]), norms)


def test_the_cheaper_order_of_multiplications_is_taken():
    """By the bond of the lower rank last."""
    for dims, (left, right), expected in (
        ((80, 80, 64), (19, 15), 80 * 19 * 80 * 15 + 80 * 80 * 15 * 64),
        ((64, 80, 80), (15, 19), 15 * 80 * 19 * 80 + 64 * 15 * 80 * 80),
    ):
        network = drawn("tensor_train", dims, (left, right), "tensor_train")
        with FlopCounterMode(display=False) as counter:
            network.tensor()
        assert counter.get_total_flops() / 2 == expected


def test_norms_form_nothing_as_large_as_the_tensor():
    class Largest(TorchDispatchMode):
        entries = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            made = function(*args, **(kwargs or {}))
            self.entries = max(self.entries, made.numel())
            return made

    dims = fold(640, 640)
    for (kind, core), scale in zip(FORMS, (0.234, 0.211, 0.211), strict=True):
        network = drawn(kind, dims, ranks(kind, dims, scale), core)
        with Largest() as largest:
            network.squared_norm()
        assert 0 < largest.entries < 640 * 640 / 10


@pytest.mark.parametrize(("kind", "core"), FORMS)
def test_precision_is_kept_nothing_is_shared_and_other_settings_are_left_alone(kind, core):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    of = (2, 2) if kind == "tensor_train" else (2, 2, 2)
    matrix = random(12, 10).float()
    network = decompose(matrix, kind, of, core=core)
    assert all(part.dtype == torch.float32 and part.is_contiguous() for part in network)
    double = decompose(matrix.double(), kind, of, core=core)
    close(network.tensor().double(), double.tensor(), 1e-5)
    threads = torch.get_num_threads()
    torch.set_num_threads(before)
    assert threads == 3
    copies = [part.clone() for part in double]
    matrix.zero_()
    assert all(map(torch.equal, double, copies))
    shadow = decompose(torch.empty(12, 10, device="meta"), kind, of, core=core)
    assert [part.shape for part in shadow] == [part.shape for part in network] and shadow[0].is_meta


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ranks("tucker", (4, 4, 4), 0.0), "rank_scale = 0.0"),
        (lambda: ranks("tucker", (4, 4, 4), 1.01), "at most 1"),
        (lambda: ranks("tucker", (4, 4, 4), float("nan")), "rank_scale = nan"),
        (lambda: ranks("ring", (4, 4, 4), 0.5), "kind = 'ring'"),
        (lambda: decompose(random(8, 8), "ring", (1, 1)), "kind = 'ring'"),
        (lambda: decompose(random(8, 8), "tucker", (1, 1, 1), core="sparse"), "core = 'sparse'"),
        (lambda: decompose(random(8, 8), "tucker", (1, 1)), r"ranks = \(1, 1\)"),
        (lambda: decompose(random(8, 8), "tucker", (5, 1, 1)), r"ranks = \(5, 1, 1\)"),
        (lambda: decompose(random(8, 8), "tensor_train", (5, 1)), r"ranks = \(5, 1\)"),
        (lambda: decompose(random(8, 8), "tensor_train", (0, 1)), r"ranks = \(0, 1\)"),
        (lambda: decompose(torch.full((8, 8), torch.nan), "tensor_train", (1, 1)), "not finite"),
    ],
)
def test_what_has_no_decomposition_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
