"""Ranks of tensor completion: of targets, of full rank too, followed during the descent, or not estimated at all."""

import numpy as np
import pandas as pd
import pytest

from tacit import store
from tacit.data import sensing
from tacit.figures import style
from tacit.figures import tensor_completion as figure
from tacit.settings.base import SettingsError
from tacit.settings.factorizations import CPProblem, Descent
from tacit.settings.norms import NormsSettings, Ranks, TensorNorms, TensorRun
from tacit.studies import recorded
from tacit.studies import tensor_completion as study

SHAPE = (4, 4, 4)
DESCENT = Descent(epochs=2000, evaluate_every=50, tolerance=1e-6, patience=2)


def problem(rank=1, shape=SHAPE, seed=0):
    return CPProblem(shape=shape, rank=rank, norm=1.0, num_samples=int(np.prod(shape)), seed=seed)


def dataset(own):
    return store.Record(sensing.make(own, "completion"), {"problem": own.plain()}, {})


def train(folder, *, own=None, descent=DESCENT, keep="none", **ranks):
    settings = TensorRun(descent=descent, ranks=Ranks(**ranks), keep=keep)
    return study.train(
        dataset(own or problem()), settings, num_observations=48, init_std=0.01, seed=0, checkpoint=folder / "c.pt"
    )


def hyperdeterminant(tensor):
    """Cayley's: positive if a real 2 x 2 x 2 tensor has rank 2, negative if it has rank 3."""
    first, second = tensor[0], tensor[1]
    mixed = (np.linalg.det(first + second) - np.linalg.det(first - second)) / 2
    return mixed**2 - 4 * np.linalg.det(first) * np.linalg.det(second)


def test_the_rank_of_targets_of_full_rank_is_that_of_the_hyperdeterminant():
    found = {2: 0, 3: 0}
    for seed in range(40):
        record = dataset(problem("full", (2, 2, 2), seed))
        target = record.arrays["target"]
        assert np.linalg.norm(target) == pytest.approx(1)
        size = hyperdeterminant(target)
        if abs(size) < 0.05:
            continue  # So near the border that alternating least squares take very long.
        expected = 2 if size > 0 else 3
        rank = study.estimate_target(record, Ranks(sweeps=1000, restarts=3))["rank"]
        assert rank == expected, (seed, size)
        found[expected] += 1
    assert min(found.values()) >= 2


def test_ranks_are_followed_at_every_so_many_evaluations(tmp_path):
    found, plain = train(tmp_path, every=2), train(tmp_path)
    assert set(found) - set(plain) == {"followed_iterations", "followed_rank"}
    for name, values in plain.items():
        np.testing.assert_array_equal(values, found[name])
    np.testing.assert_array_equal(found["followed_iterations"], found["iterations"][1::2])
    assert len(found["followed_rank"]) == len(found["iterations"]) // 2 > 1
    assert found["followed_rank"].dtype == np.int64
    # What is fitted of rank one has rank one.
    assert found["followed_rank"][-1] == found["rank"] == 1


def test_a_followed_rank_is_that_of_the_end_tensor_then(tmp_path):
    """A descent that ends at an evaluation has there, to its accuracy, no less than the rank of its matricizations."""
    for evaluations in (1, 3, 6):
        descent = Descent(epochs=50 * evaluations, evaluate_every=50, tolerance=1e-9)
        found = train(tmp_path, own=problem(3), descent=descent, keep="last epoch", every=1, restarts=3)
        error = np.sqrt(Ranks().tolerance * 64)
        spectra = [
            np.linalg.svd(np.moveaxis(found["end"], mode, 0).reshape(4, -1), compute_uv=False) for mode in range(3)
        ]
        # The least rank of which a matrix is nearer to the matricization than what counts as fitted.
        least = max(sum(np.sqrt(np.cumsum(values[::-1] ** 2))[::-1] > error) for values in spectra)
        assert len(found["followed_rank"]) == evaluations
        assert least <= found["followed_rank"][-1] <= 9
        (tmp_path / "c.pt").unlink(missing_ok=True)


def test_what_is_followed_goes_on_after_an_interruption(tmp_path):
    from tacit.nn.factorizations import CPFactorization, set_normal
    from tacit.training.descent import Loop
    from tacit.training.observations import observations

    record = dataset(problem(2))

    def loop():
        import torch

        descent = DESCENT.model_copy(update={"num_observations": 48})
        model = CPFactorization(SHAPE, 16)
        set_normal(model, np.random.default_rng(0), std=0.01)
        observed = observations(record, descent, rows=slice(0, 48), device=torch.device("cpu"))
        follow = study._follow(Ranks(every=2), 0)
        return Loop(model, observed, descent, measure=lambda *_: {}, follow=follow, stream=("test",))

    whole, before, after = loop(), loop(), loop()
    for _ in range(8):
        whole.advance()
    for _ in range(3):
        before.advance()
    after.load_state(before.state())
    for _ in range(5):
        after.advance()
    np.testing.assert_array_equal(whole.history["followed_rank"], after.history["followed_rank"])
    assert [rank >= 0 for rank in whole.history["followed_rank"]] == [False, True] * 4


def test_what_is_followed_can_be_looked_at(tmp_path):
    path, settings = tmp_path / "run.h5", TensorRun(descent=DESCENT, ranks=Ranks(every=2), keep="last epoch")
    arrays = train(tmp_path, keep="last epoch", every=2)
    own = {"num_observations": 48, "init_std": 0.01, "seed": 0, "problem": problem().plain()}
    store.write(path, arrays, kind=study.RUN, settings=own | settings.plain())
    run = recorded.read(path)
    places = recorded.against(run, recorded.quantity(run, "followed_rank"), None)
    assert places.label == "iteration"
    np.testing.assert_array_equal(places.values, arrays["followed_iterations"])
    assert not [name for name in run.quantities if name.startswith("weights") or name == "end"]


def test_no_rank_is_estimated_if_none_is_asked_for(tmp_path):
    assert "rank" not in train(tmp_path, ends=False)
    (tmp_path / "c.pt").unlink(missing_ok=True)
    both = train(tmp_path, ends=False, every=3)
    assert "rank" not in both
    assert "followed_rank" in both
    linear = study.complete_linearly(dataset(problem()), Ranks(ends=False), num_observations=48)
    assert set(linear) == {"normalized_reconstruction_error"}


# Tables, claims and figures


def files(folder, *, ranks, targets=((1, 4), (3, 4), ("full", 4))):
    """Paths of runs, linear completions and estimated ranks of targets, made up."""
    runs, linear, estimated = [], [], []
    for rank, size in targets:
        own = problem(rank, (size,) * 3)
        settings = {"problem": own.plain()}
        found = {"rank": np.array({1: 1, 3: 4, "full": 7}[rank])} if ranks else {}
        if ranks:
            estimated.append(folder / f"target{rank}.h5")
            store.write(estimated[-1], found, kind=study.TARGET, settings=settings)
        for observations in (30, 60):
            more = settings | {"num_observations": observations}
            linear.append(folder / f"linear{rank}-{observations}.h5")
            arrays = {"normalized_reconstruction_error": np.array(1 - observations / 64)} | found
            store.write(linear[-1], arrays, kind=study.LINEAR, settings=more)
            for seed in range(6):
                runs.append(folder / f"{rank}-{observations}-{seed}.h5")
                values = np.array([1.0, 0.001 * (1 + seed)], np.float32)
                names = ("train_loss", "train_mse", "train_prediction_mean", "train_prediction_max")
                arrays = dict.fromkeys(names, values) | {"normalized_reconstruction_error": values}
                arrays |= {"iterations": np.array([50, 100])} | found
                whole = more | {"init_std": 0.01, "seed": seed, "descent": DESCENT.plain()}
                store.write(runs[-1], arrays, kind=study.RUN, settings=whole)
    return runs, linear, estimated


def through_a_file(folder, table):
    path = folder / "runs.csv"
    store.write_table(path, table)
    return store.read_table(path, expected=study.RUNS)


def test_tables_tell_targets_of_full_rank_from_others(tmp_path):
    found = files(tmp_path, ranks=True)
    planned = [(SHAPE, 1), (SHAPE, 3)]
    tables = study.tables(*found, planned=planned, missing=0)
    runs = through_a_file(tmp_path, tables["runs"])
    assert list(dict.fromkeys(runs["target_rank"])) == ["1", "3", "full"]
    assert runs.groupby("target_rank")["estimated_target_rank"].unique().map(list).to_dict() == {
        "1": [1], "3": [4], "full": [7]
    }  # fmt: skip
    claims = tables["claims"].set_index("id")
    assert [name for name in claims.index if name.startswith("rank")] == ["rank_4x4x4_rank_1", "rank_4x4x4_rank_3"]
    assert claims["verdict"].to_dict() == {
        "rank_4x4x4_rank_1": "held", "recovers_4x4x4_rank_1": "held",
        "rank_4x4x4_rank_3": "not held", "recovers_4x4x4_rank_3": "held",
    }  # fmt: skip
    assert study.tables(*found, planned=[], missing=0)["claims"].empty
    drawn = figure.draw(study.summarize(runs), settings={"scale": "tiny"}, missing=0)
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles == [
        "4 x 4 x 4, rank 1", "4 x 4 x 4, rank 1 (estimated 1)",
        "4 x 4 x 4, rank 3", "4 x 4 x 4, rank 3 (estimated 4)",
        "4 x 4 x 4, full rank", "4 x 4 x 4, full rank (estimated 7)",
    ]  # fmt: skip
    lines = [line.get_ydata()[0] for axes in drawn.axes[1::2] for line in axes.lines if line.get_label() == "target"]
    assert lines == [1, 3, 7], "the nominal rank, and of full rank the estimate"
    style.save(drawn, tmp_path / "figure.pdf")


def test_without_estimates_the_rest_is_as_it_was(tmp_path):
    tables = study.tables(*files(tmp_path, ranks=False, targets=((1, 4),)), planned=[(SHAPE, 1)], missing=0)
    runs = through_a_file(tmp_path, tables["runs"])
    assert runs[["rank", "estimated_target_rank"]].isna().all(axis=None)
    claims = tables["claims"].set_index("id")
    assert claims["verdict"].to_dict() == {"rank_4x4x4_rank_1": "undecided", "recovers_4x4x4_rank_1": "held"}
    assert claims.loc["rank_4x4x4_rank_1", "runs"] == 0
    drawn = figure.draw(study.summarize(runs), settings={"scale": "tiny"}, missing=0)
    assert [axes.get_title() for axes in drawn.axes] == ["4 x 4 x 4, rank 1"] * 2
    assert [text.get_text() for text in drawn.axes[1].texts] == ["no rank was estimated"]
    style.save(drawn, tmp_path / "figure.pdf")


def test_an_estimate_of_the_target_that_failed_is_said(tmp_path):
    runs = study.collect(*files(tmp_path, ranks=True, targets=(("full", 4),)))
    failed = runs.assign(estimated_target_rank=-1)
    drawn = figure.draw(study.summarize(failed), settings={"scale": "tiny"}, missing=0)
    assert drawn.axes[1].get_title() == "4 x 4 x 4, full rank (no estimate)"
    assert "target" not in [line.get_label() for line in drawn.axes[1].lines]


def test_summaries_come_in_the_order_of_ranks(tmp_path):
    runs = study.collect(*files(tmp_path, ranks=True))
    ten = runs[runs["target_rank"] == 1].assign(target_rank=10)
    table = through_a_file(tmp_path, pd.concat([ten, runs], ignore_index=True))
    assert list(dict.fromkeys(study.summarize(table)["target_rank"])) == ["1", "3", "10", "full"]


# Settings


def tensors(**changes):
    plain = {
        "descent": DESCENT.plain() | {"epochs": 100},
        "ranks": {},
        "grids": [
            {"problem": problem("full").plain(), "num_observations": [40], "init_stds": [0.01], "seeds": 1},
            {"problem": problem(1).plain(), "num_observations": [40], "init_stds": [0.01], "seeds": 1},
        ],
    }
    return TensorNorms.from_plain(plain | changes)


def test_settings_that_came_later_are_left_out_at_their_default():
    found = tensors()
    assert set(found.run.plain()) == {"descent", "ranks"}
    assert set(found.run.plain()["ranks"]) == {"tolerance", "sweeps", "restarts"}
    assert found.run.wanted()["keep"] is None
    assert found.run.wanted()["ranks"] == Ranks().plain() | {"ends": None, "every": None}
    followed = tensors(ranks={"every": 2}, keep="last epoch")
    assert followed.run.plain()["ranks"]["every"] == 2
    assert followed.run.plain()["keep"] == "last epoch"
    # What is followed is none of linear completions and targets, which are not made anew.
    assert followed.ranks_of_ends == found.ranks


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ranks": {"every": 3}}, "every = 3: a descent of 100 epochs with evaluate_every = 50 has 2 evaluations"),
        ({"ranks": {"every": -1}}, "greater than or equal to 0"),
        ({"keep": "best epoch"}, "keep = \"best epoch\": input should be 'none' or 'last epoch'"),
    ],
)
def test_impossible_settings_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        tensors(**changes)


def test_two_grids_of_full_rank_and_one_shape_are_refused():
    grid = tensors().grids[0].plain()
    with pytest.raises(SettingsError, match="two grids have the same shape and rank"):
        tensors(grids=[grid, grid | {"problem": problem("full", seed=1).plain()}])
    assert "keep" not in NormsSettings.model_fields
