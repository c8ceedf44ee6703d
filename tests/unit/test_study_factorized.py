"""The study on factorized layers: runs, norms that are replayed, tables, claims, settings, figures."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from project import CHECKOUT
from tacit import settings, store
from tacit.data.images import ImageSet
from tacit.errors import DivergenceError
from tacit.figures import factorized as figures
from tacit.figures import factorized_norms
from tacit.nn.factorized import factorized_layers, matricised
from tacit.settings.base import SettingsError
from tacit.settings.factorized import EXPERIMENTS, RunSettings, Variant
from tacit.studies import factorized as study
from tacit.studies import factorized_results as results
from tacit.studies.tables import MissingRunsError

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
RANDOM = np.random.default_rng(0)
IMAGES = ImageSet(
    RANDOM.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 10,
    RANDOM.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), np.arange(30) % 10,
)  # fmt: skip
DENSE = Variant(0.0, "dense", "dense", "weight", 1e-3)
LOW = Variant(0.3, "two", "spectral", "frobenius", 1e-3)


def load(scale="smoke", **changes):
    return settings.load(CONFIG | {"scale": scale} | changes, CHECKOUT / "config" / "scales").factorized


def run_settings(**training):
    plain = {"epochs": 3, "batch_size": 16, "padding": 1, "flips": True} | training
    return RunSettings.from_plain(
        {
            "images": {"source": "digits"},
            "network": {"width": 4},
            "training": plain,
        }
    )


def train(folder, variant=LOW, own=None, depth=8, seed=0, replayed=None):
    return study.train(
        IMAGES, own or run_settings(), variant, depth=depth, seed=seed, checkpoint=folder / "c.pt", replayed=replayed
    )


def write(folder, variant=LOW, own=None, depth=8, seed=0):
    own = own or run_settings()
    arrays, attributes = train(folder, variant, own, depth, seed)
    (folder / "c.pt").unlink(missing_ok=True)
    path = folder / f"{depth}-{'-'.join(map(str, variant))}-{seed}.h5"
    identity = {"source": "digits", "depth": depth, **variant._asdict(), "seed": seed}
    store.write(path, arrays, kind=study.RUN, settings=identity | own.plain(), attributes=attributes)
    return path


# Runs.


@pytest.mark.parametrize(
    "variant",
    [
        DENSE,
        LOW,
        Variant(0.3, "two", "regular", "weight", 1e-3),
        Variant(0.3, "two", "regular", "none", 1e-3),
        Variant(1.0, "three", "regular", "frobenius", 1e-3),
        Variant(3.0, "two", "regular", "weight", 1e-3),
    ],
)
def test_a_run_holds_what_its_kind_says_and_is_deployed_as_the_dense_network(variant, tmp_path):
    run = store.read(write(tmp_path, variant), kind=study.RUN)
    arrays, attributes = run.arrays, run.attributes
    assert arrays["epoch"].tolist() == [0, 1, 2, 3] and len(arrays["step_loss"]) == 9
    assert arrays["frobenius_norms"].shape == (4, 6) and "step_norms" not in arrays
    assert ("nuclear_bounds" in arrays) == (variant != DENSE)
    assert ("non_orthogonality" in arrays) == (variant.factors == "two")
    assert arrays["test_accuracy"][-1] == arrays["test_correct"].mean() == attributes["deployed_accuracy"]
    assert attributes["deployed_difference"] < 1e-4
    assert attributes["deployed_parameters"] == attributes["dense_parameters"]
    assert (arrays["nuclear_norms"] >= arrays["frobenius_norms"] * (1 - 1e-9)).all()
    if variant != DENSE:
        assert (arrays["nuclear_bounds"] >= arrays["nuclear_norms"] * (1 - 1e-6)).all()


def test_all_variants_of_a_seed_start_from_one_dense_network():
    own = run_settings()
    dense = study.build(own, DENSE, depth=8, seed=0).network
    full = study.build(own, Variant(1.0, "two", "spectral", "weight", 1e-3), depth=8, seed=0)
    images = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(full.network(images), dense(images), rtol=1e-4, atol=1e-5)
    # What SI leaves of a kernel is the best that the rank allows.
    low = study.build(own, LOW, depth=8, seed=0)
    first = matricised(dense.blocks[0].first.weight.detach()).double()
    layer = next(iter(factorized_layers(low.network).values()))
    discarded = torch.linalg.svdvals(first)[low.ranks[0] :]
    off = (first - layer.matrix().double()).square().sum()
    assert off.item() == pytest.approx(discarded.square().sum().item(), rel=1e-5)
    assert study.build(own, DENSE, depth=8, seed=1).network.head.weight.equal(dense.head.weight) is False


def test_published_matricisation_scrambles_the_start_and_keeps_its_norms():
    own = run_settings()
    published = own.model_copy(update={"matricisation": "published"})
    full = Variant(1.0, "two", "spectral", "weight", 1e-3)
    ours, theirs = (study.build(one, full, depth=8, seed=0).network for one in (own, published))
    for one, other in zip(factorized_layers(ours).values(), factorized_layers(theirs).values(), strict=True):
        assert one.matrix().norm().item() == pytest.approx(other.matrix().norm().item(), rel=1e-5)
    images = torch.randn(4, 1, 8, 8)
    assert not torch.allclose(ours(images), theirs(images), rtol=0.1)


@pytest.mark.parametrize(("depth", "classes", "parameters"), [(20, 10, 269_722), (32, 10, 464_154), (56, 100, 858_868)])
def test_networks_have_the_published_sizes(depth, classes, parameters):
    own = load("paper").run(
        {
            "source": "cifar10" if classes == 10 else "cifar100",
            "depth": depth,
            **DENSE._replace(coefficient=1e-4)._asdict(),
        }
    )
    assert study.build(own, DENSE, depth=depth, seed=0).dense_parameters == parameters


def test_a_step_adds_decays_as_written(tmp_path):
    """One step of plain SGD, computed here from the gradient of loss and penalty."""
    for decay in ("weight", "frobenius", "none"):
        own = run_settings(
            epochs=1, batch_size=40, momentum=0.0, padding=0, flips=False, learning_rate=0.05, milestones=[]
        )
        variant = Variant(0.3, "two", "regular", decay, 0.5)
        network = study.build(own, variant, depth=8, seed=0).network.double().train()
        factors = [factor for layer in factorized_layers(network).values() for factor in (layer.U, layer.VT)]
        others = [p for p in network.parameters() if not any(p is factor for factor in factors)]
        mean, std = own.images.statistics
        images = torch.from_numpy((IMAGES.train_images / 255 - mean[0]) / std[0])
        loss = torch.nn.functional.cross_entropy(network(images), torch.from_numpy(IMAGES.train_labels))
        penalty = 0.25 * sum(parameter.square().sum() for parameter in others)
        if decay == "weight":
            penalty = penalty + 0.25 * sum(factor.square().sum() for factor in factors)
        elif decay == "frobenius":
            penalty = penalty + 0.25 * sum(
                layer.matrix().square().sum() for layer in factorized_layers(network).values()
            )
        (loss + penalty).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 0.05 * parameter.grad
        expected = [layer.matrix().norm().item() for layer in factorized_layers(network).values()]
        arrays, _ = train(tmp_path / decay, variant, own)
        np.testing.assert_allclose(arrays["frobenius_norms"][1], expected, rtol=2e-5)
        assert arrays["step_loss"][0] == pytest.approx(loss.item(), rel=1e-5)


def test_rates_fall_at_milestones_and_deep_networks_begin_slowly(tmp_path):
    from tacit.training.optimizers import stepwise

    published = stepwise(0.1, epochs=200, milestones=(0.5, 0.75))
    assert [published(epoch) for epoch in (0, 99.99, 100, 149, 150, 199)] == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    deep = stepwise(0.1, epochs=200, milestones=(0.5, 0.75), warms_up=True)
    assert [deep(epoch) for epoch in (0, 0.99, 1, 100)] == [0.01, 0.01, 0.1, 0.01]
    fifth = stepwise(0.1, epochs=200, milestones=(0.3, 0.6, 0.8), falls_by=5)
    ends = {0: 0.1, 59.99: 0.1, 60: 0.02, 119.99: 0.02, 120: 0.004, 159.99: 0.004, 160: 0.0008, 199: 0.0008}
    assert {time: fifth(time) for time in ends} == ends
    training = load("paper").training
    assert [depth for depth in (20, 32, 44, 56, 110) if training.warms_up(depth)] == [56, 110]
    arrays, _ = train(tmp_path, own=run_settings(epochs=4, milestones=[0.5], warm_up_from=8))
    np.testing.assert_allclose(arrays["learning_rate"], [0.01, 0.1, 0.01, 0.01, 0.01])


def test_runs_repeat_and_seeds_differ(tmp_path):
    (one, _), (two, _), (other, _) = train(tmp_path / "a"), train(tmp_path / "b"), train(tmp_path / "c", seed=1)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["step_loss"], other["step_loss"])


@pytest.mark.slow
@pytest.mark.parametrize("variant", [DENSE, Variant(0.111, "two", "spectral", "frobenius", 1e-4)])
def test_twenty_layers_learn_five_hundred_images_by_heart(variant, tmp_path):
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images[:600, None] * 255 / 16).astype(np.uint8)
    data = ImageSet(pixels[:512], digits.target[:512], pixels[512:], digits.target[512:600])
    plain = {"epochs": 25, "batch_size": 64, "padding": 0, "every": 25}
    own = RunSettings.from_plain({"images": {"source": "digits"}, "network": {"width": 16}, "training": plain})
    arrays, _ = study.train(data, own, variant, depth=20, seed=0, checkpoint=tmp_path / "c.pt")
    assert arrays["step_accuracy"][-8:].mean() > 0.95 and np.isfinite(arrays["step_loss"]).all()


def test_images_are_held_out_and_looked_at_every_few_epochs(tmp_path):
    own = run_settings(held_out=0.25, every=2)
    arrays, _ = train(tmp_path, own=own)
    # 30 of 40 are learned from.
    assert arrays["epoch"].tolist() == [0, 2, 3] and len(arrays["step_loss"]) == 3 * 2
    assert len(arrays["held_out_accuracy"]) == 3
    # A tenth of a point of accuracy is one of ten images.
    assert np.allclose(10 * arrays["held_out_accuracy"] % 1, 0)
    path = write(tmp_path, own=own)
    chosen = results.tables([path], experiment="resnet", missing=0, **CLAIMED)["runs"]["chosen_accuracy"].iloc[0]
    assert chosen == arrays["test_accuracy"][arrays["held_out_accuracy"].argmax()]


def test_divergence_names_the_rate(tmp_path):
    with pytest.raises(DivergenceError, match=r"reduce learning_rate \(now 1e\+15\)"):
        train(tmp_path, Variant(0.3, "two", "regular", "none", 1e-3), run_settings(learning_rate=1e15))


# Norms that are recorded and replayed.


RECORDED, REPLAYED = LOW._replace(decay="recorded"), LOW._replace(decay="replayed")


def test_norms_of_every_step_are_recorded(tmp_path):
    arrays, _ = train(tmp_path, RECORDED)
    assert arrays["step_norms"].shape == (9, 6) and arrays["step_norms"].dtype == np.float32
    # After the last step of an epoch they are those that are measured then.
    np.testing.assert_allclose(arrays["step_norms"][2::3], arrays["frobenius_norms"][1:], rtol=1e-5)
    # It is the run with Frobenius decay, bit for bit.
    plain, _ = train(tmp_path / "plain", LOW)
    assert "step_norms" not in plain and all(np.array_equal(plain[name], arrays[name]) for name in plain)


def test_a_run_gets_the_norms_of_another(tmp_path):
    recorded = write(tmp_path, RECORDED)
    norms = store.read(recorded, kind=study.RUN).arrays["step_norms"]
    arrays, _ = train(tmp_path, REPLAYED, replayed=recorded)
    np.testing.assert_allclose(arrays["frobenius_norms"][1:], norms[2::3], rtol=1e-5)
    without, _ = train(tmp_path, LOW._replace(decay="none"))
    assert np.abs(without["frobenius_norms"][1:] / norms[2::3] - 1).max() > 1e-4


def test_replaying_the_norms_that_a_run_has_anyway_changes_nothing(tmp_path):
    # With a coefficient that is as good as none the recorded run has no decay.
    tiny = RECORDED._replace(coefficient=1e-12)
    recorded = write(tmp_path, tiny)
    arrays, _ = train(tmp_path, tiny._replace(decay="replayed"), replayed=recorded)
    own = store.read(recorded, kind=study.RUN).arrays
    np.testing.assert_allclose(arrays["step_loss"], own["step_loss"], rtol=1e-4)
    np.testing.assert_allclose(arrays["frobenius_norms"], own["frobenius_norms"], rtol=1e-5)


def test_norms_of_another_training_are_refused(tmp_path):
    recorded = write(tmp_path, RECORDED)
    with pytest.raises(ValueError, match="norms of 6 layers, but there are 12"):
        train(tmp_path, REPLAYED, depth=14, replayed=recorded)
    with pytest.raises(ValueError, match="norms of 9 steps, but this training has 12"):
        train(tmp_path, REPLAYED, run_settings(epochs=4), replayed=recorded)
    for variant, path in ((REPLAYED, None), (LOW, recorded)):
        with pytest.raises(ValueError, match="norms of another run are for replayed"):
            train(tmp_path, variant, replayed=path)


# Tables and claims.

CLAIMED = {"sources": ["digits"], "depths": [8], "rank_scale": 0.3, "coefficient": 1e-3}


def test_tables_are_of_the_runs(tmp_path):
    paths = [write(tmp_path, variant, seed=seed) for variant in (DENSE, LOW) for seed in (0, 1)]
    found = results.tables(paths, experiment="resnet", missing=3, **CLAIMED)
    run = store.read(paths[2], kind=study.RUN)
    (row,) = found["runs"].query("factors == 'two' and seed == 0").to_dict("records")
    assert row["test_accuracy"] == run.arrays["test_accuracy"][-1]
    assert row["best_accuracy"] == run.arrays["test_accuracy"].max()
    assert row["train_loss"] == pytest.approx(run.arrays["step_loss"][-3:].mean(), rel=1e-12)
    assert row["parameters"] == run.attributes["parameters"] and np.isnan(row["chosen_accuracy"])
    curve = found["curves"].query("factors == 'two' and seed == 0")
    norms, rates = run.arrays["frobenius_norms"], run.arrays["learning_rate"]
    np.testing.assert_allclose(curve["effective_rate_squared"], (rates[:, None] / norms**2).mean(1), rtol=1e-12)
    np.testing.assert_allclose(curve["nuclear_bound"], run.arrays["nuclear_bounds"].mean(1), rtol=1e-12)
    assert set(found["claims"]["missing"]) == {3} and set(found["claims"]["verdict"]) == {"undecided"}


def answers_of(rights, seeds=4, images=500):
    """Answers of networks by key: a share of each seed's that is right, with a little of its own."""
    random = np.random.default_rng(0)
    common = random.random((seeds, images))
    return {
        (*key, seed): (common[seed] + 0.02 * random.random(images) < share).astype(float)
        for key, share in rights.items()
        for seed in range(seeds)
    }


def judged(judge, answers, curves=None, **about):
    book = results.ledger.Ledger("factorized", missing=0)
    judge(book, answers, pd.DataFrame() if curves is None else curves, **about)
    return dict(book.table()[["id", "verdict"]].to_numpy().tolist())


def test_both_together_can_be_better_or_worse():
    both, neither = (
        ("digits", 8, 0.3, "two", start, decay, 1e-3)
        for start, decay in (("spectral", "frobenius"), ("regular", "weight"))
    )
    assert judged(results._judge_resnet, answers_of({both: 0.8, neither: 0.7}), **CLAIMED) == {
        "both_better_digits_8": "held"
    }
    assert judged(results._judge_resnet, answers_of({both: 0.7, neither: 0.8}), **CLAIMED) == {
        "both_better_digits_8": "not held"
    }
    assert judged(results._judge_resnet, answers_of({both: 0.7}), **CLAIMED) == {"both_better_digits_8": "undecided"}


def test_decays_are_compared_on_average_over_coefficients():
    about = {"source": "digits", "depth": 8, "rank_scale": 0.3, "coefficients": [1e-4, 1e-2]}

    def rights(first, second):
        return {
            ("digits", 8, 0.3, "two", "regular", decay, value): share
            for decay, shares in (("weight", (0.7, 0.7)), ("frobenius", (first, second)))
            for value, share in zip((1e-4, 1e-2), shares, strict=True)
        }

    assert judged(results._judge_decay, answers_of(rights(0.6, 0.9)), **about) == {
        "frobenius_better_by_coefficient": "held"
    }
    assert judged(results._judge_decay, answers_of(rights(0.5, 0.8)), **about) == {
        "frobenius_better_by_coefficient": "not held"
    }


def test_overcomplete_networks_are_compared_with_the_next_deeper_one():
    about = {
        "sources": ["digits"], "depths": [8], "dense_depths": [8, 14, 20], "deep": 1.0, "wide": 3.0,
        "coefficient": 1e-3,
    }  # fmt: skip
    rights = {("digits", depth, *DENSE): share for depth, share in ((8, 0.7), (14, 0.8), (20, 0.9))}
    for scale, factors, frobenius in ((1.0, "three", 0.85), (3.0, "two", 0.75)):
        rights |= {
            ("digits", 8, scale, factors, "regular", decay, 1e-3): share
            for decay, share in (("weight", 0.72), ("frobenius", frobenius))
        }
    assert judged(results._judge_distillation, answers_of(rights), **about) == {
        "deep_frobenius_digits_8": "held",
        "deep_next_digits_8": "held",
        "wide_frobenius_digits_8": "held",
        "wide_next_digits_8": "not held",
    }


def test_claims_on_norms_can_hold_and_fail():
    about = {"source": "digits", "depth": 8, "rank_scale": 0.3, "coefficient": 1e-3}

    def curves(*, tight, smaller, nearer, fewer):
        rows = []
        for seed in range(4):
            noise = 1 + 0.01 * seed
            for start in ("regular", "spectral"):
                for decay, nuclear, rate in (
                    ("weight", smaller, 4.0), ("recorded", 1.0, nearer), ("none", 1.0, 1.0), ("replayed", 1.0, 1.0)
                ):  # fmt: skip
                    variant = Variant(0.3, "two", start, decay, 1e-3)
                    for epoch in range(3):
                        own = {"nuclear_norm": nuclear * noise, "nuclear_bound": tight * nuclear * noise**2}
                        own |= {"effective_rate_squared": rate * noise, "epoch": epoch, "seed": seed}
                        own["frobenius_norm"] = nuclear / (fewer if decay == "weight" else 1.0)
                        rows.append({"source": "digits", "depth": 8} | variant._asdict() | own)
            own = {
                "effective_rate_squared": 1.0,
                "nuclear_norm": 1.0,
                "frobenius_norm": 1.0,
                "nuclear_bound": np.nan,
                "seed": seed,
            }
            rows += [{"source": "digits", "depth": 8, "epoch": epoch} | DENSE._asdict() | own for epoch in range(3)]
        return pd.DataFrame(rows)

    rights = {
        ("digits", 8, 0.3, "two", start, decay, 1e-3): share
        for start in ("regular", "spectral")
        for decay, share in (("recorded", 0.8), ("replayed", 0.8), ("none", 0.7))
    }
    table = curves(tight=1.01, smaller=0.5, nearer=1.5, fewer=0.7)
    held = judged(results._judge_normalization, answers_of(rights), table, **about)
    assert len(held) == 12 and set(held.values()) == {"held"}
    table = curves(tight=2.0, smaller=2.0, nearer=10.0, fewer=1.5)
    swapped = {key: 1.5 - share for key, share in rights.items()} | {key: 0.5 for key in rights if key[5] == "replayed"}
    failed = judged(results._judge_normalization, answers_of(swapped), table, **about)
    assert set(failed.values()) == {"not held"}


# Settings.


def test_the_paper_scale_is_the_published_grid_and_what_it_forgot():
    own = load("paper")
    found = {name: {tuple(axes.values()) for axes in own.runs(name)} for name in EXPERIMENTS}
    published = found["resnet"] | found["distillation"]
    # 77 of each data set, twelve of the sweep, and the triples of two starts, one of which is in the sweep.
    assert len(published) == 2 * 77
    sweep = {axes for axes in found["decay"] if axes[6] != 1e-4}
    assert len(sweep) == 12
    triples = {axes for axes in found["normalization"] if axes[5] in ("none", "recorded", "replayed")}
    assert len(triples) == 2 * 3
    # The 168 settings count each triple as one.
    assert len(published) + len(sweep) + len(triples) // 3 == 168
    everything = set().union(*found.values())
    forgotten = everything - published - sweep - triples
    assert len(forgotten) == 178 - 172 and sum(axes[5] == "weight" for axes in forgotten) == 5
    assert own.seeds == 3


@pytest.mark.parametrize("changes", [{}, {"matricisation": "published", "residual": 0.1}])
def test_what_is_asked_of_files_is_what_their_runs_depend_on(changes):
    own = load("paper", factorized=changes)
    for name in EXPERIMENTS:
        for axes in own.runs(name):
            fitting = [
                plain for where, plain in own.asked() if all(axes[axis] == value for axis, value in where.items())
            ]
            assert fitting == [own.run(axes).plain()]
            assert (fitting[0]["residual"] > 0) == (bool(changes) and axes["factors"] == "three")
            published = bool(changes) and axes["initialization"] == "spectral"
            assert (fitting[0]["matricisation"] == "published") == published


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dense_depths": [9]}, "9 layers: this layout has 6 n"),
        ({"images": [{"source": "digits"}, {"source": "digits", "num_train": 50}]}, "digits is there twice"),
        ({"images": [{"source": "digits", "size": 4}]}, "halves them twice, and needs 5 px"),
        (
            {"images": [{"source": "digits", "num_train": 4}], "training": {"held_out": 0.8}},
            "leaves no image of digits",
        ),
        ({"training": {"padding": 9}}, "training.padding = 9: digits has images of 8 px"),
        ({"training": {"milestones": [1.5]}}, "training.milestones"),
        ({"decay": {"coefficients": [1e-3, 1.00000001e-3]}}, "two are equal in the six digits"),
        ({"training": {"milestones": [0.3]}}, "milestones: 0.3 of 2 epochs is none"),
        ({"coefficient": -1.0}, "factorized.coefficient"),
        ({"distillation": {"wide": [0.5]}}, "distillation.wide"),
        ({"network": {"width": 2048}}, "factorized.network.width"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        load(factorized=changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "mnist"}, "source~mnist: the present settings have digits"),
        ({"depth": 9}, "9 layers: this layout has"),
        ({"factors": "dense"}, "a dense network has the rank scale 0"),
        ({"rank_scale": 0.0, "factors": "dense", "initialization": "dense"}, "decay frobenius is of factors"),
        ({"decay": "replayed", "factors": "three"}, "recorded and replayed with two factors"),
    ],
)
def test_runs_that_are_none_are_refused(changes, said):
    axes = {"source": "digits", "depth": 8, **LOW._asdict()} | changes
    with pytest.raises(ValueError, match=said):
        load().run(axes)


# Figures.


def drawn(drawing, table, name, scale="smoke", missing=0):
    own = {"scale": scale} | load(scale).plain()
    numbers = drawing.numbers({name: table}, own)
    return numbers, drawing.draw(numbers, settings=own, missing=missing)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Runs of all that the smoke scale has, with the same accuracies again and again."""
    folder, own, found = tmp_path_factory.mktemp("factorized"), load(), {}
    base = store.read(write(folder, LOW), kind=study.RUN)
    for name in EXPERIMENTS:
        paths = []
        for axes in own.runs(name):
            path = folder / f"{name}-{len(paths)}.h5"
            arrays = copy.deepcopy(base.arrays)
            identity = axes | {"seed": 0}
            attributes = {key: base.attributes[key] for key in study.RUN.attributes}
            plain = {key: value for key, value in base.settings.items() if key not in identity}
            store.write(path, arrays, kind=study.RUN, settings=identity | plain, attributes=attributes)
            paths.append(path)
        found[name] = results.tables(paths, experiment=name, missing=0, **own.claimed(name))
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figures_draw_the_numbers_of_their_tables(name, written):
    tables = written[name]
    if name == "normalization":
        numbers, figure = drawn(factorized_norms.NORMALIZATION, tables["curves"], "curves")
        assert set(numbers["quantity"]) >= {"nuclear_norm", "nuclear_bound", "effective_rate_squared"}
        lines = figure.axes[0].lines
        assert len(lines) == 5
        own = numbers.query("quantity == 'nuclear_norm' and initialization == 'regular' and decay == 'weight'")
        assert lines[0].get_ydata().tolist() == own.query("rank_scale == 0.2")["mean"].tolist()
        return
    numbers, figure = drawn(getattr(figures, name.upper()), tables["runs"], "runs")
    assert len(numbers) == len(load().runs(name))
    assert numbers["mean"].tolist() == tables["runs"]["test_accuracy"].tolist()
    assert "smoke scale" in figure.get_supxlabel()


@pytest.mark.parametrize(
    ("drawing", "name", "table"),
    [
        (figures.RESNET, "runs", results.RUNS),
        (figures.DECAY, "runs", results.RUNS),
        (figures.DISTILLATION, "runs", results.RUNS),
        (factorized_norms.NORMALIZATION, "curves", results.CURVES),
    ],
)
def test_without_runs_there_is_no_figure(drawing, name, table):
    empty = pd.DataFrame(columns=[*table.keys, *table.numbers, *table.others])
    with pytest.raises(MissingRunsError, match="no run with factorized layers"):
        drawing.numbers({name: empty}, {"scale": "smoke"} | load().plain())
