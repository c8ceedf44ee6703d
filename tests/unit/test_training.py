import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import peak
from tacit import checkpoints, processors, streams, versions
from tacit.errors import DivergenceError
from tacit.files import StoreError
from tacit.nn import layout, resnets
from tacit.optim.long_range import draw_distant_patches
from tacit.settings.networks import LongRangeRegularizer, Network, Training
from tacit.studies import locality
from tacit.training import engine, networks, objectives, precision
from tacit.training.images import LabelledImages

TRAINING = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "batch_size": 16,
    "epochs": 4,
    "perfect_epochs": 20,
    "precision": "float32",
    "channels_last": True,
    "compile": False,
}
SETTINGS = {"name": "a test"}


def task(num_train=72, num_test=40, size=16):
    """Two classes told apart by which half is bright, in part of the images."""
    random = np.random.default_rng(0)
    images = random.integers(0, 120, (num_train + num_test, size, size), dtype=np.uint8)
    labels = random.integers(0, 2, num_train + num_test, dtype=np.uint8)
    images[labels == 1, :, : size // 2] += 60
    cpu = torch.device("cpu")
    statistics = {"mean": [images[:num_train].mean() / 255], "std": [images[:num_train].std() / 255]}
    return (
        LabelledImages.on(cpu, images[:num_train], labels[:num_train], **statistics),
        LabelledImages.on(cpu, images[num_train:], labels[num_train:], **statistics),
    )


def fit(checkpoint, *, coefficient=0.0, seed=0, build=None, data=None, settings=SETTINGS, dropout=0.0, **changes):
    patches = LongRangeRegularizer(patch_size=2, distance=0)
    return networks.fit(
        build or partial(resnets.build, Network(name="resnet8", width=4, dropout=dropout), in_channels=1),
        *(data or task()),
        Training(**TRAINING | changes),
        objectives.LongRangeBinaryCrossEntropy(
            coefficient=coefficient,
            sample_patches=lambda generator: draw_distant_patches(patches, height=16, width=16, generator=generator),
            stream=("test", seed),
        ),
        checkpoint=checkpoint,
        settings=settings,
    )


def test_the_rate_falls_to_zero_along_a_cosine(tmp_path):
    """As written down at the last step of each epoch; the last step is all but none."""
    run = fit(fresh(tmp_path), schedule="cosine", epochs=5)
    steps = -(-len(task()[0].labels) // TRAINING["batch_size"])
    times = np.arange(1, 6) - 1 / steps
    np.testing.assert_allclose(run["learning_rate"], 0.05 * (1 + np.cos(np.pi * times / 5)) / 2, rtol=1e-12)
    assert run["learning_rate"][-1] < 0.005


def test_which_images_were_answered_rightly_is_what_the_accuracy_says(tmp_path):
    run = fit(fresh(tmp_path))
    assert run["test_correct"].dtype == np.uint8
    assert set(run["test_correct"]) <= {0, 1}
    assert run["test_correct"].mean() == run["test_accuracy"][-1]


def fresh(folder):
    """A checkpoint that no other training knows."""
    return folder / f"{next(_numbers)}.pt"


_numbers = itertools.count()


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def assert_same(first, second):
    assert list(first) == list(second) == [*networks.METRICS, "test_correct"]
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_run_is_a_function_of_its_seed(tmp_path):
    first = fit(fresh(tmp_path))
    torch.rand(3)
    assert_same(first, fit(fresh(tmp_path)))
    assert not np.array_equal(first["train_loss"], fit(fresh(tmp_path), seed=1)["train_loss"])
    assert {len(first[name]) for name in networks.METRICS} == {4}
    assert (first["learning_rate"] == 0.05).all()
    assert (first["regularization"] == 0).all()


def test_it_learns_and_the_figures_are_those_of_a_plain_loop(tmp_path):
    """The same training written out in the plainest way, with a data loader's arithmetic."""
    train, test = task()
    ours = fit(fresh(tmp_path), channels_last=False)
    torch.manual_seed(streams.torch_seed("test", 0, "init"))
    model = resnets.build(Network(name="resnet8", width=4), in_channels=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    normal = [(part.images.pixels - part.images.mean).permute(0, 3, 1, 2) / part.images.std for part in (train, test)]
    # One channel has the strides of either order, and a network this narrow must not run with channels last.
    normal = [layout.arranged(images, torch.contiguous_format) for images in normal]
    for epoch in range(4):
        order = streams.numpy_generator("test", 0, "order", epoch).permutation(72)
        losses, correct = [], 0
        model.train()
        for first in range(0, 72, 16):
            batch = torch.from_numpy(order[first : first + 16])
            logits = model(normal[0][batch])
            loss = nn.functional.binary_cross_entropy_with_logits(logits, train.labels[batch].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += [loss.item()] * len(batch)
            correct += ((torch.sigmoid(logits) > 0.5) == (train.labels[batch] == 1)).sum().item()
        model.eval()
        with torch.no_grad():
            logits = model(normal[1])
        assert ours["train_loss"][epoch] == pytest.approx(np.mean(losses), rel=1e-4)
        assert ours["train_accuracy"][epoch] == pytest.approx(correct / 72, abs=1 / 72 + 1e-9)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, test.labels.float()).item()
        assert ours["test_loss"][epoch] == pytest.approx(loss, rel=1e-3)
        accuracy = ((logits > 0) == (test.labels == 1)).double().mean().item()
        assert ours["test_accuracy"][epoch] == pytest.approx(accuracy, abs=1 / 40 + 1e-9)
    assert ours["train_loss"][-1] < ours["train_loss"][0]


def test_coefficient_zero_is_plain_training_and_another_is_not(tmp_path):
    plain, same, regularized = (fit(fresh(tmp_path), coefficient=c) for c in (0.0, 0.0, 2.0))
    assert_same(plain, same)
    assert (regularized["regularization"] > 0).all()
    assert (regularized["regularization"] <= 1).all()
    assert not np.array_equal(plain["train_loss"], regularized["train_loss"])


def test_the_first_batch_is_the_same_for_every_coefficient(tmp_path):
    """Initialisation and order are paired: with one batch an epoch, the first train loss agrees."""
    data = task(num_train=16)
    first = [fit(fresh(tmp_path), coefficient=c, data=data, epochs=1)["train_loss"][0] for c in (0.0, 5.0)]
    assert first[0] == pytest.approx(first[1], rel=1e-6)


class Constant(nn.Module):
    """Answers by the mean brightness of the left half; perfect from the start, whatever it learns."""

    def __init__(self, offset=0.0):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = offset

    def forward(self, x):
        return self.scale * 50 * (x[:, 0, :, :8].mean((1, 2)) - x[:, 0, :, 8:].mean((1, 2)) - 0.45) + self.offset


def test_training_stops_at_the_first_perfect_epoch_past_the_patience(tmp_path):
    run = fit(fresh(tmp_path), build=Constant, epochs=60, perfect_epochs=20, learning_rate=1e-9)
    assert (run["train_accuracy"] == 1).all()
    assert len(run["train_accuracy"]) == 21


def test_divergence_is_named_with_its_step(tmp_path):
    with pytest.raises(DivergenceError, match=r"step \d+ \(epoch \d+\).*coefficient 0.*reduce learning_rate"):
        fit(fresh(tmp_path), build=partial(Constant, float("nan")))


@pytest.mark.parametrize("coefficient", [0.0, 1.0])
def test_a_single_step_far_too_long_is_divergence_though_its_loss_is_finite(tmp_path, coefficient):
    """An accuracy of about one half would look like chance."""
    data = task(num_train=16)
    with pytest.raises(
        DivergenceError, match=r"is not finite after epoch 1 \(1 steps\), with coefficient .*'test', 0.*\(now 1e\+30\)"
    ):
        fit(fresh(tmp_path), data=data, epochs=1, learning_rate=1e30, coefficient=coefficient)


def test_on_a_gpu_products_are_reproducible_and_shortened_only_if_asked(monkeypatch):
    gpu, modules = torch.device("cuda"), (torch.backends.cuda.matmul, torch.backends.cudnn)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(processors, "_used", [])
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    former = [module.allow_tf32 for module in modules]
    try:
        precision.use("float32", torch.device("cpu"))
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        for name, allowed in (("tf32", True), ("float32", False), ("bfloat16", False)):
            precision.use(name, gpu)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            assert [module.allow_tf32 for module in modules] == [allowed, allowed]
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        precision.use("float32", gpu)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8", "one that a user chose stays"
    finally:
        for module, allowed in zip(modules, former, strict=True):
            module.allow_tf32 = allowed


class Overflowing(Constant):
    """Ends with a statistic of infinite size, by which nothing is divided but to give a finite answer: chance."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_var", torch.ones(()))

    def forward(self, x):
        if self.training:
            self.running_var.fill_(float("inf"))
        return super().forward(x) / self.running_var.sqrt() if not self.training else super().forward(x)


def test_a_network_that_is_not_finite_is_divergence_though_all_metrics_are(tmp_path):
    with pytest.raises(DivergenceError, match="running var is not finite after epoch 1"):
        fit(fresh(tmp_path), build=Overflowing, epochs=2, learning_rate=1e-9)


def test_what_a_network_computes_in_double_precision_stays_so(tmp_path, monkeypatch):
    """A loss of single precision would differ by 1e-8 and more."""
    seen = []
    loss = objectives.binary_cross_entropy_with_logits

    def noted(logits, labels, **named):
        seen.append((logits.dtype, labels.dtype))
        return loss(logits, labels, **named)

    monkeypatch.setattr(objectives, "binary_cross_entropy_with_logits", noted)
    run = fit(fresh(tmp_path), build=lambda: Constant().double(), epochs=1, learning_rate=1e-30)
    assert set(seen) == {(torch.float64, torch.float64)}
    model, (train, _) = Constant().double(), task()
    images = train.batch(torch.arange(72), torch.contiguous_format)
    expected = loss(model(images.double()), train.labels.double()).item()
    assert run["train_loss"][0] == pytest.approx(expected, rel=1e-13)
    seen.clear()
    fit(fresh(tmp_path), build=Constant, epochs=1, precision="bfloat16")
    assert set(seen) == {(torch.float32, torch.float32)}


@pytest.mark.parametrize("coefficient", [0.0, 1.0])
def test_a_training_interrupted_anywhere_goes_on_to_the_same_numbers(tmp_path, monkeypatch, coefficient):
    """Interrupted in mid-epoch, at several places one after another, with dropout."""
    arguments = {"coefficient": coefficient, "dropout": 0.3}
    expected = fit(tmp_path / "whole.pt", **arguments)
    path = tmp_path / "broken.pt"
    take = engine.Minimize.take
    for stop_after in (3, 1, 7):
        steps = iter(range(1, 100))

        def interrupted(self, *batch, stop_after=stop_after, steps=steps):
            row = take(self, *batch)
            if next(steps) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            return row

        monkeypatch.setattr(engine.Minimize, "take", interrupted)
        with pytest.raises(checkpoints.Interrupted):
            fit(path, **arguments)
        assert path.exists()
        torch.rand(5)
    monkeypatch.setattr(engine.Minimize, "take", take)
    assert_same(fit(path, **arguments), expected)


def test_a_killed_training_resumes_from_its_last_checkpoint(tmp_path, monkeypatch):
    expected = fit(tmp_path / "whole.pt")
    saved = checkpoints.save

    def save_and_die(path, state, *, settings):
        saved(path, state, settings=settings)
        if state["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "save", save_and_die)
    path = fresh(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(path)
    monkeypatch.setattr(checkpoints, "save", saved)
    assert_same(fit(path), expected)


CPU = torch.device("cpu")
STATE = {"epoch": 3, "weights": torch.arange(1000.0), "history": [0.5, 0.25]}


def load(path, settings=SETTINGS):
    return checkpoints.load(path, settings=settings, device=CPU)


def test_a_checkpoint_comes_back(tmp_path):
    checkpoints.save(tmp_path / "c.pt", STATE, settings=SETTINGS)
    back = load(tmp_path / "c.pt")
    assert torch.equal(back.pop("weights"), STATE["weights"])
    assert back == {"epoch": 3, "history": [0.5, 0.25]}
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_a_run_says_on_what_it_was_computed_before_and_after_a_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    monkeypatch.setattr(processors, "_used", [])
    processors.note("one kind")
    checkpoints.save(path, {"epoch": 1}, settings={})
    monkeypatch.setattr(processors, "_used", [])
    processors.note("another kind")
    assert checkpoints.load(path, settings={}, device=torch.device("cpu")) == {"epoch": 1}
    assert versions.of_libraries()["computed_on"] == "one kind, then another kind"


def test_a_flipped_bit_anywhere_in_a_checkpoint_is_noticed(tmp_path, caplog):
    path, places = tmp_path / "c.pt", random.Random(0)
    checkpoints.save(path, STATE, settings=SETTINGS)
    content = path.read_bytes()
    for place in [*range(0, 130, 9), *(places.randrange(len(content)) for _ in range(100))]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << places.randrange(8)
        path.write_bytes(damaged)
        with caplog.at_level("WARNING", logger="tacit"):
            caplog.clear()
            assert load(path) is None
        assert "starting from the beginning" in caplog.text and "refused" in caplog.text
        assert (tmp_path / "c.pt.damaged-1").read_bytes() == damaged, "set aside as it was"
        assert not path.exists()
        (tmp_path / "c.pt.damaged-1").unlink()


@pytest.mark.parametrize("damage", ["truncated", "longer", "empty", "text", "older", "pickle"])
def test_what_is_no_checkpoint_is_set_aside(tmp_path, damage, caplog):
    path = tmp_path / "c.pt"
    checkpoints.save(path, STATE, settings=SETTINGS)
    content = path.read_bytes()
    marker = tmp_path / "executed"
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "longer":
            path.write_bytes(content + b"x")
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("hello")
        case "older":
            torch.save({"format": 1, "settings": json.dumps(SETTINGS), "state": {}}, path)
        case "pickle":
            path.write_bytes(f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode())
    before = path.read_bytes()
    with caplog.at_level("WARNING", logger="tacit"):
        assert load(path) is None
    assert "refused" in caplog.text
    assert (tmp_path / "c.pt.damaged-1").read_bytes() == before
    assert not marker.exists()


def test_damaged_checkpoints_are_kept_and_a_fourth_says_to_look_at_the_machine(tmp_path):
    path = tmp_path / "c.pt"
    for number in range(1, 4):
        path.write_text(f"damage {number}")
        assert load(path) is None
    path.write_text("damage 4")
    with pytest.raises(StoreError, match="as 3 of this run were before; see to the disk and the memory"):
        load(path)
    assert path.read_text() == "damage 4"
    assert [(tmp_path / f"c.pt.damaged-{number}").read_text() for number in (1, 2, 3)] == [
        "damage 1", "damage 2", "damage 3",
    ]  # fmt: skip


def test_a_checkpoint_of_other_settings_waits_until_they_come_back(tmp_path, caplog):
    path = tmp_path / "c.pt"
    first = {"name": "a test", "training": {"epochs": 3, "rate": 0.1}}
    other = {"name": "a test", "training": {"epochs": 4, "rate": 0.1}}
    checkpoints.save(path, {"epoch": 1}, settings=first)
    with caplog.at_level("WARNING", logger="tacit"):
        assert load(path, other) is None
    assert "it belongs to other settings (training.epochs)" in caplog.text
    checkpoints.save(path, {"epoch": 2}, settings=other)
    assert load(path, first) == {"epoch": 1}
    assert load(path, other) == {"epoch": 2}
    for name in range(6):
        settings = {"name": name}
        assert load(path, settings) is None
        checkpoints.save(path, {"epoch": name}, settings=settings)
    assert len(list(tmp_path.iterdir())) == 1 + checkpoints.MOST_SUPERSEDED
    assert load(path, {"name": 4}) == {"epoch": 4}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission denied"),
        (errno.ENOMEM, "not enough memory"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EIO, "dmesg"),
    ],
)
@pytest.mark.parametrize("call", ["open", "preadv", "stat"])
def test_a_checkpoint_that_cannot_be_read_now_stays(tmp_path, monkeypatch, number, words, call):
    path = tmp_path / "c.pt"
    checkpoints.save(path, STATE, settings=SETTINGS)
    before = path.read_bytes()

    def fails(*arguments, **named):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        with pytest.raises(StoreError, match=rf"c\.pt: could not be read now: .*{words}"):
            load(path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["c.pt"]


def test_a_checkpoint_for_which_memory_is_missing_stays(tmp_path, monkeypatch):
    """Torch says so in a RuntimeError, which once was taken for damage."""
    path = tmp_path / "c.pt"
    checkpoints.save(path, STATE, settings=SETTINGS)

    def no_memory(*arguments, **named):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", no_memory)
        with pytest.raises(StoreError, match=r"whole, but torch cannot load it now .*can't allocate memory.*mem_mb"):
            load(path)
    assert load(path)["epoch"] == 3


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    checkpoints.save(path, STATE, settings=SETTINGS)
    pwrite, written = os.pwrite, []

    def full(descriptor, content, place):
        written.append(len(content))
        if sum(written) > 2000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content, place)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match=r"c\.pt: no space left on the disk"):
            checkpoints.save(path, STATE | {"epoch": 4}, settings=SETTINGS)
    assert load(path)["epoch"] == 3
    assert [found.name for found in tmp_path.iterdir()] == ["c.pt"]


def test_a_checkpoint_that_cannot_be_deleted_fails_nothing(tmp_path, monkeypatch, caplog):
    path = tmp_path / "c.pt"
    checkpoints.save(path, STATE, settings=SETTINGS)

    def fails(*arguments, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched, caplog.at_level("WARNING", logger="tacit"):
        patched.setattr(os, "unlink", fails)
        patched.setattr(type(path), "unlink", fails)
        checkpoints.discard(path)
    assert "c.pt is of no more use, but could not be deleted" in caplog.text
    checkpoints.discard(path)
    assert list(tmp_path.iterdir()) == []


SAVING = """
import sys
import peak
import torch
from tacit import checkpoints
state = {"weights": torch.rand(25_000_000)}
checkpoints.save(sys.argv[1], {"weights": torch.rand(10)}, settings={})
before = peak.megabytes()
checkpoints.save(sys.argv[1], state, settings={})
print(peak.megabytes() - before)
"""


def test_a_state_of_100_mb_is_saved_without_copies_of_it(tmp_path):
    assert peak.printed_by(SAVING, tmp_path / "c.pt") < 30


def test_no_checkpoint_is_no_checkpoint(tmp_path):
    assert checkpoints.load(tmp_path / "none.pt", settings=SETTINGS, device=torch.device("cpu")) is None


def test_termination_restores_the_handlers():
    before = signal.getsignal(signal.SIGTERM)
    with checkpoints.Termination() as termination:
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.requested
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [("resnet18", 1, 11_170_753), ("resnet18", 3, 11_177_025)],
)
def test_networks_have_the_published_size(name, channels, parameters):
    model = resnets.build(Network(name=name), in_channels=channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model[0].conv1.kernel_size == (7, 7)
    assert model[0].conv1.stride == (2, 2)
    assert isinstance(model[0].maxpool, nn.MaxPool2d)
    assert model(torch.zeros(2, channels, 64, 64)).shape == (2,)


def test_feature_maps_have_the_published_size():
    model = resnets.build(Network(name="resnet18"), in_channels=1)[0].eval()
    sizes = []
    model.layer4.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape[-2:]))
    with torch.no_grad():
        for side in (150, 224):
            model(torch.zeros(1, 1, side, side))
    assert sizes == [(5, 5), (7, 7)]


def test_the_stem_for_one_channel_has_the_default_initialisation():
    """Uniform in +-1/7, standard deviation 0.083, unlike the other convolutions."""
    torch.manual_seed(0)
    weight = resnets.build(Network(name="resnet18"), in_channels=1)[0].conv1.weight
    assert weight.abs().max() <= 1 / 7
    assert weight.std().item() == pytest.approx(1 / 7 / np.sqrt(3), rel=0.05)


@pytest.mark.parametrize("name", ["resnet18", "resnet14"])
def test_dropout_follows_every_stage_but_the_last(name):
    dropout = resnets.build(Network(name=name, width=64, dropout=0.2), in_channels=1)
    layers = [module for module in dropout.modules() if isinstance(module, nn.Dropout)]
    assert len(layers) == (3 if name == "resnet18" else 2)
    assert all(layer.p == 0.2 for layer in layers)
    assert not any(isinstance(m, nn.Dropout) for m in resnets.build(Network(name=name), in_channels=1).modules())


@pytest.mark.parametrize("name", ["resnet8", "resnet14", "resnet20"])
def test_cifar_layouts_have_as_many_layers_as_they_say(name):
    model = resnets.build(Network(name=name, width=16), in_channels=1)
    main_path = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(main_path) + 1 == int(name.removeprefix("resnet"))


def test_bfloat16_and_adam_train_with_the_regularizer(tmp_path):
    adam = {"optimizer": "adam", "momentum": 0, "learning_rate": 0.003}
    run = fit(fresh(tmp_path), coefficient=1.0, precision="bfloat16", **adam, epochs=2)
    assert np.isfinite(run["train_loss"]).all()
    assert (run["regularization"] > 0).all()


def test_the_library_imports_no_torch_where_none_is_needed():
    """Planning, rendering, collecting and drawing must not wait for torch."""
    code = (
        "import sys; import tacit.settings, tacit.fingerprints, tacit.store, tacit.studies.pathfinder,"
        "tacit.figures.pathfinder, tacit.devices; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_what_a_run_file_declares_is_what_is_recorded():
    assert tuple(locality.METRICS) == networks.METRICS
