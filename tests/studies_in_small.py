"""Every stage of every study that makes numbers, called as the scripts do, on settings of any size."""

import warnings
from functools import cache

import numpy as np

from tacit import store
from tacit.data import images, pathfinder, sensing
from tacit.data import translation as parallel
from tacit.settings import compressed as compressed_settings
from tacit.settings.factorized import EXPERIMENTS, Variant
from tacit.settings.images import Images
from tacit.settings.norms import MatrixRun
from tacit.settings.translation import Variant as TranslationVariant
from tacit.settings.untied import Solution
from tacit.studies import (
    compressed,
    depth_cifar,
    depth_gradients,
    depth_landscapes,
    depth_limit,
    factorized,
    matrix_norms,
    rank_dynamics,
    same_class,
    tensor_completion,
    translation,
    untied,
)
from tacit.studies import pathfinder as pathfinder_study

TINY = {
    "scale": "smoke",
    "device": "cpu",
    "pathfinder": {
        "path_lengths": [2],
        "coefficients": [1],
        "rendering": {"distractor_segments": 4},
        "dataset": {"num_train": 16, "num_test": 8, "size": 16},
        "images_per_shard": 24,
        "train_on": 12,
        "training": {"batch_size": 8, "epochs": 1},
    },
    "same_class": {
        "distances": [2],
        "coefficients": [1],
        "images": {"num_train": 20, "num_test": 10, "subset": "first"},
        "pairs": {"num_train": 16, "num_test": 8, "test_from": "train"},
        "training": {
            "batch_size": 8,
            "epochs": 2,
            "keep": 2,
            "evaluate_every": 2,
            "early_stopping": {"by": "train_loss", "least_change": 0.1, "patience": 1, "cooldown": 1},
        },
    },
    "rank_dynamics": {
        "tasks": ["completion", "sensing"],
        # With all that is off by default.
        "matrix": {
            "descent": {"epochs": 50},
            "num_test": 3,
            "keep": "every evaluation",
            "track": ["balancedness", "layer_singular_values", "layer_entries"],
            "entries": [[1, 1], [6, 2]],
        },
        "tensor": {"descent": {"epochs": 50}, "num_test": 4, "keep": "last epoch"},
        "hierarchical": {
            "descent": {"epochs": 50},
            "problem": {"pool_size": [3, 2], "pattern": "half"},
            "model": {"pool_size": [2, 2], "linear_output": False},
            "num_test": 5,
            "keep": "every evaluation",
        },
    },
    "norms": {
        "matrix": {
            "descent": {"epochs": 200, "keep": "last epoch"},
            "further": [
                {
                    "problem": {"task": "sensing", "shape": [3, 2], "num_samples": 5, "sensing_std": 0.5},
                    "variants": [{"depth": 2, "learning_rate": 0.05, "init_scale": 1.0e-2, "balanced": True}],
                    "seeds": 1,
                },
                {
                    "problem": {
                        "task": "completion",
                        "shape": [2, 3],
                        "num_samples": 4,
                        "target": [[1, 0.5, 0], [2, 1, 0]],
                        "entries": "all_but_first",
                    },
                    "variants": [{"depth": 2, "learning_rate": 0.05, "init_scale": 1.0e-2, "balanced": True}],
                    "seeds": 1,
                },
                {
                    "problem": {"shape": [2, 2], "num_observations": 2},
                    "variants": [{"depth": 2, "learning_rate": 0.05, "init_scale": 1.0e-2, "balanced": True}],
                    "seeds": 1,
                },
            ],
        },
        "tensor": {
            "descent": {"epochs": 100},
            "ranks": {"sweeps": 20, "every": 2},
            "keep": "last epoch",
        },
    },
    "depth_limit": {
        "grid": {"data": {"num_train": 20, "num_test": 10}, "depths": [6, 3], "descent": {"epochs": 3}},
        "landscapes": {
            "of": [{"experiment": "grid", "depth": 6, "rule": "scaled"}],
            "seeds": 1,
            "each": {"images": 10, "points": 3, "parts": 1},
        },
    },
    "depth_cifar": {"images": {"num_train": 20, "num_test": 10}, "depths": [8], "seeds": 1, "training": {"epochs": 2}},
    "factorized": {
        "images": [{"source": "digits", "num_train": 20, "num_test": 10}],
        "training": {"batch_size": 10},
        "resnet": {"rank_scales": [0.3]},
    },
    "compressed": {
        "compression": {"images": [{"source": "digits", "num_train": 20, "num_test": 10}]},
        "tensors": {"images": {"num_train": 20, "num_test": 10}},
    },
    "translation": {
        "corpus": {"merges": 10, "num_train": 12, "num_valid": 3, "num_test": 2},
        "training": {"updates": 3},
        "decoding": {"longest": 5},
    },
    "untied": {
        "images": {"num_train": 20, "num_test": 10},
        "sgd": {"momentum": 0.5, "weight_decay": 0.01},
        "scratch": {"epochs": 3},
        "continued": {"epochs": 1, "keep_momentum": True},
        "keep_margins": True,
        "interpolation": {"string": {"momentum": 0.5, "weight_decay": 0.01}},
    },
}
"""What is laid over the smoke scale."""


def run(loaded, path, folder):
    """Make numbers of the part of the settings that holds `path`; return arrays, all that one run writes down."""
    study = path[0]
    match study:
        case "pathfinder":
            return _render(loaded) if "rendering" in path else _train_on_paths(loaded, folder)
        case "same_class":
            return _train_on_pairs(loaded, folder)
        case "rank_dynamics":
            names = [name for name in rank_dynamics.EXPERIMENTS if name in path] or list(rank_dynamics.EXPERIMENTS)
            return [_fit(loaded, name, task, folder) for name in names for task in loaded.rank_dynamics.tasks]
        case "norms":
            return _fit_matrices(loaded, path) if "matrix" in path else _complete(loaded, folder)
        case "untied":
            return _untie(loaded, path, folder)
        case "depth_cifar":
            return _train_scaled(loaded, path, folder)
        case "factorized":
            return _train_factorized(loaded, path, folder)
        case "compressed":
            return _compress(loaded, path, folder)
        case "translation":
            return _translate(loaded, folder)
        case "depth_limit":
            return _descend_deep(loaded, path, folder)
    return []


def all_finite(found):
    """Tell whether all numbers in nested lists of records of arrays are finite."""
    if isinstance(found, dict):
        return all(map(all_finite, found.values()))
    if isinstance(found, list | tuple):
        return all(map(all_finite, found))
    array = np.asarray(found)
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _record(arrays, settings=None, **attributes):
    return store.Record(arrays, settings or {}, attributes)


def _render(loaded):
    study = loaded.pathfinder
    length = study.path_lengths[0]
    drawn = pathfinder.Renderer(study.rendering, length).render(study.dataset.seed, 0, 2)
    assert drawn.images.max() == 255
    return drawn._asdict()


def _train_on_paths(loaded, folder):
    study, size = loaded.pathfinder, loaded.pathfinder.dataset.size
    random = np.random.default_rng(0)
    total = study.dataset.num_train + study.dataset.num_test
    raw = random.integers(0, 256, (total, 24, 24), dtype=np.uint8), np.arange(total) % 2
    length, seed = study.path_lengths[0], study.dataset.seed
    numbers = {"num_train": study.dataset.num_train, "num_test": study.dataset.num_test, "size": size}
    dataset = pathfinder_study.assemble([raw], path_length=length, seed=seed, **numbers)
    mean, std = pathfinder_study.pixel_statistics(dataset.train_images)
    return [
        pathfinder_study.train(
            _record(dataset._asdict(), train_mean=mean, train_std=std),
            study.run,
            path_length=length,
            coefficient=coefficient,
            seed=0,
            checkpoint=folder / f"pathfinder-{coefficient}.pt",
        )
        for coefficient in study.coefficients[:2]
    ]


@cache
def _set(source, size):
    found = images.SOURCES[source]
    return images.convert(found, folder=".", size=size, download=False, advance=lambda count: None)


def _train_on_pairs(loaded, folder):
    study = loaded.same_class
    chosen = images.select(_set("digits", study.images.side), study.images)
    return [
        same_class.train(
            chosen,
            _record(same_class.pair(chosen, study.pairs), {"pairs": study.pairs.plain()}),
            study.run,
            distance=study.distances[0],
            coefficient=coefficient,
            seed=0,
            checkpoint=folder / f"same-{coefficient}.pt",
        )
        for coefficient in study.coefficients[:2]
    ]


def _fit(loaded, name, task, folder):
    experiment = loaded.rank_dynamics.experiment(name)
    dataset = _record(sensing.make(experiment.problem, task))
    return rank_dynamics.train(dataset, experiment, seed=0, checkpoint=folder / f"{name}-{task}.pt")


def _fit_matrices(loaded, path):
    study = loaded.norms.matrix
    block = next((part for part in path if part in ("published", "perturbed", "further")), "published")
    runs: list[MatrixRun] = study.further_runs if block == "further" else getattr(study, block).runs
    found = [matrix_norms.train(run.problem, run.variant, study.descent, seed=run.seed) for run in runs[:3]]
    # Lines of theory have no value where their logarithm has none, and are drawn where they have.
    return [{name: values for name, values in run.items() if not name.startswith("theory")} for run in found]


def _complete(loaded, folder):
    study = loaded.norms.tensor
    grid = study.grids[0]
    dataset = _record(sensing.make(grid.problem, "completion"))
    number = {"num_observations": grid.num_observations[0]}
    checkpoint = folder / "completion.pt"
    return [
        tensor_completion.train(
            dataset, study.run, init_std=grid.init_stds[0], seed=0, checkpoint=checkpoint, **number
        ),
        tensor_completion.complete_linearly(dataset, study.ranks_of_ends, **number),
        tensor_completion.estimate_target(dataset, study.ranks_of_ends),
    ]


def _untie(loaded, path, folder):
    study = loaded.untied
    chosen = images.select(_set("digits", study.images.side), study.images)
    rate = study.scratch.learning_rates[0]
    settings = study.scratch_run("cnn")
    arrays = untied.train(chosen, settings, network="cnn", learning_rate=rate, seed=0, checkpoint=folder / "cnn.pt")
    cnn = folder / "cnn.h5"
    store.write(cnn, arrays, kind=untied.RUN, settings={"seed": 0})
    found = [arrays]
    if path[1] in ("scratch", "sgd", "shown"):
        return found
    pair = next(pair for pair in study.interpolation.pairs)
    splits = ((end.network, end.split) for end in map(Solution.named, pair) if end.split is not None)
    network, split = next(splits, ("lcn", 1))
    arrays = untied.continue_from(
        chosen,
        cnn,
        study.continued_run,
        network=network,
        split=split,
        learning_rate=study.continued.learning_rates[0],
        seed=0,
        checkpoint=folder / "split.pt",
    )
    found.append(arrays)
    if path[1] == "interpolation":
        other = folder / "split.h5"
        store.write(other, arrays, kind=untied.RUN, settings={"seed": 0})
        ends = untied.End(cnn, "cnn", study.scratch.epochs), untied.End(other, network, study.continued.epochs)
        with warnings.catch_warnings():
            found.append(
                untied.interpolate(chosen, *ends, study.interpolation_run, seed=0, checkpoint=folder / "string.pt")
            )
    return found


def _train_scaled(loaded, path, folder):
    study = loaded.depth_cifar
    own = study.run
    chosen = images.select(_set(own.images.source, own.images.side), own.images)
    arrays = depth_cifar.train(chosen, own, depth=study.depths[0], seed=0, checkpoint=folder / "scaled.pt")
    if "power_law" in path:
        run = folder / "scaled.h5"
        store.write(run, arrays, kind=depth_cifar.RUN, settings={"depth": 8, "seed": 0} | own.plain())
        fit = study.power_law.plain()
        found = depth_cifar.tables([run], fit=fit, published=False, missing=0)
        return found["runs"][["points", "test_loss"]].to_dict("list")
    return arrays


def _train_factorized(loaded, path, folder):
    study, found = loaded.factorized, []
    experiments = [name for name in EXPERIMENTS if name in path] or ["resnet"]
    # Several axes are decided by single settings, so that the last run of an experiment may be another than the first.
    runs = study.runs(experiments[0])
    for axes in {str(own): own for own in (runs[0], runs[len(runs) // 2], runs[-1])}.values():
        own, variant = study.run(axes), Variant(*(axes[name] for name in Variant._fields))
        if variant.decay == "replayed":
            continue
        chosen = images.select(_set(own.images.source, own.images.side), own.images)
        checkpoint = folder / f"factorized-{len(found)}.pt"
        found.append(factorized.train(chosen, own, variant, depth=axes["depth"], seed=0, checkpoint=checkpoint))
    return found


def _compress(loaded, path, folder):
    study, found = loaded.compressed, []
    experiment = "compression" if "compression" in path else "tensors"
    # One run of each method, the last of them.
    for axes in {own["method"]: own for own in study.runs(experiment)}.values():
        own, variant = (
            study.run(axes),
            compressed_settings.Variant(*(axes[name] for name in compressed_settings.Variant._fields)),
        )
        chosen = images.select(_set(own.images.source, own.images.side), own.images)
        named = compressed.Named(*(axes[name] for name in compressed.Named._fields))
        checkpoint = folder / f"compressed-{len(found)}.pt"
        found.append(compressed.train(chosen, own, variant, named, seed=0, checkpoint=checkpoint))
    return found


@cache
def _corpus(settings):
    # Never called with more text than tests have time for.
    return parallel.make(settings, texts_folder=".", begin=lambda pairs: lambda count: None)


def _translate(loaded, folder):
    study, found = loaded.translation, []
    path = folder / "corpus.h5"
    store.write(path, _corpus(study.corpus), kind=parallel.DATASET, settings=study.corpus.decided)
    text = parallel.read(path)
    # The dense network, and the last one of the last grid.
    for axes in (study.runs[0], study.runs[-1]):
        own = study.run(axes)
        variant = TranslationVariant(*(axes[name] for name in TranslationVariant._fields))
        run = folder / f"translation-{len(found)}.h5"
        arrays, attributes = translation.train(text, own, variant, seed=0, checkpoint=folder / f"{run.stem}.pt")
        store.write(run, arrays, kind=translation.RUN, settings=axes | {"seed": 0} | own.plain(), attributes=attributes)
        translated = translation.decode(run, text, study.decoding, advance=lambda count: None)
        found.append([arrays, attributes, *translated])
    return found


def _descend_deep(loaded, path, folder):
    name = path[2] if path[1] == "further" and len(path) > 2 else "grid"
    experiment = loaded.depth_limit.experiments[name]
    data = experiment.data
    if "landscapes" in path:
        return _look_around(loaded, folder)
    chosen = images.select(_set(data.source, data.side), data) if isinstance(data, Images) else None
    found = [
        depth_limit.train(
            chosen,
            experiment.run,
            identity={"experiment": name, "depth": experiment.depths[0], "seed": 0} | variant._asdict(),
            threads=1,
            checkpoint=folder / f"deep-{number}.pt",
        )
        for number, variant in enumerate(experiment.variants[:3])
    ]
    if "power_law" in path:
        fit = loaded.depth_limit.power_law.plain()
        omegas = {(*variant, 6, 0): (found[0].arrays["omega"],) * 2 for variant in experiment.variants[:1]}
        laws = depth_gradients.laws(depth_gradients.table(omegas, fit), fit)
        return laws[["points"]].to_dict("list")
    return [made._asdict() for made in found]


def _look_around(loaded, folder):
    study = loaded.depth_limit
    axes = study.landscapes.axes(study.experiments)[0]
    own = study.experiments[axes["experiment"]].run
    chosen = images.select(_set(own.data.source, own.data.side), own.data)
    made = depth_limit.train(chosen, own, identity=axes, threads=1, checkpoint=folder / "deep.pt")
    path = folder / "deep.h5"
    settings = axes | own.plain()
    store.write(path, made.arrays, kind=depth_limit.RUN, settings=settings, attributes=made.attributes)
    plane = study.landscapes.each
    arrays, attributes = depth_landscapes.part(path, chosen, own, plane, part=plane.parts - 1)
    return arrays | attributes
