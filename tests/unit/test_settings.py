import os
import re
import shutil
import unicodedata
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
        r"config: pathfinder\.training\.epoch: unknown key; did you mean epochs\? allowed: keep, .*optimizer, ",
    ),
    "text for a number": ({"pathfinder": {"seeds": "five"}}, 'pathfinder.seeds = "five": .*valid integer'),
    "value given twice": ({"pathfinder": {"path_lengths": [3, 5, 3]}}, "path_lengths = .*each value may be given once"),
    "fraction for a count": ({"pathfinder": {"training": {"epochs": 2.5}}}, r"training\.epochs = 2.5: .*valid integer"),
    "number for a switch": ({"partial": 1}, "partial = 1: .*valid boolean"),
    "negative": (
        {"pathfinder": {"training": {"learning_rate": -1}}},
        "learning_rate = -1: .*greater than or equal to 1e-30$",
    ),
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
    file = tmp_path / "scales" / "demo" / "pathfinder.yaml"
    right = file.read_text()
    file.write_text(right.replace("momentum:", "momentun:"))
    text = message(CONFIG, tmp_path / "scales")
    assert "demo/pathfinder.yaml: pathfinder.training.momentun: unknown key; did you mean momentum?" in text
    assert "pathfinder.training.momentum: missing" in text
    file.write_text(right + "\npathfindre: {}\n")
    assert "demo/pathfinder.yaml: pathfindre: unknown key; did you mean pathfinder?" in message(
        CONFIG, tmp_path / "scales"
    )
    file.write_text("- 1\n")
    assert "demo/pathfinder.yaml: must hold one block of settings" in message(CONFIG, tmp_path / "scales")
    file.unlink()
    assert "demo/pathfinder.yaml: pathfinder: missing; it must be given here" in message(CONFIG, tmp_path / "scales")
    file.with_name("pathfindre.yaml").write_text(right)
    text = message(CONFIG, tmp_path / "scales")
    assert "demo/pathfindre.yaml: there is no study of this name; did you mean pathfinder?" in text


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


# Files.


def scales_with(tmp_path, content):
    """Scales of which `demo` is `content`."""
    shutil.copytree(SCALES, tmp_path / "scales")
    (tmp_path / "scales" / "demo" / "pathfinder.yaml").write_bytes(content)
    return tmp_path / "scales"


BAD_YAML = {
    "not YAML": (b"a: 1\nb: [1,\n", "line 3: not readable as YAML: expected the node content"),
    "not UTF-8": (b"a: 1\nb: \xff\xfe\x00", "line 2: not readable as YAML: not UTF-8 .byte 0xff.; save it in this"),
    "a tab": (b"a:\n\tb: 1\n", "line 2: .* it has a tab, write blanks instead"),
    "a control character": (b"a: 1\n\nb: \x07", "line 3: .*the character '.x07' is in it"),
    "a key twice": (b"a: 1\nb: 2\na: 3\n", "line 3: a: given twice, before in line 1; leave one of them out"),
    "a key twice within a list": (b"a:\n  - {b: 1,\n     b: 2}\n", "line 3: b: given twice, before in line 2"),
    "octal": (b"a: 1\nb: 010\n", "line 2: 010: .* leading zeros as octal"),
    "to base 60": (b"a: 1:30", "line 1: 1:30: .* base 60"),
    "hexadecimal": (b"a: 0x10", "line 1: 0x10: write the number in decimals"),
    "underscores": (b"a: 1_000", "line 1: 1_000: write the number without underscores"),
    "a date": (b"a: 2024-01-01", "line 1: 2024-01-01: .*a date"),
    "infinite in a list": (b"a:\n- 1\n- .inf\n", "line 3: .inf: every number must be finite"),
    "not a number": (b"a: .NaN", "line 1: .NaN: every number must be finite"),
    "too large to be finite": (b"a: 1e999", "line 1: 1e999: every number must be finite"),
    "a huge whole number": (b"a: 9223372036854775808", "line 1: 9223372036854775808: beyond all whole numbers"),
    "more digits than Python reads": (b"a: " + 5000 * b"9", "line 1: 9{37}...: a number of more than 30 digits"),
    "a cyclic alias": (b"a: &x\n  b: *x\n", "line 1: an alias .* never end"),
    "aliases that explode": (
        b"a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
        "more than 100,000 values",
    ),
    "nested too deep": (b"a: 1\nb: " + 3000 * b"[", "line 2: .*nested too deep"),
    "blocks nested too deep": (b"".join(b" " * n + b"a:\n" for n in range(1300)), "line 2.: .*nested too deep"),
    "a tag": (b"a: !!python/object:os.system x", "line 1: .*os.system: tags are not used"),
    "a number as name": (b"a: 1\n2: 3\n", "line 2: the name of a setting must be text, not 2"),
    "two documents": (b"a: 1\n---\nb: 2\n", "line 2: not readable as YAML"),
    "nothing": (b"", "holds no settings, which Snakemake does not take; write {} if none are meant"),
    "comments alone": (b"# a: 1\n---\n", "holds no settings"),
    "a list": (b"- 1\n", "must hold one block of settings"),
    "too large a file": (b"#" * 2**21, "larger than 1,048,576 bytes"),
}


@pytest.mark.parametrize("kind", BAD_YAML)
def test_a_file_is_refused_with_its_line(tmp_path, kind):
    content, expected = BAD_YAML[kind]
    text = message(CONFIG, scales_with(tmp_path, content))
    assert re.search(f"demo/pathfinder.yaml.*{expected}", text), text
    assert len(text.splitlines()) == 1


def test_a_folder_or_a_pipe_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    for name, expected in (
        ("folder.yaml", "is a folder, where a file of settings should be"),
        ("pipe.yaml", "is no regular file, which jobs could read again"),
        ("none.yaml", "not readable: No such file or directory"),
    ):
        with pytest.raises(settings.SettingsError, match=f"{name}: {expected}"):
            settings.load(CONFIG, SCALES, files=[tmp_path / name])


def loaded_from(tmp_path, text, **config):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    return settings.load(config, SCALES, files=[ROOT / "config" / "config.yaml", tmp_path / "mine.yaml"])


def test_numbers_are_read_as_they_look(tmp_path):
    text = "pathfinder:\n  coefficients: [1e-5, 1E1, 1., .5, +2]\n  training: {learning_rate: 5e-2}\npartial: yes\n"
    read = loaded_from(tmp_path, text)
    assert read.pathfinder.coefficients == (1e-5, 10, 1, 0.5, 2)
    assert read.pathfinder.training.learning_rate == 0.05
    assert read.partial is True


def test_a_quoted_number_is_text(tmp_path):
    with pytest.raises(settings.SettingsError) as caught:
        loaded_from(tmp_path, 'pathfinder: {training: {learning_rate: "1e5"}}')
    expected = (
        'mine.yaml: pathfinder.training.learning_rate = "1e5": .*valid number; write it as 100000, without quotes'
    )
    assert re.search(expected, str(caught.value))


def test_later_files_and_the_command_line_stand_over_earlier_ones(tmp_path):
    text = "scale: smoke\npathfinder: {seeds: 3, training: {epochs: 9}}"
    read = loaded_from(tmp_path, text, pathfinder={"seeds": "4"})
    assert (read.scale, read.pathfinder.seeds, read.pathfinder.training.epochs) == ("smoke", 4, 9)
    with pytest.raises(settings.SettingsError, match=r"mine.yaml: pathfinder.seeds = 0.*"):
        loaded_from(tmp_path, "pathfinder: {seeds: 0}")
    with pytest.raises(settings.SettingsError, match=r"mine.yaml: scale = .*no such scale"):
        loaded_from(tmp_path, "scale: none")


def test_numbers_from_the_command_line_are_read_in_the_same_way():
    for text, expected in (("010", "leading zeros"), ("1:30", "base 60"), (".inf", "finite"), ("nan", "finite")):
        assert re.search(f"config: pathfinder.seeds = {text}: .*{expected}", message({"pathfinder": {"seeds": text}}))


# Values.


def variant(**changes):
    return {"depth": 2, "learning_rate": 0.006, "init_scale": 1e-5, "balanced": True} | changes


def further(problem, **changes):
    block = {"problem": problem, "variants": [variant(**changes)], "seeds": 1}
    return {"norms": {"matrix": {"further": [block]}}}


TWICE = further({"task": "completion", "shape": [3, 3], "num_samples": 5})
TWICE["norms"]["matrix"]["further"] *= 2
IMPOSSIBLE = {
    "unknown key in a list": (
        {"norms": {"matrix": {"published": {"variants": [{"depth": 2, "learning_rat": 0.006}]}}}},
        r"config: norms.matrix.published.variants.0.learning_rat: unknown key; did you mean learning_rate\?",
    ),
    "missing key in a list": (
        {"norms": {"matrix": {"published": {"variants": [{"depth": 2}]}}}},
        r"config: norms.matrix.published.variants.0.learning_rate: missing",
    ),
    "unknown key in a list of lists": (
        {"norms": {"tensor": {"grids": [{"problem": {"shap": [4, 4, 4]}}]}}},
        r"config: norms.tensor.grids.0.problem.shap: unknown key; did you mean shape\?",
    ),
    "a name with dots": (
        {"pathfinder.seeds": 5},
        r"unknown key; pathfinder.seeds is written as  pathfinder: {seeds: ...}  in a file, and as  --config 'pathf",
    ),
    "a seed for a number of runs": (
        {"pathfinder": {"seeds": 20240101}},
        "pathfinder.seeds = 20240101: this is a number of runs, not a seed; at most 1000",
    ),
    "more runs than can be planned": (
        {"pathfinder": {"path_lengths": [3, 4, 5], "seeds": 1000, "coefficients": list(range(100))}},
        r"300,000 runs are more than can be planned",
    ),
    "more jobs than can be planned": (
        {"pathfinder": {"dataset": {"num_train": 1_000_000}, "images_per_shard": 1}},
        "images_per_shard = 1: these are .* jobs a path length",
    ),
    "a rank that cannot be": (further({"task": "sensing", "shape": [3, 2], "rank": 100}), "of 3 x 2 has at most 2"),
    "a value without meaning": (
        further({"task": "sensing", "observed": [1, 2, 3]}),
        r"observed = \[1.0, 2.0, 3.0\] is of task: block, and means nothing with task: sensing; leave it at \[1.0,",
    ),
    "another value without meaning": (further({"task": "block", "rank": 2}), "rank = 2 is of random matrices"),
    "momentum for Adam": (
        {"same_class": {"training": {"optimizer": "adam"}}},
        "momentum = 0.9 is for the optimizer sgd; adam has its own; set momentum: 0",
    ),
    "observations that the grids have": (
        {"norms": {"tensor": {"descent": {"num_observations": 7}}}},
        "num_observations = 7 means nothing here, as each grid has its own; leave it at 2048",
    ),
    "nothing to find": (
        {"norms": {"matrix": {"perturbed": {"observed": [0, 0], "epsilons": [1, 0]}}}},
        "of the observed entries one at least is not 0",
    ),
    "a number whose square is none": (
        {"norms": {"matrix": {"perturbed": {"observed": [1e-9, 1]}}}},
        "observed.0 = 1e-09: is neither 0 nor at least",
    ),
    "a depth beyond use": (further({}, depth=10_000), "depth = 10000: .*less than or equal to 100"),
    "a batch beyond numbers": (
        {"pathfinder": {"training": {"batch_size": 2**63}}},
        "pathfinder.training.batch_size: a whole number beyond",
    ),
    "a mean that overflows": (
        {"rank_dynamics": {"tensor": {"problem": {"factor_mean": 1e308}}}},
        "factor_mean = 1e.308: .*less than or equal to 100",
    ),
    "margins beyond the window": (
        {"pathfinder": {"rendering": {"margins": [1_000_000]}}},
        "margins.0 = 1000000: .*less than or equal to 100",
    ),
    "strokes beyond the window": (
        {"pathfinder": {"rendering": {"margins": [30]}}},
        "a stroke with its margins .* half of a window of",
    ),
    "a disc beyond the window": (
        {"scale": "smoke", "pathfinder": {"rendering": {"marker_radius": 200}}},
        "marker_radius = 200: discs on two paths that start 10 px apart",
    ),
    "a tensor beyond memory": (
        {"rank_dynamics": {"tensor": {"problem": {"shape": [3000, 3000, 3000]}}}},
        "a target of 3000 x 3000 x 3000 entries would take 432 GB",
    ),
    "a batch that cannot be normalised": (
        {"scale": "smoke", "pathfinder": {"dataset": {"size": 8}, "training": {"batch_size": 1}}},
        "cannot be normalised; choose another batch_size",
    ),
    "infinite in a list": ({"pathfinder": {"coefficients": [0, float("inf")]}}, "coefficients.1: inf: every number"),
    "the folder of nobody": ({"images_folder": "~nouser/x"}, "~nouser stands for a home folder of the user nouser"),
    "a folder with too long a name": ({"images_folder": "a" * 300}, "longer than the name of a folder can be"),
    "one of two types": ({"untied": {"continued": {"splits": {"lcn": "x"}}}}, "valid integer; or .*valid array"),
    "the same run twice": (TWICE, "further asks for the same run twice"),
    "all but no units": ({"pathfinder": {"network": {"dropout": 0.999999999}}}, "dropout = 0.999999999"),
    "nested too deep": ({"pathfinder": {"a": [[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]}}, "nested too deep"),
    "more digits than Python writes": ({"pathfinder": {"seeds": 10**5000}}, "pathfinder.seeds: a whole number beyond"),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_what_cannot_be_meant_is_refused(kind):
    change, expected = IMPOSSIBLE[kind]
    assert re.search(expected, message(CONFIG | change)), message(CONFIG | change)


def test_a_folder_may_be_named_by_composed_and_decomposed_letters():
    for form in ("NFC", "NFD"):
        folder = unicodedata.normalize(form, "Bücher/été")
        assert settings.load(CONFIG | {"images_folder": folder}, SCALES).images_folder == folder
