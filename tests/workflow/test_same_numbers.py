"""Results are the same bytes however the work is divided."""

import pytest

from project import pathfinder, run_file, same_class, same_class_file

pytestmark = pytest.mark.slow

RUNS = [run_file(path_length=3, coefficient=coefficient) for coefficient in (0, 1)]
DATASETS = "results/data/pathfinder/*/seed~0/path_length~3/size~32/*/*.h5"


def test_results_are_the_same_on_one_core_as_on_two(smoke, copy_of):
    project = copy_of(smoke, results=False)
    assert project.run(*RUNS, cores=1).plan == pathfinder(render=2, assemble=1, train=2)
    expected = smoke.files(DATASETS, *RUNS)
    assert len(expected) == 3
    assert project.files(DATASETS, *RUNS) == expected


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
