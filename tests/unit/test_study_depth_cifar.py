"""The study on convolutional residual networks of many layers: runs, tables, claims."""

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
from tacit.figures import depth_cifar as figures
from tacit.settings.base import SettingsError
from tacit.settings.depth_cifar import RunSettings, Training
from tacit.studies import depth_cifar as study

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
RANDOM = np.random.default_rng(0)
IMAGES = ImageSet(
    RANDOM.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 10,
    RANDOM.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), np.arange(30) % 10,
)  # fmt: skip
FIT = {"window": 0, "period": 0, "with_shift": False}


def load(scale="smoke", **changes):
    return settings.load(CONFIG | {"scale": scale} | changes, CHECKOUT / "config" / "scales").depth_cifar


def run_settings(**training):
    plain = {"epochs": 2, "batch_size": 16, "rate_factor": 0.1, "padding": 1} | training
    other = {"evaluation": plain.pop("evaluation")} if "evaluation" in plain else {}
    return RunSettings.from_plain({"images": {"source": "digits"}, "network": {"width": 4}, "training": plain} | other)


def train(folder, own=None, depth=8, seed=0):
    return study.train(IMAGES, own or run_settings(), depth=depth, seed=seed, checkpoint=folder / "c.pt")


def write(folder, own=None, **identity):
    own = own or run_settings()
    arrays = train(folder, own, **identity)
    (folder / "c.pt").unlink(missing_ok=True)
    path = folder / f"{'-'.join(map(str, identity.values()))}.h5"
    store.write(path, arrays, kind=study.RUN, settings=identity | own.plain())
    return path


def test_a_run_holds_what_its_kind_says(tmp_path):
    arrays = store.read(write(tmp_path, depth=8, seed=0), kind=study.RUN).arrays
    assert arrays["step_images"].tolist() == [16, 16, 8] * 2
    assert arrays["epoch"].tolist() == [0, 1, 2] and len(arrays["step_omega"]) == 6
    assert arrays["test_accuracy"][-1] == arrays["test_correct"].mean()
    assert (arrays["test_top2"] >= arrays["test_accuracy"]).all()


def test_omega_is_the_squared_gradient_of_single_losses():
    from tacit.training.objectives import CrossEntropyWithOmega

    logits = torch.randn(6, 10, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 9, 9, 1, 2])
    value = CrossEntropyWithOmega()(lambda images: logits, torch.zeros(6, 1), labels, None)
    (gradient,) = torch.autograd.grad(value.scalar, logits)
    # Of the batch's mean loss it is smaller by the square of its size, as published.
    assert (36 * gradient.square().sum(1).mean()).item() == pytest.approx(value.recorded[2].item(), rel=1e-12)
    flat = CrossEntropyWithOmega()(lambda images: torch.zeros(6, 10), torch.zeros(6, 1), labels, None)
    assert flat.recorded[2].item() == pytest.approx(0.9)


def test_it_begins_near_what_equal_chances_give(tmp_path):
    assert train(tmp_path)["step_omega"][0] == pytest.approx(0.9, abs=0.25)


def test_runs_repeat_and_seeds_differ(tmp_path):
    one, two, other = train(tmp_path / "a"), train(tmp_path / "b"), train(tmp_path / "c", seed=1)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["step_loss"], other["step_loss"])


@pytest.mark.parametrize("changes", [{"momentum": 0.9}, {"weight_decay": 0.1}, {"schedule": "cosine"}, {"flips": True},
                                     {"precision": "bfloat16"}, {"rate_exponent": 0.2}, {"padding": 0}])  # fmt: skip
def test_settings_of_training_change_it(tmp_path, changes):
    plain, changed = train(tmp_path / "a"), train(tmp_path / "b", run_settings(**changes))
    assert np.isfinite(changed["test_loss"]).all()
    assert not np.array_equal(plain["step_loss"], changed["step_loss"])


def test_learning_rates_are_the_published_ones():
    rates = [Training(epochs=1, batch_size=1).learning_rate(depth) for depth in (56, 104, 224)]
    np.testing.assert_allclose(rates, [6.119059, 8.084720, 11.418567], atol=5e-7)


def test_the_paper_scale_is_the_published_one():
    paper = load("paper")
    assert paper.depths == (56, 104, 224) and paper.images.num_train_at_most == 50_000
    own = paper.training
    assert (own.epochs, own.batch_size, own.padding, own.flips, own.schedule, own.momentum) == (
        16, 128, 4, False, "constant", 0.0,
    )  # fmt: skip
    assert paper.images.statistics == ((0.5,) * 3, (0.5,) * 3) and paper.network.width == 16


def test_a_window_that_a_period_leaves_too_few_points_for_is_no_crash(tmp_path):
    fit = {"window": 5, "period": 2, "with_shift": False}
    found = study.tables([write(tmp_path, depth=8, seed=0)], fit=fit, published=False, missing=0)
    assert found["runs"]["points"].tolist() == [0] and found["runs"]["rate"].isna().all()


def test_only_the_published_runs_are_held_against_what_is_published():
    assert load("paper").is_published and not load("demo").is_published
    others = [
        {"training": {"batch_size": 64}}, {"training": {"flips": True}}, {"training": {"padding": 0}},
        {"network": {"width": 8}}, {"network": {"delta_exponent": 0.5}}, {"depths": [8]},
        {"power_law": {"with_shift": True}}, {"images": {"num_train": 1000}}, {"images": {"mean": [0.4, 0.4, 0.4]}},
    ]  # fmt: skip
    assert not any(load("paper", depth_cifar=one).is_published for one in others)
    assert load("paper", depth_cifar={"training": {"compile": True}, "seeds": 1}).is_published


def test_testing_as_published_uses_the_batch_and_leaves_the_network_alone(tmp_path):
    from tacit.nn.scaled_convnets import ScaledConvNet
    from tacit.training.images import images_on

    own = run_settings(evaluation="published", padding=0)
    torch.manual_seed(0)
    network = ScaledConvNet(8, width=4, delta_exponent=0.75, in_channels=1, num_classes=10)
    _, test = images_on(torch.device("cpu"), IMAGES, own.images)
    before = copy.deepcopy(network.state_dict())
    found, correct = study._evaluate(network, test, own, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.train()
    images = test.images.normalised(torch.arange(30))
    logits = torch.cat([network(images[:16]), network(images[16:])])
    assert correct.tolist() == (logits.argmax(1) == test.labels).int().tolist()
    tables = [set(part.topk(2, 1).indices.flatten().tolist()) for part in logits.split(16)]
    among = [label in tables[number // 16] for number, label in enumerate(test.labels.tolist())]
    assert found["test_top2"] == pytest.approx(np.mean(among)) and found["test_top2"] > found["test_accuracy"]


def test_a_diverging_run_says_what_to_do(tmp_path):
    with pytest.raises(DivergenceError, match="reduce rate_factor or rate_exponent"):
        train(tmp_path, run_settings(rate_factor=1e30))


def test_tables_are_those_of_the_runs(tmp_path):
    paths = [write(tmp_path, depth=depth, seed=seed) for depth in (8, 14) for seed in (0, 1)]
    found = study.tables(paths, fit=FIT, published=False, missing=0)
    run = store.read(paths[0], kind=study.RUN).arrays
    gradients = found["gradients"].query("depth == 8 and seed == 0")
    np.testing.assert_allclose(gradients["omega_logged"], run["step_omega"] / np.array([16, 16, 8] * 2) ** 2)
    np.testing.assert_allclose(gradients["time"], np.arange(1, 7) / 3)
    curve = found["curves"].query("depth == 8 and seed == 0")
    expected = (run["step_loss"][:3] * [16, 16, 8]).sum() / 40
    assert np.isnan(curve["train_loss"].iloc[0]) and curve["train_loss"].iloc[1] == pytest.approx(expected)
    row = found["runs"].iloc[0]
    assert row["learning_rate"] == pytest.approx(0.1 * 8**0.45) and row["points"] == 6
    assert found["claims"]["id"].tolist() == [
        "depth_costs_little",
        "all_learn",
        "omega_rate",
        "omega_rate_depth",
        "omega_size_depth",
    ]
    plain = {"scale": "tiny", "images": {"source": "digits"}, "network": {"width": 4}, "published": True}
    for name, expected in figures.CIFAR.tables.items():
        store.write_table(tmp_path / f"{name}.csv", found[name])
        found[name] = store.read_table(tmp_path / f"{name}.csv", expected=expected)
    drawn = figures.CIFAR.numbers(found, plain)
    assert "2 seeds" in figures.CIFAR.draw(drawn, settings=plain, missing=0).get_supxlabel()


def made_up(*, rate=0.6, change=0.0, lost=0.0):
    rows, answers, random = [], {}, np.random.default_rng(0)
    for depth in (56, 104, 224):
        for seed in range(3):
            own = rate + change * np.log(depth) + 0.001 * seed
            size = study.PUBLISHED_SIZE * depth**change * (1 + 0.001 * seed)
            made = {"rate": own, "size": size, "shift": 1, "test_accuracy": 0.9 - 0.01 * seed - 3 * lost}
            rows.append({"depth": depth, "seed": seed} | made)
            chance = 0.9 - lost * (depth == 224)
            answers[depth, seed] = (np.arange(2000) / 2000 < chance + 0.001 * random.normal()).astype(float)
    return pd.DataFrame(rows), answers


def verdicts(*made):
    return study.claims(*made, published=True, missing=0).set_index("id")["verdict"].to_dict()


def test_claims_hold_where_depth_makes_no_difference_and_fail_where_it_does():
    assert set(verdicts(*made_up()).values()) == {"held"}
    found = verdicts(*made_up(change=0.2, lost=0.2))
    assert found.pop("omega_rate") == "held"
    assert found.pop("all_learn") == "not held"
    assert set(found.values()) == {"not held"} and len(found) == 5
    assert verdicts(*made_up(rate=-0.3))["omega_rate"] == "not held"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depths": [8, 15]}, r"15 layers: this layout has 6 n \+ 2"),
        ({"depths": [2]}, "greater than or equal to 8"),
        ({"images": {"size": 3}}, "halves them twice"),
        ({"power_law": {"window": 9}}, "window = 9: there are only 8 steps"),
        ({"training": {"padding": 9}}, "padding = 9: images have 8 px"),
        ({"network": {"width": 1000}, "depths": [9998]}, "width = 1,000|width = 1000|batch_size"),
    ],
)
def test_what_cannot_be_is_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        load(depth_cifar=changes)
