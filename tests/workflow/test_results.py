"""What a run of the smoke scale leaves behind."""

import io
import json
import re

import pandas as pd
import pytest

from project import (
    FIGURE,
    NORMS_FIGURES,
    RANK_FIGURES,
    SAME_CLASS_FIGURE,
    UNTIED_FIGURES,
    descent_file,
    run_file,
    same_class_file,
    untied_file,
)
from tacit import store
from tacit.figures import style
from tacit.fingerprints import Sources
from tacit.studies import ledger

pytestmark = pytest.mark.slow

RUNS = [run_file(path_length=path_length, coefficient=coefficient) for path_length in (2, 3) for coefficient in (0, 1)]

PAIRED = [same_class_file(distance=distance, coefficient=coefficient) for distance in (0, 8) for coefficient in (0, 1)]
DESCENTS = [
    descent_file(factorization=factorization, task=task)
    for factorization in ("matrix", "tensor", "hierarchical")
    for task in ("completion", "sensing")
]


MATRIX = "results/smoke/norms/matrix/problem~2x2_*/depth~2/*/*/balanced~true/seed~0.h5"

UNTIED = [untied_file(network="cnn")]
UNTIED += [
    untied_file(network=network, split=split) for network, split in (("lcn", 1), ("lcn", 3), ("cnn", 1), ("fcn", 1))
]

LOCALITY = {"pathfinder": "path_length", "same_class": "distance"}
FIGURES = (FIGURE, SAME_CLASS_FIGURE, *RANK_FIGURES, *NORMS_FIGURES, *UNTIED_FIGURES, "figures/claims.pdf")


def test_a_second_call_finds_nothing_to_do(smoke):
    assert "Nothing to be done" in smoke.run().output
    assert smoke.plan(FIGURE) == {}


def test_the_jobs_ran_the_code_of_their_own_project(smoke):
    sources = Sources(smoke / "src" / "tacit")
    for run, script in ((run_file(path_length=3, coefficient=1), "pathfinder_train"), (MATRIX, "matrix_norms_train")):
        (path,) = smoke.folder.glob(run)
        name = f"{script}.py"
        (made_by, *_) = store.describe(path).made_by
        assert made_by == (name, sources.fingerprint(smoke / "workflow" / "scripts" / name))


def test_what_is_declared_is_there_and_nothing_else(smoke):
    declared = smoke.outputs()
    for example in (*FIGURES, *RUNS, *PAIRED, *DESCENTS, *UNTIED, "results/smoke/norms/matrix/further_runs.csv"):
        assert example in declared
    assert len(declared) > 80
    made = smoke.files("results/**/[!.]*.h5", "results/**/[!.]*.csv", "results/**/[!.]*.txt", "figures/[!.]*")
    assert set(made) == declared


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_a_pdf_of_one_page(smoke, figure):
    pdf = (smoke / figure).read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type */Page\b", pdf)) == 1
    (box,) = re.findall(rb"/MediaBox *\[ *0 0 ([\d.]+) ([\d.]+) *\]", pdf)
    width, height = (float(number) / 72 for number in box)
    assert width in (style.COLUMN, style.PAGE), "of a column or a page, so that it is printed as it is"
    assert height < 9.5


def test_every_figure_has_the_width_of_a_column_or_a_page_and_fits_it(smoke):
    figures = smoke.files("figures/*.pdf")
    assert len(figures) > 25
    for name, pdf in figures.items():
        (box,) = re.findall(rb"/MediaBox *\[ *0 0 ([\d.]+) ([\d.]+) *\]", pdf)
        width, height = (float(number) / 72 for number in box)
        assert width in (style.COLUMN, style.PAGE) and height < 9.5, (name, width, height)


@pytest.mark.parametrize("study", LOCALITY)
def test_the_numbers_of_the_figure_are_the_aggregate_of_the_runs(smoke, study):
    runs = pd.read_csv(smoke / f"results/smoke/{study}/runs.csv")
    drawn = pd.read_csv(smoke / f"figures/{study}.csv")
    assert len(runs) == 4
    percent = runs.assign(percent=100 * runs["test_accuracy"])
    expected = percent.groupby(["coefficient", LOCALITY[study]], as_index=False).agg(
        mean=("percent", "mean"), std=("percent", lambda values: values.std(ddof=1)), seeds=("percent", "size")
    )
    pd.testing.assert_frame_equal(drawn, expected, check_exact=True)


def test_the_ledger_has_every_claim_of_every_study(smoke):
    claims = pd.read_csv(smoke / "results/smoke/claims.csv")
    assert tuple(claims) == ledger.COLUMNS
    studies = [
        "pathfinder",
        "same_class",
        "rank_dynamics",
        "norms",
        "untied",
        "depth_limit",
        "depth_cifar",
        "factorized",
        "compressed",
        "translation",
    ]
    assert claims["study"].drop_duplicates().tolist() == studies
    own = [pd.read_csv(path) for path in (smoke / "results/smoke").rglob("*claims.csv") if path.parent.name != "smoke"]
    assert len(claims) == sum(map(len, own)) > 50
    assert not claims.duplicated(["study", "id"]).any()
    # Of one or two seeds nothing is decided.
    assert set(claims["verdict"]) == {"undecided"}
    assert (claims["missing"] == 0).all()
    assert claims.drop(columns=["effect", "low", "high"]).notna().all(axis=None)


def test_the_numbers_of_the_rank_figures_are_the_curves_of_the_runs(smoke):
    curves = pd.read_csv(smoke / "results/smoke/rank_dynamics/curves.csv")
    for figure, panels in zip(RANK_FIGURES, (3, 4), strict=True):
        drawn = pd.read_csv(smoke / figure.replace(".pdf", ".csv"))
        assert drawn.groupby(["factorization", "quantity"]).ngroups == panels
        assert set(drawn["task"]) == {"completion", "sensing"}
        keys = ["factorization", "task", "quantity", "component", "iteration"]
        merged = drawn.merge(curves, on=keys, how="left", validate="one_to_one")
        # There is one seed, so that median, least and greatest are its value.
        for column in ("median", "low", "high"):
            assert (merged[column] == merged["value"]).all()


def test_every_job_has_a_log_that_says_something(smoke):
    logs = smoke.files("logs/**/*.log")
    assert len(logs) >= 12 + 8 + 15 + 19 + 13
    assert [path for path, content in logs.items() if not content.strip()] == []


def test_no_log_holds_a_progress_bar(smoke):
    for path, content in smoke.files("logs/**/*").items():
        assert not re.search(r"[\r█▏▎▍▌▋▊▉]|\d%\||\x1b\[", content.decode()), path


def test_no_log_speaks_of_trouble(smoke):
    for path, content in smoke.files("logs/**/*").items():
        assert not re.search(r"\b(WARNING|ERROR|CRITICAL|Traceback)\b", content.decode()), path


def test_run_times_are_written_down(smoke):
    for path in smoke.files("results/data/**/*.h5", "results/smoke/**/*.h5"):
        benchmark = smoke / path.replace("results", "benchmarks/results", 1).replace(".h5", ".jsonl")
        for line in io.StringIO(benchmark.read_text(encoding="utf-8")):
            assert json.loads(line)["s"] > 0


def test_nothing_unfinished_is_left(smoke):
    everything = [path for path in smoke.folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    assert [path for path in everything if path.name.endswith(".part")] == []
    assert smoke.files("results/.checkpoints/**/*", "results/**/*.pt") == {}
