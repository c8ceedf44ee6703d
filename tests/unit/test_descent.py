"""The descent of factorizations against the plain reference, and its rules of stopping and resuming."""

import os
import signal

import numpy as np
import pytest
import torch

from plain import factorizations as plain
from tacit import checkpoints, events
from tacit.errors import DivergenceError
from tacit.nn import factorizations as nn
from tacit.optim.group_rmsprop import ResidentRate
from tacit.settings.factorizations import Descent, EarlyStopping
from tacit.settings.mode_trees import mode_tree
from tacit.training import descent
from tacit.training.descent import Loop, descend
from tacit.training.observations import Entries, Loss

TREE = mode_tree(4, 2)
CPU = torch.device("cpu")


def model_of(name, *, dtype=torch.float64, seed=0):
    if name == "matrix":
        model, std = nn.MatrixFactorization(8, 7, 3), 0.1
    elif name == "tensor":
        model, std = nn.CPFactorization((4, 5, 3), 12), 0.1
    else:
        model, std = nn.HierarchicalTensorFactorization((3, 3, 2, 3), TREE, (9, 9)), 0.3
    nn.set_normal(model, np.random.default_rng(seed), std=std)
    return model.to(dtype)


def problem(shape, *, share=0.6, loss="l2", dtype=torch.float64):
    """Entries of a random target of rank one."""
    random = np.random.default_rng(3)
    target = torch.tensor(3.0, dtype=dtype)
    for size in shape:
        target = torch.tensordot(target, torch.from_numpy(random.standard_normal(size)).to(dtype), dims=0)
    count = round(share * target.numel())
    indices = torch.from_numpy(random.permutation(target.numel())[:count])
    return Entries(shape, indices, target.flatten()[indices], Loss(loss, 0.5))


def plain_start(name, model):
    if name == "matrix":
        return plain.MatrixFactorization(list(model.factors))
    if name == "tensor":
        return plain.CPFactorization(model.factors)
    return plain.HierarchicalFactorization([list(level) for level in model.matrices], model.output_vector)


def plain_inputs(observed):
    multi = torch.stack(torch.unravel_index(observed.indices, observed.shape), 1)
    make = plain.one_hot_matrices if len(observed.shape) == 2 else plain.one_hot
    return make(multi, observed.shape, observed.values.dtype)


def end_norm(model, end):
    return {"end_norm": torch.linalg.vector_norm(end)}


def fit(model, observed, path, *, measure=end_norm, **settings):
    descent = Descent(**({"epochs": 100, "patience": 10**9} | settings))
    return descend(model, observed, descent, measure=measure, stream=("test",), checkpoint=path, settings={"test": 1})


@pytest.mark.parametrize("loss", ["l2", "l1", "huber"])
@pytest.mark.parametrize("name", ["matrix", "tensor", "hierarchical"])
def test_two_hundred_steps_are_those_of_the_plain_reference(tmp_path, name, loss):
    model = model_of(name)
    observed = problem(model.shape, loss=loss)
    reference = plain_start(name, model)
    optimizer = plain.GroupRMSprop(reference.parameters(), weight_decay=1e-3)
    losses = plain.descend(
        reference, plain_inputs(observed), observed.values, steps=200, optimizer=optimizer, loss=loss, huber_beta=0.5
    )
    history = fit(
        model,
        observed,
        tmp_path / "c.pt",
        epochs=200,
        evaluate_every=1,
        loss=loss,
        huber_threshold=0.5 if loss == "huber" else 1.0,
        weight_decay=1e-3,
    )
    assert losses[-1] < 0.9 * losses[0]
    np.testing.assert_allclose(history["train_loss"], losses, rtol=1e-8)
    torch.testing.assert_close(model.end_tensor().detach(), reference.end().detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["matrix", "tensor", "hierarchical"])
def test_two_hundred_steps_in_float32_are_those_of_float64(tmp_path, name):
    ends = []
    for dtype in (torch.float64, torch.float32):
        model = model_of(name, dtype=dtype)
        fit(model, problem(model.shape, dtype=dtype), tmp_path / f"{dtype}.pt", epochs=200)
        ends.append(model.end_tensor().detach().double())
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_that_of_torch(tmp_path, momentum):
    model = model_of("matrix")
    observed = problem(model.shape)
    reference = plain_start("matrix", model)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.02, momentum=momentum)
    losses = plain.descend(reference, plain_inputs(observed), observed.values, steps=100, optimizer=optimizer)
    history = fit(
        model, observed, tmp_path / "c.pt", evaluate_every=1, optimizer="sgd", learning_rate=0.02, momentum=momentum
    )
    np.testing.assert_allclose(history["train_loss"], losses, rtol=1e-9)


def test_evaluations_see_the_loss_before_the_step_and_the_model_after_it(tmp_path):
    model = model_of("matrix")
    observed = problem(model.shape)
    history = fit(model, observed, tmp_path / "c.pt", epochs=60, evaluate_every=25)
    assert history["iterations"].tolist() == [25, 50, 60]
    assert history["end_norm"][-1] == pytest.approx(model.end_tensor().norm().item(), rel=1e-12)
    one_less = model_of("matrix")
    fit(one_less, observed, tmp_path / "d.pt", epochs=59, evaluate_every=59)
    predictions = one_less.end_tensor().flatten()[observed.indices].detach()
    assert history["train_mse"][-1] == pytest.approx((predictions - observed.values).square().mean().item())
    assert history["train_prediction_max"][-1] == pytest.approx(predictions.abs().max().item())
    assert history["train_prediction_mean"][-1] == pytest.approx(predictions.abs().mean().item())


def test_a_batch_of_everything_is_a_full_batch_in_another_order(tmp_path):
    ends = []
    for batch_size in (0, 10**6):
        model = model_of("tensor")
        fit(model, problem(model.shape), tmp_path / f"{batch_size}.pt", epochs=30, batch_size=batch_size)
        ends.append(model.end_tensor().detach())
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-12)


def test_mini_batches_see_every_observation_once_an_epoch(tmp_path):
    model = model_of("tensor")
    observed = problem(model.shape)
    seen = []

    class Watched(Entries):
        def subset(self, rows):
            seen.append(rows)
            return super().subset(rows)

    watched = Watched(observed.shape, observed.indices, observed.values, observed.loss)
    history = fit(model, watched, tmp_path / "c.pt", epochs=6, evaluate_every=2, batch_size=10)
    each = -(-len(observed) // 10)
    assert history["iterations"].tolist() == [2 * each, 4 * each, 6 * each]
    epochs = [torch.cat(seen[first : first + each]).tolist() for first in range(0, len(seen), each)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(len(observed)))] * 6
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_the_descent_ends_once_fitted_more_often_in_a_row_than_patience_allows(tmp_path):
    # A rate so small that every evaluation sees the same loss, which is below the tolerance.
    settings = {"optimizer": "sgd", "learning_rate": 1e-12, "evaluate_every": 10, "epochs": 10_000}
    model = model_of("matrix")
    loose = fit(model, problem(model.shape), tmp_path / "c.pt", tolerance=100.0, patience=4, **settings)
    assert loose["iterations"][-1] == 50
    model = model_of("matrix")
    tight = fit(model, problem(model.shape), tmp_path / "d.pt", tolerance=1e-9, patience=4, **settings | {"epochs": 80})
    assert tight["iterations"][-1] == 80


def test_an_evaluation_that_is_not_fitted_starts_the_count_again():
    model = model_of("matrix")
    loop = Loop(model, problem(model.shape), Descent(patience=3), measure=end_norm, stream=("test",))
    counts = []
    for mse in (1e-6, 1e-6, 1.0, 1e-6, 1e-6, 1e-6, 1e-6):
        loop._evaluate([(1, torch.tensor(0.0), torch.tensor(mse), torch.zeros(1))])
        counts.append((loop.fitted, loop.finished))
    assert counts == [(1, False), (2, False), (0, False), (1, False), (2, False), (3, False), (4, True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["matrix", "tensor", "hierarchical"])
def test_the_rate_of_a_device_moves_as_that_of_numbers_does(name, dtype):
    """What a GPU does, on the CPU: nothing is read back, and nothing is less precise."""
    ends = []
    for resident in (False, True):
        model = model_of(name, dtype=dtype)
        descent = Descent(precision=str(dtype).removeprefix("torch."), evaluate_every=20)
        loop = Loop(model, problem(model.shape, dtype=dtype), descent, measure=end_norm, stream=("test",))
        if resident:
            loop.rate = ResidentRate(
                learning_rate=descent.learning_rate, decay=descent.decay, epsilon=descent.epsilon, device=CPU
            )
        loop.advance()
        ends.append(loop.parameters.clone())
    assert not torch.equal(ends[0], _flat(model_of(name, dtype=dtype)))
    torch.testing.assert_close(*ends, rtol=10 * torch.finfo(dtype).eps, atol=10 * torch.finfo(dtype).eps)


def _flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class Recording:
    """Does on the CPU what a recorded step does on a GPU."""

    def __init__(self, loop, batch):
        self.loop, self.batch, self.replayed = loop, batch, 0

    def replay(self):
        self.replayed += 1
        self.loop.structure.forward()
        self.loop._launch(self.batch)


@pytest.mark.parametrize("optimizer", ["group_rmsprop", "sgd"])
def test_recorded_steps_count_as_steps_and_give_the_same_numbers(optimizer, monkeypatch):
    loops = []
    for records in (False, True):
        model = model_of("tensor")
        loop = Loop(model, problem(model.shape), Descent(optimizer=optimizer), measure=end_norm, stream=("test",))
        assert not loop.records, "a CPU needs no recording"
        loop.records = records
        monkeypatch.setattr(loop, "_record", lambda batch, loop=loop: Recording(loop, batch))
        for _ in range(3):
            loop.advance()
        loops.append(loop)
    plain_loop, recorded = loops
    assert plain_loop._recording is None
    assert recorded._recording.replayed == 3 * 24 - 3
    assert recorded.iterations == plain_loop.iterations == 75
    for name, rows in plain_loop.history.items():
        np.testing.assert_array_equal(rows, recorded.history[name])
    assert torch.equal(recorded.parameters, plain_loop.parameters)


def test_what_comes_from_a_device_in_one_piece_is_what_is_there():
    tensors = {
        "single": torch.tensor([1 / 3, 1e-40, 3e38]),
        "number": torch.tensor(2**53 - 1),
        "double": torch.tensor([[1 / 3, -0.0]], dtype=torch.float64),
        "none": torch.zeros(0),
    }
    for name, found in descent._in_one_piece(tensors).items():
        expected = tensors[name].numpy()
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes(), name


def test_a_descent_goes_on_from_a_state_of_another_device():
    """As a checkpoint of a GPU's descent is on a machine without one: all its numbers are of the CPU."""

    def fresh():
        model = model_of("matrix")
        return Loop(model, problem(model.shape), Descent(), measure=end_norm, stream=("test",))

    before, expected, again = fresh(), fresh(), fresh()
    expected.advance()
    expected.advance()
    rate = {"learning_rate": 1e-2, "decay": 0.99, "epsilon": 1e-6}
    before.rate = ResidentRate(**rate, device=CPU)
    before.advance()
    again.load_state(before.state())
    again.advance()
    torch.testing.assert_close(again.parameters, expected.parameters, rtol=1e-12, atol=1e-12)
    assert again.iterations == expected.iterations


def test_divergence_is_named_with_its_iteration(tmp_path):
    model = model_of("matrix")
    with pytest.raises(
        DivergenceError, match=r"is not finite after \d+ iterations of test, with learning_rate 100; lower"
    ):
        fit(model, problem(model.shape), tmp_path / "c.pt", optimizer="sgd", learning_rate=100.0, evaluate_every=1)


@pytest.mark.parametrize("batch_size", [0, 16])
@pytest.mark.parametrize("optimizer", ["group_rmsprop", "sgd"])
def test_a_descent_interrupted_anywhere_goes_on_to_the_same_numbers(tmp_path, optimizer, batch_size):
    settings = {
        "epochs": 200, "evaluate_every": 10, "optimizer": optimizer, "batch_size": batch_size,
        "momentum": 0.9 if optimizer == "sgd" else 0.0, "learning_rate": 1e-3,
    }  # fmt: skip
    model = model_of("tensor", dtype=torch.float32)
    observed = problem(model.shape, dtype=torch.float32)
    expected = fit(model, observed, tmp_path / "whole.pt", **settings)
    path, interruptions = tmp_path / "broken.pt", 0
    for stop_after in (1, 5, 3):
        evaluations = iter(range(1, 100))

        def measure(model, end, evaluations=evaluations, stop_after=stop_after):
            if next(evaluations) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return end_norm(model, end)

        with pytest.raises(checkpoints.Interrupted):
            fit(model_of("tensor", dtype=torch.float32), observed, path, measure=measure, **settings)
        interruptions += 1
    resumed = model_of("tensor", dtype=torch.float32)
    found = fit(resumed, observed, path, **settings)
    assert interruptions == 3
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].dtype == expected[name].dtype
        assert np.array_equal(found[name], expected[name]), name
    assert torch.equal(resumed.end_tensor(), model.end_tensor())


def test_a_request_to_end_is_heard_between_evaluations(tmp_path):
    model = model_of("matrix")
    observed = problem(model.shape)
    settings = {"epochs": 500, "evaluate_every": 250}
    expected = fit(model_of("matrix"), observed, tmp_path / "whole.pt", **settings)
    calls = iter(range(1, 10**6))

    class Watched(Entries):
        def gradient(self, end, out):
            if next(calls) == 100:
                os.kill(os.getpid(), signal.SIGTERM)
            super().gradient(end, out)

    watched = Watched(observed.shape, observed.indices, observed.values, observed.loss)
    with pytest.raises(checkpoints.Interrupted):
        fit(model_of("matrix"), watched, tmp_path / "c.pt", **settings)
    assert next(calls) == 101
    found = fit(model_of("matrix"), observed, tmp_path / "c.pt", **settings)
    assert np.array_equal(found["train_loss"], expected["train_loss"])


def test_what_is_measured_is_kept_as_it_was(tmp_path):
    model = model_of("matrix")
    history = fit(model, problem(model.shape), tmp_path / "c.pt", measure=lambda model, end: {"end": end})
    assert not np.array_equal(history["end"][0], history["end"][-1])


def test_checkpoints_are_written_as_often_as_asked_for(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoints, "save", lambda path, state, **rest: saved.append(state["epoch"]))
    for seconds, expected in (("0", [10, 20]), ("1000", [])):
        monkeypatch.setenv(checkpoints.SECONDS_VARIABLE, seconds)
        saved.clear()
        model = model_of("matrix")
        fit(model, problem(model.shape), tmp_path / "c.pt", epochs=30, evaluate_every=10)
        assert saved == expected


# Numbers that the published code gave


def published_entries(target):
    """The observed half of a published completion problem: the first of a drawn order of all entries."""
    return torch.multinomial(torch.ones(target.numel()), target.numel())[:2048]


def published_run(model, target, indices, measure):
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 1e-3)
    observed = Entries(target.shape, indices, target.flatten()[indices], Loss("l2"))
    loop = Loop(model, observed, Descent(epochs=50, evaluate_every=50), measure=measure, stream=("test",))
    loop.advance()
    return {name: rows[-1].item() for name, rows in loop.history.items()}


def test_fifty_steps_of_matrix_factorization_are_those_of_the_published_code():
    random = np.random.RandomState(1)
    torch.manual_seed(1)
    left, right = (torch.from_numpy(random.randn(64, 5).astype(np.float32)) for _ in range(2))
    target = left @ right.T
    target = target * (64 / target.norm())
    last = published_run(
        nn.MatrixFactorization(64, 64, 3),
        target,
        published_entries(target),
        lambda model, end: {"top": torch.linalg.svdvals(end)[0]},
    )
    assert last["top"] == pytest.approx(0.20501, abs=1e-5)
    assert last["train_loss"] == pytest.approx(1.028389, abs=2e-6)


def test_fifty_steps_of_tensor_factorization_are_those_of_the_published_code():
    torch.manual_seed(1)
    target = torch.einsum("ir,jr,kr->ijk", *(torch.randn(16, 5) for _ in range(3)))
    target = target * (64 / target.norm())
    last = published_run(
        nn.CPFactorization((16, 16, 16), 256),
        target,
        published_entries(target),
        lambda model, end: {"top": model.component_norms().max(), "error": (end - target).norm() / target.norm()},
    )
    assert last["top"] == pytest.approx(0.195136, abs=1e-6)
    assert last["train_loss"] == pytest.approx(1.052159, abs=2e-6)
    assert last["error"] == pytest.approx(0.998368, abs=1e-6)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(("patience", "cooldown", "expected"), [(0, 0, 30), (2, 0, 50), (0, 40, 60), (200, 0, 400)])
def test_a_descent_ends_once_it_gets_no_better(tmp_path, monkeypatch, patience, cooldown, expected, killed):
    """Of errors 5, 4, 4, 4, ... the third is the first that is no better, also if the descent was killed before."""
    rule = {"by": "reconstruction_error", "patience": patience, "cooldown": cooldown}

    def made_up(model, end):
        seen.append(1)
        return {"reconstruction_error": torch.tensor(5.0 if len(seen) == 1 else 4.0, dtype=end.dtype)}

    seen = []
    more = {"epochs": 400, "evaluate_every": 10, "early_stopping": EarlyStopping(**rule)}
    if killed:
        monkeypatch.setenv("TACIT_CHECKPOINT_SECONDS", "0")
        save = checkpoints.save

        def save_and_end(*given, **named):
            save(*given, **named)
            raise checkpoints.Interrupted(143)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "save", save_and_end)
            for _ in range(2):
                with pytest.raises(checkpoints.Interrupted):
                    fit(model_of("matrix"), problem((8, 7)), tmp_path / "c.pt", measure=made_up, **more)
    history = fit(model_of("matrix"), problem((8, 7)), tmp_path / "c.pt", measure=made_up, **more)
    assert history["iterations"][-1] == expected


def test_event_files_hold_what_is_evaluated(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv(events.FOLDER_VARIABLE, str(tmp_path / "events"))
    monkeypatch.setattr(events, "_place", None)
    events.begin("logs/smoke/rank_dynamics/seed~0.log")
    history = fit(model_of("tensor"), problem((4, 5, 3)), tmp_path / "c.pt", epochs=60, evaluate_every=25)
    written = EventAccumulator(str(tmp_path / "events/smoke/rank_dynamics/seed~0")).Reload()
    for name in ("train_mse", "end_norm"):
        found = written.Scalars(f"measured/{name}")
        assert [event.step for event in found] == [25, 50, 60]
        assert [event.value for event in found] == pytest.approx(history[name].tolist(), rel=1e-6)
