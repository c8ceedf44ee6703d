"""Factors of factorizations that are kept, and factorizations that are read back."""

import numpy as np
import pytest
import torch
from test_every_setting import load

from tacit import inspection, store
from tacit.checkpoints import Termination
from tacit.data import sensing
from tacit.errors import UserError
from tacit.settings.rank_dynamics import FACTORIZATIONS
from tacit.studies import kept, rank_dynamics, rank_dynamics_results, recorded
from tacit.training import descent, keeping, observations, resumable

EPOCHS, EVERY = 60, 25
EVALUATED = [25, 50, 60]
"""What a model measures in float32 or float64 is read back with no more than the rounding of its products."""
ROUNDING = {"float32": 1e-5, "float64": 1e-12}


def experiment(name, *, keep, model=None, **changes):
    own = {"epochs": EPOCHS, "evaluate_every": EVERY} | changes
    block = {"keep": keep, "descent": own, "model": model or {}}
    return load({"scale": "smoke", "rank_dynamics": {name: block}}).rank_dynamics.experiment(name)


def run(folder, name, chosen, *, seed=0):
    folder.mkdir(exist_ok=True)
    dataset = store.Record(sensing.make(chosen.problem, "completion"), {}, {})
    arrays = rank_dynamics.train(dataset, chosen, seed=seed, checkpoint=folder / "c.pt")
    identity = {"factorization": name, "task": "completion", "seed": seed}
    store.write(folder / "run.h5", arrays, kind=rank_dynamics.RUN, settings=identity | chosen.plain())
    return folder / "run.h5", arrays, dataset.arrays["target"]


def errors(path, epochs, target):
    ends = [kept.model(path, epoch).end_tensor().detach().double().numpy() for epoch in epochs]
    return [np.linalg.norm(end - target) for end in ends]


def test_by_default_nothing_is_kept_and_settings_have_no_word_of_it(tmp_path):
    chosen = experiment("matrix", keep="none")
    path, arrays, _ = run(tmp_path, "matrix", chosen)
    assert not [name for name in arrays if name.startswith("weights")] and kept.epochs(path) == []
    assert "keep" not in chosen.plain() and chosen.wanted()["keep"] is None
    with pytest.raises(UserError, match="keeps no weights; set keep"):
        kept.model(path)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("keep", ["last epoch", "every evaluation"])
@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_the_end_tensor_of_what_is_kept_is_the_one_that_was_measured(tmp_path, name, keep, precision):
    chosen = experiment(name, keep=keep, precision=precision)
    path, arrays, target = run(tmp_path, name, chosen)
    every = [0, *EVALUATED]
    assert kept.epochs(path) == (every if keep == "every evaluation" else [EPOCHS])
    assert arrays["iterations"].tolist() == EVALUATED
    read = kept.epochs(path)[-3:]
    measured = arrays["reconstruction_error"][-len(read) :]
    np.testing.assert_allclose(errors(path, read, target), measured, rtol=ROUNDING[precision])
    model = kept.model(path)
    assert not model.training and next(model.parameters()).dtype == getattr(torch, precision)
    assert sum(parameter.numel() for parameter in model.parameters()) == chosen.num_parameters
    if name == "matrix":
        values = np.linalg.svd(model.end_tensor().detach().numpy(), compute_uv=False)
        np.testing.assert_allclose(arrays["singular_values"][-1], values, rtol=1e-4, atol=1e-6)
    if keep == "every evaluation":
        start = rank_dynamics.build(chosen, seed=0).to(getattr(torch, precision))
        for ours, theirs in zip(kept.model(path, 0).parameters(), start.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_trees_of_all_kinds_are_read_back(tmp_path):
    blocks = [
        {"pool_size": [2, 2], "widths": 5, "linear_output": False},
        {"pool_size": 3, "pattern": "half", "widths": "max"},
        {"pool_size": 4, "pattern": "checkerboard_sq", "widths": 6},
    ]
    for number, block in enumerate(blocks):
        chosen = experiment("hierarchical", keep="last epoch", model=block)
        path, arrays, target = run(tmp_path / str(number), "hierarchical", chosen)
        assert errors(path, [EPOCHS], target) == pytest.approx([arrays["reconstruction_error"][-1]], rel=1e-5)
    with_weights = experiment("tensor", keep="last epoch", model={"linear_output": True})
    path, arrays, target = run(tmp_path / "cp", "tensor", with_weights)
    assert errors(path, [EPOCHS], target) == pytest.approx([arrays["reconstruction_error"][-1]], rel=1e-5)


def test_a_descent_that_ends_early_keeps_its_last_epoch(tmp_path):
    for number, keep in enumerate(("last epoch", "every evaluation")):
        chosen = experiment("matrix", keep=keep, tolerance=100.0, patience=0)
        path, _, _ = run(tmp_path / str(number), "matrix", chosen)
        assert kept.epochs(path)[-1] == EVERY


def test_epochs_of_mini_batches_are_several_iterations(tmp_path):
    path, arrays, target = run(tmp_path, "matrix", experiment("matrix", keep="every evaluation", batch_size=10))
    assert arrays["iterations"].tolist() == [4 * epoch for epoch in EVALUATED]
    assert kept.epochs(path) == [0, *EVALUATED]
    assert errors(path, EVALUATED, target) == pytest.approx(arrays["reconstruction_error"].tolist(), rel=1e-5)


def test_what_is_kept_changes_nothing_else(tmp_path):
    for name in FACTORIZATIONS:
        _, plain, _ = run(tmp_path / name, name, experiment(name, keep="none"))
        _, more, _ = run(tmp_path / f"{name}-kept", name, experiment(name, keep="every evaluation"))
        assert set(more) > set(plain)
        for quantity, values in plain.items():
            np.testing.assert_array_equal(values, more[quantity])


def test_a_descent_that_goes_on_keeps_what_an_undisturbed_one_does(tmp_path):
    chosen = experiment("hierarchical", keep="every evaluation")
    dataset = store.Record(sensing.make(chosen.problem, "completion"), {}, {})

    def loop(path):
        model = rank_dynamics.build(chosen, seed=0)
        rows = slice(0, chosen.descent.num_observations)
        seen = observations.observations(dataset, chosen.descent, rows=rows, device=torch.device("cpu"))
        keeper = keeping.Keeper(path)
        measure = {"measure": lambda model, end: {}, "stream": ("test",)}
        return descent.Loop(model, seen, chosen.descent, keeper=keeper, **measure)

    undisturbed, first = loop(tmp_path / "a"), loop(tmp_path / "b")
    while not undisturbed.finished:
        undisturbed.advance()
    first.advance()
    # After one step of the next evaluation, whose state is lost later.
    asked = Termination()
    asked.requested = True
    assert not first.advance(resumable.Pause(asked)) and first.epoch == EVERY + 1
    saved = {name: value.clone() if torch.is_tensor(value) else value for name, value in first.state().items()}
    first.advance()
    second = loop(tmp_path / "b")
    second.load_state(saved)
    while not second.finished:
        second.advance()
    one, other = undisturbed.keeper.states, second.keeper.states
    assert list(one) == list(other) == [0, *EVALUATED]
    for epoch, state in one.items():
        for name, array in state.items():
            assert np.array_equal(np.asarray(array), np.asarray(other[epoch][name]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_with_factors_are_collected_and_shown_as_others_are(tmp_path):
    path, arrays, _ = run(tmp_path, "hierarchical", experiment("hierarchical", keep="every evaluation"))
    bare = {name: values for name, values in arrays.items() if not name.startswith("weights")}
    settings = store.contents(path).settings
    store.write(tmp_path / "bare.h5", bare, kind=rank_dynamics.RUN, settings=settings)
    for with_them, without in zip(
        rank_dynamics_results.collect([path]), rank_dynamics_results.collect([tmp_path / "bare.h5"]), strict=True
    ):
        assert with_them.equals(without)
    assert not [name for name in recorded.read(path).quantities if "weights" in name]
    assert "weights_* (28)" in inspection.describe(path)
