"""Results are the same bytes however the work is divided."""

import h5py
import pytest

from project import descent_file, pathfinder, rank_dynamics, run_file, same_class, same_class_file
from tacit import processors

pytestmark = pytest.mark.slow

RUNS = [run_file(path_length=3, coefficient=coefficient) for coefficient in (0, 1)]
DATASETS = "results/data/pathfinder/*/seed~0/datasets/path_length~3/size~32/*/*.h5"


ELSEWHERE = {
    "PYTHONHASHSEED": "77",
    "TZ": "Pacific/Chatham",
    "LC_ALL": "C",
    "LANG": "tr_TR.ISO-8859-9",
    "COLUMNS": "30",
}


def test_results_are_the_same_on_one_core_with_another_hash_seed_zone_and_locale(smoke, copy_of):
    project = copy_of(smoke, results=False)
    targets = [*RUNS, descent_file(factorization="hierarchical"), "figures/matrix_norms.pdf"]
    call = project.call(*targets, "--cores", "1", environment=ELSEWHERE)
    assert call.code == 0, call.output
    found = project.files("results/data/**/*.h5", "results/smoke/**/*.*", "figures/*")
    assert {*targets, "results/smoke/norms/matrix/claims.csv"} <= found.keys() and len(found) > 10
    assert found == {
        path: content for path, content in smoke.files("results/**/*.*", "figures/*").items() if path in found
    }


def test_results_are_the_same_from_smaller_shards(smoke, copy_of):
    project = copy_of(smoke, results=False)
    smaller = {"pathfinder": {"images_per_shard": 50}}
    assert project.run(RUNS[1], **smaller).plan == pathfinder(render=4, assemble=1, train=1)
    expected = smoke.files(DATASETS, RUNS[1])
    assert len(expected) == 2
    assert project.files(DATASETS, RUNS[1]) == expected


def test_is_same_class_is_the_same_for_whoever_asks_for_one_run(smoke, copy_of):
    project = copy_of(smoke, results=False)
    run = same_class_file(distance=8, coefficient=1)
    assert project.run(run, cores=1).plan == same_class(convert=1, pair=1, train=1)
    data = ("results/data/images/**/size~8.h5", "results/data/same_class/**/*.h5")
    expected = smoke.files(*data, run)
    assert len(expected) == 3
    assert project.files(*data, run) == expected


LESSER = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "AUTO",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OMP_NUM_THREADS": "2",
}
"""What a user's environment may say of instructions."""


needs_avx2 = pytest.mark.skipif(not processors.variables(), reason="no x86-64 processor with AVX2, or not under Linux")


def computed_on(project, run):
    """What a run file says that it depends on."""
    with h5py.File(project / run) as file:
        return file.attrs["computed_on"]


@needs_avx2
def test_held_results_are_the_same_whatever_the_environment_says_of_instructions(smoke, copy_of):
    run, data = descent_file(factorization="matrix"), "results/data/sensing/factorization~matrix/**/*.h5"
    found = []
    for environment in ({}, LESSER):
        project = copy_of(smoke, results=False)
        call = project.call(run, "--cores", "1", environment=environment, processor="common")
        assert call.plan == rank_dynamics(observe=1, train=1), call.output
        assert computed_on(project, run) == processors.HELD
        found.append(project.files(run, data))
    assert len(found[0]) == 2 and found[0] == found[1]


@needs_avx2
def test_the_run_file_tells_what_it_was_computed_on(smoke, copy_of):
    project = copy_of(smoke, results=False)
    run = descent_file(factorization="matrix")
    call = project.call(run, "--cores", "1", environment=LESSER)
    assert call.code == 0, call.output
    native = f"native: {processors.describe()}, 1 thread"
    assert computed_on(smoke, run) == native
    # Snakemake gives each job the threads of its rule, whatever the environment says of them.
    told = [f"{name}={value}" for name, value in LESSER.items() if name != "OMP_NUM_THREADS"]
    assert computed_on(project, run) == ", ".join([native, *told])
    assert project.files(run) != smoke.files(run)


def test_changing_what_instructions_are_used_retrains_nothing(smoke):
    assert smoke.plan(descent_file(factorization="matrix"), processor="common") == {}
