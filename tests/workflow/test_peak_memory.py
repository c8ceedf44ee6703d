"""What jobs ask for in memory, against what they were measured to take."""

import json

import pytest

pytestmark = pytest.mark.slow


def test_every_job_of_the_smoke_scale_took_less_than_its_rule_asks_for(smoke):
    """Without what a GPU would take besides. Jobs that are not measured ask for nothing."""
    asked = {job["benchmark"]: job for job in smoke.requests(device="cpu") if job["benchmark"]}
    assert len(asked) > 40
    assert {job["rule"] for job in asked.values()} >= {"images_convert", "pathfinder_train", "untied_interpolate"}
    for benchmark, job in asked.items():
        taken = json.loads((smoke / benchmark).read_text(encoding="utf-8").splitlines()[-1])["max_rss"]
        assert isinstance(job["mem_mb"], int), job
        assert taken < job["mem_mb"], (benchmark, job)
        # What asks for far more than it takes keeps others waiting.
        assert job["mem_mb"] < 8 * taken, (benchmark, job)
