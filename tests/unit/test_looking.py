"""Any run file can be shown, plotted and, of images, exported, whatever its study."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tacit import __main__ as command
from tacit import inspection, provenance, store
from tacit.data import images as image_sets
from tacit.data import pathfinder as generator
from tacit.figures import runs as pictures
from tacit.figures import style
from tacit.settings.pathfinder import Rendering
from tacit.settings.run_figures import RunFigure
from tacit.studies import gathered, locality, matrix_norms, pathfinder, recorded, same_class
from tacit.studies.recorded import LookingError
from tacit.studies.tables import interval

KINDS = recorded.kinds()
LENGTHS = {"size": 4, "rows": 3, "columns": 2}
"""Of axes by name; others have the number of their letters, so that most differ."""

NO_SERIES = ("linear completion of a tensor", "estimated rank of a target", "parallel corpus")
EPOCHS = 4


def arrays_of(kind, generator):
    """Arrays as a kind declares them, two for each pattern."""
    found = {}
    for pattern, declared in kind.arrays.items():
        for name in (pattern.replace("*", "1"), pattern.replace("*", "1_2")) if "*" in pattern else (pattern,):
            axes = declared.shape.replace("...", "* *").split()
            shape = [int(axis) if axis.isdigit() else LENGTHS.get(axis, 2 + len(axis)) for axis in axes]
            dtype = {"float": "float64", "int": "int64"}.get(declared.dtype.split()[0], declared.dtype.split()[0])
            values = generator.uniform(1, 90, shape)
            if recorded.is_place(name):
                values = np.arange(values.size).reshape(shape)
            found[name] = values.astype(dtype)
    return found


@pytest.fixture(params=sorted(KINDS))
def of_any_kind(request, tmp_path):
    """A file of each kind that there is, with everything in it that may be."""
    kind, path = KINDS[request.param], tmp_path / "seed~0.h5"
    attributes = dict.fromkeys(kind.attributes, 1.5)
    arrays = arrays_of(kind, np.random.default_rng(0))
    store.write(path, arrays, kind=kind, settings={"seed": 0, "block": {"rate": 0.1}}, attributes=attributes)
    return path


@pytest.fixture(autouse=True)
def no_job():
    """What a command does to this process is undone."""
    yield
    provenance.begin(provenance.Origin())


def write_run(folder, *, seed, shift=0.0, epochs=EPOCHS, **settings):
    """A Pathfinder run whose numbers follow from its seed; `settings` are in its path."""
    axes = "/".join(f"{name}~{value}" for name, value in settings.items())
    path = folder / "results" / "demo" / "pathfinder" / axes / f"seed~{seed}.h5"
    steps = np.arange(1, epochs + 1)
    arrays = {name: steps + 10.0 * seed + shift for name in locality.METRICS}
    arrays["train_loss"] = 1.0 / steps
    arrays["test_correct"] = np.array([1, 0], np.uint8)
    plain = {"training": {"batch_size": 8}} | settings | {"seed": seed}
    store.write(path, arrays, kind=pathfinder.RUN, settings=plain)
    return str(path)


@pytest.fixture
def grid(tmp_path):
    """Runs of two lengths, coefficients and three seeds, as paths."""
    return [
        write_run(tmp_path, path_length=length, coefficient=coefficient, seed=seed, shift=length + 100 * coefficient)
        for length, coefficient, seed in itertools.product((3, 5), (0, 1), (0, 1, 2))
    ]


def gather(runs, **panel):
    (drawn,) = gathered.gather(RunFigure.from_plain({"panels": [{"runs": runs, **panel}]})).panels
    return drawn


def line(drawn, name):
    return drawn.numbers[drawn.numbers["line"] == name]


# Any kind of file.


def test_kinds_of_all_studies_are_known_by_name():
    assert {"pathfinder run", "same class run", "translations", "image set", "depth limit landscape"} <= set(KINDS)
    assert all(kind.name == name for name, kind in KINDS.items())


def test_whatever_a_file_is_it_says_so_in_lines_of_a_width(of_any_kind):
    contents = store.contents(of_any_kind)
    text = inspection.describe(of_any_kind, width=90)
    _, *rest = text.splitlines()
    assert rest[0].startswith(f"{contents.kind}, ")
    assert max(map(len, rest)) <= 90
    for name in contents.arrays:
        assert name in text or f"{name.partition('1')[0]}* (2)" in text
    assert "rate 0.1" in text


def test_all_that_a_file_recorded_can_be_drawn(of_any_kind):
    run = recorded.read(of_any_kind)
    if run.kind in NO_SERIES:
        with pytest.raises(LookingError, match="has no series of numbers to draw"):
            gathered.metrics_of(run)
        return
    figure = gathered.metrics_of(run)
    drawn = gathered.gather(figure).panels
    series = [panel.y[0] for panel in figure.panels]
    assert [set(part.numbers["quantity"]) for part in drawn] == [{name} for name in series]
    for name, part in zip(series, drawn, strict=True):
        values = run.quantities[name].values
        np.testing.assert_allclose(np.sort(part.numbers["value"]), np.sort(values.ravel().astype(float)))
    if len(figure.panels) < 8:  # As drawing is slow.
        picture = pictures.draw(figure, drawn, footnote=pictures.footnote(figure, drawn))
        assert picture.get_figwidth() == style.PAGE
        style.plt.close(picture)


def test_what_was_recorded_lies_at_its_own_epochs_steps_or_iterations(of_any_kind):
    run = recorded.read(of_any_kind)
    for what in run.quantities.values():
        if what.values.ndim == 0:
            continue
        found, length = recorded.against(run, what, None), what.values.shape[0]
        held = [other for other in run.quantities.values() if recorded.is_place(other.name)]
        held = [other.values for other in held if other.axes == what.axes[:1] and what.axes[0]]
        np.testing.assert_array_equal(found.values, held[0] if held else np.arange(1, length + 1))
        if what.axes[0] == "steps":
            assert found.label == "step"


@pytest.mark.parametrize(
    "of_any_kind", [name for name, kind in KINDS.items() if "step_loss" in kind.arrays], indirect=True
)
def test_steps_can_be_drawn_against_epochs(of_any_kind):
    run = recorded.read(of_any_kind)
    steps = recorded.quantity(run, "step_loss")
    found = recorded.against(run, steps, "epoch")
    assert found.label == "epoch"
    np.testing.assert_allclose(found.values, np.arange(7) / 7 * run.quantities["epoch"].values[-1])


# Lines.


def test_runs_that_differ_in_seed_alone_are_one_line_with_its_interval(grid):
    drawn = gather(grid, y=["test_accuracy"])
    assert drawn.x == "epoch"
    found = line(drawn, "path length 3, coefficient 1")
    values = np.array([np.arange(1, EPOCHS + 1) + 10.0 * seed + 103 for seed in range(3)])
    mean, low, high = interval(values)
    np.testing.assert_array_equal(found["x"], np.arange(1, EPOCHS + 1))
    for name, expected in (("value", mean), ("low", low), ("high", high)):
        np.testing.assert_allclose(found[name], expected)
    assert set(found["seeds"]) == {3}
    assert len(set(drawn.numbers["line"])) == 4


@pytest.mark.parametrize(
    ("spread", "expected"),
    [("std", (10, 0, 20)), ("quartiles", (10, 5, 15)), ("range", (10, 0, 20)), ("interval", (10, -14.841, 34.841))],
)
def test_the_spread_over_seeds_is_the_one_that_is_asked_for(grid, spread, expected):
    (found,) = gather(grid[:3], y=["test_accuracy"], spread=spread, start=1, stop=1).numbers.itertuples()
    np.testing.assert_allclose([found.value - 4, found.low - 4, found.high - 4], expected, atol=1e-3)


def test_each_run_can_be_a_line_of_its_own(grid):
    drawn = gather(grid[:3], y=["test_accuracy"], spread="each")
    assert drawn.numbers.groupby("run").size().to_dict() == dict.fromkeys(grid[:3], EPOCHS)
    assert not drawn.averaged


def test_a_setting_on_the_x_axis_takes_one_value_of_each_run(grid):
    drawn = gather(grid, x="path_length", y=["test_accuracy"], factor=2)
    assert set(drawn.numbers["line"]) == {"coefficient 0", "coefficient 1"}
    found = line(drawn, "coefficient 1")
    np.testing.assert_array_equal(found["x"], [3, 5])
    np.testing.assert_allclose(found["value"], [2 * (EPOCHS + 10 + 103), 2 * (EPOCHS + 10 + 105)])
    least = gather(grid, x="path_length", y=["test_accuracy"], value="least")
    np.testing.assert_allclose(line(least, "coefficient 1")["value"], [1 + 10 + 103, 1 + 10 + 105])


def test_a_setting_that_something_recorded_has_the_name_of_is_written_out(tmp_path):
    runs = [write_run(tmp_path, learning_rate=rate, seed=0) for rate in (0.1, 0.2)]
    np.testing.assert_allclose(gather(runs, x="settings.learning_rate", y=["test_loss"]).numbers["x"], [0.1, 0.2])
    assert gather(runs, x="learning_rate", y=["test_loss"]).x == "learning_rate"


def test_lines_end_with_the_first_loss_below_one_that_is_given(grid):
    drawn = gather(grid[:1], y=["test_accuracy"], least_loss=0.4)
    # Losses are 1, 1/2, 1/3, 1/4.
    np.testing.assert_array_equal(drawn.numbers["x"], [1, 2, 3])


def test_start_and_stop_cut_lines(grid):
    np.testing.assert_array_equal(gather(grid[:1], y=["test_loss"], start=2, stop=3).numbers["x"], [2, 3])
    with pytest.raises(LookingError, match="nothing is left to draw of test_loss"):
        gather(grid[:1], y=["test_loss"], start=99)


def test_a_mean_line_ends_with_the_shortest_of_its_runs(tmp_path):
    runs = [write_run(tmp_path, seed=seed, epochs=epochs, path_length=3) for seed, epochs in ((0, 4), (1, 2))]
    np.testing.assert_array_equal(gather(runs, y=["test_loss"]).numbers["x"], [1, 2])


def test_one_quantity_against_another_is_a_line_a_run(grid):
    drawn = gather(grid[:3], x="train_loss", y=["test_accuracy"])
    assert drawn.numbers["run"].nunique() == 3
    np.testing.assert_allclose(drawn.numbers["x"][:EPOCHS], [1, 1 / 2, 1 / 3, 1 / 4])


@pytest.fixture
def matrix_run(tmp_path):
    """A run with two components, and matrices of 2 x 2, at every fiftieth epoch."""
    arrays = arrays_of(matrix_norms.RUN, np.random.default_rng(1))
    arrays["epochs"] = 50 * np.arange(1, len(arrays["loss"]) + 1)
    path = tmp_path / "seed~0.h5"
    store.write(path, arrays, kind=matrix_norms.RUN, settings={"variant": {"depth": 3}, "seed": 0})
    return str(path), arrays


def test_components_are_lines_or_the_first_few_or_their_mean(matrix_run):
    path, arrays = matrix_run
    singular = arrays["singular_values"]
    drawn = gather([path], y=["singular_values"])
    np.testing.assert_array_equal(line(drawn, "component 2")["value"], singular[:, 1])
    np.testing.assert_array_equal(line(drawn, "component 2")["x"], arrays["epochs"])
    assert set(gather([path], y=["singular_values"], components=1).numbers["line"]) == {"component 1"}
    np.testing.assert_allclose(
        gather([path], y=["singular_values"], components="mean").numbers["value"], singular.mean(1)
    )
    entry = gather([path], y=["end"]).numbers
    np.testing.assert_allclose(entry[entry["component"] == "entry 2, 1"]["value"], arrays["end"][:, 1, 0])


def test_an_axis_of_components_can_be_the_x_axis(tmp_path):
    kind = KINDS["untied run"]
    arrays = arrays_of(kind, np.random.default_rng(2))
    store.write(tmp_path / "a.h5", arrays, kind=kind, settings={"seed": 0})
    drawn = gather([str(tmp_path / "a.h5")], y=["squared_norms"], x="layer")
    np.testing.assert_array_equal(drawn.numbers["value"], arrays["squared_norms"][-1])
    np.testing.assert_array_equal(drawn.numbers["x"], np.arange(1, 9))


def test_patterns_stand_for_quantities_and_files(grid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = gather(["results/**/seed~0.h5"], y=["test_*cy", "train_acc*"])
    assert list(dict.fromkeys(drawn.numbers["quantity"])) == ["test_accuracy", "train_accuracy"]
    assert len(gathered.find(["results/**/seed~*.h5", "results/**/seed~0.h5"])) == len(grid)
    with pytest.raises(LookingError, match="there is no such file"):
        gathered.find(["results/**/seed~9.h5"])


# What is refused.


def test_what_a_run_does_not_have_is_named_with_the_nearest(grid):
    with pytest.raises(LookingError, match=r"no test_acuracy; did you mean test_accuracy\? allowed: .*train_loss"):
        gather(grid, y=["test_acuracy"])


def test_quantities_that_are_not_in_all_runs_are_refused_with_the_run_that_lacks_them(grid, matrix_run):
    path, _ = matrix_run
    with pytest.raises(LookingError, match=rf"{path}: this matrix norms run has no test_loss"):
        gather([grid[0], path], y=["test_loss"])


def test_runs_of_other_settings_are_not_averaged(grid, tmp_path):
    with pytest.raises(LookingError, match=r"differ in path_length, coefficient and not in seed alone.*\(by\)"):
        gather(grid, y=["test_loss"], by=[])
    again = write_run(tmp_path / "copy", path_length=3, coefficient=0, seed=0)
    with pytest.raises(LookingError, match="of the same settings and seed"):
        gather([*grid[:3], again], y=["test_loss"])


def test_numbers_of_a_run_want_a_setting_to_be_drawn_against(tmp_path):
    kind = KINDS["tensor completion run"]
    arrays = arrays_of(kind, np.random.default_rng(3))
    paths = []
    for count in (5, 9):
        paths.append(str(tmp_path / f"num_observations~{count}" / "seed~0.h5"))
        store.write(paths[-1], arrays, kind=kind, settings={"num_observations": count, "seed": 0})
    with pytest.raises(LookingError, match="rank is one number; draw it against a setting"):
        gather(paths, y=["rank"])
    np.testing.assert_array_equal(gather(paths, y=["rank"], x="num_observations").numbers["x"], [5, 9])
    with pytest.raises(LookingError, match=r"cannot be drawn against epoch; .*allowed: iteration"):
        gather(paths, y=["train_loss"], x="epoch")


def test_a_file_that_was_damaged_is_not_drawn(grid):
    with open(grid[0], "r+b") as file:  # noqa: PTH123
        file.seek(2000)
        file.write(b"x")
    with pytest.raises(store.StoreError, match="damaged"):
        gather(grid, y=["test_loss"])


def test_labels_and_colours_are_one_for_each_line(grid):
    panel = {"runs": grid, "y": ["test_loss"]}
    for wrong, words in (
        ({"labels": ["one"]}, "1 labels, and there are 4 lines: path length 3, coefficient 0; "),
        ({"colours": ["black"]}, "1 colours, and there are 4 lines"),
        ({"colours": ["blak"]}, "blak is no colour"),
    ):
        figure = RunFigure.from_plain({"panels": [panel | wrong]})
        with pytest.raises(pictures.UserError, match=words):
            pictures.draw(figure, gathered.gather(figure).panels, footnote="")


# The picture.


def draw(runs, **panel):
    figure = RunFigure.from_plain({"panels": [{"runs": runs, **panel}]})
    drawn = gathered.gather(figure).panels
    picture = pictures.draw(figure, drawn, footnote=pictures.footnote(figure, drawn))
    style.plt.close(picture)
    return picture


def test_axes_are_as_they_are_asked_for(grid):
    picture = draw(
        grid, y=["train_loss"], log=["x", "y"], x_limits=[4, 1], title="T", x_label="X", y_label="Y", horizontal=[0.5],
        labels=list("abcd"), x_ticks=[1, 4],
    )  # fmt: skip
    (axes,) = picture.axes
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlim()) == ("log", "log", (4, 1))
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("T", "X", "Y")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("abcd")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4"]


def test_no_legend_hides_a_line_and_nothing_leaves_the_page(grid):
    picture = draw(grid, y=["test_accuracy"])
    (axes,) = picture.axes
    renderer = FigureCanvasAgg(picture).get_renderer()
    legend = axes.get_legend().get_window_extent(renderer)
    assert legend.y1 < axes.get_window_extent(renderer).y0
    box = picture.get_tightbbox(renderer)
    assert box.x0 >= -0.02 and box.y0 >= -0.02
    assert box.x1 <= picture.get_figwidth() + 0.02 and box.y1 <= picture.get_figheight() + 0.02


def test_the_note_says_what_is_drawn(grid):
    assert draw(grid, y=["test_loss"]).get_supxlabel() == (
        "demo scale, 12 runs, 3 seeds a line, means with 95 % intervals"
    )


# The commands.


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["tacit", *map(str, words)])
    code = command.main()
    return code, capsys.readouterr()


def test_a_figure_is_drawn_and_its_numbers_are_beside_it(grid, tmp_path, monkeypatch, capsys):
    out = tmp_path / "drawn" / "out.pdf"
    code, said = call(monkeypatch, capsys, "plot", *grid, "--y", "train_loss+test_loss", "test_accuracy", "-o", out)
    assert code == 0, said.err
    assert out.read_bytes().startswith(b"%PDF")
    expected = store.Table(keys=("panel", "quantity", "line", "x"), numbers=("value", "low", "high", "seeds"))
    table = store.read_table(out.with_suffix(".csv"), expected=expected)
    assert table.groupby("panel")["quantity"].unique().map(list).to_dict() == {
        1: ["train_loss", "test_loss"], 2: ["test_accuracy"],
    }  # fmt: skip
    assert {"path_length", "coefficient"} <= set(table)
    description = json.loads(store.description_of_table(out.with_suffix(".csv")).read_text())
    assert description["inputs"] == [store.contents(path).digest for path in grid]


def test_a_figure_that_is_kept_is_drawn_again_to_the_byte(grid, tmp_path, monkeypatch, capsys):
    kept, first, second = tmp_path / "kept.yaml", tmp_path / "1.pdf", tmp_path / "2.pdf"
    words = ["--y", "test_loss", "test_accuracy", "--log", "y", "--by", "coefficient", "path_length", "--stop", "3"]
    assert call(monkeypatch, capsys, "plot", *grid, *words, "-o", first, "--keep", kept)[0] == 0
    assert call(monkeypatch, capsys, "plot", kept, "-o", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    said = yaml.safe_load(kept.read_text())
    assert said["panels"][0] == {
        "runs": grid, "y": ["test_loss"], "by": ["coefficient", "path_length"], "stop": 3.0, "log": ["y"],
    }  # fmt: skip
    code, printed = call(monkeypatch, capsys, "plot", kept, "--y", "test_loss", "-o", second)
    assert code == 1
    assert "says all of the figure; write --y into it" in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--y", "test_los", "-o", "a.pdf"], "did you mean test_loss?"),
        (["--y", "test_loss", "-o", "a.png"], "ends in .pdf"),
        (["-o", "a.pdf"], "say what to draw: --y NAME"),
        (["--y", "test_loss", "--components", "few", "-o", "a.pdf"], "components"),
        (["--y", "test_loss", "--start", "3", "--stop", "1", "-o", "a.pdf"], "start = 3 lies beyond stop = 1"),
        (["--y", "test_loss", "--y-limits", "1", "1", "-o", "a.pdf"], "y_limits: both ends are 1"),
        (["--y", "test_loss", "--titles", "a", "b", "-o", "a.pdf"], "2 titles, and there are 1 panels"),
    ],
)
def test_mistakes_are_one_message(grid, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    code, said = call(monkeypatch, capsys, "plot", *grid, *words)
    assert code == 1
    assert message in said.err
    assert not list(tmp_path.glob("a.*"))


def test_a_file_is_shown(grid, monkeypatch, capsys):
    code, said = call(monkeypatch, capsys, "show", grid[0])
    assert code == 0
    assert "pathfinder run" in said.out and "train_loss" in said.out and "batch_size 8" in said.out
    code, said = call(monkeypatch, capsys, "show", "nothing.h5")
    assert code == 1
    assert "nothing.h5" in said.err


# Images.


RENDERING = Rendering(
    window=(64, 64), padding=6, segment_length=4, margins=(1, 2), seed_distance=10, distractor_segments=6
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two raw files of six images together, and the images."""
    folder, drawn = tmp_path_factory.mktemp("raw"), generator.Renderer(RENDERING, 3).render(5, 0, 6)
    paths = []
    for first, last in ((0, 3), (4, 5)):
        arrays = {name: array[first : last + 1] for name, array in drawn._asdict().items()}
        plain = {"path_length": 3, "images": f"{first}-{last}", "rendering": RENDERING.plain(), "seed": 5}
        paths.append(folder / f"{first}.h5")
        store.write(paths[-1], arrays, kind=pathfinder.RAW, settings=plain)
    return paths, drawn


def test_raw_images_are_written_as_the_original_generator_does(shards, tmp_path, monkeypatch, capsys):
    paths, drawn = shards
    # The second shard first, and again.
    for path in (paths[1], paths[0], paths[1]):
        assert call(monkeypatch, capsys, "export", path, tmp_path)[0] == 0
    folder = tmp_path / "curv_contour_length_3"
    for number in range(6):
        with Image.open(folder / "imgs" / f"sample_{number}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), drawn.images[number])
    found = np.load(folder / "metadata.npy", allow_pickle=False)
    assert found.dtype.kind == "U"
    np.testing.assert_array_equal(found[:, 0], "imgs")
    np.testing.assert_array_equal(found[:, 1], [f"sample_{number}.png" for number in range(6)])
    np.testing.assert_array_equal(found[:, 2].astype(int), range(6))
    np.testing.assert_array_equal(found[:, 3].astype(int), drawn.labels)
    assert set(map(tuple, found[:, 4:9])) == {("1.8", "3", "1", "4", "2.0")}
    assert set(found[:, 9]) == {"1", "2"} and set(found[:, 10]) == {"1"}
    assert list(pd.read_csv(folder / "metadata.csv")["index"]) == list(range(6))


def test_the_margin_of_an_image_is_the_one_it_is_drawn_with():
    for number, margin in enumerate(generator.margin_of(RENDERING, 3, seed=5, number=number) for number in range(6)):
        alone = generator.Renderer(RENDERING.model_copy(update={"margins": (margin,)}), 3).render(5, number, number + 1)
        both = generator.Renderer(RENDERING, 3).render(5, number, number + 1)
        np.testing.assert_array_equal(alone.images, both.images)


def test_the_first_images_alone_can_be_asked_for(shards, tmp_path, monkeypatch, capsys):
    paths, _ = shards
    assert call(monkeypatch, capsys, "export", paths[0], tmp_path, "--first", 2)[0] == 0
    assert len(list(tmp_path.glob("*/imgs/*.png"))) == 2
    assert "one at least" in call(monkeypatch, capsys, "export", paths[0], tmp_path, "--first", 0)[1].err


def test_datasets_are_written_by_part(tmp_path, monkeypatch, capsys):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 5), np.uint8)
    part = (images, np.array([0, 1, 1], np.uint8), np.array([7, 8, 9]))
    arrays, attributes = pathfinder.Dataset(*part, *part)._asdict(), {"train_mean": 0.5, "train_std": 0.2}
    plain = {"path_length": 9}
    store.write(tmp_path / "d.h5", arrays, kind=pathfinder.DATASET, settings=plain, attributes=attributes)
    assert call(monkeypatch, capsys, "export", tmp_path / "d.h5", tmp_path / "out")[0] == 0
    with Image.open(tmp_path / "out" / "test" / "sample_2.png") as image:
        np.testing.assert_array_equal(np.asarray(image), images[2])
    table = pd.read_csv(tmp_path / "out" / "metadata.csv")
    assert len(table) == 6
    assert table.iloc[5].to_dict() == {
        "folder": "test", "file": "sample_2.png", "index": 2, "label": 1, "path_length": 9, "raw_index": 9,
    }  # fmt: skip


@pytest.fixture
def pairs(tmp_path):
    """Images of three colours, pairs of them, and the pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    whole = image_sets.ImageSet(pixels, np.arange(4) // 2, pixels, np.arange(4) // 2)
    plain = {"source": "cifar10", "size": 32}
    store.write(tmp_path / "images.h5", whole._asdict(), kind=image_sets.DATASET, settings=plain)
    arrays = {}
    for name in ("train", "test"):
        arrays |= {f"{name}_indices": np.array([[0, 3], [2, 3]]), f"{name}_labels": np.array([0, 1], np.uint8)}
    settings = {"images": plain, "pairs": {"seed": 0}}
    store.write(tmp_path / "pairs.h5", arrays, kind=same_class.PAIRS, settings=settings)
    return tmp_path, pixels


def test_pairs_are_written_on_their_canvas(pairs, monkeypatch, capsys):
    folder, pixels = pairs
    given = ["export", folder / "pairs.h5", folder / "out", "--images", folder / "images.h5", "--distance", 10]
    assert call(monkeypatch, capsys, *given)[0] == 0
    with Image.open(folder / "out" / "train" / "sample_1.png") as image:
        found = np.asarray(image)
    assert found.shape == (32, 74, 3)
    np.testing.assert_array_equal(found[:, :32], np.moveaxis(pixels[2], 0, -1))
    np.testing.assert_array_equal(found[:, 42:], np.moveaxis(pixels[3], 0, -1))
    # The mean of CIFAR-10.
    assert {tuple(pixel) for pixel in found[:, 32:42].reshape(-1, 3)} == {(125, 123, 114)}
    assert pd.read_csv(folder / "out" / "metadata.csv")[["left", "right", "label"]].iloc[1].tolist() == [2, 3, 1]
    code, said = call(monkeypatch, capsys, *given, "--canvas", 32, 40)
    assert code == 1
    assert "do not fit on a canvas of 32 x 40 px" in said.err


def test_pairs_want_the_images_that_they_are_of(pairs, monkeypatch, capsys):
    folder, pixels = pairs
    code, said = call(monkeypatch, capsys, "export", folder / "pairs.h5", folder / "out")
    assert code == 1
    assert "--images .../source~cifar10/size~32.h5" in said.err
    other = image_sets.ImageSet(pixels, np.arange(4), pixels, np.arange(4))
    store.write(folder / "o.h5", other._asdict(), kind=image_sets.DATASET, settings={"source": "mnist", "size": 32})
    code, said = call(monkeypatch, capsys, "export", folder / "pairs.h5", folder / "out", "--images", folder / "o.h5")
    assert code == 1
    assert "the pairs are of" in said.err


def test_what_has_no_images_is_refused(grid, tmp_path, monkeypatch, capsys):
    code, said = call(monkeypatch, capsys, "export", grid[0], tmp_path / "out")
    assert code == 1
    assert "of the kind pathfinder run" in said.err
