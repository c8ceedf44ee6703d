"""The report of Snakemake: figures, claims, captions and code in one page."""

import json
import re

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(project):
    call = project.call("--report", "report.html")
    assert call.code == 0, call.output
    return (project / "report.html").read_text(encoding="utf-8")


def result(report, name):
    """The entry of a file: its labels and caption."""
    entry = re.search(rf'"name": "{re.escape(name)}".*?"labels": (\{{.*?\}}).*?"caption": ("(?:[^"\\]|\\.)*")', report)
    assert entry, f"no {name} in the report"
    return json.loads(entry[1]), json.loads(entry[2])


def test_the_report_is_one_page_with_everything_in_it(report):
    assert len(report) > 100_000


@pytest.mark.parametrize("name", ["pathfinder.pdf", "claims.csv"])
def test_results_are_listed_by_their_labels(report, name):
    labels, _ = result(report, name)
    assert labels["result"].startswith(("Pathfinder", " All claims"))
    assert labels["scale"] == "smoke"


def test_the_figure_has_a_caption_that_explains_it(report):
    _, caption = result(report, "pathfinder.pdf")
    assert "seed" in caption
    assert "{" not in caption


def test_the_landing_page_names_project_and_scale(report):
    assert re.search(r"<strong>Tacit</strong>", report)
    assert re.search(r"\bscale\s*(?:<[^>]*>)+smoke\b", report)


def test_the_code_of_every_rule_is_shown(report):
    for verb in ("render", "assemble", "train", "collect", "plot"):
        assert f"pathfinder_{verb}" in report
    assert "one coefficient, one seed, one file." in report


def test_it_opens_with_the_ledger_and_the_figures(report):
    page = report[report.index("<strong>Tacit</strong>") :]
    ledger, figures = page.index("The ledger"), page.index("The figures")
    assert ledger < page.index("undecided", ledger) < figures
    assert page.count("data:image/png;base64,", figures) >= 10


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"scale": "demo"}, "figures/pathfinder.pdf was drawn at scale smoke, and this call is of demo"),
        ({"pathfinder": {"training": {"epochs": 9}}}, "was drawn with other settings than are asked for now"),
    ],
)
def test_a_figure_that_was_drawn_otherwise_is_not_reported_as_what_it_is_not(project, config, said):
    call = project.call("figures/pathfinder.pdf", "--report", "other.html", **config)
    assert call.code != 0 and said in call.output
    assert not (project / "other.html").exists()


def test_a_report_on_a_figure_that_is_not_drawn_says_so(smoke, copy_of):
    project = copy_of(smoke)
    (project / "figures/untied.pdf").unlink()
    call = project.call("--report", "report.html")
    assert call.code != 0 and "figures/untied.pdf is not drawn yet" in call.output
