"""Files named by typed axes: patterns, paths, values, and one name for each value."""

import re
from typing import Annotated, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from tacit import calls, paths
from tacit.paths import Axes, Files
from tacit.settings import factorizations, images, norms, pathfinder, rank_dynamics, same_class, untied

KINDS = [
    pathfinder.RAW, pathfinder.DATASET, pathfinder.RUN, same_class.PAIRS, same_class.RUN, images.CONVERTED,
    factorizations.OBSERVED, rank_dynamics.RUN, norms.MATRIX, norms.TENSOR, norms.LINEAR,
    untied.SCRATCH, untied.CONTINUED, untied.PATHS,
]  # fmt: skip
RUN = Files("results/demo/pathfinder", pathfinder.RUN)
ONE = "results/demo/pathfinder/path_length~3/coefficient~0.1/seed~0.h5"


def matching(files, path):
    """What Snakemake makes of the pattern of an output, by its own rules."""
    from snakemake.io import regex_from_filepattern

    found = re.fullmatch(regex_from_filepattern(files.output), path)
    return found and found.groupdict()


# Values.


@given(st.floats(0, 1e30) | st.integers(0, 10**9).map(float))
@example(1234567.0)
@example(1e16)
@example(1e-5)
@example(0.1)
@example(-0.0)
def test_every_number_has_one_name_that_rules_match(number):
    name = paths.text_of(number)
    assert re.fullmatch(paths.DECIMAL, name)
    assert pathfinder.RUN.canonical("coefficient", name) == name
    assert pathfinder.RUN.values({"coefficient": name}) == {"coefficient": number}


@pytest.mark.parametrize("other", ["1.0", "01", "1.50", "1e5", "1E-05", "+1", "-0", "1e-5", ".5", "1."])
def test_no_rule_matches_another_name(other):
    assert not re.fullmatch(paths.DECIMAL, other)
    assert pathfinder.RUN.canonical("coefficient", other) != other


@pytest.mark.parametrize("other", ["00", "01", "-1", "1.0", ""])
def test_no_rule_matches_another_name_of_a_whole_number(other):
    assert not re.fullmatch(paths.WHOLE, other)


def test_values_have_the_types_of_settings():
    axes = Axes(count=int, rate=float, balanced=bool, network=Literal["cnn", "fcn"], name=str)
    texts = {"count": "3", "rate": "3", "balanced": "true", "network": "fcn", "name": "a_b"}
    found = axes.values(texts)
    assert found == {"count": 3, "rate": 3.0, "balanced": True, "network": "fcn", "name": "a_b"}
    assert [type(value) for value in found.values()] == [int, float, bool, str, str]
    # As settings have them, with limits.
    limited = Axes(rate=Annotated[float, Field(ge=0)], name=Annotated[str, Field(pattern="^a+$")])
    assert limited.values({"rate": "1", "name": "aa"}) == {"rate": 1.0, "name": "aa"}
    with pytest.raises(ValueError):
        limited.values({"name": "b"})
    assert re.fullmatch(Axes(x=Annotated[int, Field(ge=1)]).axes["x"].pattern, "0") is None
    for kind in (int | None, list[int]):
        with pytest.raises(TypeError):
            Axes(x=kind)


# Paths.


def test_a_path_has_a_part_for_each_axis():
    assert RUN.of(path_length=3, coefficient=0.1, seed=0) == ONE
    assert RUN.path == "results/demo/pathfinder/path_length~{path_length}/coefficient~{coefficient}/seed~{seed}.h5"
    assert RUN.log == RUN.path.replace("results", "logs").replace(".h5", ".log")
    assert RUN.benchmark == f"benchmarks/{RUN.path}".replace(".h5", ".jsonl")
    assert RUN.checkpoint == RUN.path.replace("results", "results/.checkpoints").replace(".h5", ".pt")
    assert paths.log_of("figures/pathfinder.pdf") == "logs/figures/pathfinder.log"


def test_a_grid_has_all_combinations_in_order():
    found = RUN.grid(path_length=(3, 5), coefficient=0, seed=range(2))
    assert found == [RUN.of(path_length=length, coefficient=0, seed=seed) for length in (3, 5) for seed in (0, 1)]
    with pytest.raises(ValueError, match="seed"):
        RUN.grid(path_length=(3,), coefficient=(0,))


def test_rules_find_in_a_path_what_it_was_made_of():
    assert matching(RUN, ONE) == {"path_length": "3", "coefficient": "0.1", "seed": "0"}
    for wrong in (ONE.replace("~3", "~03"), ONE.replace("0.1", "0.10"), ONE.replace("seed~0", "seed~x")):
        assert matching(RUN, wrong) is None
    named = Files("results/x", Axes(problem=str), name="linear.h5")
    assert matching(named, named.of(problem="2x2_1.0")) == {"problem": "2x2_1.0"}


def test_what_is_fixed_is_no_wildcard():
    files = Files("results/data", pathfinder.DATASET, size=32, train=10, test=20)
    assert files.of(path_length=3) == "results/data/path_length~3/size~32/train~10/test~20.h5"
    assert files.grid(path_length=[3]) == [files.of(path_length=3)]
    assert matching(files, files.of(path_length=3)) == {"path_length": "3"}
    assert matching(files, files.of(path_length=3).replace("32", "64")) is None
    with pytest.raises(ValueError, match="no axes: width"):
        Files("results", pathfinder.DATASET, width=3)


def test_text_in_braces_stays_a_wildcard():
    files = Files("results", untied.SCRATCH)
    path = files.of(network="cnn", learning_rate="{rate}", seed="{seed}")
    assert path == "results/network~cnn/learning_rate~{rate}/seed~{seed}.h5"


# Names of targets.


def test_another_name_is_refused_with_the_right_one():
    run = "results/demo/pathfinder/path_length~3/coefficient~{}/seed~{}.h5"
    calls.check_axes(run.format("1", "0"), KINDS)
    calls.check_axes("figures/coefficient~x/seed~y.pdf", KINDS)
    for wrong in (run.format("1.0", "0"), run.format("1", "00"), run.format("01", "0")):
        with pytest.raises(calls.CallError, match=re.escape(f"ask for {run.format('1', '0')}")):
            calls.check_axes(wrong, KINDS)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("raw/images~00-95.h5", "raw/images~0-95.h5"),
        ("origin~cnn/target~fcn-01/seed~0.h5", "origin~cnn/target~fcn-1/seed~0.h5"),
        ("size~032/train~128/test~064.h5", "size~32/train~128/test~64.h5"),
    ],
)
def test_another_name_in_the_middle_of_a_path_is_refused_too(wrong, right):
    with pytest.raises(calls.CallError, match=re.escape(f"ask for results/{right}")):
        calls.check_axes(f"results/{wrong}", KINDS)


@pytest.mark.parametrize("path", ["images~0012345678/seed~0.h5", "coefficient~1e999/seed~0.h5", "origin~cnn/x.h5"])
def test_what_is_no_number_is_left_alone(path):
    calls.check_axes(path, KINDS)


# Figures of single runs.


def test_figures_of_runs_have_one_name_as_the_runs_have():
    asked = "results/demo/pathfinder/path_length~3/coefficient~1.0/seed~00.metrics.pdf"
    assert paths.proper(asked, KINDS) == "results/demo/pathfinder/path_length~3/coefficient~1/seed~0.metrics.pdf"
    assert paths.proper(ONE.replace(".h5", ".metrics.csv"), KINDS) == ONE.replace(".h5", ".metrics.csv")


@pytest.mark.parametrize("suffix", [".metrics.pdf", ".metrics.csv", ".h5"])
def test_a_figure_of_a_run_lies_beside_it(suffix):
    assert paths.run_of(ONE.replace(".h5", suffix)) == ONE


@pytest.mark.parametrize("other", ["figures/pathfinder.pdf", "all", "results/demo/claims.csv"])
def test_other_targets_are_of_no_run(other):
    assert paths.run_of(other) == other
