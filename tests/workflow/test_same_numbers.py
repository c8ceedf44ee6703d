"""Results are the same bytes however the work is divided."""

import pytest
from project import run_file

pytestmark = pytest.mark.slow

RUNS = [run_file(path_length=3, coefficient=coefficient) for coefficient in (0, 1)]
DATASETS = "results/data/pathfinder/*/seed~0/path_length~3/size~32/*/*.h5"

WAYS = {
    "on one core": {"cores": 1},
    "with smaller shards": {"pathfinder": {"images_per_shard": 50}},
}


@pytest.mark.parametrize("way", WAYS)
def test_results_are_the_same(smoke, copy_of, way):
    project = copy_of(smoke, results=False)
    made = project.run(*RUNS, **WAYS[way])
    assert made.plan["pathfinder_train"] == 2
    expected = smoke.files(DATASETS, *RUNS)
    assert len(expected) == 3
    assert project.files(DATASETS, *RUNS) == expected
