"""Trainings that are killed at any moment and started again end in the bytes of an undisturbed one."""

import random
import time
from typing import NamedTuple

import pytest
import yaml
from trainings import SIGNALS, Job, Training, warm_up

from project import CHECKOUT
from tacit import settings

pytestmark = pytest.mark.slow

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
SMOKE = settings.load(CONFIG | {"scale": "smoke"}, CHECKOUT / "config" / "scales")
JOBS = (
    "pathfinder_train",
    "rank_dynamics_train",
    "tensor_completion_train",
    "untied_train",
    "depth_limit_train",
    "depth_cifar_train",
    "factorized_train",
    "compressed_train",
    "translation_train",
)
"""One for each way to be saved: the engine by epochs and by time, with what it keeps, descents on both tasks, and
those that are compiled.

Is Same Class, networks that continue from a CNN, and the string are the same engine put together with other parts.
"""

KEEPING = ("untied_train", "rank_dynamics_train")
"""Those that keep something of their epochs."""


def lengthened(plain, **descent_or_training):
    """The settings of a run with other values in its block on training."""
    block = "training" if "training" in plain else "descent"
    return plain | {block: plain[block] | descent_or_training}


def job_of(script, smoke):
    """A training of a second or two, on data of the smoke scale."""

    def result(pattern):
        (found,) = smoke.files(f"results/{pattern}")
        return str(smoke / found)

    def data(pattern):
        return result(f"data/{pattern}")

    match script:
        case "pathfinder_train":
            arguments = {
                "path_length": 3,
                "coefficient": 1.0,
                "settings": lengthened(SMOKE.pathfinder.run.plain(), epochs=8),
            }
            inputs = [data("pathfinder/*/seed~0/datasets/path_length~3/size~32/*/*.h5")]
        case "rank_dynamics_train":
            experiment = SMOKE.rank_dynamics.experiment("hierarchical")
            plain = experiment.plain() | {"keep": "every evaluation"}
            arguments = {"factorization": "hierarchical", "task": "completion", "settings": plain}
            problem = experiment.problem.identity
            inputs = [data(f"sensing/factorization~hierarchical/problem~{problem}/task~completion.h5")]
        case "tensor_completion_train":
            (grid,) = SMOKE.norms.tensor.grids
            # With ranks that are followed.
            plain = lengthened(SMOKE.norms.tensor.run.plain(), epochs=6000, tolerance=1e-12)
            plain |= {"ranks": plain["ranks"] | {"every": 20}, "keep": "last epoch"}
            arguments = {"num_observations": 40, "init_std": 0.01, "settings": plain}
            inputs = [data(f"sensing/factorization~tensor/problem~{grid.problem.identity}/task~completion.h5")]
        case "untied_train":
            several = {"epochs": 40, "measured": [0, 20, 40]}
            settings = SMOKE.untied.scratch_run("cnn").plain() | several
            arguments = {"network": "cnn", "learning_rate": 0.05, "settings": settings}
            inputs = [data("images/source~digits/size~32.h5")]
        case "depth_limit_train":
            grid = SMOKE.depth_limit.grid
            # With all that changes from step to step: a rate by the variation, a factor, batches.
            variant = grid.variants[0]._asdict() | {"rule": "dynamic_guarded"}
            arguments = {"experiment": "grid", "depth": 2000} | variant
            arguments["settings"] = lengthened(grid.run.plain(), epochs=40, batch_size=40, delta="trained")
            inputs = [data("images/source~mnist_5k/size~28.h5")]
        case "depth_cifar_train":
            # With all that an optimizer, a schedule and the augmentation may hold.
            more = {"epochs": 20, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "cosine", "flips": True}
            arguments = {"depth": 8, "settings": lengthened(SMOKE.depth_cifar.run.plain(), **more)}
            inputs = [data("images/source~digits/size~8.h5")]
        case "factorized_train":
            # With momentum, a decay of products, and norms that are written down step by step.
            axes = next(axes for axes in SMOKE.factorized.runs("normalization") if axes["decay"] == "recorded")
            own = SMOKE.factorized.run(axes)
            plain = lengthened(own.plain(), epochs=20, flips=True, held_out=0.1)
            arguments = axes | {"settings": plain}
            inputs = [data("images/source~digits/size~8.h5")]
        case "compressed_train":
            # With weights that are held at zero, which a resumed run has to choose again.
            axes = next(axes for axes in SMOKE.compressed.runs("compression") if axes["method"] == "grasp")
            own = SMOKE.compressed.run(axes)
            plain = lengthened(own.plain(), epochs=30, flips=True, cutout=3, held_out=0.1)
            arguments = axes | {"settings": plain}
            inputs = [data("images/source~digits/size~8.h5")]
        case "translation_train":
            # With products that decay, an epoch that is cut short, and best weights that are not the last.
            axes = next(axes for axes in SMOKE.translation.runs if axes["decay"] == "all")
            plain = SMOKE.translation.run(axes).plain()
            arguments = axes | {"settings": lengthened(plain, updates=205, momentum=0.9, learning_rate=2.0)}
            inputs = [data("translation/source~numbers/*.h5")]
    plain = arguments.pop("settings")
    return Job(script, tuple(inputs), arguments | {"seed": 0}, plain)


class Undisturbed(NamedTuple):
    """A job, what it writes, and how long it takes, all told."""

    job: Job
    content: bytes
    seconds: float


@pytest.fixture(scope="module", params=JOBS)
def undisturbed(request, smoke, tmp_path_factory):
    job = job_of(request.param, smoke)
    warm_up()
    started = time.monotonic()
    training = Training(job, tmp_path_factory.mktemp(request.param))
    assert training.wait() == 0, training.said
    assert training.files() == ["run.h5", "said.txt"], "no checkpoint is left"
    return Undisturbed(job, training.run.read_bytes(), time.monotonic() - started)


def finish(undisturbed, folder):
    """Start a job again and have it end by itself; the result must be what it would have been."""
    training = Training(undisturbed.job, folder)
    assert training.wait() == 0, training.said
    assert training.run.read_bytes() == undisturbed.content
    assert training.files() == ["run.h5", "said.txt"], "nothing unfinished is left"
    return training


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("trial", range(2))
def test_a_training_killed_at_a_random_moment_ends_in_the_same_bytes(undisturbed, name, trial, tmp_path):
    moments = random.Random(f"{undisturbed.job.script} {name} {trial}")
    training = Training(undisturbed.job, tmp_path)
    time.sleep(undisturbed.seconds * moments.uniform(0.1, 0.95))
    training.send(SIGNALS[name])
    code = training.wait()
    # One that had just ended was not killed.
    assert code in (0, 143, -SIGNALS[name])
    if code != 0 and training.run.exists():
        assert training.run.read_bytes() == undisturbed.content, "what has its final name is whole"
    finish(undisturbed, tmp_path)


@pytest.mark.parametrize("number", [1, 3])
def test_a_training_killed_while_it_writes_a_checkpoint_ends_in_the_same_bytes(undisturbed, number, tmp_path):
    """With half of the first checkpoint written, or of one that is to replace another."""
    training = Training(undisturbed.job, tmp_path, dies_writing_checkpoint=number)
    assert training.wait() == -SIGNALS["SIGKILL"]
    assert not training.run.exists()
    (part,) = training.checkpoint.parent.glob(".*.part")
    assert part.stat().st_size > 0
    assert training.checkpoint.exists() == (number > 1), "the one before is still there"
    finish(undisturbed, tmp_path)


@pytest.mark.parametrize("number", [2, 3, 100, 502])
def test_a_training_killed_while_it_keeps_an_epoch_ends_in_the_same_bytes(undisturbed, number, tmp_path):
    """In the first state or a later one, whose beginning then lies behind what the checkpoint names."""
    if undisturbed.job.script not in KEEPING:
        pytest.skip("keeps nothing of its epochs")
    training = Training(undisturbed.job, tmp_path, dies_keeping=number)
    assert training.wait() == -SIGNALS["SIGKILL"]
    assert not training.run.exists()
    resumed = finish(undisturbed, tmp_path)
    assert ("resuming" in resumed.said) == (number > 24)


@pytest.mark.parametrize("damage", ["missing", "shorter", "a flipped bit"])
def test_what_was_kept_of_epochs_is_proven_before_a_training_goes_on(undisturbed, damage, tmp_path):
    if undisturbed.job.script not in KEEPING:
        pytest.skip("keeps nothing of its epochs")
    training = Training(undisturbed.job, tmp_path, dies_keeping=502)
    assert training.wait() == -SIGNALS["SIGKILL"]
    kept = tmp_path / "checkpoints/run.pt.kept"
    content = bytearray(kept.read_bytes())
    if damage == "missing":
        kept.unlink()
    else:
        content[1000] ^= 1
        kept.write_bytes(content[:1000] if damage == "shorter" else content)
    training = Training(undisturbed.job, tmp_path)
    assert training.wait() == 0, training.said
    assert training.run.read_bytes() == undisturbed.content
    assert "starting from the beginning" in training.said
    assert (tmp_path / "checkpoints/run.pt.damaged-1").exists(), "set aside"


def test_a_training_asked_to_end_says_so_and_goes_on(undisturbed, tmp_path):
    training = Training(undisturbed.job, tmp_path)
    assert training.wait_for(training.checkpoint.exists)
    training.send(SIGNALS["SIGTERM"])
    assert training.wait() == 143
    assert "asked to end; saved after" in training.said
    assert "resuming" in finish(undisturbed, tmp_path).said


def test_a_training_killed_again_and_again_gets_there(undisturbed, tmp_path):
    for seconds in (0.1, 0.2, 0.3):
        training = Training(undisturbed.job, tmp_path)
        if training.wait_for(training.checkpoint.exists):
            time.sleep(seconds)
            if training.alive:
                training.send(SIGNALS["SIGKILL"])
        training.wait()
    finish(undisturbed, tmp_path)


def shorter(job):
    """The same training, of about half as many epochs or updates."""
    plain = job.settings
    match job.script:
        case "untied_train":
            return job._replace(settings=plain | {"epochs": 20, "measured": [0, 20]})
        case "translation_train":
            return job._replace(settings=lengthened(plain, updates=100))
        case _:
            (block,) = {"training", "descent"} & set(plain)
            epochs = plain[block]["epochs"]
            # Where an evaluation is due in any case.
            every = plain[block].get("evaluate_every", 1)
            return job._replace(settings=lengthened(plain, epochs=epochs // 2 // every * every))


NOT_CONTINUED = {
    "depth_cifar_train": "schedule: cosine",
    "factorized_train": "milestones",
    "compressed_train": "milestones",
    "translation_train": "it ended in mid-epoch",
}


def test_a_longer_training_ends_in_the_same_bytes_though_it_is_killed_as_it_goes_on(undisturbed, tmp_path):
    """From the end that a shorter one kept, or, with the reason in the log, from the beginning."""
    first = Training(shorter(undisturbed.job), tmp_path, extendable=True)
    assert first.wait() == 0, first.said
    end = tmp_path / "checkpoints" / "run.pt.end"
    assert end.exists() and not first.checkpoint.exists()
    first.run.unlink()
    killed = Training(undisturbed.job, tmp_path, extendable=True)
    if killed.wait_for(killed.checkpoint.exists):
        killed.send(SIGNALS["SIGKILL"])
    assert killed.wait() in (0, -SIGNALS["SIGKILL"])
    last = Training(undisturbed.job, tmp_path, extendable=True)
    assert last.wait() == 0, last.said
    assert last.run.read_bytes() == undisturbed.content
    why = NOT_CONTINUED.get(undisturbed.job.script)
    assert (why or "going on from the end of a shorter training") in last.said
