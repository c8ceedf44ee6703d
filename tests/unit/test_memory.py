"""What jobs are thought to need in memory, against counts of the arrays themselves and against measured peaks."""

import pytest
import yaml

import peak
from project import CHECKOUT
from tacit import settings
from tacit.memory import networks, pathfinder, same_class, untied
from tacit.nn import convnets, resnets, untying
from tacit.settings.convnets import Architecture
from tacit.settings.images import Images
from tacit.settings.networks import Network

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))


def scale(name, **changes):
    return settings.load(CONFIG | {"scale": name} | changes, CHECKOUT / "config" / "scales")


@pytest.mark.parametrize("kind", ["cnn", "lcn", "fcn"])
@pytest.mark.parametrize("name", ["skinny", "alexnet"])
def test_weights_of_untied_networks_are_counted_right(kind, name):
    images, architecture = Images(source="mnist", size=32), Architecture(name=name, width=3)
    network = convnets.build(architecture, side=32, in_channels=1, classes=10)
    if kind != "cnn":
        network = {"lcn": untying.to_local, "fcn": untying.to_dense}[kind](network, side=32)
    sizes = [module.weight.numel() for module in untying.weighted(network)]
    total, largest, _ = untied.weights_of(architecture, kind, images)
    # Places that pooling leaves over have no weights in a locally connected network, and are counted all the same.
    assert sum(sizes) <= total <= (1.4 if kind == "lcn" else 1) * sum(sizes)
    assert max(sizes) <= largest <= (1.4 if kind == "lcn" else 1) * max(sizes)


@pytest.mark.parametrize("name", ["resnet8", "resnet20", "resnet18", "resnet50"])
def test_weights_of_residual_networks_are_counted_right(name):
    network = Network(name=name)
    weights = sum(part.numel() for part in resnets.build(network, in_channels=3).parameters())
    one, other = (networks.residual(network, (64, 64), 3, batch) for batch in (0, 1))
    assert other > one
    test_batch = networks.residual(network, (1, 1), 3, 0)
    assert test_batch / 24 == pytest.approx(weights, rel=0.1)


def test_more_asks_for_more():
    demo, paper = scale("demo"), scale("paper")
    for gpu in (False, True):
        for ask in (
            lambda cfg, gpu=gpu: pathfinder.train(cfg.pathfinder, gpu=gpu),
            lambda cfg, gpu=gpu: same_class.train(cfg.same_class, gpu=gpu),
            lambda cfg, gpu=gpu: untied.train(cfg.untied, "fcn", gpu=gpu),
            lambda cfg, gpu=gpu: untied.interpolate(cfg.untied, ["cnn", "fcn"], gpu=gpu),
        ):
            assert ask(demo) < ask(paper)


MEASURED = """
import sys
import peak
import numpy as np
from tacit.settings.images import Images
from tacit.settings.convnets import Architecture
from tacit.settings.untied import RunSettings, Sgd
from tacit.studies import untied
from tacit.data.images import ImageSet
random = np.random.default_rng(0)
images = ImageSet(
    random.integers(0, 256, (40, 1, 32, 32), dtype=np.uint8), np.arange(40) % 10,
    random.integers(0, 256, (20, 1, 32, 32), dtype=np.uint8), np.arange(20) % 10,
)
run = RunSettings(
    images=Images(source="digits", size=32), architecture=Architecture(name="skinny", width=int(sys.argv[2])),
    sgd=Sgd(batch_size=20, order="fixed"), epochs=int(sys.argv[3]), measured=(0, int(sys.argv[3])), keep=sys.argv[4],
)
untied.train(images, run, network=sys.argv[1], learning_rate=0.01, seed=0, checkpoint=sys.argv[5] + "/c.pt")
print(peak.megabytes())
"""


def measured(folder, network, width, epochs=1, keep="last epoch"):
    return peak.printed_by(MEASURED, network, width, epochs, keep, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "width"), [("fcn", 48), ("lcn", 96)])
def test_a_large_network_takes_less_than_is_asked_for_it(tmp_path, network, width):
    study = scale("demo", untied={"architecture": {"name": "skinny", "width": width}}).untied
    assert measured(tmp_path, network, width) < untied.train(study, network, gpu=False)


@pytest.mark.slow
def test_what_a_cnn_keeps_of_its_epochs_takes_no_memory(tmp_path):
    """80 epochs of 4 MB each would be 320 MB; equal runs differ by some tens."""
    few, many = (measured(tmp_path, "cnn", 140, epochs, "every epoch") for epochs in (5, 85))
    assert many - few < 160
