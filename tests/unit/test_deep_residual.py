"""Draws and reference passes of deep residual networks, against printed values and closed forms."""

import numpy as np
import pytest

from tacit.analysis.class_metrics import class_metrics
from tacit.data import functions
from tacit.nn import deep_residual
from tacit.nn.deep_residual import Network
from tacit.settings.depth_limit import Function

DELTA = 3**-0.75
INPUT = np.array([[0.5, -0.25], [0.1, 0.3]])
OUTPUT = np.array([[0.7, -0.4]])
LAYERS = np.array([[[0.1 * (k + 1) + 0.2 * i - 0.15 * j for j in range(2)] for i in range(2)] for k in range(3)])
SAMPLES = np.array([[1, 2], [-0.5, 0.25]])
VALUES = {
    ("skip", "tanh"): (-0.341392293323, -0.220569464774),
    ("skip", "relu"): (-0.332338689212, -0.228750000000),
    ("skip", "elu"): (-0.342799675327, -0.222915197992),
    ("skip", "gelu"): (-0.316875306972, -0.226972293907),
    ("skip", "sigmoid"): (-0.100216438153, -0.032932794893),
    ("inc_skip", "tanh"): (-0.271480715416, -0.238124593338),
    ("inc_skip", "relu"): (-0.270266500000, -0.228750000000),
    ("inc_skip", "elu"): (-0.271391202888, -0.237719641325),
    ("inc_skip", "gelu"): (-0.275208800383, -0.233029672212),
    ("inc_skip", "sigmoid"): (-0.095576041216, -0.048700103497),
    ("linear_skip", "tanh"): (-0.405449849094, -0.202008479497),
    ("linear_skip", "relu"): (-0.433991250000, -0.234251562500),
    ("linear_skip", "elu"): (-0.432890610061, -0.206195335480),
    ("linear_skip", "gelu"): (-0.396476748839, -0.221673196190),
    ("linear_skip", "sigmoid"): (-0.447745334901, -0.360233784326),
    ("none", "tanh"): (-0.000037421714, 0.000095422078),
    ("none", "relu"): (-0.000073134185, 0),
    ("none", "elu"): (-0.000038288051, 0.000091033347),
    ("none", "gelu"): (-0.000005614312, 0.000011184680),
    ("none", "sigmoid"): (0.065168412318, 0.065170400813),
}
"""Outputs of the original's network for these weights."""


@pytest.mark.parametrize("kind", VALUES)
def test_outputs_are_those_of_the_original(kind):
    network = Network(*kind, DELTA, INPUT, OUTPUT)
    found = deep_residual.forward(network, LAYERS, SAMPLES)[:, 0]
    np.testing.assert_allclose(found, VALUES[kind], rtol=0, atol=6e-13)


def test_plain_layers_are_those_of_none_with_delta_1():
    plain, none = (Network(name, "tanh", 1.0, INPUT, OUTPUT) for name in ("plain", "none"))
    np.testing.assert_array_equal(
        deep_residual.forward(plain._replace(delta=DELTA), LAYERS, SAMPLES),
        deep_residual.forward(none, LAYERS, SAMPLES),
    )


INITIAL = {
    "constant": [0.0668740305] * 5,
    "lin_dec": [0.1011928851, 0.07062794295, 0.04254636718, 0.01788854382, 0],
    "lin_inc": [0, 0.01788854382, 0.04254636718, 0.07062794295, 0.1011928851],
    "quad": [0, 0.009446350422, 0.01353435217, 0.009446350422, 0],
    "lin_dec_sym": [0.08563672389, 0.05623413252, 0.02969539202, 0.007521206186, -0.007521206186],
    "lin_inc_sym": [-0.05623413252, -0.02969539202, -0.007521206186, 0.007521206186, 0.02969539202],
}


def initial(name, depth, dim, alpha=0.75, gamma=1.0, seed=0):
    random = np.random.default_rng(seed)
    return deep_residual.initial_weights(name, depth, dim, alpha=alpha, gamma=gamma, generator=random)


@pytest.mark.parametrize("name", INITIAL)
def test_initial_weights_have_the_printed_values(name):
    found = initial(name, 5, 1)
    assert found.shape == (5, 1, 1)
    np.testing.assert_allclose(found[:, 0, 0], INITIAL[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("depth", "alpha", "gamma", "m"),
    [
        (100, 0.75, 1, 0.0015811388),
        (2000, 0.75, 1, 3.738371953e-5),
        (10, 0.5, 0.5, 0.0015811388),
        (8, 0.75, 1, 0.0371627223),
    ],
)
def test_half_widths(depth, alpha, gamma, m):
    assert deep_residual.half_width(depth, alpha=alpha, gamma=gamma) == pytest.approx(m, rel=5e-8)


def test_a_truncated_normal_this_narrow_is_uniform():
    m = deep_residual.half_width(300, alpha=0.75, gamma=1)
    drawn = initial("ntrunc", 300, 30).ravel() / m
    assert np.abs(drawn).max() <= 1 and abs(drawn.mean()) < 0.01
    assert drawn.std() == pytest.approx(0.5774, rel=5e-3)
    assert (drawn**4).mean() / drawn.var() ** 2 == pytest.approx(1.80, abs=0.02)


def test_below_a_billionth_it_is_constant_as_published():
    assert not deep_residual.falls_back("ntrunc", 3017, alpha=0.5, gamma=0.5)
    assert deep_residual.falls_back("ntrunc", 3018, alpha=0.5, gamma=0.5)
    found = initial("ntrunc", 3018, 1, alpha=0.5, gamma=0.5)
    assert (found == deep_residual.half_width(3018, alpha=0.5, gamma=0.5)).all()


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu", "gelu", "sigmoid"])
def test_without_weights_skips_pass_their_input_on(activation):
    random = np.random.default_rng(0)
    network = Network("skip", activation, DELTA, random.normal(size=(3, 4)), random.normal(size=(2, 3)))
    inputs = random.normal(size=(5, 4))
    found = deep_residual.forward(network, np.zeros((6, 3, 3)), inputs)
    moved = 6 * DELTA / 2 if activation == "sigmoid" else 0
    expected = (inputs @ network.input_weights.T + moved) @ network.output_weights.T
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_metrics_are_means_over_classes_that_occur():
    predicted, labels = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 3])
    for classes in (4, 5):
        found = class_metrics(predicted, labels, num_classes=classes)
        assert found.macro_recall == pytest.approx(0.2916667, abs=1e-7)
        assert found.macro_precision == pytest.approx(0.2916667, abs=1e-7)
        assert found.accuracy == 0.5


@pytest.mark.parametrize(("number", "train"), [(100_000, 90_000), (10_000, 9_000), (1000, 900), (128, 116), (11, 10)])
def test_functions_are_divided_as_the_original_divides_them(number, train):
    made = functions.draw(Function(source="sin", num_samples=number))
    assert len(made.train_inputs) == train and len(made.test_inputs) == number - train
    inputs = np.concatenate([made.train_inputs, made.test_inputs])
    assert len(np.unique(inputs)) == number


def test_the_sine_is_one_period_over_tiny_inputs():
    made = functions.draw(Function(source="sin"))
    bound = 1.200987e-6**0.5
    assert np.abs(made.train_inputs).max() == pytest.approx(bound, rel=1e-4)
    np.testing.assert_allclose(made.train_targets, np.sin(np.pi * made.train_inputs / bound), atol=1e-5)
    described = functions.draw(Function(source="sin", form="readme", num_samples=100))
    np.testing.assert_allclose(described.train_targets, np.sin(described.train_inputs))
    assert 0.9 < np.abs(described.train_inputs).max() <= 1


def test_the_constant_is_what_code_and_readme_say():
    assert set(functions.draw(Function(source="constant", num_samples=50)).train_targets.ravel()) == {0.01}
    assert set(functions.draw(Function(source="constant", num_samples=50, form="readme")).test_targets.ravel()) == {0.1}
    assert Function(source="constant", c=0.5).constant == 0.5


def test_data_and_split_do_not_depend_on_each_other():
    first, other = (functions.draw(Function(source="constant", num_samples=200, seed=seed)) for seed in (0, 1))
    assert not np.isin(first.train_inputs, other.train_inputs).any()
    again = functions.draw(Function(source="constant", num_samples=200))
    np.testing.assert_array_equal(first.train_inputs, again.train_inputs)
