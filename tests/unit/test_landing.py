"""The first page of the report."""

import base64
import re

import pytest
from docutils.core import publish_parts
from jinja2 import Environment

from tacit import landing, store
from tacit.figures import style
from tacit.studies import ledger

HOSTILE = "A claim of *two* `kinds` |and| under_scores {{ 7 * 6 }} {% if %} \\ <b>"
TABLE, FIGURE = "results/tiny/claims.csv", "figures/some.pdf"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a table of one claim, and a figure of some size."""
    monkeypatch.chdir(tmp_path)
    for path in (TABLE, FIGURE):
        (tmp_path / path).parent.mkdir(parents=True)
    book = ledger.Ledger("study", missing=3)
    book.judge("one", "Paper 2020, section 1", HOSTILE, ledger.mean([2.0, 2.5, 3.0, 2.5]), above=1, unit="points")
    store.write_table(TABLE, book.table())
    figure, axes = style.new(style.COLUMN, 2)
    axes.plot([1, 2])
    style.save(figure, FIGURE)
    return tmp_path


def shown(*paths, tables=(TABLE,), figures=(FIGURE,)):
    """The page as Snakemake makes it of the template, with these files in the report."""
    template = landing.page("**An introduction.**\n", tables=tables, figures=figures)
    categories = {"Claims": {"": [{"path": path} for path in paths]}}
    text = Environment().from_string(template).render(categories=categories, files=[])
    settings = {"halt_level": 2, "report_level": 2}
    return publish_parts(text, writer_name="html", settings_overrides=settings)["html_body"]


def test_it_opens_with_the_ledger_and_shows_the_figures(folder):
    page = shown(TABLE, FIGURE)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page)).replace("&lt;", "<").replace("&gt;", ">")
    assert words.index("An introduction.") < words.index("study: Paper 2020") < words.index("some.pdf")
    assert "held" in words and HOSTILE in words
    assert "2.5 (1.85 to 3.15), claimed above 1 points, 4 seeds; PARTIAL: 3 runs missing" in words
    coded = re.search(r'src="data:image/png;base64,([^"]+)"', page)[1]
    assert base64.b64decode(coded) == (folder / "figures/.some.png").read_bytes()


def test_what_is_not_in_the_report_is_not_shown(folder):
    assert "held" not in shown(FIGURE)
    assert "<img" not in shown(TABLE)


def test_what_is_not_there_yet_is_left_out(folder):
    assert "held" in shown(TABLE, tables=("results/none.csv", TABLE), figures=("figures/none.pdf",))


@pytest.mark.parametrize("damage", ["deleted", "text", "folder"])
def test_a_figure_without_its_preview_says_so(folder, damage):
    preview = style.preview_of(FIGURE)
    preview.unlink()
    if damage == "text":
        preview.write_text("no picture")
    elif damage == "folder":
        preview.mkdir()
    page = shown(TABLE, FIGURE)
    assert "<img" not in page
    assert "no preview is beside it" in page


def test_tables_of_one_name_are_all_shown_and_a_damaged_one_hides_no_other(folder):
    other = TABLE.replace("tiny", "another")
    (folder / other).parent.mkdir(parents=True)
    book = ledger.Ledger("another", missing=0)
    book.judge("one", "Paper 2021", "Another claim", None, above=1, unit="points")
    store.write_table(other, book.table())
    both = shown(TABLE, other, tables=(TABLE, other))
    assert "study: Paper 2020" in both and "another: Paper 2021" in both
    (folder / TABLE).write_text("damaged")
    left = shown(TABLE, other, tables=(TABLE, other))
    assert "it was damaged or edited" in left and "another: Paper 2021" in left


def test_a_table_without_claims_says_so(folder):
    store.write_table(TABLE, ledger.Ledger("tiny", missing=0).table())
    assert "nothing is claimed of these settings" in shown(TABLE, tables=(TABLE,))


def test_a_preview_that_cannot_be_written_costs_no_figure(folder, caplog):
    preview = style.preview_of(FIGURE)
    preview.unlink()
    preview.mkdir()
    figure, _ = style.new(style.COLUMN, 2)
    style.save(figure, FIGURE)
    assert (folder / FIGURE).read_bytes().startswith(b"%PDF")
    assert "no preview for pages" in caplog.text
