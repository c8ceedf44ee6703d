"""A study is one row: what docs/architecture.md says of adding one is done here, with the files in tests/new_study."""

import re
import shutil
from pathlib import Path

import pytest

from project import CHECKOUT

pytestmark = pytest.mark.slow

ADDED = CHECKOUT / "tests" / "new_study"
EDITS = {
    "src/tacit/settings/__init__.py": {
        "from tacit.settings.rank_dynamics import": "from tacit.settings.power import PowerSettings\n{}",
        "    pathfinder: PathfinderSettings\n": "{}    power: PowerSettings\n",
    },
    "Snakefile": {
        'include: "workflow/rules/untied.smk"\n': '{}include: "workflow/rules/power.smk"\n',
        "        rules.untied.input,\n": "{}        rules.power.input,\n",
    },
}
"""All that is changed in files that are there: by file, what stands where a line is added, and with it."""

RUN = "results/smoke/power/gap~0.5/seed~0.h5"
FIGURE = "figures/power.pdf"


@pytest.fixture(scope="module")
def extended(fresh, tmp_path_factory):
    """The project with one more study."""
    project = fresh.copy(tmp_path_factory.mktemp("one more") / "study", results=False)
    names = [path.relative_to(ADDED) for path in ADDED.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not any((project / path).exists() for path in names), "of no other study's files"
    for name in names:
        shutil.copy(ADDED / name, project / name)
    for path, lines in EDITS.items():
        text = (project / path).read_text(encoding="utf-8")
        for place, line in lines.items():
            assert text.count(place) == 1
            text = text.replace(place, line.format(place))
        (project / path).write_text(text, encoding="utf-8")
    return project


def plan(**counts):
    return {f"power_{verb}": count for verb, count in counts.items()}


def test_its_figure_is_drawn_and_nothing_more(extended):
    assert extended.run(FIGURE).plan == plan(iterate=6, collect=1, plot=1)
    assert (extended / FIGURE).read_bytes().startswith(b"%PDF")
    assert ",held," in (extended / "results/smoke/power/claims.csv").read_text(encoding="utf-8")
    assert extended.plan(FIGURE) == {}
    everything = extended.plan()
    assert everything["untied_train"] > 0


def test_what_reruns_follows_from_its_descriptions(extended):
    extended.run(FIGURE)
    assert extended.plan(FIGURE, power={"seeds": 4}) == plan(iterate=2, collect=1, plot=1)
    assert extended.plan(FIGURE, power={"gaps": [0.5]}) == plan(collect=1, plot=1)
    assert extended.plan(FIGURE, power={"steps": 31}) == plan(iterate=6, collect=1, plot=1)
    for path, old, new, expected in (
        ("src/tacit/studies/power.py", "below=1.01", "below=1.02", plan(collect=1, plot=1)),
        ("src/tacit/figures/power.py", 'ylabel="error"', 'ylabel="the error"', plan(plot=1)),
    ):
        with extended.edited(path, old, new):
            assert extended.plan(FIGURE) == expected


def test_it_is_checked_as_the_others_are(extended):
    extended.run(RUN)
    wrong = extended.call(RUN, "--cores", "1", power={"gaps": [1.5]})
    assert "power.gaps.0 = 1.5" in wrong.output
    wrong = extended.call(RUN.replace("0.5", "0.50"), "-n")
    assert "gap~0.50 is written gap~0.5" in wrong.output
    # A copy over another seed is found before it is drawn.
    shutil.copy(extended / RUN, extended / RUN.replace("seed~0", "seed~1"))
    wrong = extended.call("results/smoke/power/runs.csv", "--cores", "1", "--forcerun", "power_collect")
    assert "holds seed 0; was it copied or renamed?" in wrong.output


def test_what_a_run_of_it_recorded_is_drawn_as_that_of_others(extended):
    figure = RUN.replace(".h5", ".metrics.pdf")
    assert "run_metrics" in extended.run(figure).plan
    assert "error" in (extended / figure).with_suffix(".csv").read_text(encoding="utf-8")


def test_the_page_on_it_names_every_file():
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./]*power[\w.]*)`", page))
    files = {str(path.relative_to(ADDED)) for path in ADDED.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    files -= {name for name in files if name.startswith("config/scales")}
    assert files <= named
    for path in EDITS:
        assert f"`{path}`" in page
    assert all(Path(CHECKOUT, path).exists() for path in EDITS)
