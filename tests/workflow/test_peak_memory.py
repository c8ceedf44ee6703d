"""What jobs ask for in memory, against what they were measured to take."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_jobs_of_the_smoke_scale_take_less_than_their_rules_ask_for(project):
    """One for each rule and memory that is asked for, without what a GPU would take besides.

    Each a process of its own, as what is forked from another shows neither what it takes nor what it would.
    """
    measured = [job for job in project.requests(device="cpu") if job["benchmark"]]
    assert len(measured) > 40 and all(isinstance(job["mem_mb"], int) for job in measured)
    asked = {(job["rule"], job["mem_mb"]): job for job in measured}
    assert {rule for rule, _ in asked} >= {"images_convert", "pathfinder_train", "untied_interpolate"}
    targets = [job["output"] for job in asked.values()]
    project.run("--force", *targets, environment={"JOBS": "by themselves"})
    for job in asked.values():
        benchmark = job["benchmark"]
        taken = json.loads((project / benchmark).read_text(encoding="utf-8").splitlines()[-1])["max_rss"]
        assert taken < job["mem_mb"], (benchmark, job)
        # What asks for far more than it takes keeps others waiting.
        assert job["mem_mb"] < 8 * taken, (benchmark, job)
