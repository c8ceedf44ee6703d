"""What reruns in the study on compressed translation, and a user's own text from two files to a translation."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from tacit import store
from tacit.data.translation import lines_of
from tacit.studies import translation
from tacit.studies.tables import rows_with

pytestmark = pytest.mark.slow

FIGURE = "figures/factorized_translation.pdf"
FOLDER = "results/smoke/factorized/translation"
ALL = {"translation_train": 5, "translation_decode": 5, "translation_collect": 1, "translation_plot": 1}
OF_ONE = "text~{text}/rank_scale~0.5/initialization~{start}/decay~{decay}/coefficient~{value}/seed~0.h5"


@pytest.fixture(scope="module")
def project(smoke, copy_of):
    return copy_of(smoke)


@pytest.fixture
def own(fresh, copy_of):
    """A project in which nothing has been run, and something may be."""
    return copy_of(fresh)


def plan(project, **settings):
    return project.plan(FIGURE, f"{FOLDER}/samples.txt", translation=settings)


def test_the_figure_trains_the_published_runs(own):
    (own / "datasets").mkdir()
    (own / "datasets" / "de-en.tgz").write_bytes(b"not looked into before it is read")
    call = own.call("--dry-run", FIGURE, "--config", "scale=paper", scale=None)
    assert call.code == 0, call.output
    assert call.plan == {
        "translation_prepare": 1, "translation_train": 858, "translation_decode": 858, "translation_collect": 1,
        "translation_plot": 1,
    }  # fmt: skip


def test_what_is_missing_of_the_archive_is_said_before_any_job(fresh):
    call = fresh.call(FIGURE, "--cores", "1", "--config", "scale=paper", "texts_folder=nowhere", scale=None)
    assert call.code != 0 and "nowhere/de-en.tgz: missing" in call.output, call.output
    assert not fresh.files("results/**/*.h5")


def test_a_second_call_runs_nothing(project):
    assert plan(project) == {}


def test_a_seed_more_trains_the_new_runs_alone(project):
    assert plan(project, seeds=2) == ALL | {"translation_samples": 1}


def test_a_coefficient_more_trains_its_runs_alone(project):
    grid = {
        "rank_scales": [0.5],
        "initializations": ["regular", "all"],
        "decays": ["all"],
        "coefficients": [1e-3, 1e-4],
    }
    dense = {"rank_scales": [0.0], "initializations": ["regular"], "decays": ["weight"], "coefficients": []}
    changed = plan(project, grids=[dense, grid])
    assert changed == ALL | {"translation_train": 2, "translation_decode": 2, "translation_samples": 1}


def test_settings_reach_what_depends_on_them_alone(project):
    assert plan(project, decoding={"beams": 3}) == {
        "translation_decode": 5, "translation_collect": 1, "translation_plot": 1, "translation_samples": 1
    }  # fmt: skip
    assert plan(project, samples=3) == {"translation_samples": 1}
    everything = ALL | {"translation_samples": 1}
    assert plan(project, training={"updates": 8}) == everything
    assert plan(project, corpus={"merges": 20}) == everything | {"translation_prepare": 1}
    # Linear layers have Frobenius decay in any case.
    assert plan(project, flags="published") == {"translation_plot": 1}
    assert plan(project, masks="published") == everything


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ({"text": "letters"}, "text~letters: the present settings have numbers"),
        ({"value": "0"}, "decay all with coefficient 0"),
        ({"value": "1.0"}, "1"),
    ],
)
def test_networks_that_are_none_are_named(fresh, path, said):
    run = OF_ONE.format(**{"text": "numbers", "start": "all", "decay": "all", "value": "0.001"} | path)
    for stage in ("trained", "decoded"):
        call = fresh.call("--dry-run", f"{FOLDER}/{stage}/{run}")
        assert call.code != 0 and said in call.output, call.output


def test_numbers_are_those_of_the_runs(smoke):
    drawn = pd.read_csv(smoke / FIGURE.replace(".pdf", ".csv"))
    runs = pd.read_csv(smoke / FOLDER / "runs.csv")
    assert sorted(drawn["mean"]) == pytest.approx(sorted(runs["bleu"])) and len(runs) == 5
    for path in smoke.files(f"{FOLDER}/decoded/**/*.h5"):
        own = store.read(smoke / path, kind=translation.TRANSLATED)
        row = rows_with(runs, **{name: own.settings[name] for name in ("rank_scale", "initialization", "decay")})
        assert own.attributes["valid_loss"] in row["valid_loss"].tolist()
        assert len(lines_of(own.arrays["translations"])) == 6


def test_sentences_are_there_to_be_read(smoke):
    text = (smoke / FOLDER / "samples.txt").read_text(encoding="utf-8")
    assert text.count("\nreference") == 6 and "scale smoke" in text


def test_own_text_is_learned_from_and_translated_from_the_command_line(own):
    """The steps of the documentation."""
    folder = own / "letters"
    folder.mkdir()
    for split, count in (("train", 40), ("valid", 5), ("test", 5)):
        for language, words in (("de", "Das ist Brief Nummer {}."), ("en", "This is letter number {}.")):
            lines = [words.format(number) for number in range(count)]
            (folder / f"{split}.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (own / "mine.yaml").write_text(
        "translation:\n  corpus: {source: folder, folder: letters, merges: 20}\n", encoding="utf-8"
    )
    run = f"{FOLDER}/trained/" + OF_ONE.format(text="letters-de-en", start="all", decay="all", value="0.001")
    own.run(run, "--configfile", "mine.yaml")
    assert own.call("--dry-run", run, "--configfile", "mine.yaml").plan == {}
    # Another text that is older than what was made of this one.
    before = (folder / "train.de").stat()
    (folder / "train.de").write_text((folder / "train.de").read_text(encoding="utf-8").replace("Brief", "Buch"))
    os.utime(folder / "train.de", (before.st_atime - 1e6, before.st_mtime - 1e6))
    changed = own.call("--dry-run", run, "--configfile", "mine.yaml").plan
    assert changed == {"translation_prepare": 1, "translation_train": 1}
    (own / "new.de").write_text("Das ist ein Brief.\n\nDas ist Nummer 7.\n", encoding="utf-8")
    command = [sys.executable, "-m", "tacit", "translate", run, "new.de", "-o", "new.en", "--device", "cpu"]
    done = subprocess.run(command, cwd=own.folder, env=own.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = (own / "new.en").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 4 and lines[1] == "" and lines[3] == ""
