import re
import shutil
from pathlib import Path

import pytest
import yaml

from tacit import settings
from tacit.settings.pathfinder import PathfinderSettings, Rendering

ROOT = Path(__file__).parents[2]
SCALES = ROOT / "config" / "scales"
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


@pytest.mark.parametrize("scale", ["smoke", "demo", "paper"])
def test_every_scale_is_complete_and_right(scale):
    loaded = settings.load(CONFIG | {"scale": scale}, SCALES)
    assert loaded.scale == scale
    again = PathfinderSettings.from_plain(loaded.pathfinder.plain())
    assert again == loaded.pathfinder


def test_another_source_of_images_brings_its_own_statistics():
    """Those of CIFAR-10 stand in the scale file, and are no default for what one names in its place."""

    def loaded(**images):
        return settings.load(CONFIG | {"scale": "paper", "same_class": {"images": images}}, SCALES).same_class.images

    assert loaded(source="cifar100").statistics == ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276))
    assert loaded(num_train=100).statistics[0] == (0.491, 0.482, 0.446)


def test_is_same_class_at_paper_scale_is_what_was_published():
    study = settings.load(CONFIG | {"scale": "paper"}, SCALES).same_class
    pathfinder = settings.load(CONFIG | {"scale": "paper"}, SCALES).pathfinder
    assert study.distances == (0, 40, 80, 120, 160)
    assert study.coefficients == (0, 0.1, 1)
    assert study.seeds == 5
    assert (study.images.source, study.images.side) == ("cifar10", 32)
    assert study.images.statistics == ((0.491, 0.482, 0.446), (0.247, 0.243, 0.261))
    assert study.images.drawn == {
        "source": "cifar10", "size": 32, "classes": None, "num_train": None, "train_fraction": None, "num_test": None,
        "subset_seed": 0,
    }  # fmt: skip
    assert (study.canvas.height, study.canvas.width) == (224, 224)
    assert study.pairs.plain() == {"seed": 0, "num_train": 5000, "num_test": 10_000}
    assert study.network == pathfinder.network
    assert study.training == pathfinder.training


def test_paper_scale_is_what_was_published():
    study = settings.load(CONFIG | {"scale": "paper"}, SCALES).pathfinder
    assert study.path_lengths == (3, 5, 7, 9)
    assert study.coefficients == (0, 3, 9)
    assert study.seeds == 5
    assert study.rendering == Rendering()
    assert study.rendering.plain() == {
        "window": [300, 300], "padding": 22, "segment_length": 5, "thickness": 2, "margins": [3], "antialias": 2,
        "continuity": 1.8, "seed_distance": 27, "marker_radius": 3, "distractor_segments": 30,
        "max_segment_retrials": 2, "max_distractor_retrials": 4, "path_contrasts": [1], "segment_contrasts": [1],
        "availability": 0.01, "use_single_segments": False, "mask_last_segments": False,
    }  # fmt: skip
    assert study.dataset.plain() == {"seed": 0, "num_train": 10_000, "num_test": 10_000, "size": 150}
    assert study.network.plain() == {"name": "resnet18", "width": 64, "stem_stride": 2, "dropout": 0}
    training = study.training
    assert (training.optimizer, training.learning_rate, training.momentum) == ("sgd", 0.01, 0.9)
    assert (training.weight_decay, training.batch_size, training.epochs, training.perfect_epochs) == (0, 64, 150, 20)
    assert study.regularizer.plain() == {"patch_size": 2, "distance": 0, "adjacent_only": False}


def message(config, scales=SCALES):
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(config, scales)
    return str(caught.value)


MISTAKES = {
    "unknown key": ({"scael": 1}, r"config: scael: unknown key; did you mean scale\? allowed: scale, device"),
    "unknown key of a study": ({"pathfinder": {"sedes": 2}}, "pathfinder.sedes: unknown key; did you mean seeds"),
    "unknown key deep down": (
        {"pathfinder": {"training": {"epoch": 3}}},
        r"config: pathfinder\.training\.epoch: unknown key; did you mean epochs\? allowed: optimizer, learning_rate",
    ),
    "text for a number": ({"pathfinder": {"seeds": "five"}}, 'pathfinder.seeds = "five": .*valid integer'),
    "value given twice": ({"pathfinder": {"path_lengths": [3, 5, 3]}}, "path_lengths = .*each value may be given once"),
    "fraction for a count": ({"pathfinder": {"training": {"epochs": 2.5}}}, r"training\.epochs = 2.5: .*valid integer"),
    "number for a switch": ({"partial": 1}, "partial = 1: .*valid boolean"),
    "negative": ({"pathfinder": {"training": {"learning_rate": -1}}}, "learning_rate = -1: .*greater than 0"),
    "infinite": ({"pathfinder": {"training": {"learning_rate": float("inf")}}}, "learning_rate"),
    "inside a list": ({"pathfinder": {"path_lengths": [3, 0]}}, r"pathfinder\.path_lengths\.1 = 0: .*greater than or"),
    "empty list": ({"pathfinder": {"coefficients": []}}, "coefficients = .*at least 1"),
    "one value for a list": ({"pathfinder": {"path_lengths": 9}}, "path_lengths = 9: .*valid"),
    "not a choice": ({"device": "gpu"}, "device = \"gpu\": .*'auto', 'cpu' or 'cuda'"),
    "no such network": ({"pathfinder": {"network": {"name": "vgg"}}}, "network.name = \"vgg\": .*'resnet18'"),
    "impossible together": (
        {"pathfinder": {"rendering": {"seed_distance": 100}}},
        "seed_distance of 100 needs a window of at least 401 x 401",
    ),
    "half pixels": ({"pathfinder": {"rendering": {"thickness": 1.3}}}, "thickness times antialias"),
    "width of a fixed layout": (
        {"pathfinder": {"network": {"name": "resnet18", "width": 32}}},
        "resnet18 has a width of 64",
    ),
    "patches too far apart": ({"pathfinder": {"regularizer": {"distance": 500}}}, "can be at most .* px apart"),
    "block for a value": ({"pathfinder": {"seeds": {"a": 1}}}, "pathfinder.seeds"),
    "not text": ({"device": {1, 2}}, "numbers, text, lists and blocks"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused_by_a_message_that_names_them(mistake):
    change, expected = MISTAKES[mistake]
    assert re.search(expected, message(CONFIG | {"scale": "smoke"} | change), re.S)


def test_all_mistakes_are_said_at_once():
    text = message(CONFIG | {"device": "gpu", "gpu_slots": 0, "pathfinder": {"seeds": 0}})
    assert len(text.splitlines()) == 3


def test_a_mistake_in_a_scale_file_names_that_file(tmp_path):
    shutil.copytree(SCALES, tmp_path / "scales")
    file = tmp_path / "scales" / "demo.yaml"
    right = file.read_text()
    file.write_text(right.replace("momentum:", "momentun:"))
    text = message(CONFIG, tmp_path / "scales")
    assert "demo.yaml: pathfinder.training.momentun: unknown key; did you mean momentum?" in text
    assert "pathfinder.training.momentum: missing" in text
    file.write_text(right + "\npathfindre: {}\n")
    assert "demo.yaml: pathfindre: unknown key; did you mean pathfinder?" in message(CONFIG, tmp_path / "scales")
    file.write_text("a: [1,\n")
    assert "demo.yaml: not readable as YAML" in message(CONFIG, tmp_path / "scales")
    file.write_bytes(b"\xff\xfe\x00")
    assert "demo.yaml: not readable as YAML" in message(CONFIG, tmp_path / "scales")
    file.write_text("- 1\n")
    assert "one block of settings for each study" in message(CONFIG, tmp_path / "scales")


def test_blocks_from_the_command_line_are_read_as_yaml():
    """Snakemake hands on what stands in blocks, and `false` in small letters, as text."""
    assert settings.load(CONFIG | {"partial": "false", "gpu_slots": "3"}, SCALES).gpu_slots == 3
    block = {
        "seeds": "7",
        "coefficients": ["0", "1e-1"],
        "network": {"name": "resnet8"},
        "training": {"compile": "true"},
    }
    study = settings.load(CONFIG | {"pathfinder": block}, SCALES).pathfinder
    assert (study.seeds, study.coefficients, study.network.name) == (7, (0, 0.1), "resnet8")
    assert study.training.compile is True


def test_an_exponent_that_yaml_reads_as_text_is_explained(tmp_path):
    shutil.copytree(SCALES, tmp_path / "scales")
    file = tmp_path / "scales" / "demo.yaml"
    file.write_text(file.read_text().replace("learning_rate: 0.05", "learning_rate: 5e-2"))
    text = message(CONFIG, tmp_path / "scales")
    assert 'learning_rate = "5e-2": input should be a valid number; write it as 0.05' in text


def test_an_unknown_scale_names_the_known_ones():
    text = message(CONFIG | {"scale": "papr"})
    assert "scale = 'papr': no such scale; did you mean paper? allowed: demo, paper, smoke" in text
    assert "no such scale" in message({})


def test_overrides_change_single_keys():
    changed = settings.load(CONFIG | {"pathfinder": {"training": {"epochs": 7}, "coefficients": [0, 0.5]}}, SCALES)
    usual = settings.load(CONFIG, SCALES)
    assert changed.pathfinder.training.epochs == 7
    assert changed.pathfinder.coefficients == (0, 0.5)
    assert changed.pathfinder.rendering == usual.pathfinder.rendering
    assert changed.pathfinder.training.batch_size == usual.pathfinder.training.batch_size


def test_the_identity_of_a_rendering_is_its_values():
    assert Rendering().identity == Rendering(padding=22).identity
    assert Rendering().identity != Rendering(padding=21).identity
    assert Rendering.from_plain({"thickness": 2}).identity == Rendering.from_plain({"thickness": 2.0}).identity


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Rendering().padding = 3
