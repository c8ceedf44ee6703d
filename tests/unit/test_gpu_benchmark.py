"""The check of a machine with a GPU, as far as it goes without one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from gpu_checks import engines, hours, processes, rates

CPU = torch.device("cpu")


def run(*options, **environ):
    command = [sys.executable, str(processes.ROOT / "benchmarks" / "gpu.py"), *options]
    return subprocess.run(command, env=processes.environment(**environ), capture_output=True, text=True, timeout=300)


def test_without_a_gpu_it_says_what_it_leaves_out():
    done = run("--json", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "no GPU that torch can use here; left out: rates, compiled, tests, agreement, lease, resume" in done.stdout
    content = json.loads(done.stdout.splitlines()[-1])
    assert content["cases"] == []
    assert content["left_out"] == ["rates", "compiled", "tests", "agreement", "lease", "resume"]
    assert "torch" in content["versions"]


@pytest.mark.parametrize(
    "name",
    ["network, plain", "classification, lcn", "descent, CP, group_rmsprop, float64", "residual, scaled"]
    + [f"residual, {kind}" for kind in ("recorded", "replayed", "deep")]
    + [f"compressed, {kind}" for kind in ("sparse", "tensor_train", "tucker")]
    + ["translation"],
)
def test_an_engine_agrees_with_itself_and_a_wrong_one_parts(name):
    engine = engines.all_engines()[name]

    def wrong(device):
        # Called for both devices in turn: the second is off by twice what is allowed.
        calls.append(device)
        found = dict(engine.run(device))
        last = list(found)[-1]
        return found | {last: found[last] * (1 + 2.1 * engine.tolerance * (len(calls) == 2))}

    calls = []
    checked = {"right": engine, "wrong": engine._replace(run=wrong)}
    right, other = engines.compare(checked, CPU, CPU)
    assert (right.difference, right.parted) == (0, False)
    assert other.parted


def test_what_is_no_number_parts():
    worst, where = engines.difference(
        {"a": np.array([1.0, np.nan]), "b": np.ones(2)}, {"a": np.array([1.0, np.nan]), "b": np.zeros(2)}
    )
    assert where == "a"
    assert engines.Found("x", worst, where, 1e9).parted
    with pytest.raises(ValueError, match="other names or shapes"):
        engines.difference({"a": np.zeros(2)}, {"a": np.zeros(3)})


def test_every_engine_has_its_place():
    """A new optimizer, precision or kind of network is compared as well, or this list is wrong."""
    names = " ".join(engines.all_engines())
    for part in (
        "plain",
        "regularised",
        "cnn",
        "lcn",
        "fcn",
        "string",
        "residual",
        "compressed",
        "translation",
        "matrix",
        "CP",
        "hierarchical",
        "float64",
    ):
        assert part in names
    for part in engines.Descent.model_fields["optimizer"].annotation.__args__:
        assert part in names


def test_hours_follow_from_the_grids_of_the_paper():
    cfg = hours.paper()
    each = {f"{rates.PATHFINDER}, {kind}, float32": 100.0 for kind in ("plain", "regularised")}
    (found,) = hours.estimates(each)
    steps = -(-cfg.pathfinder.dataset.num_train // 64) + -(-cfg.pathfinder.dataset.num_test // 64) / 3
    assert found.study == "pathfinder"
    assert found.runs == len(cfg.pathfinder.path_lengths) * len(cfg.pathfinder.coefficients) * cfg.pathfinder.seeds
    assert found.hours == pytest.approx(found.runs * 150 * steps * 0.1 / 3600)


def test_hours_of_residual_networks_go_by_their_depth():
    each = {
        "56 layers, width 16, batch 128": 56.0,
        "ResNet56, rank scale 0.111, b": 56.0,
        "ResNet56, rank scale 9, b": 56.0,
    }
    deep, factorized = hours.estimates(each)
    steps = 391 + 79 / 3
    assert deep.runs == 9 and deep.hours == pytest.approx(3 * (56 + 104 + 224) * 16 * steps * 1e-3 / 3600)
    assert factorized.runs == 178 * 3
    layers = sum(
        {
            tuple(axes.values()): axes["depth"]
            for name in hours.EXPERIMENTS
            for axes in hours.paper().factorized.runs(name)
        }.values()
    )
    expected = 3 * layers * (200 * 391 + 201 * 79 / 3) * 1e-3 / 3600
    assert factorized.hours == pytest.approx(expected)


def test_hours_of_compressed_networks_go_by_method_and_pixels():
    each = {
        rates.compressed_case(named[0], method): 36.0
        for named, variants in rates.COMPRESSED.items()
        for method in ("dense", *(variant.method for variant in variants))
    }
    (found,) = hours.estimates(each)
    assert found.runs == 3 * (198 + 37)
    cifar = 200 * 391 + 201 * 79 / 3
    tiny = 4 * (200 * 782 + 201 * 79 / 3)
    # Of 66 settings on each image set, and the wide networks.
    expected = 3 * ((2 * 66 + 37) * cifar + 66 * tiny) * 36e-3 / 3600
    assert found.hours == pytest.approx(expected)


def test_hours_of_translation_go_by_rank_scale():
    each = {rates.TRANSLATION.format(scale): 10.0 / scale for scale in (0.25, 0.5)}
    (found,) = hours.estimates(each)
    # Milliseconds of an update: 40 at a quarter, 20 at half and of dense networks.
    assert found.runs == 858
    assert found.hours == pytest.approx(3 * 100_000 * (124 * 40 + 162 * 20) / 1e3 / 3600)
    assert hours.estimates({rates.TRANSLATION.format(0.25): 40.0}) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", engines.resumed_kinds())
def test_killed_and_resumed_on_a_cpu_every_bit_is_equal(kind):
    outcome = processes.resumed(kind, "cpu")
    assert outcome.ok, outcome.said
    assert outcome.said == "every bit equal"


def test_a_command_that_takes_too_long_is_a_failure_with_what_it_said():
    command = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
    done = processes._run(command, dict(os.environ), 3)
    assert done.code < 0
    assert "begun" in done.said
    assert "not done after 3 s" in done.said
