"""The study on compressed networks: layouts, starts, decays, runs, tables, claims, settings, figures."""

import copy
import itertools
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from project import CHECKOUT
from tacit import settings, store
from tacit.data.images import ImageSet
from tacit.errors import DivergenceError
from tacit.figures import compressed as figures
from tacit.memory import compressed as memory
from tacit.nn import pruning
from tacit.nn.factorized import factorized_layers
from tacit.nn.factorizing import selected
from tacit.settings import layouts
from tacit.settings.base import SettingsError
from tacit.settings.compressed import DENSE, EXPERIMENTS, RunSettings, Variant
from tacit.studies import compressed as study
from tacit.studies import compressed_results as results
from tacit.studies.tables import MissingRunsError
from tacit.training.images import images_on

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
RANDOM = np.random.default_rng(0)
IMAGES = ImageSet(
    RANDOM.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8), np.arange(40) % 10,
    RANDOM.integers(0, 256, (30, 1, 8, 8), dtype=np.uint8), np.arange(30) % 10,
)  # fmt: skip
CPU = torch.device("cpu")
VGG, RESNET, WIDE = study.Named("vgg", 11, 4), study.Named("resnet", 8, 4), study.Named("wide_resnet", 10, 2)
LOW = Variant("low_rank", 0.3, "spectral", "frobenius")
TRAIN, TUCKER = Variant("tensor_train", 0.4, "regular", "scaled"), Variant("tucker", 0.4, "spectral", "frobenius")
SPARSE = [Variant(method, 0.2, "dense", "weight") for method in ("snip", "grasp", "random_tickets")]


def load(scale="smoke", **changes):
    return settings.load(CONFIG | {"scale": scale} | changes, CHECKOUT / "config" / "scales").compressed


def run_settings(more=None, **training):
    plain = {"epochs": 3, "batch_size": 16, "padding": 1, "flips": True, "cutout": 3} | training
    plain = {"images": {"source": "digits"}, "coefficient": 1e-3, "training": plain} | (more or {})
    return RunSettings.from_plain(plain)


def train(folder, variant=LOW, named=RESNET, own=None, seed=0):
    return study.train(IMAGES, own or run_settings(), variant, named, seed=seed, checkpoint=folder / "c.pt")


def write(folder, variant=LOW, named=RESNET, own=None, seed=0):
    own = own or run_settings()
    arrays, attributes = train(folder, variant, named, own, seed)
    (folder / "c.pt").unlink(missing_ok=True)
    path = folder / f"{'-'.join(map(str, named))}-{'-'.join(map(str, variant))}-{seed}.h5"
    identity = {"source": "digits", **named._asdict(), **variant._asdict(), "seed": seed}
    store.write(path, arrays, kind=study.RUN, settings=identity | own.plain(), attributes=attributes)
    return path


def start(variant, named=RESNET, own=None, seed=0):
    own = own or run_settings()
    learned, _ = images_on(CPU, IMAGES, own.images)
    return study.build(own, variant, named, seed=seed, device=CPU, images=learned)


# Layouts.


@pytest.mark.parametrize(
    ("named", "side", "channels", "classes"),
    [
        (VGG, 8, 1, 10), (study.Named("vgg", 19, 2), 64, 3, 20), (study.Named("vgg", 13, 3), 20, 3, 7),
        (RESNET, 9, 3, 10), (study.Named("resnet", 20, 5), 32, 1, 3),
        (WIDE, 11, 1, 10), (study.Named("wide_resnet", 16, 1), 32, 3, 4),
    ],
)  # fmt: skip
def test_layouts_are_those_of_the_networks(named, side, channels, classes):
    """Sizes of weights, of maps, of what can be replaced, and shares with the least and the most rank."""
    own = layouts.layout(*named, side=side, channels=channels, classes=classes)
    images = {"source": "cifar10" if channels == 3 else "mnist", "size": side, "classes": list(range(min(classes, 10)))}
    if classes > 10:
        images = {"source": "cifar100", "size": side, "classes": list(range(classes))}
    network = study.dense(run_settings({"images": images}), named, seed=0).eval()
    chosen = selected(network, study.replaced(named))
    sides = []
    weighted = {name: part for name, part in network.named_modules() if isinstance(part, torch.nn.Conv2d)}
    for part in weighted.values():
        part.register_forward_hook(lambda module, given, made: sides.append((module, made.shape[-1])))
    network(torch.zeros(1, channels, side, side))
    assert Counter((m.weight.numel(), s) for m, s in sides) == Counter(
        (layer.weights, layer.side) for layer in own.layers[:-1]
    )
    assert own.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert Counter(layer.weights for layer in own.layers if layer.replaced) == Counter(
        layer.weight.numel() for layer in chosen.values()
    )
    from tacit.nn.rank_solver import parameter_cost

    cost = parameter_cost(network, chosen.values())
    assert [own.factorized(most=most) for most in (False, True)] == [cost.at(0), cost.at(1)]


@pytest.mark.parametrize(
    ("family", "depth", "width", "classes", "parameters", "others"),
    [
        ("resnet", 32, 64, 10, 7_427_914, 14_154), ("resnet", 32, 64, 100, 7_451_044, 37_284),
        ("resnet", 32, 64, 200, 7_476_744, 62_984), ("resnet", 32, 32, 10, 1_860_522, None),
        ("vgg", 19, 64, 10, 20_035_018, 17_866), ("vgg", 19, 64, 100, 20_081_188, 64_036),
        ("vgg", 19, 64, 200, 20_132_488, 115_336), ("wide_resnet", 28, 10, 10, 36_479_194, 24_794),
    ],
)  # fmt: skip
def test_layouts_have_the_published_sizes(family, depth, width, classes, parameters, others):
    own = layouts.layout(family, depth, width, side=32, channels=3, classes=classes)
    assert own.parameters == parameters
    never = own.parameters - sum(layer.weights for layer in own.layers if layer.replaced)
    assert others in (None, never)


@pytest.mark.parametrize(("family", "depth"), [("vgg", 12), ("resnet", 9), ("resnet", 2), ("wide_resnet", 8)])
def test_networks_that_are_none_are_refused(family, depth):
    with pytest.raises(ValueError, match=f"{depth} layers"):
        layouts.check(family, depth)


# Starts.


def test_all_variants_of_a_seed_are_made_of_one_dense_network():
    own = run_settings()
    dense = start(DENSE).network
    for variant in SPARSE:
        made = start(variant)
        for (name, one), other in zip(made.network.named_parameters(), dense.parameters(), strict=True):
            layer, _, kind = name.rpartition(".")
            kept = made.masks.kept().get(layer, other.numel()) if kind == "weight" else other.numel()
            there = (one != 0) | (other == 0)
            assert torch.equal(one, other * there) and (kept == other.numel() or int(there.sum()) == kept), name
    low = start(LOW)
    images = torch.randn(4, 1, 8, 8)
    full = start(Variant("low_rank", 0.9, "spectral", "weight"))
    gap = [(made.network.eval()(images) - dense.eval()(images)).norm().item() for made in (full, low)]
    assert gap[0] < gap[1]
    assert not torch.equal(study.dense(own, RESNET, seed=1).head.weight, dense.head.weight)


@pytest.mark.parametrize("variant", SPARSE)
@pytest.mark.parametrize("named", [VGG, RESNET])
def test_sparse_networks_have_exactly_their_share(variant, named):
    made = start(variant, named)
    assert made.parameters == round(0.2 * made.dense_parameters)
    dense = sum(int((parameter != 0).sum()) for parameter in made.network.parameters())
    # Besides shifts and biases, which start at zero, what is not masked is not zero.
    zeros = sum(int((p == 0).sum()) for p in study.dense(run_settings(), named, seed=0).parameters())
    assert dense == made.parameters - zeros


@pytest.mark.parametrize("variant", [LOW, Variant("low_rank", 0.15, "regular", "weight")])
@pytest.mark.parametrize("named", [VGG, RESNET, WIDE])
def test_networks_of_low_rank_are_as_near_to_their_share_as_ranks_allow(variant, named):
    from tacit.nn.rank_solver import parameter_cost, solve

    made = start(variant, named)
    dense = study.dense(run_settings(), named, seed=0)
    cost = parameter_cost(dense, selected(dense, study.replaced(named)).values())
    assert (
        made.parameters == solve(cost, variant.size).amount and made.rank_scale == solve(cost, variant.size).rank_scale
    )


def test_starts_of_factors_are_those_of_their_networks():
    own = run_settings()
    for named, rule in (
        (study.Named("vgg", 11, 16), lambda inputs, outputs, rank, columns: (2 / (9 * inputs),) * 2),
        (study.Named("resnet", 8, 16), lambda inputs, outputs, rank, columns: (2 / rank, 2 / columns)),
        (study.Named("wide_resnet", 10, 4), lambda inputs, outputs, rank, columns: (2 / (9 * outputs),) * 2),
    ):
        made = study.build(own, Variant("low_rank", 0.5, "regular", "weight"), named, seed=0, device=CPU).network
        layer = [layer for layer in factorized_layers(made).values() if layer.kernel_size == (3, 3)][-1]
        expected = rule(layer.in_channels, layer.out_channels, layer.rank, layer.VT.shape[1])
        found = [factor.var().item() for factor in (layer.U, layer.VT)]
        np.testing.assert_allclose(found, expected, rtol=0.12)
    kaiming = run_settings({"kaiming": True})
    layer = list(
        factorized_layers(
            study.build(
                kaiming, Variant("low_rank", 0.5, "regular", "weight"), study.Named("vgg", 11, 16), seed=0, device=CPU
            ).network
        ).values()
    )[-1]
    assert layer.U.var().item() == pytest.approx(2 / layer.rank, rel=0.12)


def test_tensors_take_the_place_of_what_has_a_depthwise_part():
    for variant in (TRAIN, TUCKER):
        made = start(variant, WIDE)
        layers = factorized_layers(made.network)
        assert len(layers) == 6 and all(name.rsplit(".", 1)[1] in ("conv1", "conv2") for name in layers)
        assert made.parameters < made.dense_parameters
    train, array = (start(TUCKER, WIDE, run_settings({"tucker_core": core})) for core in ("tensor_train", "dense"))
    assert array.parameters != train.parameters
    images = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(array.network.eval()(images), train.network.eval()(images), rtol=1e-3, atol=1e-4)


def masks_of(made):
    return {name: layer.mask.bool() for name, layer in pruning.maskable_layers(made.network).items()}


@pytest.mark.parametrize("redraw", [False, True])
@pytest.mark.parametrize("method", ["snip", "grasp", "random_tickets"])
def test_masks_are_those_of_their_methods(method, redraw):
    """Chosen again by hand: SNIP keeps the highest scores, GraSP the lowest, tickets of a VGG fall with depth."""
    own = run_settings({"redraw_head": redraw}, batch_size=7)
    variant = Variant(method, 0.2, "dense", "weight")
    made = start(variant, VGG, own)
    dense = study.dense(own, VGG, seed=0)
    keep = pruning.kept_weights(dense, 0.2)
    from tacit import streams

    generator = torch.Generator().manual_seed(streams.torch_seed("compressed", "train", 0, method, "0.2", *VGG))
    if method == "random_tickets":
        masks = pruning.random_ticket(pruning.maskable_layers(dense), keep, vgg=True, generator=generator)
    else:
        learned, _ = images_on(CPU, IMAGES, own.images)
        numbers = study.sample(learned.labels.numpy(), 10, generator)
        seen = learned.batch(numbers, torch.contiguous_format), learned.labels[numbers]
        if method == "snip":
            masks = pruning.highest(pruning.snip_scores(dense, *seen, chunk_size=7), keep)
        else:
            scores = pruning.grasp_scores(dense, *seen, chunk_size=7, redraw=generator if redraw else None)
            masks = pruning.lowest(scores, keep)
    found = masks_of(made)
    assert list(found) == list(masks) and all(torch.equal(found[name], masks[name]) for name in masks)


def test_settings_reach_the_start_of_networks():
    """Which would go unseen if they did not: matrices of kernels, spectral tensors."""
    low = Variant("low_rank", 0.5, "spectral", "weight")
    repaired, published = (
        start(low, RESNET, run_settings({"matricisation": name})).network for name in ("repaired", "published")
    )
    kernels = [[layer.kernel() for layer in factorized_layers(one).values()] for one in (repaired, published)]
    threes = [(a, b) for a, b in zip(*kernels, strict=True) if a.shape[-1] == 3]
    assert all(not torch.allclose(a, b, rtol=0.1) for a, b in threes)
    named = study.Named("wide_resnet", 10, 4)
    for method in ("tensor_train", "tucker"):
        norms = [
            torch.stack(
                [
                    layer.matrix().norm()
                    for layer in factorized_layers(start(Variant(method, 0.3, way, "weight"), named).network).values()
                ]
            )
            for way in ("regular", "spectral")
        ]
        # Deviations of what is decomposed are sqrt(1 / 3 I) and sqrt(2 / O), and of both as much is kept.
        expected = [
            (6 * layer.in_channels / layer.out_channels) ** 0.5
            for layer in factorized_layers(start(Variant(method, 0.3, "regular", "weight"), named).network).values()
        ]
        np.testing.assert_allclose((norms[1] / norms[0]).detach(), expected, rtol=0.15)


def test_images_are_augmented_as_settings_say(tmp_path, monkeypatch):
    from tacit.training import images as training_images

    seen = []
    original = training_images.Augmented
    monkeypatch.setattr(
        training_images, "Augmented", lambda *given, **more: seen.append(more) or original(*given, **more)
    )
    train(tmp_path, own=run_settings(cutout=5, padding=2, flips=False))
    assert [(one["cutout"], one["padding"], one["flips"]) for one in seen] == [(5, 2, False)]


def test_the_nearest_five_count():
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3, 2]] * 8)
    found = study._performance(logits, torch.arange(8))
    assert (found["accuracy"], found["top5_accuracy"]) == (1 / 8, 5 / 8)


def test_samples_are_balanced_and_repeat():
    labels = np.array([0] * 30 + [1] * 5 + [2] * 2)
    draw = lambda seed: study.sample(labels, 4, torch.Generator().manual_seed(seed))  # noqa: E731
    found = labels[draw(0).numpy()]
    assert Counter(found.tolist()) == {0: 4, 1: 4, 2: 2}
    assert torch.equal(draw(0), draw(0)) and not torch.equal(draw(0), draw(1))


# Decays.


def received(variant, named, **more):
    own = run_settings(more)
    made = start(variant, named, own)
    rows = study.plan(own, variant, named, made).report
    return {
        name: sorted((row.kind, row.coefficient) for row in group)
        for name, group in itertools.groupby(rows, lambda row: row.parameter)
    }, made


@pytest.mark.parametrize("named", [VGG, RESNET, WIDE])
@pytest.mark.parametrize("decay", ["weight", "scaled", "frobenius"])
@pytest.mark.parametrize("method", ["low_rank", "tensor_train", "tucker"])
@pytest.mark.parametrize("behaviour", ["repaired", "published"])
def test_every_parameter_decays_as_the_table_says(named, decay, method, behaviour):
    """Section by section of the paper: factors, all else, and what the published code does otherwise."""
    variant = Variant(method, 0.4, "regular", decay)
    own = load("smoke", compressed={"decay_groups": behaviour, "tensor_frobenius": behaviour})
    plain = {"decay_groups": own.decay_groups, "tensor_frobenius": own.tensor_frobenius}
    found, made = received(variant, named, **plain)
    layers = factorized_layers(made.network)
    factors = {
        name
        for name, parameter in made.network.named_parameters()
        if any(parameter is part for layer in layers.values() for part in layer.factors())
    }
    assert factors and factors < set(found)
    share = made.parameters / made.dense_parameters
    published = behaviour == "published"
    tensors = method != "low_rank"
    of_factors = {"weight": ("weight", 1e-3), "scaled": ("scaled", 1e-3 * share), "frobenius": ("frobenius", 1e-3)}[
        decay
    ]
    if published and tensors and decay == "frobenius":
        of_factors = ("none", 0.0)
    for name, rows in found.items():
        expected = [of_factors] if name in factors else [("weight", 1e-3)]
        if published and named is WIDE and not tensors and decay != "frobenius" and ".shortcut." in name:
            expected = sorted([of_factors, ("frobenius", 1e-3)])
        if published and named is VGG and decay == "frobenius" and not tensors and name not in factors:
            # Normalisations whose place contains the place of a convolution that is replaced.
            places = [layer.split(".")[1] for layer in layers]
            if any(place in name for place in places):
                expected = [("none", 0.0)]
        assert rows == expected, name


def test_published_leaks_reach_the_runs_that_had_them():
    own = load("paper", compressed={"decay_groups": "published", "tensor_frobenius": "published"})
    for experiment in EXPERIMENTS:
        for axes in own.runs(experiment):
            run, low = own.run(axes), axes["method"] == "low_rank"
            leaks = (axes["network"], axes["decay"]) in [
                ("vgg", "frobenius"), ("wide_resnet", "weight"), ("wide_resnet", "scaled")
            ]  # fmt: skip
            assert (run.decay_groups == "published") == (low and leaks)
            tensors = axes["method"] in ("tensor_train", "tucker")
            assert (run.tensor_frobenius == "published") == (tensors and axes["decay"] == "frobenius")


def test_published_leaks_of_the_published_networks():
    own = run_settings({"decay_groups": "published", "images": {"source": "cifar10"}})
    named = study.Named("vgg", 19, 64)
    variant = Variant("low_rank", 0.1, "regular", "frobenius")
    made = study.build(own, variant, named, seed=0, device=CPU)
    rows = study.plan(own, variant, named, made).report
    without = [row.parameter for row in rows if row.kind == "none"]
    assert without == [f"features.{place}.{part}" for place in (31, 34, 37, 47) for part in ("weight", "bias")]
    repaired = study.plan(run_settings({"images": {"source": "cifar10"}}), variant, named, made).report
    assert not [row for row in repaired if row.kind == "none"]


# Runs.


@pytest.mark.parametrize(
    ("variant", "named"),
    [(DENSE, VGG), (LOW, VGG), (LOW, RESNET), (TRAIN, WIDE), (TUCKER, WIDE), (SPARSE[0], VGG), (SPARSE[1], RESNET)],
)
def test_a_run_holds_what_its_kind_says(variant, named, tmp_path):
    run = store.read(write(tmp_path, variant, named), kind=study.RUN)
    arrays, attributes = run.arrays, run.attributes
    assert arrays["epoch"].tolist() == [0, 1, 2, 3] and len(arrays["step_loss"]) == 9
    assert arrays["test_accuracy"][-1] == arrays["test_correct"].mean()
    assert (arrays["test_top5_accuracy"] >= arrays["test_accuracy"]).all()
    assert arrays["frobenius_norms"].shape == (4, len(arrays["layer_parameters"]))
    assert ("non_orthogonality" in arrays) == (variant.method == "low_rank")
    assert attributes["parameters"] <= attributes["dense_parameters"]
    assert (attributes["rank_scale"] > 0) == variant.is_factorized
    others = attributes["parameters"] - arrays["layer_parameters"].sum()
    assert 0 < others < attributes["dense_parameters"]
    if variant in SPARSE:
        assert attributes["parameters"] == round(0.2 * attributes["dense_parameters"])


def test_runs_repeat_and_seeds_differ(tmp_path):
    for variant, named in ((SPARSE[2], VGG), (TRAIN, WIDE)):
        (one, _), (two, _), (other, _) = (
            train(tmp_path / name, variant, named, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
        )
        assert all(np.array_equal(one[name], two[name]) for name in one)
        assert not np.array_equal(one["step_loss"], other["step_loss"])
        for name in "abc":
            (tmp_path / name / "c.pt").unlink(missing_ok=True)


def test_masked_weights_stay_zero_to_the_end(tmp_path, monkeypatch):
    kept = []
    original = study._norms
    monkeypatch.setattr(study, "_norms", lambda network, named: kept.append(
        sum(int((p != 0).sum()) for n, p in network.named_parameters() if p.ndim > 1)
    ) or original(network, named))  # fmt: skip
    _, attributes = train(tmp_path, SPARSE[0], VGG)
    assert len(kept) == 4 and len(set(kept)) == 1
    assert kept[0] < 0.25 * attributes["dense_parameters"]


def test_rates_fall_by_what_is_said(tmp_path):
    arrays, _ = train(tmp_path, own=run_settings(epochs=4, milestones=[0.25, 0.5], falls_by=5))
    np.testing.assert_allclose(arrays["learning_rate"], [0.1, 0.02, 0.004, 0.004, 0.004])
    own = load("paper").tensors.training
    from tacit.training.optimizers import stepwise

    rate = stepwise(own.learning_rate, epochs=own.epochs, milestones=own.milestones, falls_by=own.falls_by)
    assert [rate(epoch) for epoch in (0, 59, 60, 120, 160, 199)] == [0.1, 0.1, 0.02, 0.004, 0.0008, 0.0008]


def test_images_are_held_out(tmp_path):
    own = run_settings(held_out=0.25)
    arrays, _ = train(tmp_path, own=own)
    assert len(arrays["step_loss"]) == 3 * 2 and len(arrays["held_out_accuracy"]) == 4
    path = write(tmp_path, own=own)
    about = {"panels": [], "sparse": []}
    chosen = results.tables([path], experiment="compression", missing=0, **about)["runs"]["chosen_accuracy"].iloc[0]
    assert chosen == arrays["test_accuracy"][arrays["held_out_accuracy"].argmax()]


def test_divergence_names_the_rate(tmp_path):
    with pytest.raises(DivergenceError, match=r"reduce learning_rate \(now 1e\+15\)"):
        train(tmp_path, Variant("low_rank", 0.3, "regular", "weight"), own=run_settings(learning_rate=1e15))


# Tables and claims.


def test_tables_are_of_the_runs(tmp_path):
    paths = [write(tmp_path, variant, seed=seed) for variant in (DENSE, LOW) for seed in (0, 1)]
    about = {
        "panels": [{"source": "digits", **RESNET._asdict(), "ratio": 0.3}],
        "sparse": ["snip"],
    }
    found = results.tables(paths, experiment="compression", missing=3, **about)
    run = store.read(paths[2], kind=study.RUN)
    (row,) = found["runs"].query("method == 'low_rank' and seed == 0").to_dict("records")
    assert row["test_accuracy"] == run.arrays["test_accuracy"][-1]
    assert row["best_accuracy"] == run.arrays["test_accuracy"].max()
    assert row["train_loss"] == pytest.approx(run.arrays["step_loss"][-3:].mean(), rel=1e-12)
    assert row["share"] == run.attributes["parameters"] / run.attributes["dense_parameters"]
    assert row["frobenius_norm"] == run.arrays["frobenius_norms"][-1].mean() and np.isnan(row["chosen_accuracy"])
    assert set(found["claims"]["missing"]) == {3} and set(found["claims"]["verdict"]) == {"undecided"}
    assert len(found["claims"]) == 6


def answers_of(rights, seeds=4, images=600):
    """Answers by network: a share of each seed's that is right, with a little of its own."""
    random = np.random.default_rng(0)
    common = random.random((seeds, images))
    return {
        (*key, seed): (common[seed] + 0.02 * random.random(images) < share).astype(float)
        for key, share in rights.items()
        for seed in range(seeds)
    }


def judged(judge, rights, **about):
    book = results.ledger.Ledger("compressed", missing=0)
    judge(book, answers_of(rights), **about)
    return dict(book.table()[["id", "verdict"]].to_numpy().tolist())


def test_claims_on_compression_can_hold_and_fail():
    panel = {"source": "digits", "network": "vgg", "depth": 11, "width": 4}
    about = {"panels": [panel | {"ratio": 0.1}], "sparse": ["snip", "grasp"]}

    def rights(neither, spectral, frobenius, both, dense, sparse):
        low = [("regular", "weight", neither), ("spectral", "weight", spectral)]
        low += [("regular", "frobenius", frobenius), ("spectral", "frobenius", both)]
        found = {(*panel.values(), "low_rank", 0.1, start, decay): value for start, decay, value in low}
        found |= {(*panel.values(), name, 0.1, "dense", "weight"): sparse for name in ("snip", "grasp")}
        return found | {(*panel.values(), *DENSE): dense}

    held = judged(results._judge_compression, rights(0.6, 0.5, 0.5, 0.83, 0.8, 0.7), **about)
    assert len(held) == 7 and set(held.values()) == {"held"}
    failed = judged(results._judge_compression, rights(0.7, 0.8, 0.8, 0.6, 0.9, 0.8), **about)
    assert len(failed) == 7 and set(failed.values()) == {"not held"}
    # A gap of 0.3 points is a recovery, one of 2 is none.
    close = judged(results._judge_compression, rights(0.6, 0.5, 0.5, 0.797, 0.8, 0.7), **about)
    far = judged(results._judge_compression, rights(0.6, 0.5, 0.5, 0.74, 0.8, 0.7), **about)
    assert close["recovered_vgg_11_4"] != "not held" and far["recovered_vgg_11_4"] == "not held"
    thresholds = results.ledger.Ledger("compressed", missing=0)
    results._judge_compression(thresholds, {}, **about)
    recovered = thresholds.table().query("id == 'recovered_vgg_11_4'").iloc[0]
    assert (recovered["side"], recovered["threshold"]) == ("above", -0.5)
    # Both alone help, and together no more than their sum.
    mixed = judged(results._judge_compression, rights(0.5, 0.7, 0.7, 0.8, 0.8, 0.9), **about)
    assert mixed["both_vgg_11_4"] == "held" and mixed["together_vgg_11_4"] == "not held"


def test_claims_on_tensors_can_hold_and_fail():
    where = {"source": "digits", "network": "wide_resnet", "depth": 10, "width": 2}
    level = {"low_rank": 0.1, "tensor_train": 0.2, "tucker": 0.3}
    about = {"where": where, "levels": [level], "decays": ["weight", "frobenius"]}

    def rights(low, tensors):
        return {
            (*where.values(), method, size, start, decay): value
            for method, size in level.items()
            for (start, decay), value in zip(
                (("regular", "weight"), ("spectral", "frobenius")),
                low if method == "low_rank" else tensors,
                strict=True,
            )
        }

    held = judged(results._judge_tensors, rights((0.6, 0.9), (0.6, 0.8)), **about)
    assert len(held) == 5 and set(held.values()) == {"held"}
    failed = judged(results._judge_tensors, rights((0.7, 0.6), (0.9, 0.8)), **about)
    assert set(failed.values()) == {"not held"}
    assert not judged(results._judge_tensors, rights((0.7, 0.6), (0.9, 0.8)), **about | {"decays": ["weight"]})
    assert len(judged(results._judge_tensors, {}, **about | {"decays": ["scaled", "frobenius"]})) == 2


@pytest.mark.parametrize(
    ("method", "size", "said"),
    [
        ("tensor_train", 5.0, "scales of ranks are from 0.0001 to 1"), ("tucker", 0.0, "from 0.0001 to 1"),
        ("snip", 2.0, "shares are from 0.00001 to below 1"), ("low_rank", 1.0, "to below 1"),
        ("dense", 0.5, "a dense network has the size 1"),
    ],
)  # fmt: skip
def test_sizes_have_the_bounds_of_settings(method, size, said):
    start = "regular" if method in ("tensor_train", "tucker", "low_rank") else "dense"
    with pytest.raises(ValueError, match=said):
        Variant(method, size, start, "weight").check()
    level = {"low_rank": 0.1, "tensor_train": 1.0, "tucker": 1.0}
    own = load(compressed={"tensors": {"levels": [level]}})
    assert len(own.asked("tensors")) == 13


# Settings.


def test_the_paper_scale_is_the_published_grid_and_what_was_added():
    own = load("paper")
    compression = own.runs("compression")
    published = [
        axes
        for axes in compression
        if (axes["network"], axes["width"]) in (("vgg", 64), ("resnet", 64)) and axes["method"] in ("dense", "low_rank")
    ]
    assert len(published) == 78 and len(own.runs("tensors")) == 37 and own.seeds == 3
    by_panel = Counter((axes["source"], axes["network"], axes["width"]) for axes in published)
    assert set(by_panel.values()) == {13} and len(by_panel) == 6
    ratios = {
        (axes["network"], axes["source"]): sorted(
            {one["size"] for one in published if (one["network"], one["source"]) == (axes["network"], axes["source"])}
        )
        for axes in published
    }
    assert ratios["resnet", "tiny_imagenet"] == [0.05, 0.1, 0.15, 1.0]
    assert all(value == [0.02, 0.05, 0.1, 1.0] for key, value in ratios.items() if key != ("resnet", "tiny_imagenet"))
    assert len(compression) == 78 + 39 + 81
    assert len({tuple(axes.values()) for name in EXPERIMENTS for axes in own.runs(name)}) == 198 + 37
    run = own.run({**published[0]})
    assert (run.coefficient, run.training.epochs, run.training.batch_size) == (2e-4, 200, 128)
    assert (run.training.padding, run.training.flips, run.training.cutout, run.training.falls_by) == (4, True, 0, 10)
    resnet = next(axes for axes in published if axes["network"] == "resnet")
    assert own.run(resnet).coefficient == 1e-4
    run = own.run(own.runs("tensors")[0])
    assert (run.coefficient, run.training.cutout, run.training.epochs) == (5e-4, 16, 200)
    assert (run.training.falls_by, run.training.milestones) == (5, (0.3, 0.6, 0.8))
    assert (run.training.batch_size, run.training.padding, run.training.flips) == (128, 4, True)
    statistics = {images.source: images.statistics for images in own.compression.images}
    assert (
        statistics["cifar10"] == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)) == own.tensors.images.statistics
    )
    assert statistics["cifar100"] == ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
    assert statistics["tiny_imagenet"] == (
        (0.48024578664982126, 0.44807218089384643, 0.3975477478649648),
        (0.2769864069088257, 0.26906448510256, 0.282081906210584),
    )
    assert own.compression.training.milestones == (0.5, 0.75)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"matricisation": "published", "decay_groups": "published", "tensor_frobenius": "published",
         "tucker_core": "dense", "compression": {"kaiming": True, "samples_per_class": 7}},
    ],
)  # fmt: skip
def test_what_is_asked_of_files_is_what_their_runs_depend_on(changes):
    own = load("paper", compressed=changes)
    for name in EXPERIMENTS:
        asked = own.asked(name)
        for axes in own.runs(name):
            fitting = [plain for where, plain in asked if all(axes[axis] == value for axis, value in where.items())]
            assert fitting == [own.run(axes).plain()]
            run, changed = own.run(axes), bool(changes)
            spectral = axes["method"] == "low_rank" and axes["initialization"] == "spectral"
            assert (run.matricisation == "published") == (changed and spectral)
            assert (run.tucker_core == "dense") == (changed and axes["method"] == "tucker")
            assert (run.samples_per_class == 7) == (changed and axes["method"] in ("snip", "grasp"))
            assert run.kaiming == (changed and axes["network"] == "vgg")


def network(**changes):
    """Settings whose one network for compression is that of the smoke scale but for `changes`."""
    own = {"family": "vgg", "depth": 11, "width": 4, "coefficient": 1e-3, "ratios": [0.2], "claimed": 0.2}
    return {"compression": {"networks": [own | changes]}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (network(depth=12), "12 layers: a VGG has 11, 13, 16, 19"),
        (network(claimed=0.3), r"networks.0 \(vgg 11 of width 4\).claimed = 0.3 is none of the ratios for digits, 0.2"),
        (network(ratios=[0.001], claimed=0.001), "networks.0 .* on digits: a ratio of 0.001: with factors"),
        (network(family="wide_resnet", depth=10, width=1), "wide_resnet 10 of width 1 is there twice"),
        (network(ratios_of=2 * [{"source": "digits", "ratios": [0.2]}]), "ratios_of: digits is there twice"),
        ({"tensors": {"levels": [{"low_rank": 0.001, "tensor_train": 0.2, "tucker": 0.2}]}},
         "levels.0.low_rank .*: a ratio of 0.001: with factors"),
        ({"compression": {"images": [{"source": "digits"}, {"source": "digits", "num_train": 50}]}}, "is there twice"),
        ({"compression": {"images": [{"source": "digits", "size": 4}]}}, "halves them twice, and needs 5 px"),
        ({"tensors": {"training": {"cutout": 9}}}, "training.cutout = 9: digits has images of 8 px"),
        ({"tensors": {"training": {"padding": 9}}}, "training.padding = 9: digits has images of 8 px"),
        ({"tensors": {"training": {"milestones": [0.3]}}}, "milestones: 0.3 of 2 epochs is none"),
        ({"tensors": {"training": {"falls_by": 0.5}}}, "tensors.training.falls_by"),
        ({"tensors": {"network": {"depth": 12}}}, "12 layers: a wide residual network has 6 n"),
        ({"tensors": {"levels": [{"low_rank": 0.1, "tensor_train": 2, "tucker": 0.1}]}}, "tensor_train"),
        ({"tensors": {"network": {"coefficient": -1}}}, "network.coefficient"),
        ({"tensors": {"decays": ["none"]}}, "tensors.decays"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        load(compressed=changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": "mnist"}, "source~mnist: the present settings have digits"),
        ({"width": 5}, "network~vgg depth~11 width~5: the present settings have vgg 11 of width 4, wide_resnet 10"),
        ({"method": "dense"}, "a dense network has the size 1"),
        ({"method": "dense", "size": 1.0}, "factors start regular or spectral"),
        ({"method": "snip", "initialization": "dense"}, "decay frobenius is of factors"),
        ({"size": 0.01}, "a ratio of 0.01: with factors"),
        (
            {"method": "snip", "initialization": "dense", "decay": "weight", "size": 1e-4},
            "a sparse network of this kind has",
        ),
    ],
)
def test_runs_that_are_none_are_refused(changes, said):
    axes = {"source": "digits", **VGG._asdict(), **LOW._asdict()} | changes
    with pytest.raises(ValueError, match=said):
        load().run(axes)


def test_more_needs_more_memory():
    own = load("paper")
    runs = {name: own.runs(name) for name in EXPERIMENTS}

    def needed(axes, gpu=False):
        variant = Variant(*(axes[name] for name in Variant._fields))
        return memory.train(own.run(axes), axes["network"], axes["depth"], axes["width"], variant, gpu=gpu)

    assert needed(runs["tensors"][0]) > needed(runs["compression"][0]) > 1000
    assert needed(runs["tensors"][0], gpu=True) == needed(runs["tensors"][0]) + 3000
    by_method = {axes["method"]: needed(axes) for axes in runs["compression"] if axes["source"] == "cifar100"}
    assert by_method["grasp"] > by_method["random_tickets"]


# Figures.


def drawn(drawing, table, scale="smoke", missing=0, **changes):
    own = {"scale": scale} | load(scale, **changes).plain()
    numbers = drawing.numbers({"runs": table}, own)
    return numbers, drawing.draw(numbers, settings=own, missing=missing)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compressed")
    return folder, store.read(write(folder, LOW), kind=study.RUN)


def made_up(base, own, name, accuracy=lambda axes: 0.5):
    """The tables of all runs of an experiment, with the same arrays again and again."""
    folder, like = base
    paths = []
    for axes in own.runs(name):
        path = folder / f"{name}-{len(paths)}.h5"
        arrays = copy.deepcopy(like.arrays)
        arrays["test_accuracy"][-1] = accuracy(axes)
        identity = axes | {"seed": 0}
        attributes = {key: like.attributes[key] for key in study.RUN.attributes}
        plain = {key: value for key, value in like.settings.items() if key not in identity}
        store.write(path, arrays, kind=study.RUN, settings=identity | plain, attributes=attributes)
        paths.append(path)
    return results.tables(paths, experiment=name, missing=0, **own.claimed(name))["runs"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_figures_draw_the_numbers_of_their_tables(name, base):
    own = load()
    table = made_up(base, own, name, accuracy=lambda axes: 0.7)
    numbers, figure = drawn(getattr(figures, name.upper()), table)
    assert len(numbers) == len(own.runs(name)) and numbers["reported"].isna().all()
    assert sorted(numbers["mean"]) == sorted(table["test_accuracy"])
    assert "smoke scale" in figure.get_supxlabel()
    for place in figure.axes:
        heights = sorted({round(float(y), 9) for bar in place.containers for y in bar[0].get_ydata()})
        flat = [line.get_ydata() for line in place.lines if list(line.get_xdata()) == [0, 1]]
        of_dense = sorted({round(float(heights[0]), 9) for heights in flat})
        # Accuracy in one figure, error in the other.
        assert heights == of_dense == [70.0 if name == "compression" else 30.0]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "reported" not in labels and any(label.startswith("dense") for label in labels)


def test_what_others_report_is_drawn_where_it_belongs(base):
    own = load("paper")
    table = made_up(base, own, "compression", accuracy=lambda axes: 0.9)
    numbers, figure = drawn(figures.COMPRESSION, table, scale="paper")
    there = numbers[numbers["reported"].notna()]
    assert len(there) == 5 and set(there["source"]) == {"cifar10"} and set(there["width"]) == {64}
    reported = {(row.method, row.size, row.initialization, row.decay): row.reported for row in there.itertuples()}
    assert reported == pytest.approx(
        {
            ("dense", 1.0, "dense", "weight"): 0.9449,
            ("low_rank", 0.1, "regular", "weight"): 0.9359,
            ("low_rank", 0.1, "spectral", "weight"): 0.9252,
            ("low_rank", 0.1, "regular", "frobenius"): 0.9292,
            ("low_rank", 0.1, "spectral", "frobenius"): 0.9434,
        }
    )
    assert len(figure.axes) == 9
    part = {"compression": {"images": [{"source": "cifar10", "num_train": 500}]}}
    numbers, _ = drawn(figures.COMPRESSION, table, scale="paper", compressed=part)
    assert numbers["reported"].isna().all()
    assert "reported" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("drawing", [figures.COMPRESSION, figures.TENSORS])
def test_without_runs_there_is_no_figure(drawing):
    empty = pd.DataFrame(columns=[*results.RUNS.keys, *results.RUNS.numbers, *results.RUNS.others])
    with pytest.raises(MissingRunsError, match="no compressed network is there yet"):
        drawing.numbers({"runs": empty}, {"scale": "smoke"} | load().plain())
