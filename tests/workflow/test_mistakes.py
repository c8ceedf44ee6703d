"""Mistakes of a user end in one readable message, before any job."""

import subprocess
import sys

import pytest

from project import FIGURE, SAME_CLASS_FIGURE

pytestmark = pytest.mark.slow

SETTINGS = {
    "an unknown key": ({"scael": "smoke"}, ["scael", "unknown key", "did you mean scale?"]),
    "an unknown key deep down": (
        {"pathfinder": {"training": {"epoch": 3}}},
        ["pathfinder.training.epoch", "unknown key", "did you mean epochs?"],
    ),
    "text in place of a number": ({"pathfinder": {"seeds": "five"}}, ["pathfinder.seeds", '"five"', "valid integer"]),
    "a number in place of a block": ({"pathfinder": 3}, ["pathfinder = 3", "object"]),
    "no such device": ({"device": "gpu"}, ["device", '"gpu"', "'auto', 'cpu' or 'cuda'"]),
    "an impossible value": ({"gpu_slots": 0}, ["gpu_slots = 0", "greater than or equal to 1"]),
    "images that do not fit": (
        {"same_class": {"distances": [0, 400]}},
        ["same_class", "8 px at a distance of 400 px do not fit on a canvas of 16 x 32 px"],
    ),
    "no such images": (
        {"same_class": {"images": {"source": "imagenet"}}},
        ["same_class.images.source", "'tiny_imagenet'"],
    ),
    "values impossible together": (
        {"pathfinder": {"rendering": {"seed_distance": 100}}},
        ["pathfinder.rendering", "seed_distance of 100", "window of at least 401 x 401"],
    ),
}


@pytest.fixture
def project(fresh, copy_of):
    return copy_of(fresh)


def assert_refused(project, call, *words):
    """Check that a call failed before any job, by a message with all `words` and without a traceback."""
    assert call.code != 0, call.output
    assert [word for word in words if word not in call.output] == [], call.output
    assert "Traceback" not in call.output, call.output
    assert_nothing_ran(project, call)


def assert_nothing_ran(project, call):
    assert "Job stats" not in call.output
    assert not [name for name in ("results", "logs", "benchmarks") if (project / name).exists()]


@pytest.mark.parametrize("mistake", SETTINGS)
def test_wrong_settings_are_refused(project, mistake):
    settings, words = SETTINGS[mistake]
    assert_refused(project, project.call("--cores", "1", FIGURE, **settings), *words)


@pytest.mark.parametrize("values", [{"coefficients": [0, 1, 0]}, {"path_lengths": [2, 2]}], ids=str)
def test_a_value_given_twice_is_refused(project, values):
    (name,) = values
    assert_refused(project, project.call("--dry-run", FIGURE, pathfinder=values), f"pathfinder.{name}")


PAPER = {"scale": "paper"}


def test_missing_images_are_described_before_any_job(project):
    call = project.call("--cores", "1", SAME_CLASS_FIGURE, **PAPER)
    assert call.code != 0
    assert_nothing_ran(project, call)
    for words in (
        f"CIFAR-10 is not complete in the folder {project / 'datasets'}",
        "cifar-10-python.tar.gz, 170,498,071 bytes, MD5 c58f30108f718f92721af3b95e74349a: missing",
        "cifar-10-batches-py/data_batch_1, 31,035,704 bytes, MD5 c99cafc152244af753f735de768cd75f: missing",
        "images_folder in config/config.yaml",
        "download_images: true",
    ):
        assert words in call.output, call.output


def test_incomplete_images_in_a_folder_of_ones_own_are_described(project, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    call = project.call("--cores", "1", SAME_CLASS_FIGURE, images_folder=str(tmp_path), **PAPER)
    assert call.code != 0
    assert_nothing_ran(project, call)
    assert f"not complete in the folder {tmp_path}" in call.output
    assert "cifar-10-python.tar.gz, 170,498,071 bytes" in call.output
    assert "has 10 bytes; incomplete or not the published file" in call.output


def test_a_damaged_source_is_described_before_any_job(project):
    """Of the right size, so that only the checksum tells; and with trainings of other studies in the same call."""
    folder = project / "datasets" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    sizes = {"train-images-idx3": 9_912_422, "train-labels-idx1": 28_881, "t10k-images-idx3": 1_648_877}
    for name, size in (sizes | {"t10k-labels-idx1": 4_542}).items():
        (folder / f"{name}-ubyte.gz").write_bytes(bytes(size))
    images = {"source": "mnist"}
    canvas = {"height": 28, "width": 64}
    settings = {"images": images, "canvas": canvas, "distances": [0]}
    call = project.call("--cores", "2", "--keep-going", same_class=settings)
    assert call.code != 0
    assert_nothing_ran(project, call)
    assert "train-labels-idx1-ubyte.gz, 28,881 bytes, MD5 d53e105ee54ea40749a09fcbcd1e9432: has MD5" in call.output
    assert "damaged or not the published file" in call.output


def test_images_that_are_missing_are_described_also_where_runs_of_others_are_there(smoke, copy_of):
    call = copy_of(smoke).call(
        "--cores", "2", "figures/depth_norms.pdf", depth_limit={"grid": {"data": {"source": "mnist"}}}
    )
    assert call.code != 0
    assert 'made with data.source = "mnist_5k", asked is "mnist"' in call.output
    assert "MNIST is not complete in the folder" in call.output


def test_what_is_only_asked_about_needs_no_images(project):
    status = [sys.executable, "-m", "tacit", "status", "--config", "scale=paper"]
    done = subprocess.run(status, cwd=project.folder, env=project.environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert SAME_CLASS_FIGURE in done.stdout


def test_several_mistakes_are_said_at_once(project):
    call = project.call("--cores", "1", FIGURE, gpu_slots=0, pathfinder={"seeds": "five"})
    assert_refused(project, call, "gpu_slots = 0", 'pathfinder.seeds = "five"')


def test_an_unknown_scale_is_refused(project):
    call = project.call("--cores", "1", FIGURE, scale="papr")
    assert_refused(project, call, "scale = 'papr'", "did you mean paper?", "demo, paper, smoke")


def test_a_typo_in_the_configuration_is_refused(project):
    with project.edited("config/config.yaml", "\ndevice: auto", "\ndevise: auto"):
        call = project.call("--cores", "1", FIGURE)
    assert_refused(project, call, "config/config.yaml: devise", "did you mean device?")


def test_a_typo_in_a_scale_file_is_refused_by_its_name(project):
    with project.edited("config/scales/smoke/pathfinder.yaml", "images_per_shard:", "images_per_shart:"):
        call = project.call("--cores", "1", FIGURE)
    assert_refused(
        project,
        call,
        "config/scales/smoke/pathfinder.yaml",
        "pathfinder.images_per_shart",
        "did you mean images_per_shard?",
    )


def test_a_scale_file_that_is_no_yaml_is_refused_by_its_name(project):
    with project.changed("config/scales/smoke/pathfinder.yaml", "{}]\n".format):
        call = project.call("--cores", "1", FIGURE)
    assert_refused(project, call, "config/scales/smoke/pathfinder.yaml, line ", "not readable as YAML")


def test_a_configuration_that_is_no_yaml_is_refused(project):
    with project.changed("config/config.yaml", "{}]\n".format):
        call = project.call("--cores", "1", FIGURE)
    assert_refused(project, call, "config/config.yaml, line ", "not readable as YAML")


def test_an_unknown_figure_is_refused_by_its_name(project):
    call = project.call("--cores", "1", "figures/pathfindre.pdf")
    assert_refused(project, call, "figures/pathfindre.pdf", "the nearest that there is: figures/pathfinder.pdf")


def test_partial_without_any_run_is_refused(project):
    call = project.call("--cores", "1", FIGURE, partial=True)
    assert call.code != 0
    # Snakemake adds where in the rules it was said, as which figure is asked for is known no earlier.
    assert "partial is true, but no run is there yet, such as results/smoke/pathfinder/" in call.output
    assert "Traceback (most recent call last)" not in call.output
    assert_nothing_ran(project, call)


# A target behind --config or --configfile is taken for one of their values, and Snakemake stumbles over it before it
# reads the Snakefile: what is said then is said by Snakemake, with a traceback.

SWALLOWED = {
    "by --config": (["--config", "scale=smoke", FIGURE], "name=value pairs"),
    "by --configfile": (["--configfile", "config/config.yaml", FIGURE], "No such file"),
}


@pytest.mark.parametrize("way", SWALLOWED)
def test_a_swallowed_target_starts_nothing_and_is_named(project, way):
    arguments, words = SWALLOWED[way]
    call = project.call("--cores", "1", *arguments, scale=None)
    assert call.code != 0
    last = call.output.strip().splitlines()[-1]
    assert words in last
    assert FIGURE in last
    assert_nothing_ran(project, call)


@pytest.mark.parametrize("way", SWALLOWED)
def test_a_swallowed_target_that_exists_is_not_touched(project, way):
    (project / FIGURE).parent.mkdir()
    # As PDFs begin: with bytes that are no text.
    content = b"%PDF-1.4\n%\xac\xdc \xab\xba\n"
    (project / FIGURE).write_bytes(content)
    call = project.call("--cores", "1", *SWALLOWED[way][0], scale=None)
    assert call.code != 0
    assert (project / FIGURE).read_bytes() == content
    assert_nothing_ran(project, call)


def test_a_list_of_classes_that_is_no_text_is_described_before_any_job(project):
    """A folder of files too many to have checksums, of which the lists are read while planning."""
    folder = project / "datasets" / "tiny-imagenet-200"
    (folder / "val").mkdir(parents=True)
    (folder / "wnids.txt").write_bytes(b"n02124075\xff\n")
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02124075\t0\t0\t9\t9\n")
    settings = {"images": {"source": "tiny_imagenet"}, "canvas": {"height": 64, "width": 160}, "distances": [0]}
    call = project.call("--cores", "1", SAME_CLASS_FIGURE, same_class=settings)
    assert call.code != 0
    assert_nothing_ran(project, call)
    for words in (
        f"Tiny ImageNet is not complete in the folder {project / 'datasets'}",
        "tiny-imagenet-200/wnids.txt: no list of classes in UTF-8",
        "can't decode byte 0xff",
        "images_folder in config/config.yaml",
    ):
        assert words in call.output, call.output
