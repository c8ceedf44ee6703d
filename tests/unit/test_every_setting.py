"""Whatever stands in place of a setting is refused in one message, or runs to finite numbers."""

import copy
import os
import time
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import studies_in_small
from tacit import settings
from tacit.errors import UserError

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 5.0
MORE = int(os.environ.get("TACIT_TEST_SETTINGS", "1"))
"""So many times the examples, for a search that may take long."""


def load(config):
    return settings.load(config, ROOT / "config" / "scales", files=[ROOT / "config" / "config.yaml"])


def leaves(values, path=()):
    """All places in nested blocks and lists, of blocks and lists themselves too."""
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        yield (*path, name)
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, name))


def at(values, path):
    return reduce(lambda inner, part: inner[part], path, values)


BASE = load(studies_in_small.TINY).plain()
PLACES = list(leaves(BASE))
LEAVES = [place for place in PLACES if len(place) > 1 and not isinstance(at(BASE, place), dict | list)]

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400, 1e308, 5e-324, -0.0, "1e5", ".inf", "010", "max", "~x"])
)
FAR = [None, True, -1, 0, 2**31, 2**63, 10**400, 1e308, 5e-324, float("nan"), "", "1e5", "010", [], [[1]], {"a": 1}]
VALUES = ATOMS | st.recursive(ATOMS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner))
NUMBERS = (
    st.integers(0, 40)
    | st.integers(0, 20).map(lambda power: 10**power)
    | st.floats(-32, 32).map(lambda power: 10**power)
    | st.floats(0, 1)
    | st.floats(-3, 3).map(lambda power: -(10**power))
    | st.integers(1, 12).map(lambda half: half / 2)
)
WORDS = st.sampled_from(
    ["sgd", "adam", "group_rmsprop", "l1", "huber", "normal", "identity", "orthogonal", "max", "as_drawn",
     "sqrt_entries", "half", "checkerboard_sq", "layer", "product", "negative", "positive", "any", "completion",
     "sensing", "block", "float64", "bfloat16", "tf32", "cosine", "resnet8", "resnet14", "resnet18", "alexnet",
     "skinny", "cnn", "lcn", "fcn", "random", "fixed", "top2", "train", "digits", "mnist", "mnist_5k", "string",
     "linear", "average", "constant", "ntrunc", "quad", "relu", "gelu", "elu", "sigmoid", "plain", "none",
     "published", "linear_skip", "inc_skip", "scaled", "dynamic", "dynamic_guarded", "trained", "trained_from_one",
     "sin", "dense", "weight", "frobenius", "tensor_train", "snip", "grasp", "vgg", "resnet", "wide_resnet", "ov",
     "attention", "all", "numbers", "best", "last", "rest", "last epoch", "best epoch", "every evaluation",
     "test_accuracy", "balancedness", "layer_entries", "layer_singular_values", True, False]
)  # fmt: skip

COSTLY = {
    "dim": 40, "depths": 60,
    "epochs": 60, "sweeps": 100, "restarts": 3, "num_train": 40, "num_test": 40, "size": 40, "width": 16, "height": 40,
    "distance": 16, "points": 5, "window": 128, "segment_length": 10, "margins": 6, "antialias": 3, "seed_distance": 30,
    "distractor_segments": 60, "shape": 12, "rank": 20, "ranks": 20, "depth": 100, "components": 300, "widths": 50,
    "num_samples": 400, "pool_size": 8, "measurements": 20, "splits": 6, "batch_size": 10**9, "num_observations": 400,
    "updates": 60, "num_valid": 40, "merges": 1000, "inner_width": 50, "layers": 4, "positions": 2000, "longest": 40,
    "beams": 20, "heads": 16,
}  # fmt: skip
"""Values up to which a run takes seconds, by the name of the setting."""


def put(path, value):
    changed = copy.deepcopy(BASE)
    at(changed, path[:-1])[path[-1]] = value
    return changed


def named(path):
    return next(part for part in reversed(path) if isinstance(part, str))


def decide(path, value):
    """Return the settings with `value` at `path`, or None if it is refused by a message that names it, at once."""
    started = time.monotonic()
    try:
        return load(put(path, value))
    except settings.SettingsError as error:
        said = str(error)
        assert path[0] in said, said
        assert len(said) < 5000, said
    finally:
        assert time.monotonic() - started < MOST_SECONDS


def is_quick(path, value):
    """Tell whether a run with `value` takes seconds."""
    most = COSTLY.get(named(path))
    slow = "compile" in path or value in ("resnet18", "mnist", "alexnet")
    return not slow and (most is None or not isinstance(value, int | float) or value <= most)


def test_every_leaf_decides_upon_what_is_far_from_meant():
    assert len(LEAVES) > 150
    for path in LEAVES:
        for value in FAR:
            decide(path, value)


@hypothesis_settings(max_examples=200 * MORE, deadline=None, derandomize=MORE == 1)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_is_decided_upon(path, value):
    decide(path, value)


@hypothesis_settings(
    max_examples=80 * MORE,
    deadline=None,
    derandomize=MORE == 1,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.sampled_from(LEAVES), NUMBERS | WORDS)
def test_what_is_accepted_runs_to_finite_numbers(tmp_path_factory, path, value):
    check_run(tmp_path_factory.mktemp("run"), path, value)


def others(value):
    """Values unlike this one that may well be accepted."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, max(1, value // 2), 2 * value, 1, 3, 0]
    if isinstance(value, float):
        return [value / 2, 1.5 * value, 0.1, 0.0, 1.0]
    return ["adam", "huber", "orthogonal", "identity", "layer", "product", "positive", "any", "sensing", "completion",
            "float64", "bfloat16", "lcn", "relu", "dynamic_guarded", "trained", "plain", "constant", "test_accuracy",
            "every epoch", "readme", "random", "top2", "train", "published", "dense", "weight", "random_tickets",
            "linear", "last", "last epoch", "every evaluation", "checkerboard", "rest", 1, 2, 0.5, True]  # fmt: skip


@pytest.mark.slow
def test_another_value_of_every_leaf_runs_to_finite_numbers(tmp_path):
    run = []
    for number, path in enumerate(LEAVES):
        value = at(BASE, path)
        quick = (other for other in others(value) if other != value and is_quick(path, other))
        accepted = next((other for other in quick if decide(path, other)), None)
        if accepted is not None:
            (tmp_path / str(number)).mkdir()
            check_run(tmp_path / str(number), path, accepted)
            run.append(path)
    assert {path[0] for path in run} == {path[0] for path in LEAVES}
    assert len(run) > 0.7 * len(LEAVES)


def check_run(folder, path, value):
    accepted = decide(path, value) if is_quick(path, value) else None
    if accepted is None:
        return
    try:
        found = studies_in_small.run(accepted, path, folder)
    except UserError:
        return  # In one message, too: it diverged, or images do not fit, which only shows when it runs.
    assert studies_in_small.all_finite(found), (path, value)
