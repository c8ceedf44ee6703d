"""Starts and the compiled descent of deep matrix factorizations, against autograd and the reference's numbers."""

import itertools

import numpy as np
import pytest
import torch

from tacit.analysis import matrix_norms as analysis
from tacit.errors import DivergenceError, UserError
from tacit.nn import deep_matrices
from tacit.training.matrix_descent import Observed, descend

NONE = np.zeros((0, 2, 2)), np.zeros(0)
BLOCK = Observed(np.array([[0, 1.0], [1, 0]]), np.array([[0, 1.0], [1, 1]]), *NONE)
RANDOM = np.random.default_rng(0)


def run(weights, observed=BLOCK, *, epochs, rate=3e-3, every=50, tolerance=0.0, patience=10):
    return descend(
        weights,
        observed,
        learning_rate=rate,
        epochs=epochs,
        evaluate_every=every,
        tolerance=tolerance,
        patience=patience,
    )


def start(depth, *, shape=(2, 2), balanced=False, scale=1e-5, sign=1, seed=0, scale_of="product", kind="normal"):
    return deep_matrices.draw_start(
        shape, depth, initialization=kind, scale=scale, scale_of=scale_of, balanced=balanced, sign=sign,
        generator=np.random.default_rng(seed),
    )  # fmt: skip


def product(factors):
    whole = factors[0]
    for factor in factors[1:]:
        whole = whole @ factor
    return whole


def plain_loop(factors, observed, rate, steps):
    """Gradient descent by autograd, one step at a time."""
    weights = [torch.tensor(factor, requires_grad=True) for factor in factors]
    target, mask = torch.tensor(observed.target), torch.tensor(observed.mask)
    matrices, values = torch.tensor(observed.matrices), torch.tensor(observed.values)
    losses = []
    for _ in range(steps):
        end = torch.linalg.multi_dot(weights) if len(weights) > 1 else weights[0]
        if len(values):
            residuals = torch.einsum("mij,ij->m", matrices, end) - values
        else:
            residuals = (mask * (end - target)).flatten()
        loss = residuals.square().sum() / 2
        losses.append(loss.item())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data -= rate * gradient
    return losses, product([weight.detach().numpy() for weight in weights])


# Starts


@pytest.mark.parametrize("shape", [(2, 2), (4, 3), (3, 5)])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_balanced_split_restores_the_product_and_is_balanced(shape, depth):
    whole = RANDOM.standard_normal(shape)
    factors = deep_matrices.split_balanced(whole, depth)
    assert [factor.shape for factor in factors] == deep_matrices.sizes(*shape, depth)
    np.testing.assert_allclose(product(factors), whole, rtol=1e-12, atol=1e-12)
    for left, right in itertools.pairwise(factors):
        np.testing.assert_allclose(left.T @ left, right @ right.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("depth", "scale"), [(2, 1e-5), (3, 1e-6), (4, 1e-3)])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_product_has_the_scale_asked_for(depth, scale, balanced):
    entries = np.concatenate(
        [product(start(depth, scale=scale, balanced=balanced, sign=0, seed=seed)).ravel() for seed in range(3000)]
    )
    # Products of normal numbers have heavy tails, so their scatter is that of their own fourth moments.
    error = np.std(entries**2) / np.sqrt(len(entries)) / scale**2
    assert (entries**2).mean() / scale**2 == pytest.approx(1, abs=4 * error)


def test_the_published_scale_of_layers_is_that_of_the_product():
    of_layers = product(start(3, scale=8e-3, scale_of="layer", sign=0))
    of_product = product(start(3, scale=2 * 8e-3**3, sign=0))
    np.testing.assert_allclose(of_layers, of_product, rtol=1e-12)
    assert pytest.approx(1.024e-6) == 2 * 8e-3**3


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_determinant_has_the_sign_asked_for(depth, balanced):
    signs = {}
    for sign in (1, -1, 0):
        wholes = [product(start(depth, balanced=balanced, sign=sign, seed=seed)) for seed in range(100)]
        signs[sign] = [np.linalg.slogdet(whole)[0] for whole in wholes]
    assert set(signs[1]) == {1}
    assert set(signs[-1]) == {-1}
    assert 30 < signs[0].count(1) < 70


def test_an_identity_start_is_a_multiple_of_the_identity():
    for balanced in (False, True):
        np.testing.assert_allclose(product(start(3, scale=1e-3, kind="identity", balanced=balanced)), 1e-3 * np.eye(2))
    np.testing.assert_allclose(start(3, scale=0.1, kind="identity", scale_of="layer")[1], 0.1 * np.eye(2))
    with pytest.raises(ValueError, match="no start with a determinant of sign -1"):
        start(3, kind="identity", sign=-1)


# Steps


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_thousand_steps_are_those_of_autograd(depth):
    factors = start(depth, scale=1e-2)
    losses, end = plain_loop(factors, BLOCK, 0.02, 1000)
    path = run(deep_matrices.pad(factors, np.float64), epochs=1000, rate=0.02, every=1)
    # Errors that are nearly zero are differences of numbers of size one.
    np.testing.assert_allclose(path.losses, np.array(losses)[path.epochs - 1], rtol=1e-12, atol=1e-17)
    np.testing.assert_allclose(path.ends[-1], end, rtol=1e-12, atol=1e-12 * np.abs(end).max())
    assert path.losses[-1] < 0.9


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["block", "wide", "tall", "sensing"])
def test_steps_of_any_size_are_those_of_autograd(depth, kind):
    shape = {"block": (3, 3), "wide": (2, 4), "tall": (4, 2), "sensing": (3, 2)}[kind]
    longest = max(shape)
    target, mask = np.zeros((longest, longest)), np.zeros((longest, longest))
    rows, columns = shape
    target[:rows, :columns] = RANDOM.standard_normal(shape)
    mask[:rows, :columns] = RANDOM.integers(0, 2, shape)
    matrices, values = np.zeros((0, longest, longest)), np.zeros(0)
    if kind == "sensing":
        matrices = np.zeros((5, longest, longest))
        matrices[:, :rows, :columns] = RANDOM.standard_normal((5, *shape))
        values = np.einsum("mij,ij->m", matrices, target)
    factors = start(depth, shape=shape, scale=0.3, sign=0)
    small = Observed(target[:rows, :columns], mask[:rows, :columns], matrices[:, :rows, :columns], values)
    losses, end = plain_loop(factors, small, 0.02, 200)
    observed = Observed(target, mask, matrices, values)
    path = run(deep_matrices.pad(factors, np.float64), observed, epochs=200, rate=0.02, every=1)
    np.testing.assert_allclose(path.losses, np.array(losses)[path.epochs - 1], rtol=1e-10, atol=1e-17)
    np.testing.assert_allclose(path.ends[-1][:rows, :columns], end, rtol=1e-10)
    assert not path.ends[-1][rows:].any()
    assert not path.ends[-1][:, columns:].any()


def test_two_by_two_is_quick_and_the_same_as_any_size():
    """The step for 2 x 2 against that for any size, to which one more measurement of weight zero leads."""
    weights = deep_matrices.pad(start(3, scale=1e-2), np.float64)
    one_hot = np.zeros((3, 2, 2))
    one_hot[[0, 1, 2], [0, 1, 1], [1, 0, 1]] = 1
    general = Observed(BLOCK.target, BLOCK.mask, one_hot, np.array([1.0, 1, 0]))
    ours, theirs = (run(weights.copy(), observed, epochs=3000) for observed in (BLOCK, general))
    np.testing.assert_allclose(ours.ends[-1], theirs.ends[-1], rtol=1e-10)


@pytest.mark.parametrize(
    ("depth", "scale", "epochs", "loss", "entries"),
    [
        (2, 0.01, 2_000, 2.15371680e-1, (0.97386435, 0.67379632, 0.46618555)),
        (2, 0.01, 20_000, 1.19174804e-2, (6.3248919, 0.97717382, 0.15096996)),
        (2, 0.01, 100_000, 3.58282510e-3, (11.729023, 0.99293323, 0.084057844)),
        (3, 0.1, 2_000, 9.84989719e-1, (0.0078238084, 0.0075658023, 0.0077963606)),
        (3, 0.1, 20_000, 6.38447241e-3, (8.7408205, 0.98768207, 0.11164607)),
        (3, 0.1, 100_000, 1.55980243e-3, (17.851501, 0.99690947, 0.055681927)),
        (4, 0.3, 2_000, 2.23549321e-1, (0.95454922, 0.69816618, 0.51367531)),
        (4, 0.3, 20_000, 3.72868714e-3, (11.584378, 0.99280174, 0.085751836)),
        (4, 0.3, 100_000, 8.77677272e-4, (23.960208, 0.99826632, 0.041824973)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_descents_from_the_identity_give_the_known_numbers(depth, scale, epochs, loss, entries, dtype):
    factors = start(depth, scale=scale, kind="identity", scale_of="layer")
    path = run(deep_matrices.pad(factors, dtype), epochs=epochs)
    digits = 1e-7 if dtype == np.float64 else 2e-3
    assert path.losses.dtype == path.ends.dtype == dtype
    assert path.epochs[-1] == epochs
    assert path.losses[-1] == pytest.approx(loss, rel=digits)
    (first, second), (third, fourth) = path.ends[-1]
    assert (first, second, fourth) == pytest.approx(entries, rel=digits)
    assert third == pytest.approx(second, rel=1e-6)


def published_start(depth, std):
    """Layers as the published code draws them, all anew until the determinant is positive."""
    torch.manual_seed(0)
    while True:
        layers = [std * torch.randn(2, 2) for _ in range(depth)]
        if np.linalg.slogdet(product([layer.double().numpy() for layer in layers]))[0] > 0:
            return deep_matrices.pad([layer.numpy() for layer in layers], np.float32)


def test_two_thousand_steps_are_those_of_the_published_code():
    path = run(published_start(3, 8e-3), epochs=2000)
    expected = [[1.0531e-6, 3.5527e-7], [-1.4695e-6, -4.9134e-7]]
    np.testing.assert_allclose(path.ends[-1], expected, rtol=2e-4)
    assert path.losses[-1] == pytest.approx(1.0000011, abs=2e-7)


def test_a_whole_descent_is_that_of_the_published_code():
    path = run(published_start(2, 2.659e-3), epochs=5_000_000, rate=6e-3, tolerance=1e-4)
    assert path.epochs[-1] == 2900
    assert path.losses[-1] == pytest.approx(2.080e-7, rel=0.01)
    np.testing.assert_allclose(path.ends[-1], [[1.7771, 0.99978], [0.99978, 5.611e-4]], rtol=1e-3)


# Rules


def test_the_descent_ends_five_hundred_epochs_after_the_first_fitted_evaluation():
    path = run(deep_matrices.pad(start(2, balanced=True), np.float64), epochs=10**6, rate=6e-3, tolerance=1e-4)
    assert path.fitted
    longer = run(
        deep_matrices.pad(start(2, balanced=True), np.float64), epochs=int(path.epochs[-1]), rate=6e-3, every=1
    )
    fitted = longer.epochs[longer.losses < 1e-4]
    first = -(-fitted[0] // 50) * 50
    assert path.epochs[-1] == first + 500
    capped = run(deep_matrices.pad(start(2, balanced=True), np.float64), epochs=1025, rate=6e-3, tolerance=1e-4)
    assert (capped.epochs[-1], capped.fitted) == (1025, False)


def test_what_is_written_down_is_what_happened():
    weights = deep_matrices.pad(start(3, scale=1e-2), np.float64)
    path = run(weights, epochs=30_000)
    assert (np.diff(path.epochs) > 0).all()
    assert (path.epochs % 50 == 0).all()
    np.testing.assert_allclose(path.ends[-1], product(list(weights)), rtol=1e-14)
    # Between two that are written down neither epoch nor loss changed by much more than a hundredth.
    later = path.epochs > 10_000
    ratio = path.losses[1:] / path.losses[:-1]
    assert 0.95 < ratio[later[1:]].min() < ratio[later[1:]].max() < 1.05


def test_divergence_is_named_with_its_epoch():
    with pytest.raises(DivergenceError, match="the loss is not finite after 50 epochs; lower the learning rate"):
        run(deep_matrices.pad(start(3, scale=1.0), np.float64), epochs=1000, rate=50.0)


def test_an_end_matrix_that_overflows_in_the_last_step_is_divergence():
    """Loss before the step and weights after it are finite, their product is not."""
    weights = deep_matrices.pad(start(3, scale=1.0), np.float32)
    with pytest.raises(DivergenceError, match="the end matrix is not finite after 1 epochs"):
        run(weights, epochs=1, rate=1e20, every=1)
    assert np.isfinite(weights).all()


def test_ends_that_are_not_finite_are_not_kept():
    for epochs in range(1, 12):
        weights = deep_matrices.pad(start(3, scale=0.5), np.float32)
        try:
            path = run(weights, epochs=epochs, rate=2.0, every=1)
        except DivergenceError:
            return
        assert np.isfinite(path.ends).all()
    raise AssertionError("this was to diverge")


def test_an_evaluation_out_of_turn_does_not_count():
    def ended(epochs):
        weights = deep_matrices.pad(start(2, balanced=True), np.float64)
        return run(weights, epochs=epochs, rate=6e-3, tolerance=1e-4)

    whole = ended(10**6)
    capped = ended(int(whole.epochs[-1]) - 25)
    assert (whole.fitted, capped.fitted) == (True, False)


def test_numbers_are_the_same_in_one_call_as_in_many(monkeypatch):
    from tacit.training import matrix_descent

    weights = deep_matrices.pad(start(3), np.float32)
    whole = run(weights.copy(), epochs=40_000, tolerance=1e-4)
    monkeypatch.setattr(matrix_descent, "_CHUNK", 7)
    parts = run(weights.copy(), epochs=40_000, tolerance=1e-4)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


# What theory says


def long_run(**options):
    path = run(
        deep_matrices.pad(start(3, balanced=True, **options), np.float64), epochs=5_000_000, rate=6e-3, tolerance=1e-4
    )
    losses = ((path.ends - BLOCK.target)[:, [0, 1, 1], [1, 0, 1]] ** 2).sum(1) / 2
    return path, losses


def test_a_balanced_descent_keeps_its_sign_and_follows_the_envelope():
    path, losses = long_run()
    determinants = analysis.measure(path.ends, precision=1e-16)["determinant"]
    assert (determinants > 0).all()
    assert (np.diff(path.losses) <= 0).all()
    entry = np.abs(path.ends[:, 0, 0])
    for loss, within in ((0.013, 1e-2), (0.0013, 1e-3), (1.3e-4, 1e-3)):
        place = np.argmax(losses < loss)
        assert entry[place] == pytest.approx(analysis.envelope(losses[place]), rel=within)
    assert entry[np.argmax(losses < 1e-4)] == pytest.approx(70.70, abs=0.03)
    assert path.epochs[np.argmax(losses < 0.1)] == pytest.approx(8_600, rel=0.15)
    assert path.epochs[np.argmax(losses < 1e-4)] == pytest.approx(1_797_250, rel=0.05)


def test_balance_is_kept_along_the_way():
    weights = deep_matrices.pad(start(3, balanced=True, scale=1e-3), np.float64)
    run(weights, epochs=20_000, rate=1e-3)
    for left, right in itertools.pairwise(weights):
        assert np.abs(left.T @ left - right @ right.T).max() < 0.01 * np.abs(left).max() ** 2


def test_the_embedded_block_goes_the_same_way():
    target, mask = np.eye(3), np.ones((3, 3))
    target[:2, :2], mask[0, 0] = [[0, 1], [1, 0]], 0
    observed = Observed(target, mask, np.zeros((0, 3, 3)), np.zeros(0))
    weights = deep_matrices.pad(start(3, shape=(3, 3), balanced=True, scale=1e-3), np.float64)
    path = run(weights, observed, epochs=400_000, rate=6e-3, tolerance=5e-4)
    losses = (((path.ends - target) * mask) ** 2).sum((1, 2)) / 2
    for loss, entry in ((0.013, 6.05), (0.0013, 19.56)):
        assert np.abs(path.ends[np.argmax(losses < loss), 0, 0]) == pytest.approx(entry, rel=0.02)
    values = np.linalg.svd(path.ends[-1], compute_uv=False)
    assert values[1] == pytest.approx(1, abs=0.05)


def test_a_perturbed_problem_ends_where_the_closed_form_says():
    observed = BLOCK._replace(target=np.array([[0, -2.0], [0.5, 0.5]]))
    for depth in (2, 3):
        weights = deep_matrices.pad(start(depth, balanced=True, scale=1e-4, sign=-1), np.float64)
        path = run(weights, observed, epochs=5_000_000, tolerance=1e-4)
        losses = (((path.ends - observed.target) * observed.mask) ** 2).sum((1, 2)) / 2
        assert path.ends[np.argmax(losses < 1e-4), 0, 0] == pytest.approx(-1.92, abs=0.01)


def test_a_product_too_small_for_a_number_is_explained():
    """A determinant that underflows has no sign, so no draw ever has the one asked for."""
    with pytest.raises(UserError, match=r"depth 100 and init_scale 1e-30 of a layer .* set determinant: any"):
        deep_matrices.draw_start(
            (2, 2),
            100,
            initialization="normal",
            scale=1e-30,
            scale_of="layer",
            balanced=False,
            sign=-1,
            generator=np.random.default_rng(0),
        )
