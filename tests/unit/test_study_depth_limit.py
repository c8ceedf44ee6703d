"""The study on residual networks in the depth limit: runs, tables, claims."""

import numpy as np
import pandas as pd
import pytest
import yaml

from project import CHECKOUT
from tacit import settings, store
from tacit.data.images import ImageSet
from tacit.errors import DivergenceError
from tacit.figures.depth_panels import apart
from tacit.settings.base import SettingsError
from tacit.settings.depth_limit import RunSettings
from tacit.studies import depth_gradients, depth_limit_claims
from tacit.studies import depth_limit as study
from tacit.studies.tables import MissingRunsError, interval

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
RANDOM = np.random.default_rng(0)
IMAGES = ImageSet(
    RANDOM.integers(0, 256, (90, 1, 8, 8), dtype=np.uint8), np.arange(90) % 10,
    RANDOM.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), np.arange(30) % 10,
)  # fmt: skip
IDENTITY = {
    "experiment": "grid", "alpha": 0.75, "gamma": 1.0, "initialization": "ntrunc", "activation": "tanh",
    "augmentation": "skip", "rule": "scaled", "learning_rate": 0.9, "depth": 12, "seed": 0,
}  # fmt: skip
SHOWN = {
    "gamma": 1.0, "initialization": "ntrunc", "activation": "tanh", "augmentation": "skip", "learning_rate": 0.9,
    "alpha": 0.75, "entries": [[0, 0], [1, 2]],
}  # fmt: skip


FIT = {"window": 0, "period": 0, "with_shift": False}


def load(scale="smoke", **changes):
    return settings.load(CONFIG | {"scale": scale} | changes, CHECKOUT / "config" / "scales").depth_limit


def run_settings(data=None, **changes):
    plain = {"data": data or {"source": "digits"}, "dim": 5, "descent": {"epochs": 3}, "kept": [0, 1]}
    return RunSettings.from_plain(plain | changes)


def train(folder, own=None, images=IMAGES, **identity):
    return study.train(
        images, own or run_settings(), identity=IDENTITY | identity, threads=1, checkpoint=folder / "c.pt"
    )


def write(folder, own=None, **identity):
    found = train(folder, own, **identity)
    path = folder / f"{'-'.join(map(str, identity.values()))}.h5"
    own = own or run_settings()
    store.write(
        path, found.arrays, kind=study.RUN, settings=IDENTITY | identity | own.plain(), attributes=found.attributes
    )
    (folder / "c.pt").unlink(missing_ok=True)
    return path


def test_a_run_holds_what_its_kind_says_and_can_be_computed_again(tmp_path):
    run = store.read(write(tmp_path, seed=0), kind=study.RUN)
    arrays = run.arrays
    assert arrays["weights"].shape == (12, 5, 5) and arrays["weights"].dtype == np.float32
    assert arrays["kept_epochs"].tolist() == [0, 1] and arrays["variation_epochs"].tolist() == [1, 2, 3]
    assert len(arrays["loss"]) == 3 and run.attributes["final_loss"] < arrays["loss"][0]
    np.testing.assert_array_equal(arrays["macro_recall"].shape, (3,))
    # The network of the file, on the images as they are normalised, gives the loss of the file.
    x = (IMAGES.test_images.reshape(30, -1) / 255 - 0.306) / 0.376
    h = x @ arrays["input_weights"].T
    for layer in arrays["weights"].astype(float):
        h = h + 12**-0.75 * np.tanh(h @ layer.T)
    outputs = h @ arrays["output_weights"].T
    chances = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    loss = -np.log(chances[np.arange(30), IMAGES.test_labels]).mean()
    assert run.attributes["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert run.attributes["test_accuracy"] == np.mean(outputs.argmax(1) == IMAGES.test_labels)


def test_the_variation_of_a_run_is_that_of_its_weights(tmp_path):
    from tacit.analysis.p_variation import p_variation_norm

    arrays = train(tmp_path).arrays
    path = arrays["weights"].reshape(12, -1).astype(float) * 12**0.25
    for p, norm in zip(arrays["variation_p"], arrays["variation"][-1], strict=True):
        assert p_variation_norm(path, p) == pytest.approx(norm, rel=1e-12)
    start = arrays["kept_weights"][0].reshape(12, -1).astype(float) * 12**0.25
    assert p_variation_norm(start, 2.0) == pytest.approx(arrays["initial_variation"][-1], rel=1e-12)


def test_ends_depend_on_the_seed_alone(tmp_path):
    one = train(tmp_path / "a").arrays
    other = train(tmp_path / "b", depth=20, alpha=1.0).arrays
    again = train(tmp_path / "c", seed=1).arrays
    np.testing.assert_array_equal(one["input_weights"], other["input_weights"])
    np.testing.assert_array_equal(one["output_weights"], other["output_weights"])
    assert not np.isclose(one["input_weights"], again["input_weights"]).any()


def test_a_function_is_learned_without_images(tmp_path):
    own = run_settings({"source": "constant", "num_samples": 50}, dim=1)
    found = train(tmp_path, own, images=None, initialization="constant", rule="fixed", learning_rate=9.0)
    assert "accuracy" not in found.arrays
    np.testing.assert_allclose(found.arrays["omega"], 4 * found.arrays["loss"], rtol=1e-12)
    assert found.attributes["final_loss"] < found.arrays["loss"][0]


def test_a_diverging_run_names_itself(tmp_path):
    with pytest.raises(DivergenceError, match=r"alpha 0.75.*depth 12.*not finite"):
        train(tmp_path, augmentation="linear_skip", activation="relu", learning_rate=1e25)


def test_where_the_published_initialisation_is_constant_the_log_says_so(tmp_path, caplog):
    import logging

    logging.getLogger("tacit").propagate = True
    with caplog.at_level("WARNING", logger="tacit"):
        train(tmp_path, alpha=0.1, gamma=0.1)
    assert "half-width" in caplog.text


def test_variants_are_all_combinations_but_for_the_same_rate_twice():
    grid = load("demo").grid
    rules = [(variant.alpha, variant.rule) for variant in grid.variants]
    assert rules == [(0.5, "scaled"), (0.75, "scaled"), (0.75, "fixed"), (1.0, "scaled"), (1.0, "fixed")]


def test_the_paper_scale_is_the_published_one():
    paper = load("paper")
    assert paper.grid.depths == tuple(range(2000, 12_001, 1000)) and paper.grid.dim == 15
    assert paper.grid.descent.epochs == 39 and paper.grid.seeds == 3
    assert paper.grid.data.num_train_at_most == 12_500
    regression = paper.further["readme_regression"]
    assert (regression.depths, regression.dim, regression.data.num_train) == ((128,), 1, 9000)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shown": {"alpha": 0.6}}, "shown.alpha: 0.6 is not trained"),
        ({"shown": {"entries": [[0, 4]]}}, "outside of weights of 4 x 4"),
        ({"grid": {"kept": [3]}}, "the last epoch, 3, is kept"),
        ({"grid": {"descent": {"p_loss": 3}}}, "p_loss"),
        ({"further": {"grid": load().further["constant"].plain()}}, "this name is taken"),
        ({"grid": {"augmentations": ["inc_skip"], "descent": {"delta": "trained"}}}, "has no factor to train"),
        ({"grid": {"variation": {"p": [0.5]}}}, "variation.p"),
        ({"grid": {"rates": [{"rule": "dynamic", "learning_rate": 0.9}]}}, "fixed or scaled; give one"),
        ({"grid": {"depths": [1, 10]}}, r"depths.0 = 1: .*greater than or equal to 2"),
        ({"grid": {"descent": {"p_var": 3}}}, "p_var = 3.0 is of dynamic rates"),
        ({"grid": {"alphas": [0.75, 0.7500001]}}, "grid.alphas: 0.75, 0.7500001: two are equal"),
        ({"power_law": {"window": 4}}, "power_law.window = 4: there are only 3 epochs of the grid"),
        ({"power_law": {"window": 2}}, "window = 2 leaves out all epochs"),
        (
            {"grid": {"initializations": ["ntrunc", "quad"], "alphas": [0.75, 1.75], "gammas": [1, 2]}},
            "quad is 0 to the power .* at alpha = 1.75, gamma = 2; take alpha of at most 1.5",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        load(depth_limit=changes)


def test_an_experiment_of_the_scale_can_be_left_out():
    assert set(load().experiments) == {"grid", "constant", "with_skips", "without_skips"}
    assert set(load(depth_limit={"further": {"constant": None}}).experiments) == {"grid", "with_skips", "without_skips"}


def made_up(*, slope=0.0, loss=1.0, power=0.0, seeds=3, noise=0.0):
    """Tables of runs whose quantities are given powers of the depth."""
    random = np.random.default_rng(0)
    runs, variation, profiles, omegas = [], [], {}, {}
    for rule in ("scaled", "fixed"):
        for depth in (100, 200, 400, 800):
            for seed in range(seeds):
                axes = IDENTITY | {"rule": rule, "depth": depth, "seed": seed}
                own = slope if rule == "scaled" else power
                size = depth**own * np.exp(noise * random.normal())
                runs.append(axes | {"final_loss": loss * size, "mean_norm": 4 * size, "end_distance": 2 * size})
                for p in (1.0, 1.5, 2.0):
                    variation.append(axes | {"p": p, "initial": 6.1, "final": 2 * size if p > 1 else 3 * size})
                key = tuple(axes[name] for name in (*study.VARIANT, "depth", "seed"))
                at = study.positions(depth)
                profiles[key] = 4 + at**2 + np.sin(3 * at) / depth
                epochs = np.arange(1, 40)
                omega = 0.9 * depth**own / (epochs + 1) ** (0.4 * depth**own) * (1 + noise * np.cos(epochs))
                omegas[key] = omega, omega / 100**2
    return study.Collected(pd.DataFrame(runs), pd.DataFrame(variation), profiles, pd.DataFrame(), omegas)


def verdicts(found, alphas=(0.75,)):
    laws = depth_gradients.laws(depth_gradients.table(found.omegas, FIT), FIT)
    table = depth_limit_claims.claims(found, laws, shown=SHOWN, alphas=alphas, missing=0)
    return dict(zip(table["id"], zip(table["verdict"], table["effect"], strict=True), strict=True))


def test_claims_hold_where_theory_does():
    found = verdicts(made_up(power=-0.5, noise=0.001))
    assert found["profile_converges_0.75"][0] == "held"
    assert found["profile_converges_0.75"][1] == pytest.approx(-1, abs=0.05)
    held = [name for name, (verdict, _) in found.items() if verdict == "held"]
    assert sorted(held) == sorted(found) and len(found) == 10
    assert found["omega_rate_0.75"][1] == pytest.approx(0.4, abs=0.01)
    assert found["ends_0.75"][1] == pytest.approx(1)


def test_claims_fail_where_it_does_not():
    found = verdicts(made_up(slope=0.3, power=-0.2, noise=0.001))
    failing = ("loss_bounded", "variation_bounded", "fixed_rate", "omega_rate_depth")
    for name in (*(f"{one}_0.75" for one in failing), "omega_size_depth_0.75"):
        assert found[name][0] == "not held", name
    assert found["loss_bounded_0.75"][1] == pytest.approx(0.3, abs=0.01)
    assert found["fixed_rate_0.75"][1] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("depths", [(100, 200, 400, 800), (2000, 3000, 4000, 5000, 6000), (200, 400, 500, 600)])
def test_profiles_that_grow_do_not_converge_whatever_the_depths(depths):
    profiles = {}
    for depth in depths:
        for seed in range(3):
            axes = IDENTITY | {"depth": depth, "seed": seed}
            key = tuple(axes[name] for name in (*study.VARIANT, "depth", "seed"))
            profiles[key] = depth**0.2 * (2 + study.positions(depth))
    found = depth_limit_claims._differences(profiles, 0.75)
    assert abs(found.effect) < 0.1


def test_tables_and_figures_of_one_seed_and_one_depth(tmp_path):
    from tacit.figures import depth_limit as figures

    own = run_settings(variation={"p": [1.5, 2.0]})
    paths = [write(tmp_path, own, depth=8, seed=0)]
    found = depth_limit_claims.tables(paths, shown=SHOWN, power_law=FIT, alphas=[0.75], missing=0)
    plain = {"scale": "demo", "grid": {"data": {"source": "digits"}, "dim": 5}, "shown": SHOWN}
    for drawing in (figures.NORMS, figures.WEIGHTS, figures.VARIATIONS):
        tables = {}
        for name, expected in drawing.tables.items():
            path = tmp_path / f"{name}.csv"
            store.write_table(path, found[name])
            tables[name] = store.read_table(path, expected=expected)
        figure = drawing.draw(drawing.numbers(tables, plain), settings=plain, missing=0)
        assert "1 seed" in figure.get_supxlabel()


def test_of_what_was_not_run_nothing_is_decided():
    found = verdicts(made_up(), alphas=(0.75, 1.0))
    assert {verdict for name, (verdict, _) in found.items() if name.endswith("_1")} == {"undecided"}
    assert {verdict for verdict, _ in verdicts(made_up(seeds=2)).values()} == {"undecided"}


def test_tables_are_those_of_the_runs(tmp_path):
    paths = [write(tmp_path, depth=depth, seed=seed) for depth in (8, 12) for seed in (0, 1)]
    found = depth_limit_claims.tables(paths, shown=SHOWN, power_law=FIT, alphas=[0.75], missing=0)
    assert len(found["runs"]) == 4
    run = store.read(paths[0], kind=study.RUN)
    norms = np.linalg.norm(run.arrays["weights"].astype(float), axis=(1, 2)) * 8**0.25
    row = found["runs"].iloc[0]
    assert (row["depth"], row["seed"]) == (8, 0) and row["mean_norm"] == pytest.approx(norms.mean())
    table = found["variation"]
    own = table[(table["depth"] == 8) & (table["p"] == 2)].iloc[0]
    finals = [store.read(path, kind=study.RUN).arrays["variation"][-1, -1] for path in paths[:2]]
    assert own["max"] == max(finals) and own["mean"] == pytest.approx(np.mean(finals)) and own["seeds"] == 2
    profile = found["profiles"][found["profiles"]["depth"] == 8]
    assert profile["position"].tolist() == (np.arange(8) / 7).tolist()
    second = store.read(paths[1], kind=study.RUN).arrays["weights"].astype(float)
    both = np.stack([norms, np.linalg.norm(second, axis=(1, 2)) * 8**0.25])
    np.testing.assert_allclose(profile["mean"], both.mean(0))
    entry = found["entries"]
    entry = entry[(entry["depth"] == 8) & (entry["row"] == 1) & (entry["column"] == 2)]
    for seed, path in enumerate(paths[:2]):
        weights = store.read(path, kind=study.RUN).arrays["weights"][:, 1, 2] * 8**0.25
        np.testing.assert_allclose(entry[entry["seed"] == seed]["value"], weights, rtol=1e-6)


@pytest.mark.parametrize("delta", ["trained", "trained_from_one"])
def test_a_factor_that_is_trained_is_written_down_as_it_ends(tmp_path, delta):
    run = store.read(write(tmp_path, run_settings(descent={"epochs": 3, "delta": delta}), seed=0), kind=study.RUN)
    h = (IMAGES.test_images.reshape(30, -1) / 255 - 0.306) / 0.376 @ run.arrays["input_weights"].T
    for layer in run.arrays["weights"].astype(float):
        h = h + run.attributes["final_delta"] * np.tanh(h @ layer.T)
    outputs = h @ run.arrays["output_weights"].T
    losses = np.log(np.exp(outputs).sum(1)) - outputs[np.arange(30), IMAGES.test_labels]
    assert run.attributes["test_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert run.attributes["final_delta"] != run.arrays["delta"][-1]


def test_layers_without_a_factor_have_one_of_1(tmp_path):
    arrays = train(tmp_path, augmentation="plain").arrays
    assert set(arrays["delta"]) == {1.0}


def test_only_a_dynamic_rate_has_variations_measured_that_are_not_asked_for(tmp_path):
    own = run_settings(variation={"p": [1.5]}, descent={"epochs": 2, "p_var": 3})
    found = {rule: train(tmp_path / rule, own, rule=rule).arrays for rule in ("scaled", "dynamic")}
    assert found["scaled"]["variation_p"].tolist() == [1.5]
    assert found["dynamic"]["variation_p"].tolist() == [1.5, 3.0]


def test_what_is_0_goes_with_no_power_of_the_depth():
    table = pd.DataFrame({"depth": [10, 20, 10, 20], "seed": [0, 0, 1, 1], "final": [1, 2, 1, 0.0]})
    assert study.power_of(table, "final") is None
    assert study.power_of(table[table["seed"] == 0], "final").effect == pytest.approx(1)


def test_figures_of_what_is_not_there_yet_say_so(tmp_path):
    from tacit.figures import depth_limit as figures

    found = depth_limit_claims.tables(
        [write(tmp_path, activation="relu")], shown=SHOWN, power_law=FIT, alphas=[0.75], missing=5
    )
    for drawing in (figures.NORMS, figures.WEIGHTS, figures.VARIATIONS):
        tables = {}
        for name, expected in drawing.tables.items():
            store.write_table(tmp_path / f"{name}.csv", found[name])
            tables[name] = store.read_table(tmp_path / f"{name}.csv", expected=expected)
        with pytest.raises(MissingRunsError, match=r"no run of what depth_limit\.shown asks for"):
            drawing.numbers(tables, {"shown": SHOWN})


@pytest.mark.parametrize("heights", [[0.1, 0.11, 0.5, 0.52, 0.53, 0.9], [-0.2, 1.0, 1.0, 1.1], [0.5] * 12, [0.3], []])
def test_labels_are_moved_apart(heights):
    moved = apart(np.array(heights))
    assert (np.diff(moved) > 0.074).all() and (moved >= 0.03).all() and (moved <= 1).all()
    if heights == [0.1, 0.11, 0.5, 0.52, 0.53, 0.9]:
        np.testing.assert_allclose(moved, [0.0675, 0.1425, 0.4416667, 0.5166667, 0.5916667, 0.9], atol=1e-6)


def test_an_interval_is_that_of_student():
    mean, low, high = interval(np.array([[1.0], [2.0], [4.0]]))
    half = 4.302653 * np.std([1, 2, 4], ddof=1) / 3**0.5
    np.testing.assert_allclose([mean[0], high[0] - mean[0], mean[0] - low[0]], [7 / 3, half, half], rtol=1e-6)
