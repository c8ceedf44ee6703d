import numpy as np
import pandas as pd
import pytest

from tacit import store
from tacit.analysis import matrix_norms as analysis
from tacit.errors import DivergenceError
from tacit.figures import matrix_norms as figure
from tacit.figures import style
from tacit.settings import SettingsError
from tacit.settings.norms import MatrixDescent, NormsSettings, ObservedMatrix, Variant, determinant_sign
from tacit.studies import matrix_norms as study

DESCENT = MatrixDescent(epochs=30_000)
BLOCK = ObservedMatrix()


def variant(depth=3, balanced=True, scale=1e-2, rate=6e-3):
    return Variant(depth=depth, learning_rate=rate, init_scale=scale, balanced=balanced)


def test_a_run_writes_down_what_is_followed():
    found = study.train(BLOCK, variant(), DESCENT, seed=0)
    count = len(found["epochs"])
    assert all(len(values) == count for values in found.values())
    assert found["end"].shape == (count, 2, 2)
    assert found["end"].dtype == np.float32
    ends = found["end"].astype(np.float64)
    expected = ((ends[:, 0, 1] - 1) ** 2 + (ends[:, 1, 0] - 1) ** 2 + ends[:, 1, 1] ** 2) / 2
    np.testing.assert_allclose(found["loss"], expected)
    np.testing.assert_allclose(found["unobserved"], np.abs(ends[:, 0, 0]))
    for name in ("singular_values", "frobenius_norm", "nuclear_norm", "schatten_0.5", "effective_rank", "determinant"):
        assert np.isfinite(found[name]).all()
    # The loss that stops the descent is that before the last step, so a little above.
    assert (found["loss"][-20:] <= found["loss_before"][-20:] * (1 + 1e-4)).all()


def test_precision_and_seed_change_the_numbers():
    single = study.train(BLOCK, variant(), DESCENT, seed=0)
    again = study.train(BLOCK, variant(), DESCENT, seed=0)
    other = study.train(BLOCK, variant(), DESCENT, seed=1)
    double = study.train(BLOCK, variant(), DESCENT.model_copy(update={"precision": "float64"}), seed=0)
    assert np.array_equal(single["end"], again["end"])
    assert not np.array_equal(single["end"][-1], other["end"][-1])
    assert double["end"].dtype == np.float64
    assert double["unobserved"][-1] == pytest.approx(single["unobserved"][-1], rel=1e-2)


def test_a_run_that_diverges_names_setting_and_seed():
    with pytest.raises(DivergenceError, match=r"2x2_1.0_1.0_0.0, .*'learning_rate': 90.0.*, seed 4: .*not finite"):
        study.train(BLOCK, variant(scale=1.0, rate=90.0), DESCENT, seed=4)


def test_a_measure_that_is_not_finite_is_divergence(monkeypatch):
    measure = study.analysis.measure
    infinite = {"nuclear_norm": np.array([np.inf])}
    monkeypatch.setattr(study.analysis, "measure", lambda *ends, **named: measure(*ends, **named) | infinite)
    with pytest.raises(DivergenceError, match=r"nuclear norm is not finite of 2x2_1.0_1.0_0.0, .*seed 0"):
        study.train(BLOCK, variant(), DESCENT, seed=0)


def test_starts_of_one_seed_differ_by_their_scale_alone():
    one, other = (study.train(BLOCK, variant(scale=scale), MatrixDescent(epochs=1), seed=3) for scale in (1e-4, 1e-6))
    np.testing.assert_allclose(one["end"][0] / 1e-4, other["end"][0] / 1e-6, rtol=0.1)


@pytest.mark.parametrize(
    ("task", "descent", "sign"),
    [
        (ObservedMatrix(), {}, 1),
        (ObservedMatrix(observed=(-2.0, 0.5, 0.1)), {}, -1),
        (ObservedMatrix(observed=(-2.0, 0.5, 0.1)), {"determinant": "positive"}, 1),
        (ObservedMatrix(), {"determinant": "negative"}, -1),
        (ObservedMatrix(), {"determinant": "any"}, 0),
        (ObservedMatrix(task="completion", shape=(3, 4)), {}, 0),
    ],
)
def test_the_sign_that_theory_asks_for(task, descent, sign):
    assert determinant_sign(task, MatrixDescent(**descent)) == sign


@pytest.mark.parametrize(
    "task",
    [
        ObservedMatrix(shape=(3, 3)),
        ObservedMatrix(task="completion", shape=(4, 3), num_samples=9, rank=1),
        ObservedMatrix(task="sensing", shape=(3, 4), num_samples=11, rank=1),
    ],
)
def test_other_problems_are_fitted_too(task):
    descent = MatrixDescent(epochs=200_000, determinant="any", tolerance=1e-6)
    found = study.train(task, variant(depth=2, rate=0.02 if task.task != "sensing" else 0.2), descent, seed=0)
    assert found["end"].shape[1:] == task.shape
    assert found["loss"][-1] < 0.01 * found["loss"][0]
    assert ("theory_entry" in found) == (task.task == "block" and task.shape == (2, 2))


def test_observations_are_those_of_the_target():
    observed, target = study.observe(ObservedMatrix(shape=(3, 3), observed=(-2.0, 0.5, 0.1)))
    assert target.tolist() == [[0, -2, 0], [0.5, 0.1, 0], [0, 0, 1]]
    assert observed.mask.tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]
    observed, target = study.observe(ObservedMatrix(task="completion", shape=(4, 3), num_samples=7, rank=2))
    assert observed.mask.sum() == 7
    assert not observed.mask[:, 3:].any()
    assert np.linalg.matrix_rank(target) == 2
    observed, target = study.observe(ObservedMatrix(task="sensing", shape=(4, 3), num_samples=20, rank=2))
    products = np.einsum("mij,ij->m", observed.matrices[:, :, :3], target)
    np.testing.assert_allclose(products, observed.values, rtol=1e-6)


def test_names_of_tasks_tell_them_apart():
    tasks = [ObservedMatrix(observed=(-2.0, 0.5, epsilon)) for epsilon in (0.0, 0.01, 0.1)]
    tasks += [
        ObservedMatrix(),
        ObservedMatrix(shape=(3, 3)),
        ObservedMatrix(task="sensing"),
        ObservedMatrix(task="sensing", seed=1),
    ]
    assert len({task.name for task in tasks}) == len(tasks)
    assert ObservedMatrix().name == "2x2_1.0_1.0_0.0"


# Tables, claims and figures


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Short runs of two depths and two kinds of start."""
    folder, descent = tmp_path_factory.mktemp("runs"), MatrixDescent(epochs=400_000, tolerance=1e-3)
    paths = []
    for depth, scale in ((2, 1e-5), (3, 1e-3)):
        for balanced in (False, True):
            for seed in (0, 1, 2):
                chosen = variant(depth, balanced, scale)
                paths.append(folder / f"{depth}{balanced}{seed}.h5")
                arrays = study.train(BLOCK, chosen, descent, seed=seed)
                settings = {
                    "problem": BLOCK.plain(),
                    "variant": chosen.plain(),
                    "seed": seed,
                    "descent": descent.plain(),
                }
                store.write(paths[-1], arrays, kind=study.RUN, settings=settings)
    return paths


def test_tables_have_a_row_a_run_where_it_was_first_fitted(runs):
    tables = study.collect(runs)
    assert len(tables.runs) == 12
    assert set(tables.runs["problem"]) == {"2x2_1.0_1.0_0.0"}
    assert tables.runs["fitted"].all()
    assert (tables.runs["loss"] < 1e-3).all()
    assert (tables.runs["loss"] > 2e-4).all()
    points = tables.curves.groupby(study.AXES).size()
    assert len(points) == 12
    assert points.max() <= 2 * study.MAX_POINTS
    first = study.at_loss(tables.curves, 0.1)
    assert len(first) == 12
    assert (first["loss"] < 0.1).all()


def test_the_claims_hold_for_what_they_are_about(runs):
    tables = study.collect(runs)

    def judged(**changes):
        return study.claims(tables.runs, tables.curves.assign(**changes), depths=[2, 3], missing=0).set_index("id")

    claims = judged()
    growth = ["unobserved_grows", "frobenius_norm_grows", "nuclear_norm_grows", "distance_bounded", "rank_falls"]
    both = growth + [f"{name}_depth_2" for name in growth]
    assert list(claims.index) == [*both, "follows_envelope", "determinant_depth_2"]
    assert claims.loc["follows_envelope", "verdict"] == "held"
    names = ("unobserved", "frobenius_norm", "nuclear_norm")
    grown = judged(**{name: tables.curves[name] / 20 for name in names})
    assert set(grown.loc[growth[:3], "verdict"]) == {"held"}
    assert claims.loc["distance_bounded_depth_2", "verdict"] != "held", "the determinant has become negative"
    # Against the runs themselves: the geometric mean over settings and seeds.
    keys = [name for name in study.AXES if name != "problem"]
    start, end = (
        table[table["depth"] == 3].set_index(keys) for table in (study.at_loss(tables.curves, 0.1), tables.runs)
    )
    expected = np.exp(np.log(end["unobserved"] / start["unobserved"]).mean())
    assert claims.loc["unobserved_grows", "effect"] == pytest.approx(expected)
    assert (
        claims.loc["determinant_depth_2", "effect"]
        == (tables.runs[tables.runs["depth"] == 2]["determinant"] < 0).mean()
    )
    # Where the curves begin higher, nothing doubles; where they leave the envelope, they do not follow it.
    flat = judged(**dict.fromkeys(names, 1000.0))
    assert set(flat.loc[[*growth[:3], "follows_envelope"], "verdict"]) == {"not held"}


def drawn_with(seeds, tolerance):
    return {"scale": "tiny", "seeds": seeds, "descent": {"tolerance": tolerance, "schatten": [0.5]}}


def test_perturbed_claims_compare_with_the_closed_form(tmp_path):
    task, descent = ObservedMatrix(observed=(-2.0, 0.5, 0.5)), MatrixDescent(epochs=400_000)
    arrays = study.train(task, variant(3, True, 1e-3), descent, seed=0)
    settings = {"problem": task.plain(), "variant": variant().plain(), "seed": 0, "descent": descent.plain()}
    store.write(tmp_path / "run.h5", arrays, kind=study.RUN, settings=settings)
    tables = study.collect([tmp_path / "run.h5"])
    seeds = pd.concat([tables.runs.assign(seed=seed) for seed in range(3)])

    def judged(**changes):
        table = study.perturbed_claims(seeds.assign(**changes), problems=[task.name], missing=0)
        return table.set_index("id").loc["perturbed_entry_0.5"]

    assert judged()["verdict"] == "held"
    assert judged()["effect"] == pytest.approx(1.2, abs=0.1), "the reference says 1.2 %"
    assert "on its way to 2 " in judged()["claim"]
    assert judged(unobserved=1.0)["verdict"] == "not held"
    assert judged(entry=1.0)["runs"] == 0, "the other sign"
    wrong = study.perturbed_claims(seeds.assign(entry=1.0), problems=[task.name], missing=0)
    assert wrong.set_index("id").loc["perturbed_sign_0.5", ["effect", "runs"]].tolist() == [0, 3]
    drawn = figure.draw_perturbed(tables.curves, settings=drawn_with(1, 1e-4), missing=0)
    assert [axes.get_title() for axes in drawn.axes] == ["depth 3"]
    style.save(drawn, tmp_path / "figure.pdf")


def test_figures_show_every_depth_and_the_theory(runs, tmp_path):
    curves = study.until_fitted(study.collect(runs).curves, 1e-3)
    drawn = figure.draw_entries(curves, settings=drawn_with(3, 1e-3), missing=1)
    panels = [axes for axes in drawn.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["depth 2", "depth 3"]
    assert drawn._supxlabel.get_text() == "PARTIAL: 1 run missing, tiny scale, 3 seeds"
    for axes in panels:
        assert axes.get_xlim() == (1.5, 1e-3)
        lines = [np.asarray(line.get_xydata()) for line in axes.lines]
        assert any(np.allclose(line[:, 1], analysis.envelope(line[:, 0])) for line in lines if len(line) == 300)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert len(labels) == 2
        assert labels[1].endswith("(b)")
    style.save(drawn, tmp_path / "entries.pdf")
    drawn = figure.draw_measures(curves, settings=drawn_with(3, 1e-3), missing=0)
    titles = [axes.get_title() for axes in drawn.axes if axes.axison]
    assert titles == [
        "Frobenius norm", "nuclear norm", "Schatten-0.5 quasi-norm", "effective rank", "distance to rank one",
    ]  # fmt: skip
    style.save(drawn, tmp_path / "measures.pdf")
    first = (tmp_path / "measures.pdf").read_bytes()
    again = figure.draw_measures(curves, settings=drawn_with(3, 1e-3), missing=0)
    style.save(again, tmp_path / "measures.pdf")
    assert (tmp_path / "measures.pdf").read_bytes() == first


def test_curves_are_marked_where_the_loss_first_falls_below_the_marks(runs):
    tables = study.collect(runs)
    curves = study.until_fitted(tables.curves, 1e-3)
    drawn = figure.draw_entries(curves, settings=drawn_with(3, 1e-3), missing=0)
    for path in runs:
        run = store.read(path, kind=study.RUN)
        if run.settings["seed"] != 0:
            continue
        losses, entries = run.arrays["loss"], run.arrays["unobserved"]
        places = [np.argmax(losses < mark) for mark in (0.13, 0.013, 0.0013)]
        expected = list(zip(losses[places], entries[places], strict=True))
        marks = [line.get_xydata() for axes in drawn.axes for line in axes.lines if line.get_marker() in "ov^Ds"]
        assert any(len(found) == 3 and np.allclose(found, expected) for found in marks if len(found))


def test_curves_keep_one_point_below_the_tolerance(runs):
    curves = study.until_fitted(study.collect(runs).curves, 1e-2)
    below = curves[curves["loss"] < 1e-2].groupby(study.AXES).size()
    assert (below == 1).all()
    assert len(below) == 12


@pytest.mark.parametrize(("number", "said"), [(31_999, "3.1e4"), (5_000_000, "5.0e6"), (999, "9.9e2")])
def test_numbers_of_epochs_are_cut_off(number, said):
    assert figure._short(number) == said


def test_claims_of_which_nothing_can_be_said_are_left_out(runs):
    tables = study.collect(runs)
    shallow = study.claims(*tables, depths=[2], missing=0)
    assert shallow["id"].str.endswith("depth_2").all()
    deep = study.claims(*tables, depths=[3, 4], missing=0)
    assert not deep["claim"].str.contains("depth 2").any()
    nothing = study.claims(*(table[table["depth"] == 2] for table in tables), depths=[3], missing=4)
    assert set(nothing["runs"]) == {0}
    assert len(nothing) == len(deep)


# Settings that cannot be


def settings(**changes):
    plain = {
        "matrix": {
            "descent": {},
            "published": {"variants": [variant().plain()], "seeds": 1},
            "perturbed": {"observed": [-2, 0.5], "epsilons": [0.1], "variants": [variant().plain()], "seeds": 1},
        },
        "tensor": {
            "descent": {},
            "ranks": {},
            "grids": [
                {
                    "problem": {"shape": [4, 4, 4], "rank": 1, "norm": 1, "num_samples": 64},
                    "num_observations": [20, 40],
                    "init_stds": [0.01],
                    "seeds": 1,
                }
            ],
        },
    }
    for path, value in changes.items():
        block = plain
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("__"))
        for part in parents:
            block = block[part]
        block[last] = value
    return NormsSettings.from_plain(plain)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"matrix__further": [{"variants": [variant().plain()], "seeds": 1, "problem": {"shape": [1, 2]}}]},
            "at least 2 rows and 2 columns",
        ),
        (
            {"matrix__further": [{"variants": [variant().plain()], "seeds": 1, "problem": {"shape": [2, 3]}}]},
            "only square matrices have a determinant",
        ),
        (
            {
                "matrix__further": [
                    {"variants": [variant().plain()], "seeds": 1, "problem": {"task": "completion", "num_samples": 5}}
                ]
            },
            "the matrix has 4 entries",
        ),
        (
            {"matrix__further": [{"variants": [variant().plain()], "seeds": 1, "problem": {"task": "guess"}}]},
            "'block', 'completion' or 'sensing'",
        ),
        ({"matrix__descent": {"initialization": "identity"}}, "no multiple of the identity has the negative"),
        ({"matrix__published__variants": [variant().plain()] * 2}, "each variant may be given once"),
        ({"matrix__perturbed__epsilons": [0.1, 0.1]}, "each value may be given once"),
        ({"matrix__descent": {"schatten": [0]}}, r"schatten.0 = 0: .*greater than or equal to 0.05"),
        ({"matrix__published__variants": []}, "at least 1 item"),
        ({"matrix__published__variants": [variant().plain() | {"depth": 0}]}, "depth = 0"),
        ({"tensor__grids__0__num_observations": [64]}, "must leave one of 64 entries unobserved"),
        ({"tensor__grids__0__num_observations": [20, 20]}, "each value may be given once"),
        ({"tensor__grids__0__problem": {"shape": [4, 4, 4], "num_samples": 60}}, "must be all 64 entries"),
        ({"tensor__ranks": {"restarts": 0}}, "restarts = 0"),
    ],
)
def test_impossible_settings_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        settings(**changes)


def test_two_grids_of_one_shape_and_rank_are_refused():
    grid = settings().tensor.grids[0].plain()
    other = grid | {"problem": grid["problem"] | {"seed": 1}}
    with pytest.raises(SettingsError, match="two grids have the same shape and rank"):
        settings(tensor__grids=[grid, other])


def test_runs_are_all_combinations():
    found = settings(matrix__perturbed__epsilons=[0.1, 0.5], matrix__perturbed__seeds=3)
    assert len(found.matrix.published.runs) == 1
    assert len(found.matrix.perturbed.runs) == 6
