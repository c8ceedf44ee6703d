"""The study on untied weights: measures, schedules, stages, tables, claims, figures."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy

from tacit import events, provenance, store
from tacit.analysis import interpolation, layer_norms, margins, normalized_norms
from tacit.data.images import ImageSet
from tacit.errors import DivergenceError
from tacit.figures import untied as figure
from tacit.nn import convnets, untying
from tacit.settings import load
from tacit.settings.base import SettingsError
from tacit.settings.convnets import Architecture
from tacit.settings.images import Images
from tacit.settings.untied import (
    PATHS,
    InterpolationSettings,
    RunSettings,
    Sgd,
    Shown,
    Solution,
    String,
    UntiedSettings,
    log_spaced,
)
from tacit.studies import kept as kept_runs
from tacit.studies import untied, untied_claims, untied_results
from tacit.studies.tables import MissingRunsError
from tacit.training import evaluation
from tacit.training.images import images_on

CONFIG = Path(__file__).parents[2] / "config"
IMAGES = Images(source="digits", size=32, num_train=24, num_test=12)
ARCHITECTURE = Architecture(name="skinny", width=2)
SHOWN = Shown(cnn_learning_rate=0.1, learning_rate=0.01, splits=(1, 3), margin="legacy", margin_of="test")


def images():
    """Ten patches of a brightness and a place of their own, with noise."""
    random = np.random.default_rng(0)
    labels = np.arange(36) % 10
    pixels = random.integers(0, 60, (36, 1, 32, 32), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[0, 3 * (label % 5) : 3 * (label % 5) + 12, 4 * (label // 5) : 4 * (label // 5) + 14] += 150
    return ImageSet(pixels[:24], labels[:24], pixels[24:], labels[24:])


def settings(epochs=3, measured=(0, 1, 3), keep="every epoch", architecture=ARCHITECTURE):
    return RunSettings(
        images=IMAGES,
        architecture=architecture,
        sgd=Sgd(batch_size=6, order="fixed"),
        epochs=epochs,
        measured=measured,
        keep=keep,
    )


def random_network(kind, width=3):
    """A network of a kind, with weights and biases of no structure."""
    torch.manual_seed(4)
    cnn = convnets.build(Architecture(name="skinny", width=width), side=32, in_channels=1, classes=4)
    network = {
        "cnn": lambda: cnn,
        "lcn": lambda: untying.to_local(cnn, side=32),
        "fcn": lambda: untying.to_dense(cnn, side=32),
    }[kind]()
    for tensor in network.state_dict().values():
        nn.init.normal_(tensor)
    return network.double(), untying.layers(cnn, side=32)


# Schedules.


@pytest.mark.parametrize(
    ("epochs", "number", "expected"),
    [
        (150, 10, "1 3 5 9 16 28 49 85 150"),
        (150, 20, "1 2 3 4 6 8 10 13 18 23 30 40 52 67 88 115 150"),
        (100, 20, "1 2 3 4 5 6 8 11 14 18 23 29 37 48 61 78 100"),
        (100, 10, "1 2 4 7 12 21 35 59 100"),
        (20, 5, "1 2 4 9 20"),
        (10, 5, "1 3 5 10"),
        (1, 7, "1"),
        (9, 1, "1"),
        (2, 2, "1 2"),
    ],
)
def test_published_splits(epochs, number, expected):
    assert log_spaced(epochs, number) == tuple(map(int, expected.split()))


@pytest.mark.parametrize("epochs", [30, 50, 200, 1000])
def test_the_last_epoch_is_never_missed(epochs):
    """As that of the original is for 30 and 50, by a rounding error."""
    assert log_spaced(epochs, 7)[-1] == epochs


CNN_EPOCHS = """0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 23 24 25 26 28 29 31 32 34 36 38 40 42 44 46 49
    51 54 57 60 63 66 70 73 77 81 85 90 95 100 105 110 116 122 128 135 142 150"""


def published():
    """All settings at paper scale."""
    config = yaml.safe_load((CONFIG / "config.yaml").read_text())
    return load(config | {"scale": "paper"}, CONFIG / "scales").untied


def test_published_checkpoints():
    paper = published()
    assert paper.scratch.measured == tuple(map(int, CNN_EPOCHS.split()))
    assert paper.continued.measured == (0, 1, 2, 3, 4, 6, 8, 10, 13, 18, 23, 30, 40, 52, 67, 88, 115, 150)
    assert len(paper.scratch.measured) == 60


@pytest.mark.parametrize(("epochs", "number"), [(150, 20), (100, 100), (20, 20), (1, 1), (7, 7), (30, 15)])
def test_first_and_last_epoch_are_always_measured(epochs, number):
    """As the last is not in the original if n = E, nor for 30 epochs, by a rounding error."""
    plain = published().plain()
    for phase in ("scratch", "continued"):
        plain[phase] |= {"epochs": epochs, "measurements": number}
    plain["continued"]["splits"] = {"lcn": number, "cnn": [0], "fcn": []}
    plain["shown"]["splits"] = [1]
    plain["interpolation"]["pairs"] = [["cnn", "lcn"]]
    changed = UntiedSettings.from_plain(plain)
    for run in (changed.scratch_run("cnn"), changed.scratch_run("fcn"), changed.continued_run):
        assert run.measured[0] == 0 and run.measured[-1] == run.epochs == epochs
    assert set(changed.splits("lcn")) <= set(range(epochs + 1))


def test_the_grid_of_as_many_splits_and_measurements_as_epochs():
    """The original rounds log-spaced splits to fewer, and measures each epoch but the last."""
    plain = published().plain()
    plain["scratch"] |= {"epochs": 100, "measurements": "every epoch"}
    plain["continued"]["splits"] = {"lcn": 100, "cnn": "every epoch", "fcn": []}
    plain["shown"]["splits"] = [1, 4]
    plain["interpolation"]["pairs"] = [["cnn", "lcn"]]
    study = UntiedSettings.from_plain(plain)
    assert study.scratch_run("cnn").measured == tuple(range(101))
    rounded = {int(split) for split in np.logspace(0, 2, 100) + 1e-9}
    assert study.splits("lcn") == tuple(sorted(rounded)) and len(rounded) < 70
    assert study.splits("cnn") == tuple(range(1, 101))
    plain["continued"]["splits"]["cnn"] = "each epoch"
    with pytest.raises(SettingsError, match=r"continued\.splits\.cnn"):
        UntiedSettings.from_plain(plain)


def test_splits_are_no_matter_of_the_cnn():
    """It keeps every epoch, those too that the original has not saved: 30, 52, 67, 88, 115 of 150 and 20 splits."""
    plain = published().plain()
    plain["continued"]["splits"]["lcn"] = 20
    plain["shown"]["splits"] = [30, 52]
    plain["interpolation"]["pairs"] = [["cnn", "lcn-115"]]
    changed = UntiedSettings.from_plain(plain)
    assert changed.scratch_run("cnn") == published().scratch_run("cnn")
    assert changed.scratch_run("cnn").keep == "every epoch"
    assert {changed.scratch_run("lcn").keep, changed.continued_run.keep} == {"last epoch"}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("images", "size"), 16, "images of 16 px are too small for skinny"),
        (("continued", "splits", "lcn"), [151], "continued.splits.lcn: 151 is after the last epoch, 150"),
        (("shown", "learning_rate"), 0.02, "shown.learning_rate: 0.02 is not trained; there are 0.01, 0.005"),
        (("shown", "splits"), [2], "shown.splits: 2 is not trained"),
        (("interpolation", "pairs"), [["cnn", "lcn-2"]], "interpolation.pairs: lcn-2 is not trained; there are cnn, "),
        (("interpolation", "pairs"), [["cnn", "cnn"]], "cnn is paired with itself"),
        (("interpolation", "pairs"), [["cnn", "mlp"]], "pattern"),
        (("interpolation", "pairs"), [["cnn@151", "lcn"]], "cnn@151: cnn ends with epoch 150"),
        (("interpolation", "pairs"), [["cnn@150", "lcn"]], "cnn@150: this is its last epoch; write cnn"),
        (
            ("interpolation", "pairs"),
            [["cnn@9", "lcn-9@3"]],
            "lcn-9@3: only its last epoch is kept; set continued: {keep: every epoch} to keep all",
        ),
        (("continued", "keep"), "no epoch", "continued.keep"),
        (("scratch", "networks"), ["lcn"], "networks must have cnn"),
        (("interpolation", "pairs"), [], "at least 1 item"),
        (("shown", "splits"), [0], "greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_hang_together_are_refused(path, value, message):
    plain = published().plain()
    block = plain
    for name in path[:-1]:
        block = block[name]
    block[path[-1]] = value
    with pytest.raises(SettingsError, match=message.replace("(", r"\(")):
        UntiedSettings.from_plain(plain)


# Measures.


def test_margins():
    """Label 0 of (3, 1, 2, -5): 1, but 2 by the second smallest; label 2: -1 in both."""
    found = margins.margins(torch.tensor([[3.0, 1, 2, -5], [3, 1, 2, -5]]), torch.tensor([0, 2]))
    assert found["top2"].tolist() == [1, -1]
    assert found["legacy"].tolist() == [2, -1]


def test_performance_is_over_all_samples():
    torch.manual_seed(0)
    logits, labels = torch.randn(50, 6), torch.randint(0, 6, (50,))
    found = margins.performance(logits, labels)
    assert found["loss"] == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-6)
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    worst = logits.double().clone()
    worst[torch.arange(50), labels] = -np.inf
    expected = (logits.double()[torch.arange(50), labels] - worst.max(1).values).mean()
    assert found["margin_top2"] == pytest.approx(expected.item())


def test_norms_and_distances_of_a_local_network_by_loops():
    network, layers = random_network("lcn")
    start, _ = random_network("lcn")
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter)
    found = layer_norms.layer_measures(network, start, layers)
    for number, layer in enumerate(layers):
        weight = untying.weighted(network)[number].all_filters()[0]
        first = untying.weighted(start)[number].all_filters()[0]
        live = layer.live.repeat_interleave(layer.in_channels, 1)
        assert found["squared_norms"][number] == pytest.approx(weight.square().sum().item())
        assert found["squared_norms_live"][number] == pytest.approx(weight[live].square().sum().item())
        mean = weight.mean(0)
        off = (weight - mean).square().sum()
        assert found["deviations"][number] == pytest.approx((off / weight.square().sum()).item())
        # Pythagoras: |V|^2 = P |mean|^2 + sum of squared distances from it.
        assert weight.square().sum().item() == pytest.approx((layer.positions * mean.square().sum() + off).item())
        off = total = 0.0
        for tap in range(weight.shape[1]):
            values = weight[live[:, tap], tap]
            off += (values - values.mean(0)).square().sum().item()
            total += values.square().sum().item()
        assert found["deviations_live"][number] == pytest.approx(off / total)
        assert found["distances"][number] == pytest.approx(((weight - first).norm() / first.norm()).item())
    assert found["off_local"].tolist() == [0, 0, 0]
    head = network[-1].weight.detach()
    assert found["squared_norms"][3] == found["squared_norms_live"][3] == pytest.approx(head.square().sum().item())


def test_norms_of_a_cnn_are_those_of_its_untied_copies():
    cnn, layers = random_network("cnn")
    moved, _ = random_network("cnn")
    for parameter in moved.parameters():
        parameter.data *= 1.1
    tied = layer_norms.layer_measures(moved, cnn, layers)
    for kind in (untying.to_local, untying.to_dense):
        other = layer_norms.layer_measures(kind(moved, side=32), kind(cnn, side=32), layers)
        for name in ("squared_norms", "squared_norms_live", "distances"):
            np.testing.assert_allclose(other[name], tied[name], rtol=1e-12)
        for name in ("deviations", "deviations_live", "off_local"):
            assert other[name].tolist() == [0, 0, 0], name
    assert tied["distances"] == pytest.approx([0.1] * 4)
    expected = [
        layer.positions * untying.weighted(moved)[i].weight.square().sum().item() for i, layer in enumerate(layers)
    ]
    assert tied["squared_norms"][:3] == pytest.approx(expected)


def test_norms_of_a_dense_network_by_its_mask():
    network, layers = random_network("fcn", width=2)
    found = layer_norms.layer_measures(network, network, layers)
    for number, layer in enumerate(layers):
        weight = untying.weighted(network)[number].weight.detach()
        off = weight[~layer.mask()].square().sum()
        assert found["squared_norms"][number] == pytest.approx(weight.square().sum().item())
        assert found["off_local"][number] == pytest.approx((off / weight.square().sum()).sqrt().item())
        rows = layer.live_outputs.repeat(layer.out_channels)
        columns = layer.live_inputs.repeat(layer.in_channels)
        assert found["squared_norms_live"][number] == pytest.approx(weight[rows][:, columns].square().sum().item())
        own = layer.local_weight(untying.weighted(network)[number])
        expected = (own - own.mean(0)).square().sum() / own.square().sum()
        assert found["deviations"][number] == pytest.approx(expected.item())


def test_the_normalized_norm_does_not_see_scale():
    """All weights times c, biases of layer l times c^l: logits times c^4, and R as before."""
    cnn, layers = random_network("cnn")
    scaled, _ = random_network("cnn")
    with torch.no_grad():
        for number, module in enumerate(untying.weighted(scaled), start=1):
            module.weight *= 1.7
            module.bias *= 1.7**number
    data, labels = torch.randn(20, 1, 32, 32, dtype=torch.float64), torch.arange(20) % 4
    values = []
    for network in (cnn, scaled):
        logits = network(data)
        squared = layer_norms.layer_measures(network, network, layers)["squared_norms"]
        margin = logits.gather(1, labels[:, None]).abs().mean().item()
        values.append((normalized_norms.log_product(squared) - np.log(margin), logits))
    torch.testing.assert_close(values[1][1], 1.7**4 * values[0][1])
    assert values[0][0] == pytest.approx(values[1][0], rel=1e-12)


def test_norms_divided_by_margins():
    squared = np.array([[4.0, 9.0], [1.0, 1.0]])
    assert normalized_norms.squared_norm(squared).tolist() == [13, 2]
    assert normalized_norms.log_product(squared) == pytest.approx([np.log(6), 0])
    assert normalized_norms.log_product_legacy(squared, tied=True) == pytest.approx([2 * np.log(6), 0])
    assert normalized_norms.log_product_legacy(squared, tied=False) == pytest.approx([np.log(6), 0])
    assert normalized_norms.over_margin(np.array([6.0, 6.0]), np.array([3.0, -1.0])).tolist() == pytest.approx(
        [2, np.nan], nan_ok=True
    )
    logs = normalized_norms.minus_log_margin(np.array([1.0, 1.0]), np.array([np.e, 0.0]))
    assert logs.tolist() == pytest.approx([0, np.nan], nan_ok=True)


# Interpolation.


@pytest.mark.parametrize("mix", [interpolation.linear, interpolation.curvilinear])
def test_ends_and_norms_of_mixed_weights(mix):
    torch.manual_seed(0)
    first, last = ([torch.randn(3, 4), torch.randn(5)] for _ in range(2))
    for alpha, end in ((0, first), (1, last)):
        for own, expected in zip(mix(first, last, alpha), end, strict=True):
            torch.testing.assert_close(own, expected)
    middle = mix(first, last, 0.25)
    for a, b, c in zip(first, last, middle, strict=True):
        if mix is interpolation.linear:
            torch.testing.assert_close(c, 0.75 * a + 0.25 * b)
        else:
            assert c.norm().item() == pytest.approx((0.75 * a.norm() + 0.25 * b.norm()).item(), rel=1e-6)
            straight = 0.75 * a + 0.25 * b
            torch.testing.assert_close(c / c.norm(), straight / straight.norm())
    zero = [torch.zeros(2)]
    assert interpolation.curvilinear(zero, zero, 0.5)[0].tolist() == [0, 0]


@pytest.mark.parametrize("mix", [interpolation.linear, interpolation.curvilinear])
def test_mixing_local_networks_is_mixing_the_dense_ones_they_are(mix):
    """Which is why the smaller space may be used."""
    first, _ = random_network("cnn", width=2)
    last, _ = random_network("lcn", width=2)
    data = torch.randn(4, 1, 32, 32, dtype=torch.float64)
    small = interpolation.common_space(first, last, side=32)
    dense = [untying.to_dense(network, side=32) for network in (first, last)]
    assert any(isinstance(module, untying.LocalConv2d) for module in small[0])
    for alpha in (0, 0.3, 1):
        one = interpolation.with_tensors(small[0], mix(*map(interpolation.tensors, small), alpha))
        other = interpolation.with_tensors(dense[0], mix(*map(interpolation.tensors, dense), alpha))
        torch.testing.assert_close(one(data), other(data), rtol=1e-9, atol=1e-9)


# Stages.


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """The run file of a CNN."""
    folder = tmp_path_factory.mktemp("cnn")
    arrays = untied.train(images(), settings(), network="cnn", learning_rate=0.1, seed=0, checkpoint=folder / "c.pt")
    path = folder / "cnn.h5"
    identity = {"network": "cnn", "learning_rate": 0.1, "seed": 0}
    store.write(path, arrays, kind=untied.RUN, settings=identity | settings().plain())
    return path


def go_on(cnn, folder, network, *, split=1, seed=0, run=None, data=None, learning_rate=0.01):
    """Let a network go on, and return its run file."""
    run = run or settings(2, (0, 1, 2), keep="last epoch")
    identity = {"network": network, "split": split, "learning_rate": learning_rate, "seed": seed}
    arrays = untied.continue_from(data or images(), cnn, run, **identity, checkpoint=folder / "c.pt")
    path = folder / f"{network}-{split}-{seed}.h5"
    store.write(path, arrays, kind=untied.RUN, settings={"cnn_learning_rate": 0.1} | identity | run.plain())
    return path


def read(path):
    return store.read(path, kind=untied.RUN).arrays


def test_shapes_of_what_is_written_down(cnn):
    arrays = read(cnn)
    assert arrays["epoch"].tolist() == [0, 1, 3]
    assert arrays["squared_norms"].shape == (3, 4) and arrays["deviations"].shape == (3, 3)
    assert arrays["step_loss"].shape == arrays["step_accuracy"].shape == (3 * 4,)
    assert {name for name in arrays if name.startswith("weights_")} == {
        f"weights_{epoch}_{place}.{part}"
        for epoch in (0, 1, 2, 3)
        for place in (1, 5, 9, 13)
        for part in ("weight", "bias")
    }
    assert arrays["train_loss"].dtype == np.float64
    assert arrays["train_loss"][-1] < arrays["train_loss"][0]


def test_a_cnn_and_what_goes_on_from_it_learn(tmp_path):
    wider = settings(20, (0, 20), architecture=Architecture(name="skinny", width=12))
    arrays = untied.train(images(), wider, network="cnn", learning_rate=0.1, seed=0, checkpoint=tmp_path / "c.pt")
    assert arrays["train_accuracy"][0] < 0.2 < 0.7 < arrays["train_accuracy"][1]
    path = tmp_path / "cnn.h5"
    store.write(path, arrays, kind=untied.RUN, settings={"network": "cnn", "learning_rate": 0.1, "seed": 0})
    after = read(go_on(path, tmp_path, "lcn", split=10, run=wider))
    assert after["train_accuracy"][0] < after["train_accuracy"][1]


@pytest.mark.parametrize("network", ["cnn", "lcn", "fcn"])
@pytest.mark.parametrize("split", [0, 1, 3])
def test_a_network_goes_on_from_where_the_cnn_was(cnn, tmp_path, network, split):
    """The same losses, accuracies, margins and norms as the CNN at the split, and then others."""
    before, after = read(cnn), read(go_on(cnn, tmp_path, network, split=split))
    at = before["epoch"].tolist().index(split)
    for name in untied_results.PERFORMANCE:
        assert after[name][0] == pytest.approx(before[name][at], rel=1e-5, abs=1e-6), name
        if name.endswith("accuracy"):
            assert after[name][0] == before[name][at]
    for name in ("squared_norms", "squared_norms_live"):
        np.testing.assert_allclose(after[name][0], before[name][at], rtol=1e-6)
    for name in ("deviations", "deviations_live", "off_local", "distances"):
        assert not after[name][0].any(), name
    assert after["distances"][-1].all()
    assert after["deviations"][-1].any() == (network != "cnn")
    assert after["off_local"][-1].any() == (network == "fcn")


def test_the_control_is_the_cnn_trained_on_at_its_rate(cnn, tmp_path):
    """Against a loop written out."""
    arrays = read(go_on(cnn, tmp_path, "cnn"))
    network = untied.load(cnn, "cnn", 1, settings())
    train, _ = images_on(torch.device("cpu"), images(), IMAGES)
    losses = []
    for first in [0, 6, 12, 18] * 2:
        batch = torch.arange(first, first + 6)
        loss = cross_entropy(network(train.batch(batch, torch.contiguous_format)), train.labels[batch])
        losses.append(loss.item())
        network.zero_grad()
        loss.backward()
        torch.optim.SGD(network.parameters(), lr=0.01).step()
    np.testing.assert_allclose(arrays["step_loss"], losses, rtol=1e-5)


def with_sgd(run, **changes):
    return run.model_copy(update={"sgd": run.sgd.model_copy(update=changes)})


def all_of(network):
    """What is learned of a network, and behind it what never gets a gradient."""
    return [*network.parameters(), *network.buffers()]


def steps_by_hand(network, velocities, momentum, decay):
    """Take the steps of two epochs at a rate of 0.05, and return the losses before them."""
    train, _ = images_on(torch.device("cpu"), images(), IMAGES)
    losses = []
    for first in [0, 6, 12, 18] * 2:
        batch = torch.arange(first, first + 6)
        loss = cross_entropy(network(train.batch(batch, torch.contiguous_format)), train.labels[batch])
        losses.append(loss.item())
        gradients = [*torch.autograd.grad(loss, list(network.parameters())), *(0.0 for _ in network.buffers())]
        with torch.no_grad():
            for tensor, velocity, gradient in zip(all_of(network), velocities, gradients, strict=True):
                velocity.mul_(momentum).add_(gradient + decay * tensor)
                tensor.sub_(0.05 * velocity)
    return losses


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.0, 0.05), (0.6, 0.05)])
@pytest.mark.parametrize("network", ["cnn", "lcn", "fcn"])
def test_momentum_and_decay_are_those_of_a_step_written_out(cnn, tmp_path, network, momentum, decay):
    """v = momentum v + gradient + decay w, w -= rate v; of inert weights too, whose gradient is zero."""
    run = with_sgd(settings(2, (0, 2), keep="last epoch"), momentum=momentum, weight_decay=decay)
    path = go_on(cnn, tmp_path, network, run=run, learning_rate=0.05)
    arrays, by_hand = read(path), untied._convert(untied.load(cnn, "cnn", 1, settings()), network, run)
    learned = all_of(by_hand)
    losses = steps_by_hand(by_hand, [torch.zeros_like(tensor) for tensor in learned], momentum, decay)
    np.testing.assert_allclose(arrays["step_loss"], losses, rtol=1e-4)
    found = untied.load(path, network, 2, run)
    for own, expected in zip(all_of(found), learned, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-6)
    assert (network == "lcn") == any(buffer.numel() for buffer in found.buffers())


@pytest.mark.parametrize("decay", [0.0, 0.02])
@pytest.mark.parametrize("network", ["cnn", "lcn", "fcn"])
def test_networks_may_go_on_with_the_momentum_of_the_cnn(tmp_path, network, decay):
    """The control then is the CNN that went on; the others begin with that of a filter at all positions."""
    run = with_sgd(settings(), momentum=0.9, weight_decay=decay).model_copy(update={"keep_momentum": True})
    arrays = untied.train(images(), run, network="cnn", learning_rate=0.05, seed=0, checkpoint=tmp_path / "c.pt")
    path = tmp_path / "cnn.h5"
    store.write(path, arrays, kind=untied.RUN, settings={"seed": 0})
    assert not arrays["weights_0_momentum.1.weight"].numpy().any()
    on = run.model_copy(update={"epochs": 2, "measured": (0, 1, 2), "keep": "last epoch"})
    after = read(go_on(path, tmp_path, network, run=on, learning_rate=0.05))
    by_hand, velocity = (
        untied._convert(untied.load(path, "cnn", 1, run, prefix=prefix), network, run) for prefix in ("", "momentum.")
    )
    losses = steps_by_hand(by_hand, [tensor.detach().clone() for tensor in all_of(velocity)], 0.9, decay)
    np.testing.assert_allclose(after["step_loss"], losses, rtol=1e-4)
    if network == "cnn":
        np.testing.assert_allclose(after["step_loss"], arrays["step_loss"][4:], rtol=1e-5)
    fresh = read(go_on(path, tmp_path, network, run=on.model_copy(update={"keep_momentum": False}), learning_rate=0.05))
    assert fresh["step_loss"][0] == after["step_loss"][0]
    assert (fresh["step_loss"][1:] != after["step_loss"][1:]).all()
    assert not any("momentum" in name for name in after), "nothing continues from it"


def test_momentum_that_is_not_there_cannot_be_kept():
    plain = published().plain()
    plain["continued"]["keep_momentum"] = True
    with pytest.raises(SettingsError, match="keep_momentum = true of continued means nothing without momentum of sgd"):
        UntiedSettings.from_plain(plain)
    plain["sgd"]["momentum"] = 0.9
    study = UntiedSettings.from_plain(plain)
    runs = study.scratch_run("cnn"), study.continued_run, study.scratch_run("lcn")
    assert [run.keep_momentum for run in runs] == [True, True, False]
    assert "keep_momentum" not in published().scratch_run("cnn").plain()
    assert set(published().continued.plain()) == {"learning_rates", "epochs", "measurements", "splits"}
    assert set(published().scratch.plain()) == {"networks", "learning_rates", "epochs", "measurements"}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_sum_of_a_cnn_and_a_fully_connected_network_learns_as_one(tmp_path, precision):
    """Beside a loop written out, from the networks that it begins with; and its layers are those of both."""
    run = with_sgd(settings(2, (0, 2), keep="every epoch"), precision=precision)
    arrays = untied.train(
        images(), run, network="cnn_plus_fcn", learning_rate=0.1, seed=0, checkpoint=tmp_path / "c.pt"
    )
    assert arrays["squared_norms"].shape == (2, 8) and arrays["deviations"].shape == (2, 6)
    parts = [untied._build(kind, run) for kind in ("cnn", "fcn")]
    for part, name in zip(parts, ("first", "second"), strict=True):
        part.load_state_dict(
            {key: torch.as_tensor(np.asarray(arrays[f"weights_0_{name}.{key}"])) for key in part.state_dict()}
        )
        part.to(dtype := {"float32": torch.float32, "float64": torch.float64}[precision])
    squared = [module.weight.square().sum().item() for module in untying.weighted(parts[1])]
    np.testing.assert_allclose(arrays["squared_norms"][0][4:], squared, rtol=1e-5)
    train, _ = images_on(torch.device("cpu"), images(), IMAGES, dtype)
    losses = []
    for first in [0, 6, 12, 18] * 2:
        batch = torch.arange(first, first + 6)
        pixels = train.batch(batch, torch.contiguous_format)
        loss = cross_entropy(parts[0](pixels) + parts[1](pixels), train.labels[batch])
        losses.append(loss.item())
        for part in parts:
            part.zero_grad()
        loss.backward()
        for part in parts:
            torch.optim.SGD(part.parameters(), lr=0.1).step()
    np.testing.assert_allclose(arrays["step_loss"], losses, rtol=1e-4 if precision == "float32" else 1e-6)
    path = tmp_path / "sum.h5"
    identity = {"network": "cnn_plus_fcn", "learning_rate": 0.1, "seed": 0}
    store.write(path, arrays, kind=untied.RUN, settings=identity | run.plain())
    table = untied_results.collect([path])
    assert set(table["network"]) == {"cnn_plus_fcn"} and {"squared_norm_8", "deviation_6"} <= set(table)
    # Read back, it answers as it did.
    dtype = torch.float64 if precision == "float64" else torch.float32
    _, test = images_on(torch.device("cpu"), images(), run.images, dtype)
    answers = evaluation.predict(kept_runs.model(path), test, precision=precision).argmax(1) == test.labels
    np.testing.assert_array_equal(answers, arrays["test_correct"][-1])


def test_event_files_hold_what_is_recorded_and_change_nothing(cnn, tmp_path, monkeypatch):
    """Loss of each epoch and what is measured, under the path of the log."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv(events.FOLDER_VARIABLE, str(tmp_path / "events"))
    monkeypatch.setattr(events, "_place", None)
    events.begin("logs/smoke/untied/seed~0.log")
    arrays = untied.train(images(), settings(), network="cnn", learning_rate=0.1, seed=0, checkpoint=tmp_path / "c.pt")
    assert all(np.array_equal(np.asarray(arrays[name]), values) for name, values in read(cnn).items())
    written = EventAccumulator(str(tmp_path / "events/smoke/untied/seed~0")).Reload()
    losses = written.Scalars("train/loss")
    assert [event.step for event in losses] == [1, 2, 3]
    means = arrays["step_loss"].reshape(3, 4).mean(1)
    assert [event.value for event in losses] == pytest.approx(means.tolist(), rel=1e-6)
    accuracies = written.Scalars("measured/test_accuracy")
    assert [event.step for event in accuracies] == [1, 3]
    assert [event.value for event in accuracies] == pytest.approx(arrays["test_accuracy"][1:].tolist())


def test_what_came_later_is_left_out_at_its_default():
    """So that runs made before keep their settings; and runs with it are not taken for such without."""
    plain = settings().plain()
    assert plain["sgd"] == {"batch_size": 6, "order": "fixed", "precision": "float32"}
    heavy = with_sgd(settings(), momentum=0.9)
    assert heavy.plain()["sgd"] == plain["sgd"] | {"momentum": 0.9}
    assert RunSettings.from_plain(heavy.plain()) == heavy
    assert settings().wanted()["sgd"] == plain["sgd"] | {"momentum": None, "weight_decay": None}
    asked = [({}, settings().wanted())]
    assert not provenance._complaints("a.h5", provenance.Description(plain, (), "", ()), asked)
    (complaint,) = provenance._complaints("a.h5", provenance.Description(heavy.plain(), (), "", ()), asked)
    assert complaint == "made with sgd.momentum = 0.9, asked is null"


@pytest.mark.parametrize("network", ["cnn", "lcn", "fcn"])
def test_networks_of_all_kinds_train_and_are_measured_in_half_precision(tmp_path, network):
    exact = settings()
    half = exact.model_copy(update={"sgd": exact.sgd.model_copy(update={"precision": "bfloat16"})})
    found = [
        untied.train(images(), run, network=network, learning_rate=0.1, seed=0, checkpoint=tmp_path / f"{number}.pt")
        for number, run in enumerate((exact, half))
    ]
    for name in ("step_loss", "train_loss", "test_loss", "squared_norms"):
        first, second = (arrays[name] for arrays in found)
        assert not np.array_equal(first, second)
        np.testing.assert_allclose(first, second, rtol=0.05)
    kept = [np.asarray(array) for name, array in found[1].items() if name.startswith("weights_")]
    assert {array.dtype for array in kept} == {np.dtype(np.float32)}


@pytest.mark.parametrize("network", ["cnn", "lcn", "fcn"])
def test_double_precision_is_that_of_weights_images_and_objective(cnn, tmp_path, network):
    """Beside single precision it differs by rounding; beside steps written out in double precision, by its own."""
    single = settings(2, (0, 2), keep="last epoch")
    double = with_sgd(single, precision="float64")
    first, second = (read(go_on(cnn, tmp_path, network, run=run)) for run in (single, double))
    assert {array.dtype for name, array in second.items() if name.startswith("weights_")} == {np.dtype(np.float64)}
    for name in ("step_loss", "train_loss", "test_loss", "squared_norms"):
        assert not np.array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], second[name], rtol=1e-4)
    by_hand = untied._convert(untied.load(cnn, "cnn", 1, settings()), network, single).double()
    pixels = torch.from_numpy(images().train_images).double() / 255
    (mean,), (std,) = IMAGES.statistics
    losses, labels = [], torch.from_numpy(images().train_labels)
    for start in [0, 6, 12, 18] * 2:
        loss = cross_entropy(by_hand((pixels[start : start + 6] - mean) / std), labels[start : start + 6])
        losses.append(loss.item())
        by_hand.zero_grad()
        loss.backward()
        torch.optim.SGD(by_hand.parameters(), lr=0.01).step()
    np.testing.assert_allclose(second["step_loss"], losses, rtol=1e-12)


def test_the_precision_need_not_be_given():
    plain = settings().plain()
    assert plain["sgd"]["precision"] == "float32"
    del plain["sgd"]["precision"]
    assert RunSettings.from_plain(plain) == settings()
    plain["sgd"]["precision"] = "float16"
    with pytest.raises(SettingsError, match=r"sgd\.precision"):
        RunSettings.from_plain(plain)


def test_seeds_differ_and_repeat(tmp_path):
    def run(seed, network="cnn"):
        return untied.train(
            images(), settings(1, (0, 1)), network=network, learning_rate=0.1, seed=seed, checkpoint=tmp_path / "c.pt"
        )

    first, again, other = run(0), run(0), run(1)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["step_loss"], other["step_loss"])
    for network in ("lcn", "fcn"):
        scratch = run(0, network)
        assert not np.array_equal(scratch["step_loss"], first["step_loss"])
        assert scratch["deviations"][0].min() > 0.5, "weights from scratch are not tied"


def test_alexnet_trains_with_dropout_and_is_measured_without(tmp_path):
    """On images shaped as those of CIFAR-10."""
    alexnet = settings(1, (0, 1), architecture=Architecture(name="alexnet", width=2))
    alexnet = alexnet.model_copy(update={"images": Images(source="cifar10")})
    grey = images()
    colour = grey._replace(train_images=grey.train_images.repeat(3, 1), test_images=grey.test_images.repeat(3, 1))
    arrays = untied.train(colour, alexnet, network="cnn", learning_rate=0.05, seed=0, checkpoint=tmp_path / "c.pt")
    path = tmp_path / "alexnet.h5"
    store.write(path, arrays, kind=untied.RUN, settings={"network": "cnn", "learning_rate": 0.05, "seed": 0})
    after = read(go_on(path, tmp_path, "lcn", run=alexnet, data=colour))
    assert after["test_loss"][0] == pytest.approx(arrays["test_loss"][1], rel=1e-5)
    assert after["squared_norms"].shape == (2, 8)
    assert after["deviations"].shape == (2, 5)


def interpolated(cnn, folder, pair, **changes):
    ways = InterpolationSettings(
        images=IMAGES,
        architecture=ARCHITECTURE,
        methods=("linear", "curvilinear", "average", "string"),
        points=3,
        string=String(points=3, stiffness=0.5, epochs=1, batch_size=12, learning_rate=0.01),
    ).model_copy(update=changes)
    ends = [
        untied.End(cnn, "cnn", 3) if name == "cnn" else untied.End(go_on(cnn, folder, name), name, 2) for name in pair
    ]
    arrays = untied.interpolate(images(), *ends, ways, seed=0, checkpoint=folder / "way.pt")
    path = folder / "way.h5"
    everything = {"cnn_learning_rate": 0.1, "learning_rate": 0.01, "seed": 0} | ways.plain()
    everything |= {"origin": pair[0], "target": f"{pair[1]}-1"}
    store.write(path, arrays, kind=untied.INTERPOLATION, settings=everything)
    return arrays, [read(end.path) for end in ends], path


def test_networks_at_any_epoch_that_is_kept_have_names():
    """And what keeps every epoch is asked for by what it keeps alone."""
    plain = published().plain()
    plain["continued"]["keep"] = "every epoch"
    plain["interpolation"]["pairs"] = [["cnn@0", "lcn-9@3"], ["lcn", "cnn-1@149"]]
    study = UntiedSettings.from_plain(plain)
    assert study.continued_run == published().continued_run.model_copy(update={"keep": "every epoch"})
    assert study.scratch_run("lcn") == published().scratch_run("lcn")
    assert Solution.named("lcn-9@3") == ("lcn", 9, 3)
    assert [str(Solution.named(name)) for name in ("cnn@0", "lcn-9@3", "fcn")] == ["cnn@0", "lcn-9@3", "fcn"]
    assert PATHS.values({"origin": "lcn-9@3"}) == {"origin": "lcn-9@3"}
    assert PATHS.canonical("origin", "lcn-09") == "lcn-9" and PATHS.canonical("origin", "lcn@") is None
    assert figure.spoken("lcn-9@3") == "LCN split at 9, epoch 3"


def test_ways_lead_between_epochs_that_are_kept(cnn, tmp_path):
    ways = InterpolationSettings(
        images=IMAGES,
        architecture=ARCHITECTURE,
        methods=("linear",),
        points=3,
        string=String(points=3, stiffness=0.5, epochs=1, batch_size=12, learning_rate=0.01),
    )
    every = go_on(cnn, tmp_path, "lcn", run=settings(2, (0, 1, 2)))
    ends = untied.End(cnn, "cnn", 1), untied.End(every, "lcn", 1)
    arrays = untied.interpolate(images(), *ends, ways, seed=0, checkpoint=tmp_path / "way.pt")
    expected = [read(cnn)["train_loss"][1], read(every)["train_loss"][1]]
    assert arrays["linear_train_loss"][[0, -1]] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("pair", [("cnn", "lcn"), ("lcn", "fcn"), ("fcn", "cnn")])
def test_every_way_ends_at_its_ends(cnn, tmp_path, pair):
    arrays, ends, _ = interpolated(cnn, tmp_path, pair)
    for method in ("linear", "curvilinear", "average", "string"):
        assert arrays[f"{method}_alpha"].tolist() == [0, 0.5, 1]
        for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy"):
            values = arrays[f"{method}_{name}"]
            assert values[[0, -1]] == pytest.approx([end[name][-1] for end in ends], rel=1e-4), (method, name)
    assert arrays["string_objective"].shape == (2,)
    assert arrays["average_train_loss"][1] != arrays["linear_train_loss"][1]


def test_between_two_equal_networks_the_way_is_flat(cnn, tmp_path):
    """That of a string as well, if it does not learn: its springs pull nowhere."""
    still = String(points=4, stiffness=0.5, epochs=2, batch_size=12, learning_rate=0.0)
    arrays, _, _ = interpolated(cnn, tmp_path, ("cnn", "cnn"), string=still)
    for method, part in itertools.product(("linear", "curvilinear", "average", "string"), ("train", "test")):
        losses = arrays[f"{method}_{part}_loss"]
        assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)


def test_a_string_that_diverges_is_an_error(cnn, tmp_path):
    wild = String(points=3, stiffness=0.5, epochs=2, batch_size=6, learning_rate=1e30)
    with pytest.raises(
        DivergenceError, match=r"objective of step 0 .*, the string, .* reduce its learning_rate \(now 1e\+30\)"
    ):
        interpolated(cnn, tmp_path, ("cnn", "lcn"), string=wild)


def test_ways_are_followed_in_the_precision_of_their_settings(cnn, tmp_path):
    exact, half = (
        interpolated(cnn, tmp_path / computing, ("cnn", "lcn"), precision=computing)[0]
        for computing in ("float32", "bfloat16")
    )
    for method in ("linear", "curvilinear", "average", "string"):
        first, second = exact[f"{method}_train_loss"], half[f"{method}_train_loss"]
        assert not np.array_equal(first, second)
        np.testing.assert_allclose(first, second, rtol=0.05)
    assert not np.array_equal(exact["string_objective"], half["string_objective"])
    double, *_ = interpolated(cnn, tmp_path / "double", ("cnn", "lcn"), precision="float64")
    for method in ("linear", "curvilinear", "average", "string"):
        found = double[f"{method}_train_loss"]
        assert not np.array_equal(found, exact[f"{method}_train_loss"])
        np.testing.assert_allclose(found, exact[f"{method}_train_loss"], rtol=1e-4)


def test_a_way_with_a_loss_that_is_not_finite_is_an_error(cnn, tmp_path, monkeypatch):
    performance, calls = margins.performance, itertools.count()

    def once_infinite(logits, labels):
        return performance(logits, labels) | ({"loss": float("inf")} if next(calls) == 4 else {})

    monkeypatch.setattr(margins, "performance", once_infinite)
    message = r"linear test loss is not finite between cnn of epoch 3 to cnn of epoch 3, seed 0"
    with pytest.raises(DivergenceError, match=message):
        interpolated(cnn, tmp_path, ("cnn", "cnn"))


# Tables, claims, figures.


@pytest.fixture(scope="module")
def table(cnn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = [cnn, *(go_on(cnn, folder, network, split=split) for network in ("lcn", "cnn") for split in (1, 3))]
    runs.append(go_on(cnn, folder, "fcn"))
    return untied_results.collect(runs)


def test_one_table_has_everything(table, cnn, tmp_path):
    assert len(table) == 6 * 3
    assert table.groupby(untied_results.RUN_KEYS, dropna=False).ngroups == 6
    # As it comes back from the file.
    store.write_table(tmp_path / "t.csv", table)
    back = store.read_table(tmp_path / "t.csv", expected=untied_results.RUNS)
    pd.testing.assert_frame_equal(back, table, check_dtype=False)
    arrays = read(cnn)
    own = table[table["split"].isna()].reset_index(drop=True)
    assert own["age"].tolist() == own["epoch"].tolist() == [0, 1, 3]
    later = table[(table["network"] == "lcn") & (table["split"] == 3)]
    assert (later["age"] - later["epoch"] == 3).all()
    for part, kind, live in itertools.product(("train", "test"), ("top2", "legacy"), ("", "_live")):
        margin = arrays[f"{part}_margin_{kind}"]
        with np.errstate(invalid="ignore"):
            expected = 0.5 * np.log(arrays[f"squared_norms{live}"]).sum(1) - np.log(
                np.where(margin > 0, margin, np.nan)
            )
        np.testing.assert_allclose(own[f"log_normalized_norm_by_{part}_{kind}{live}"], expected)
    np.testing.assert_allclose(own["log_product_legacy"], 2 * own["log_product"])
    margin = own["test_margin_top2"].where(own["test_margin_top2"] > 0)
    np.testing.assert_allclose(own["squared_norm_by_test_top2"], own["squared_norm"] / margin)
    np.testing.assert_allclose(own["squared_norm_by_test_top2_cube_root"], own["squared_norm"] / margin ** (1 / 3))
    np.testing.assert_allclose(own["log_product_of_squares_by_test_top2"], 2 * own["log_product"] - np.log(margin))
    np.testing.assert_allclose(later["log_product_legacy"], later["log_product"])
    for number in (1, 2, 3):
        assert {
            f"{name}_{number}" for name in ("squared_norm", "deviation", "deviation_live", "off_local", "distance")
        } <= set(table)


def test_the_best_epoch_of_each_run_by_test_loss_and_accuracy(table):
    best = untied_results.best_epochs(table)
    assert len(best) == 2 * 6
    for (_, run), (_, own) in zip(
        table.groupby(untied_results.RUN_KEYS, dropna=False, sort=False),
        best.groupby(untied_results.RUN_KEYS, dropna=False, sort=False),
        strict=True,
    ):
        by = own.set_index("by")
        assert by.loc["test_loss", "test_loss"] == run["test_loss"].min()
        greatest = run[run["test_accuracy"] == run["test_accuracy"].max()]
        assert by.loc["test_accuracy", "epoch"] == greatest["epoch"].min()
        assert by.loc["test_accuracy", "age"] == greatest["age"].min()


def test_margins_are_kept_on_request_and_are_those_of_the_networks(cnn, tmp_path):
    """Recomputed from the weights that are kept, and what is else in the file stays as it was."""
    keeping = settings().model_copy(update={"keep_margins": True})
    arrays = untied.train(images(), keeping, network="cnn", learning_rate=0.1, seed=0, checkpoint=tmp_path / "c.pt")
    before = read(cnn)
    kept = {f"{part}_margins_{kind}" for part in ("train", "test") for kind in ("top2", "legacy")}
    assert set(arrays) - set(before) == kept
    assert all(np.array_equal(np.asarray(arrays[name]), before[name]) for name in before)
    path = tmp_path / "cnn.h5"
    identity = {"network": "cnn", "learning_rate": 0.1, "seed": 0}
    store.write(path, arrays, kind=untied.RUN, settings=identity | keeping.plain())
    for part, data in zip(("train", "test"), images_on(torch.device("cpu"), images(), IMAGES), strict=True):
        for row, epoch in enumerate((0, 1, 3)):
            numbers = torch.arange(len(data.labels))
            with torch.no_grad():
                logits = untied.load(path, "cnn", epoch, keeping)(data.batch(numbers, torch.contiguous_format))
            found = margins.margins(logits, data.labels)
            for kind in ("top2", "legacy"):
                own = arrays[f"{part}_margins_{kind}"]
                np.testing.assert_allclose(own[row], found[kind], rtol=1e-4, atol=1e-5)
                assert own[row].mean() == pytest.approx(arrays[f"{part}_margin_{kind}"][row])
    # Of all networks that are shown, in the same bins.
    after = go_on(
        path, tmp_path, "lcn", run=settings(2, (0, 2), keep="last epoch").model_copy(update={"keep_margins": True})
    )
    shown = SHOWN.plain() | {"splits": [1], "margin": "top2", "margin_of": "test"}
    table = untied_results.collect_margins([path, after], shown=shown)["margins"]
    assert set(zip(table["network"], table["split"], strict=True)) == {("cnn", -1), ("lcn", 1)}
    for _, own in table.groupby("network"):
        assert len(own) == 100 and own["images"].sum() == 12
    own = table[table["network"] == "cnn"]
    middle = (own["low"] + own["high"]) / 2
    width = (own["high"] - own["low"]).iloc[0]
    assert np.average(middle, weights=own["images"]) == pytest.approx(arrays["test_margin_top2"][-1], abs=width)
    picture = figure.draw_margins(table, **drawn())
    assert [len(axes.patches) for axes in picture.axes] == [2]
    assert "keep_margins" not in published().scratch_run("cnn").plain()
    with pytest.raises(MissingRunsError, match="no network that is shown"):
        untied_results.collect_margins([after], shown=shown | {"splits": [3]})


def made_up(values, seeds=3):
    """Runs of which only the ends matter: {(network, split): (R, accuracy)}; split -1 is from scratch."""
    rows = []
    for (network, split), (norm, accuracy) in values.items():
        for seed, epoch in itertools.product(range(seeds), (0, 1, 9)):
            scratch = split < 0
            rows.append(
                {
                    "network": network,
                    "cnn_learning_rate": np.nan if scratch else 0.1,
                    "split": np.nan if scratch else split,
                    "learning_rate": 0.1 if scratch else 0.01,
                    "seed": seed,
                    "epoch": epoch,
                    "age": epoch + max(split, 0),
                    "train_accuracy": 1.0,
                    "test_accuracy": (accuracy + 0.1 * seed - (0 if epoch else 5)) / 100,
                    "log_normalized_norm_by_test_legacy": norm,
                }
            )
    return pd.DataFrame(rows)


PLANNED = untied_claims.Planned(scratch=["cnn", "fcn"], lcn=[1, 3], cnn=[1, 3], fcn=[3])
TESTED = 2000


def answers(values, gains=None, seeds=3):
    """What networks answer at the split, an epoch after it, and at the end, by which they are `accuracy` % right."""
    found = {}
    for (network, split), (_, accuracy) in values.items():
        gain = (gains or {}).get((network, split), 5)
        levels = [accuracy - 5, accuracy - 5 + gain, accuracy]
        right = [[np.arange(TESTED) < TESTED * (level + 0.1 * seed) / 100 for level in levels] for seed in range(seeds)]
        found[network, split] = {seed: np.array(rows, float) for seed, rows in enumerate(right)}
    return found


def judged(values, *, planned=PLANNED, gains=None, seeds=3, runs=None, missing=0):
    runs = made_up(values, seeds) if runs is None else runs
    given = answers(values, gains, seeds)
    return untied_claims.claims(runs, given, SHOWN, planned, missing=missing).set_index("id")["verdict"]


PUBLISHED = {
    ("cnn", -1): (12.78, 73.2),
    ("lcn", 1): (10.5, 67.7),
    ("lcn", 3): (12.0, 75.4),
    ("cnn", 1): (11.0, 67.0),
    ("cnn", 3): (12.0, 74.0),
    ("fcn", -1): (9.0, 60.0),
    ("fcn", 3): (11.0, 76.0),
}


def test_the_published_outcome_holds_all_claims():
    found = judged(PUBLISHED)
    assert list(found.index) == [
        "fit", "norm_rises", "norm_below_cnn", "earliest_worse", "later_better", "first_epoch_1", "untied_better_1",
        "first_epoch_3", "untied_better_3", "fcn_3_over_cnn", "fcn_3_over_fcn",
    ]  # fmt: skip
    assert set(found) == {"held"}


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        ({("lcn", 1): (12.5, 67.7)}, "norm_rises"),
        ({("lcn", 3): (12.9, 75.4)}, "norm_below_cnn"),
        ({("lcn", 1): (10.5, 75.9)}, "earliest_worse"),
        ({("lcn", 3): (12.0, 71.4)}, "later_better"),
        ({("cnn", 3): (12.0, 77.0)}, "untied_better_3"),
        ({("fcn", 3): (12.0, 58.0)}, "fcn_3_over_fcn"),
        ({("fcn", 3): (12.0, 71.1)}, "fcn_3_over_cnn"),
    ],
)
def test_each_claim_can_fail(changed, claim):
    assert judged(PUBLISHED)[claim] == "held"
    assert judged(PUBLISHED | changed)[claim] == "not held"


def test_claims_on_fit_and_first_epoch_can_fail():
    runs = made_up(PUBLISHED)
    runs.loc[(runs["network"] == "lcn") & (runs["epoch"] == 9), "train_accuracy"] = 0.98
    assert judged(PUBLISHED, runs=runs)["fit"] == "not held"
    assert judged(PUBLISHED, gains={("cnn", 3): 1})["first_epoch_3"] == "not held"
    assert judged(PUBLISHED, gains={("cnn", 3): 0, ("lcn", 3): 0})["first_epoch_3"] != "held", "a gain that is none"


def test_norms_that_are_not_defined_are_not_judged():
    runs = made_up(PUBLISHED)
    runs.loc[(runs["network"] == "lcn") & (runs["seed"] == 2), "log_normalized_norm_by_test_legacy"] = np.nan
    assert set(judged(PUBLISHED, runs=runs)[["norm_rises", "norm_below_cnn"]]) == {"undecided"}


def test_an_lcn_from_scratch_is_a_claim_of_its_own():
    """It has the least norm of all; that it generalises worst is what the paper leads one to expect."""
    scratch = PLANNED._replace(scratch=["cnn", "lcn"])
    found = judged(PUBLISHED | {("lcn", -1): (9.0, 73.2)}, planned=scratch)
    assert found[["scratch_norm", "scratch_worse"]].tolist() == ["held", "undecided"]


def test_claims_on_what_is_missing_are_not_judged():
    alone = judged({("cnn", -1): (1.0, 50.0)}, missing=9)
    assert len(alone) == len(judged(PUBLISHED))
    assert set(alone) <= {"undecided", "held"}
    assert alone.drop("fit").eq("undecided").all()
    assert set(judged(PUBLISHED, seeds=1)) == {"undecided"}
    only = untied_claims.Planned(scratch=["cnn"], lcn=[3], cnn=[], fcn=[])
    assert set(judged(PUBLISHED, planned=only).index) == {"fit", "norm_below_cnn", "earliest_worse"}


def test_seeds_that_both_networks_have_are_compared():
    given = answers(PUBLISHED, seeds=4)
    del given["lcn", 1][0]
    table = untied_claims.claims(made_up(PUBLISHED, 4), given, SHOWN, PLANNED, missing=1).set_index("id")
    assert table.loc["earliest_worse", ["runs", "verdict"]].tolist() == [3, "held"]
    assert table.loc["earliest_worse", "effect"] == pytest.approx(67.7 - 73.2, abs=0.1)


def test_answers_are_read_from_the_runs_that_are_shown(cnn, tmp_path):
    runs = [cnn, go_on(cnn, tmp_path, "lcn", split=1), go_on(cnn, tmp_path, "cnn", split=1, learning_rate=0.3)]
    rate, after = (store.describe(path).settings["learning_rate"] for path in runs[:2])
    shown = Shown.from_plain(SHOWN.plain() | {"cnn_learning_rate": rate, "learning_rate": after})
    found = untied_claims.answers_of(map(untied_results.read, runs), shown)
    assert set(found) == {("cnn", -1), ("lcn", 1)}
    for path, key in zip(runs, found, strict=False):
        arrays = read(path)
        np.testing.assert_array_equal(found[key][0].mean(1), arrays["test_accuracy"][[0, 1, -1]])


def test_other_learning_rates_are_not_mixed_in():
    runs = made_up(PUBLISHED)
    both = pd.concat([runs, runs.assign(learning_rate=0.5, train_accuracy=0.0)])
    pd.testing.assert_series_equal(judged(PUBLISHED, runs=both), judged(PUBLISHED))


def test_barriers_between_networks_are_judged():
    rows = []
    for method, height in (("linear", 0.5), ("string", 0.1)):
        for seed, (alpha, rise) in itertools.product(range(3), ((0, 0), (0.5, height), (1, -0.2))):
            loss = 0.3 + rise + 0.001 * seed * (alpha == 0.5)
            rows.append(
                {"origin": "cnn", "target": "lcn-1", "method": method, "seed": seed, "alpha": alpha, "test_loss": loss}
            )
    table = pd.DataFrame(rows)
    pairs, methods = [("cnn", "lcn-1"), ("cnn", "fcn-1")], ["linear", "string"]
    found = untied_claims.path_claims(table, pairs=pairs, methods=methods, missing=2).set_index("id")
    assert found["verdict"].tolist() == ["held", "held", "undecided", "undecided"]
    assert found.loc["barrier_cnn_lcn-1", "effect"] == pytest.approx(0.501)
    flat = table.assign(test_loss=table["alpha"])
    again = untied_claims.path_claims(flat, pairs=pairs[:1], methods=methods, missing=0)
    assert again["verdict"].tolist() == ["not held", "undecided"], "nothing above the worse end"


def test_summaries_are_means_over_seeds():
    ends = untied_results.end_summary(made_up(PUBLISHED), SHOWN).set_index(["quantity", "network", "split"])
    row = ends.loc["test_accuracy", "lcn", 3]
    assert row["mean"] == pytest.approx(75.5)
    assert row["std"] == pytest.approx(np.std([0, 0.1, 0.2], ddof=1))
    assert row["seeds"] == 3


def test_a_norm_that_some_seeds_lack_is_left_out():
    runs = made_up(PUBLISHED)
    runs.loc[(runs["epoch"] == 0) & (runs["seed"] == 1), "log_normalized_norm_by_test_legacy"] = np.nan
    curves = untied_results.curves(runs, SHOWN)
    norms = curves[curves["quantity"] == "log_normalized_norm"]
    assert set(norms["epoch"]) == {1, 9}
    accuracies = curves[curves["quantity"] == "test_accuracy"]
    assert set(accuracies.loc[accuracies["split"] > 0, "epoch"]) == {0, 1, 9}
    assert set(accuracies.loc[accuracies["split"] < 0, "epoch"]) == {1, 9}, "the initial network is not drawn"


def drawn(missing=0):
    plain = published().plain() | {"images": IMAGES.plain(), "shown": SHOWN.plain()}
    return {"settings": plain | {"scale": "demo"}, "missing": missing}


def test_the_main_figure_has_a_column_a_split_and_cuts_off_no_end(table):
    curves = untied_results.curves(table, SHOWN)
    drawn_curves = figure.draw(curves, **drawn(missing=1))
    rows = np.array(drawn_curves.axes).reshape(3, len(SHOWN.splits))
    assert [row[0].get_ylabel() for row in rows] == list(figure._QUANTITIES.values())
    assert [axes.get_title() for axes in rows[0]] == ["split at epoch 1", "split at epoch 3"]
    for row, quantity in zip(rows, figure._QUANTITIES, strict=True):
        for axes, split in zip(row, SHOWN.splits, strict=True):
            lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
            own = curves[(curves["quantity"] == quantity) & curves["split"].isin([split, untied_results.SCRATCH])]
            groups = own.groupby(["network", "split"])
            expected = [sorted(group[["age", "mean"]].to_numpy().tolist()) for _, group in groups]
            assert sorted(lines.values()) == sorted(expected)
            low, high = axes.get_ylim()
            for line in lines.values():
                assert quantity == "log_normalized_norm" or low < line[-1][1] < high, "its end is seen"
    assert "PARTIAL: 1 run missing" in drawn_curves.get_supxlabel()


def test_the_figure_on_splits_and_that_on_layers_show_what_there_is(table):
    splits = figure.draw_ends(untied_results.end_summary(table, SHOWN), **drawn())
    assert len(splits.axes) == 2
    assert [label.get_text() for label in splits.axes[1].get_xticklabels()] == ["1", "3"]
    layers = figure.draw_deviation(untied_results.layer_curves(table, SHOWN), **drawn())
    assert [axes.get_title() for axes in layers.axes[:3]] == ["convolution 1", "convolution 2", "convolution 3"]
    assert [len(axes.lines) for axes in layers.axes[:6]] == [2, 2, 2, 1, 1, 1], "two LCNs, one FCN"
    with pytest.raises(MissingRunsError, match="no untied network"):
        untied_results.layer_curves(table[table["split"].isna()], SHOWN)


def test_the_figure_on_ways_names_each_pair(cnn, tmp_path):
    _, _, way = interpolated(cnn, tmp_path, ("cnn", "lcn"))
    ways = untied_results.collect_interpolations([way])
    assert len(ways) == 4 * 3
    two = pd.concat([ways, ways.assign(target="fcn-3")])
    settings = drawn()
    settings["settings"]["interpolation"]["pairs"] = [["cnn", "lcn-1"], ["lcn-1", "lcn-3"], ["cnn", "fcn-3"]]
    last = figure.draw_interpolation(untied_results.interpolation_summary(two), **settings)
    assert [axes.get_title() for axes in last.axes[:2]] == ["CNN → LCN split at 1", "CNN → FCN split at 3"]
    assert [len(axes.lines) for axes in last.axes] == [4 * 2] * 4
