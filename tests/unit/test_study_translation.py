"""The study on compressed translation: settings, starts, decays, runs, translations, claims, figure, command."""

import io
import os
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import tacit.__main__ as command
from project import CHECKOUT
from tacit import settings, store
from tacit.analysis.bleu import bleu
from tacit.data import translation as data
from tacit.data.translation import Pairs, lines_of
from tacit.errors import DivergenceError, UserError
from tacit.figures import translation as figures
from tacit.memory import translation as memory
from tacit.nn.attention import Attention
from tacit.nn.factorized import FactorizedMatrix, factorized_layers
from tacit.optim.nesterov import Nesterov
from tacit.settings.base import SettingsError
from tacit.settings.corpora import ParallelText
from tacit.settings.translation import Decoding, RunSettings, Variant
from tacit.studies import translation as study
from tacit.studies import translation_results as results
from tacit.studies.tables import MissingRunsError, rows_with
from tacit.training import evaluation
from tacit.training.objectives import LabelSmoothedCrossEntropy
from tacit.training.sentences import Sentences, TokenBatches

CONFIG = yaml.safe_load((CHECKOUT / "config" / "config.yaml").read_text(encoding="utf-8"))
TEXT = ParallelText(source="numbers", merges=30, num_train=50, num_valid=8, num_test=6)
PLAIN = {
    "corpus": TEXT.plain(),
    "architecture": {"width": 16, "inner_width": 24, "heads": 2, "layers": 1, "positions": 128},
    "training": {"updates": 13, "most_tokens": 300, "constant": 5, "learning_rate": 0.5, "momentum": 0.9},
}
SIZES = study.Sizes(40, 30)
DENSE = Variant(0.0, "regular", "weight", 0.0)
BOTH = Variant(0.5, "all", "all", 1e-3)
CPU = torch.device("cpu")


def silent(count):
    pass


def load(scale="smoke", **changes):
    return settings.load(CONFIG | {"scale": scale} | changes, CHECKOUT / "config" / "scales").translation


def run_settings(**changes):
    return RunSettings.from_plain(PLAIN | changes)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "corpus.h5"
    arrays = data.make(TEXT, texts_folder=".", begin=lambda pairs: silent)
    store.write(path, arrays, kind=data.DATASET, settings=TEXT.decided)
    return data.read(path)


def write(folder, corpus, variant=BOTH, own=None, seed=0):
    own = own or run_settings()
    arrays, attributes = study.train(corpus, own, variant, seed=seed, checkpoint=folder / "c.pt")
    (folder / "c.pt").unlink(missing_ok=True)
    path = folder / f"{'-'.join(map(str, variant))}-{seed}.h5"
    identity = {"text": "numbers", **variant._asdict(), "seed": seed}
    store.write(path, arrays, kind=study.RUN, settings=identity | own.plain(), attributes=attributes)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, corpus):
    return write(tmp_path_factory.mktemp("trained"), corpus)


# Settings.


def test_the_published_grid_has_286_settings():
    own = load("paper")
    variants = own.variants
    assert len(variants) == len(set(variants)) == 286 and own.seeds == 3
    dense = [one for one in variants if one.rank_scale == 0]
    assert len(dense) == 38
    by = {
        (start, decay): sum(one.initialization == start and one.decay == decay for one in dense)
        for start in ("regular", "attention")
        for decay in ("weight", "ov", "attention")
    }
    # 8 + 7 + 7 without spectral starts, up to 1e-3, and 6 + 5 + 5 with them, up to 1e-4.
    assert list(by.values()) == [8, 7, 7, 6, 5, 5]
    assert max(one.coefficient for one in dense if one.initialization == "attention") == 1e-4
    for scale in (0.25, 0.5):
        own_scale = [one for one in variants if one.rank_scale == scale]
        assert len(own_scale) == 124
        assert sum(one.coefficient == 0 for one in own_scale) == 4
        assert {(one.initialization, one.decay) for one in own_scale if one.coefficient} == {
            (start, decay)
            for start in ("regular", "linear", "attention", "all")
            for decay in ("weight", "linear", "ov", "linear_ov", "attention", "all")
        }
    assert own.claimed == {"text": "iwslt14", "rank_scales": [0.25, 0.5]}


@pytest.mark.parametrize("flags", ["repaired", "published"])
def test_what_is_asked_of_files_is_what_they_depend_on(flags):
    own = load("paper", translation={"flags": flags})
    asked = own.asked()
    for axes in own.runs:
        fitting = [plain for where, plain in asked if all(axes[axis] == value for axis, value in where.items())]
        assert fitting == [own.translated(axes).plain()]
        matters = axes["rank_scale"] > 0 and axes["decay"] in ("ov", "attention")
        assert own.run(axes).flags == (flags if matters else "repaired")


def grid(**changes):
    own = {"rank_scales": [0.5], "initializations": ["regular"], "decays": ["all"], "coefficients": [1e-3]}
    return {"grids": [own | changes]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (grid(rank_scales=[0.0]), "grids.0: initialization regular, decay all: a dense network has no factorized"),
        (grid(rank_scales=[0.0], decays=["ov"], initializations=["all"]), "it starts regular or attention"),
        (grid(rank_scales=[0.1]), "grids.0: rank scale 0.1 leaves nothing of heads of width 4; at least 0.25 does"),
        (grid(rank_scales=[1.0]), "grids.0.rank_scales"),
        (grid(rank_scales=[0.5, 0.5 + 1e-9]), "two are equal in six digits"),
        (grid(coefficients=[0.0]), "grids.0.coefficients"),
        (grid(decays=[]), "grids.0.decays"),
        (
            {"architecture": {"inner_width": 1}},
            "rank scale 0.5 leaves no rank to a matrix of architecture.inner_width = 1",
        ),
        ({"architecture": {"heads": 3}}, "a width of 8 is not divided by 3 heads"),
        ({"architecture": {"positions": 8}}, "decoding.longest = 8: with its end that is more than the 6 tokens"),
        ({"decoding": {"shortest": 9}}, "shortest = 9 is more than longest = 8"),
        ({"training": {"most_tokens": 10**6}, "corpus": {"merges": 100_000}}, "training.most_tokens = 1,000,000"),
        ({"architecture": {"width": 4096, "layers": 100}}, "architecture: a network of these sizes"),
        ({"training": {"momentum": 1.0}}, "training.momentum"),
        ({"corpus": {"source": "folder", "merges": 3}}, "source: folder needs a folder"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        load(translation=changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "iwslt14"}, "text~iwslt14: the present settings have numbers"),
        ({"coefficient": 0.0}, "decay all with coefficient 0: without any decay, it is called weight"),
        ({"rank_scale": 0.0}, "a dense network has no factorized layers"),
        ({"rank_scale": 2.0}, "rank scale 2: it is 0, for dense, or a share between 0 and 1"),
        ({"rank_scale": 0.01}, "leaves nothing of heads"),
    ],
)
def test_runs_that_are_none_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        load().run({"text": "numbers", **BOTH._asdict()} | changes)


def test_more_needs_more_memory():
    own = load("paper")
    axes = {"text": "iwslt14", **DENSE._asdict()}
    train, decode = memory.train(own.run(axes), gpu=False), memory.decode(own.translated(axes), gpu=False)
    assert 3_000 < train < 12_000 and 2_000 < decode < 12_000
    assert memory.train(own.run(axes), gpu=True) == train + 3000
    small = load("demo")
    axes["text"] = "numbers"
    assert memory.train(small.run(axes), gpu=False) < 1500


# Starts and decays.


def built(variant, own=None, seed=0):
    return study.build(own or run_settings(), variant, SIZES, seed=seed)


def heads_of(model):
    return [module for module in model.modules() if isinstance(module, Attention)]


def is_balanced(factors):
    gram = factors.U.mT @ factors.U
    other = factors.VT @ factors.VT.mT
    return torch.allclose(gram, other, atol=1e-5) and torch.allclose(gram, gram * torch.eye(gram.shape[-1]), atol=1e-5)


@pytest.mark.parametrize("start", ["regular", "linear", "attention", "all"])
def test_what_starts_spectrally_is_what_is_said(start):
    model = built(Variant(0.5, start, "weight", 0.0))
    layers = list(factorized_layers(model).values())
    # Two embeddings, two tables of positions, two linear layers in each of two stacks, and logits.
    assert len(layers) == 9 and all(isinstance(layer, FactorizedMatrix) for layer in layers)
    assert all(is_balanced(layer.factors()) for layer in layers) == (start in ("linear", "all"))
    products = [product for heads in heads_of(model) for product in (heads.query_key(), heads.output_value())]
    assert len(products) == 6
    assert all(map(is_balanced, products)) == (start in ("attention", "all"))


@torch.no_grad()
def test_starts_of_a_seed_are_made_of_the_same_draws():
    models = {start: built(Variant(0.5, start, "weight", 0.0)) for start in ("regular", "linear", "attention", "all")}
    for one, other in (("regular", "attention"), ("linear", "all")):
        for first, second in zip(heads_of(models[one]), heads_of(models[other]), strict=True):
            for name in ("query_key", "output_value"):
                products = [getattr(heads, name)() for heads in (first, second)]
                torch.testing.assert_close(*(product.U @ product.VT for product in products), rtol=1e-4, atol=1e-5)
        pairs = (factorized_layers(models[name]).values() for name in (one, other))
        for first, second in zip(*pairs, strict=True):
            assert torch.equal(first.U, second.U)
    # The dense start is cut to its best approximation of half the rank.
    dense = built(DENSE).logits.weight
    assert not torch.equal(built(DENSE, seed=1).logits.weight, dense)
    U, VT = models["linear"].source_embedding.U, models["linear"].source_embedding.VT
    torch.manual_seed(0)
    whole = study._assembled(run_settings(), Variant(0.5, "regular", "weight", 0.0), SIZES, spectral=True)
    assert U.shape == whole.source_embedding.U.shape == (40, 8) and VT.shape == (8, 16)


def received(variant, **changes):
    """Who decays: for linear layers and embeddings, heads' comparing and writing, all else, kinds and coefficients."""
    plan = study.plan(run_settings(**changes), variant, built(variant, run_settings(**changes)))
    found = {}
    for row in plan.report:
        part = (
            "compare" if "query" in row.parameter or "key" in row.parameter
            else "write" if row.parameter.endswith(("value.weight", "output.weight"))
            else "linear" if row.parameter.endswith(("U", "VT")) else "rest"
        )  # fmt: skip
        found.setdefault(part, set()).add((row.kind, row.coefficient))
    return {part: kinds.pop() for part, kinds in found.items() if len(kinds) == 1 or 1 / 0}


NONE, FD, WD = ("none", 0.0), ("frobenius", 0.01), ("weight", 0.01)


@pytest.mark.parametrize(
    ("decay", "linear", "compare", "write"),
    [
        ("weight", WD, WD, WD), ("linear", FD, NONE, NONE), ("ov", NONE, NONE, FD), ("linear_ov", FD, NONE, FD),
        ("attention", NONE, FD, FD), ("all", FD, FD, FD),
    ],
)  # fmt: skip
def test_every_decay_reaches_what_it_is_of(decay, linear, compare, write):
    variant = Variant(0.5, "regular", decay, 0.01)
    rest = WD if decay == "weight" else NONE
    assert received(variant) == {"linear": linear, "compare": compare, "write": write, "rest": rest}
    published = FD if decay != "weight" else WD
    assert received(variant, flags="published")["linear"] == published
    if decay in ("weight", "ov", "attention"):
        dense = received(Variant(0.0, "regular", decay, 0.01))
        assert dense == {"compare": compare, "write": write, "rest": rest}


def test_without_coefficient_nothing_decays():
    assert set(received(Variant(0.5, "all", "weight", 0.0)).values()) == {NONE}


# Runs.


def test_a_run_is_what_it_says(corpus, trained):
    run = store.read(trained, kind=study.RUN)
    own = run_settings()
    batches = TokenBatches(*(side.lengths for side in corpus.train), most_tokens=300, stream=("x",), updates=13)
    assert len(run.arrays["step_loss"]) == 13 and batches.epochs == len(run.arrays["epoch"]) - 1
    valid = Sentences(CPU, corpus.valid)
    everything = [valid.group(np.array([number])) for number in range(len(corpus.valid))]
    objective = LabelSmoothedCrossEntropy(smoothing=0.1, padding=1)
    for weights, epoch in (("best", int(run.attributes["best_epoch"])), ("last", -1)):
        network = study.translator(trained, weights=weights, device=CPU).network
        found = evaluation.token_losses(network, valid, everything, objective)
        assert found["loss"] == pytest.approx(run.arrays["valid_loss"][epoch], rel=1e-5)
        assert found["nll"] == pytest.approx(run.arrays["valid_nll"][epoch], rel=1e-5)
    assert run.arrays["valid_loss"].argmin() == run.attributes["best_epoch"]
    assert run.arrays["learning_rate"][0] == 0.5
    assert run.arrays["learning_rate"][-1] == pytest.approx(0.5 * (5 / 12) ** 0.5, rel=1e-12)
    sizes = study.Sizes(len(corpus.source), len(corpus.target))
    for name, variant in (("parameters", BOTH), ("dense_parameters", DENSE)):
        model = study.build(own, variant, sizes, seed=0)
        assert run.attributes[name] == sum(parameter.numel() for parameter in model.parameters())
    # Four linear layers; three attentions of two heads.
    assert run.arrays["linear_frobenius_norms"].shape[1] == 4
    assert run.arrays["query_key_frobenius_norms"].shape[1] == run.arrays["output_value_nuclear_norms"].shape[1] == 6
    # Before training a spectral start is balanced: the bound is the nuclear norm.
    for part in study.PARTS:
        bound, nuclear = (run.arrays[f"{part}_nuclear_{name}"][0] for name in ("bounds", "norms"))
        np.testing.assert_allclose(bound, nuclear, rtol=1e-4)


def test_measured_norms_are_those_of_the_weights(corpus, tmp_path):
    run = store.read(write(tmp_path, corpus, DENSE), kind=study.RUN)
    weights = {
        name.removeprefix("weights_last_"): array for name, array in run.arrays.items() if name.startswith("weights_l")
    }
    matrices = [
        weights[f"{stack}.0.feed_forward.{name}.weight"] for stack in ("encoder", "decoder") for name in ("fc1", "fc2")
    ]
    expected = [np.linalg.norm(matrix) for matrix in matrices]
    np.testing.assert_allclose(sorted(run.arrays["linear_frobenius_norms"][-1]), sorted(expected), rtol=1e-5)
    nuclear = [np.linalg.svd(matrix, compute_uv=False).sum() for matrix in matrices]
    np.testing.assert_allclose(sorted(run.arrays["linear_nuclear_norms"][-1]), sorted(nuclear), rtol=1e-5)
    query, key = (weights[f"encoder.0.attention.{name}.weight"] for name in ("query", "key"))
    product = np.linalg.norm(query[:8].T @ key[:8])
    assert np.isclose(run.arrays["query_key_frobenius_norms"][-1], product, rtol=1e-5).any()
    assert "linear_nuclear_bounds" not in run.arrays and "query_key_nuclear_bounds" in run.arrays


def test_it_learns_what_the_parts_say(corpus, tmp_path, monkeypatch):
    """Optimizer, decay, clipping and rate are those of the settings."""
    seen = {}

    class Spied(Nesterov):
        def __init__(self, params, **more):
            super().__init__(params, **more)
            seen["groups"], seen["more"] = self.param_groups, more

        def step(self, closure=None):
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm().item()
            seen.setdefault("norms", []).append(norm)
            seen.setdefault("rates", []).append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr("tacit.optim.nesterov.Nesterov", Spied)
    own = run_settings(training=PLAIN["training"] | {"clip": 0.05})
    study.train(corpus, own, Variant(0.5, "regular", "weight", 0.01), seed=0, checkpoint=tmp_path / "c.pt")
    assert seen["more"] == {"lr": 0.5, "momentum": 0.9}
    assert {group["weight_decay"] for group in seen["groups"]} == {0.01}
    assert max(seen["norms"]) < 0.0501
    assert seen["rates"] == pytest.approx([0.5 * (5 / max(step, 5)) ** 0.5 for step in range(13)])
    seen.clear()
    own = run_settings(training=PLAIN["training"] | {"clip": 0.0})
    study.train(corpus, own, DENSE, seed=0, checkpoint=tmp_path / "d.pt")
    assert max(seen["norms"]) > 0.1


def test_epochs_between_looks_are_as_asked(corpus, tmp_path):
    own = run_settings(training=PLAIN["training"] | {"every": 2, "updates": 23})
    arrays, _ = study.train(corpus, own, DENSE, seed=0, checkpoint=tmp_path / "c.pt")
    last = int(arrays["epoch"][-1])
    assert last % 2 == 1
    assert arrays["epoch"].tolist() == [*range(0, last, 2), last]


def test_what_diverges_says_what_to_change(corpus, tmp_path):
    own = run_settings(training=PLAIN["training"] | {"learning_rate": 1e30, "clip": 0.0})
    with pytest.raises(DivergenceError, match=r"reduce learning_rate \(now 1e\+30\) or coefficient \(now 0.001\)"):
        study.train(corpus, own, BOTH, seed=0, checkpoint=tmp_path / "c.pt")


def lines_with(side, length):
    """Sentences, and one more of this length."""
    return data.Lines(
        np.append(side.ids, np.full(length, 5, np.int32)), np.append(side.offsets, side.offsets[-1] + length)
    )


def test_what_is_infinite_before_it_is_measured_is_said_too(corpus, tmp_path, monkeypatch):
    """In the last step of an epoch weights become what no norm can be taken of."""
    from tacit.training import engine

    take = engine.Minimize.take

    def spoiling(self, step, numbers):
        found = take(self, step, numbers)
        with torch.no_grad():
            next(self.network.parameters()).fill_(torch.nan)
        return found

    monkeypatch.setattr(engine.Minimize, "take", spoiling)
    own = run_settings(training=PLAIN["training"] | {"most_tokens": 10_000, "updates": 1})
    with pytest.raises(DivergenceError, match="is not finite after epoch 1"):
        study.train(corpus, own, BOTH, seed=0, checkpoint=tmp_path / "c.pt")


def test_too_small_a_dictionary_for_its_rank_is_said(corpus, tmp_path):
    own = run_settings(architecture=PLAIN["architecture"] | {"width": 200, "inner_width": 200, "heads": 1})
    tiny = corpus._replace(source=type(corpus.source)(corpus.source.pieces[:40]))
    with pytest.raises(UserError, match=r"rank of 0 .*; raise the rank scale, or corpus.merges"):
        study.train(tiny, own, Variant(0.01, "regular", "weight", 0.0), seed=0, checkpoint=tmp_path / "c.pt")


def test_sentences_without_a_place_are_named(corpus, tmp_path):
    short = run_settings(architecture=PLAIN["architecture"] | {"positions": 12})
    with pytest.raises(UserError, match=r"sentence \d of the validation set has \d+ tokens, and the network has"):
        study.train(corpus, short, BOTH, seed=0, checkpoint=tmp_path / "c.pt")
    fitting = int(max(side.lengths.max() for side in corpus.valid))
    assert corpus.test.source.lengths.max() <= fitting
    longer = corpus._replace(test=Pairs(*(lines_with(side, fitting + 1) for side in corpus.test)))
    own = run_settings(architecture=PLAIN["architecture"] | {"positions": fitting + 2})
    with pytest.raises(UserError, match=rf"sentence 7 of the test set has {fitting + 1} tokens"):
        study.train(longer, own, BOTH, seed=0, checkpoint=tmp_path / "c.pt")
    few = run_settings(training=PLAIN["training"] | {"most_tokens": 2})
    with pytest.raises(UserError, match=r"of 50 pairs none is at most 2 tokens long; raise training.most_tokens"):
        study.train(corpus, few, BOTH, seed=0, checkpoint=tmp_path / "c.pt")


def test_training_pairs_without_a_place_are_counted(corpus, tmp_path):
    lengths = np.maximum(*(side.lengths for side in corpus.train))
    bound = int(np.sort(lengths)[-4])
    own = run_settings(training=PLAIN["training"] | {"most_tokens": bound})
    _, attributes = study.train(corpus, own, DENSE, seed=0, checkpoint=tmp_path / "c.pt")
    assert attributes["pairs_left_out"] == (lengths > bound).sum() > 0


# Translations.

SEARCH = Decoding(beams=2, longest=12)


def test_translations_are_those_of_the_network_and_bleu_is_theirs(corpus, trained):
    arrays, attributes = study.decode(trained, corpus, SEARCH, advance=silent)
    texts = lines_of(arrays["translations"])
    assert len(texts) == len(arrays["scores"]) == len(corpus.test) == 6
    references = study.references(corpus)
    found = bleu(texts, references)
    assert attributes["bleu"] == found.score and attributes["hypothesis_length"] == sum(len(t.split()) for t in texts)
    assert attributes["reference_length"] == sum(len(text.split()) for text in references)
    run = store.read(trained, kind=study.RUN)
    assert attributes["decoded_epoch"] == run.attributes["best_epoch"]
    assert attributes["valid_loss"] == run.arrays["valid_loss"].min()
    one = study.decode(trained, corpus, SEARCH.model_copy(update={"batch_size": 1}), advance=silent)[0]
    np.testing.assert_allclose(one["scores"], arrays["scores"], rtol=1e-4)
    _, last = study.decode(trained, corpus, SEARCH.model_copy(update={"weights": "last"}), advance=silent)
    assert last["decoded_epoch"] == run.arrays["epoch"][-1] and last["valid_loss"] == run.arrays["valid_loss"][-1]


def test_a_network_translates_no_other_corpus(trained, corpus):
    """As one would be whose text was edited while its runs were taken for done."""
    fewer = corpus._replace(target=type(corpus.target)(corpus.target.pieces[:-1]))
    other = corpus._replace(segmenter=type(corpus.segmenter)(corpus.segmenter.merges[::-1]))
    for odd in (fewer, other):
        with pytest.raises(UserError, match="was trained on another text than is to be translated"):
            study.decode(trained, odd, SEARCH, advance=silent)


def test_text_is_translated_line_by_line(corpus, trained):
    own = study.translator(trained, weights="best", device=CPU)
    source = corpus.test.source
    lines = [corpus.source.decode(source.of(number)) for number in range(3)]
    texts = study.translate_text(own, [lines[0].upper(), "", lines[1], "  ", lines[2]], SEARCH, advance=silent)
    test, _ = study.translate(own, [source.of(number) for number in range(3)], SEARCH, advance=silent)
    assert texts == [test[0], "", test[1], "", test[2]]
    assert study.translate_text(own, [], SEARCH, advance=silent) == []
    with pytest.raises(UserError, match=r"has positions for 126 tokens, and there are more in lines 2; split them"):
        study.translate_text(own, ["eins", "q" * 130], SEARCH, advance=silent)


def called(monkeypatch, *arguments, stdin=""):
    monkeypatch.setattr(sys, "argv", ["tacit", "translate", "--device", "cpu", *map(str, arguments)])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin)))
    return command.main()


def test_the_command_translates_files_and_what_is_typed(corpus, trained, monkeypatch, capsys, tmp_path):
    lines = [corpus.source.decode(corpus.test.source.of(number)) for number in range(3)]
    (tmp_path / "a.de").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "a.en").write_text("\n".join(study.references(corpus)[:3]) + "\n", encoding="utf-8")
    assert called(monkeypatch, trained, tmp_path / "a.de", "--reference", tmp_path / "a.en", "--beams", 2) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and said.err.splitlines()[-1].startswith("BLEU4 = ")
    assert called(monkeypatch, trained, "--beams", 2, stdin="\n".join(lines)) == 0
    assert capsys.readouterr().out == said.out
    assert called(monkeypatch, trained, "-", "-o", "-", "--beams", 2, stdin="\ufeff" + "\r\n".join(lines)) == 0
    assert capsys.readouterr().out == said.out
    assert called(monkeypatch, trained, tmp_path / "a.de", "-o", tmp_path / "b.en", "--beams", 2) == 0
    assert (tmp_path / "b.en").read_text(encoding="utf-8") == said.out and capsys.readouterr().out == ""


def test_lines_from_files_and_from_standard_input_are_the_same_lines(trained, monkeypatch, capsys, tmp_path):
    text = "eins\u2028zwei\x85\x0c\ndrei\n"
    (tmp_path / "a.de").write_text(text, encoding="utf-8")
    assert called(monkeypatch, trained, tmp_path / "a.de", "--beams", 1) == 0
    first = capsys.readouterr().out
    assert called(monkeypatch, trained, "--beams", 1, stdin=text) == 0
    assert capsys.readouterr().out == first and first.count("\n") == 2


def test_what_the_network_cannot_read_is_said(trained, monkeypatch, caplog, capsys):
    with caplog.at_level("INFO"):
        assert called(monkeypatch, trained, "--beams", 1, stdin="eins\n日本 eins\n\n本\n") == 0
    assert "3 pieces are unknown to the network, in lines 2, 4" in caplog.text
    assert "de to en, learned from number words" in caplog.text
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_translations_take_the_place_of_nothing_that_is_read_and_of_no_device(trained, monkeypatch, capsys, tmp_path):
    text = tmp_path / "a.de"
    text.write_text("eins\n", encoding="utf-8")
    before = trained.read_bytes()
    for output, said in (
        (trained, "would be overwritten"), (text, "would be overwritten"),
        (tmp_path / "no" / "b.en", "there is no folder"),
    ):  # fmt: skip
        assert called(monkeypatch, trained, text, "-o", output, "--beams", 1) == 1
        assert said in capsys.readouterr().err
    assert trained.read_bytes() == before and not (tmp_path / "no").exists()
    (tmp_path / "link").symlink_to(tmp_path / "b.en")
    (tmp_path / "b.en").write_text("before")
    assert called(monkeypatch, trained, text, "-o", tmp_path / "link", "--beams", 1) == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "b.en").read_text(encoding="utf-8") != "before"
    os.mkfifo(tmp_path / "pipe")
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()), daemon=True)
    found = []
    reader.start()
    assert called(monkeypatch, trained, text, "-o", tmp_path / "pipe", "--beams", 1) == 0
    reader.join(10)
    assert found == [(tmp_path / "b.en").read_bytes()]


def test_what_cannot_be_translated_is_said_in_one_line(trained, decoded, monkeypatch, capsys, tmp_path):
    (tmp_path / "at.de").write_text("eins\nzwei@@ drei\n", encoding="utf-8")
    (tmp_path / "blank.de").write_text("\n", encoding="utf-8")
    (tmp_path / "a.de").write_text("eins\n", encoding="utf-8")
    (tmp_path / "a.en").write_text("one\ntwo\n", encoding="utf-8")
    (tmp_path / "bad.de").write_bytes(b"eins\n\xff\n")
    for arguments, expected in (
        ((tmp_path / "none.h5", tmp_path / "a.de"), "none.h5: there is no such file; give the file of a trained"),
        ((tmp_path / "a.de", tmp_path / "a.de"), "a.de: is no run file; give the file of a trained network"),
        ((decoded[0], tmp_path / "a.de"), "holds something else than a network that translates; give the file"),
        ((trained, tmp_path / "none.de"), "none.de: there is no such file of text"),
        ((trained, tmp_path), "there is no such file of text"),
        ((trained, tmp_path / "at.de"), "line 2: the word 'zwei@@' ends in @@"),
        ((trained, tmp_path / "blank.de", "--reference", tmp_path / "blank.de"), "has no words to compare with"),
        ((trained, tmp_path / "bad.de"), "line 2 is no UTF-8"),
        ((trained, tmp_path / "a.de", "--reference", tmp_path / "a.en"), "has 2 lines, and there are 1 to translate"),
        ((trained, tmp_path / "a.de", "--beams", 0), "beams = 0"),
    ):
        assert called(monkeypatch, *arguments) == 1
        said = capsys.readouterr()
        assert expected in said.err and "Traceback" not in said.err and not said.out
        assert "elete" not in said.err


# Tables and claims.


def table_of(values, *, seeds=3, losses=None, spread=0.1):
    """Made-up runs: BLEU and validation loss by variant."""
    rows = []
    for variant, value in values.items():
        for seed in range(seeds):
            row = {"text": "numbers", **variant._asdict(), "seed": seed} | dict.fromkeys(results.RUNS.numbers, 1.0)
            loss = (losses or {}).get(variant, 100 - value)
            # Seeds that are good are so with every network.
            rows.append(
                row | {"bleu": value + spread * seed, "valid_loss": loss + 0.01 * seed, "dense_parameters": 4.0}
            )
    return pd.DataFrame(rows)


def family(regular_wd, regular_fd, si_wd, si_fd, scale=0.5):
    return {
        Variant(scale, "regular", "weight", 0.0): regular_wd,
        Variant(scale, "regular", "all", 1e-3): regular_fd,
        Variant(scale, "linear", "weight", 1e-3): si_wd,
        Variant(scale, "all", "linear", 1e-3): si_fd,
    }


def verdicts(table):
    book = results.ledger.Ledger("translation", missing=0)
    results._judge(book, table, name="numbers", scale=0.5)
    return dict(book.table()[["id", "verdict"]].to_numpy().tolist())


def jittered(values):
    """With differences that vary between seeds."""
    table = table_of(values)
    table["bleu"] += np.random.default_rng(0).normal(0, 0.05, len(table))
    return table


def test_claims_can_hold_and_fail():
    held = verdicts(jittered(family(20, 18, 30, 33)))
    assert held == dict.fromkeys(["si_0.5", "si_over_fd_0.5", "fd_alone_0.5", "fd_with_si_0.5"], "held")
    failed = verdicts(jittered(family(30, 33, 20, 18)))
    assert failed == dict.fromkeys(held, "not held")
    # 0.3 BLEU is no help.
    assert verdicts(jittered(family(20, 20.3, 30, 33)))["fd_alone_0.5"] == "held"
    assert set(verdicts(table_of({}).reindex(columns=[*study.AXES, *results.RUNS.numbers])).values()) == {"undecided"}
    alone = verdicts(jittered({variant: 5.0 for variant in list(family(0, 0, 0, 0))[:1]}))
    assert set(alone.values()) == {"undecided"}


def test_coefficients_are_tuned_on_validation_losses_alone():
    good, lucky = Variant(0.5, "regular", "weight", 1e-3), Variant(0.5, "regular", "weight", 1e-2)
    table = table_of({good: 20, lucky: 40}, losses={good: 1.0, lucky: 2.0})
    assert results.tuned(table, results.FAMILIES["regular, no FD"]) == good
    assert results.tuned(table, results.FAMILIES["SI, no FD"]) is None
    # One with fewer seeds is none to choose.
    part = pd.concat([table[table["coefficient"] == 1e-2], table[table["coefficient"] == 1e-3].head(1)])
    assert results.tuned(part, results.FAMILIES["regular, no FD"]) == lucky


@pytest.fixture(scope="module")
def decoded(tmp_path_factory, corpus):
    """A dense network, and one of each family, translated."""
    folder, found = tmp_path_factory.mktemp("decoded"), []
    for variant in (DENSE, *family(0, 0, 0, 0)):
        run = write(folder, corpus, variant)
        arrays, attributes = study.decode(run, corpus, SEARCH, advance=silent)
        path = folder / f"decoded-{len(found)}.h5"
        identity = {"text": "numbers", **variant._asdict(), "seed": 0}
        store.write(path, arrays, kind=study.TRANSLATED, settings=identity, attributes=attributes)
        found.append(path)
    return found


def test_tables_have_every_run(decoded):
    made = results.tables(decoded, missing=2, text="numbers", rank_scales=[0.5])
    assert len(made["runs"]) == 5 and not made["runs"].isna().any(axis=None)
    for path in decoded:
        run = store.read(path, kind=study.TRANSLATED)
        row = rows_with(made["runs"], **{name: run.settings[name] for name in Variant._fields})
        assert row["bleu"].item() == run.attributes["bleu"] and row["parameters"].item() == run.attributes["parameters"]
    assert len(made["claims"]) == 4 and set(made["claims"]["missing"]) == {2}


def test_sentences_are_written_down_to_be_read(decoded, corpus, tmp_path):
    made = results.tables(decoded, missing=0, text="numbers", rank_scales=[0.5])
    store.write_table(tmp_path / "runs.csv", made["runs"])
    results.write_samples(tmp_path / "s.txt", tmp_path / "runs.csv", corpus, decoded, number=3, scale="smoke")
    text = (tmp_path / "s.txt").read_text(encoding="utf-8")
    blocks = text.split("\n\n")
    assert "test set of numbers, scale smoke" in blocks[0] and "seed 0" in blocks[0]
    assert len(blocks[1].splitlines()) == 5 and len(blocks) == 2 + 3
    assert "spectral start of linear layers, weight decay 0.001" in blocks[1]
    order = np.argsort(corpus.test.source.lengths, kind="stable")
    for block, number in zip(blocks[2:], (order[0], order[2], order[-1]), strict=True):
        lines = [line.split("  ", 1)[0] for line in block.splitlines()]
        assert lines == ["source", "reference", "dense", *(f"0.5, {name}" for name in results.FAMILIES)]
        assert block.splitlines()[1].endswith(study.references(corpus)[number])
    dense = lines_of(store.read(decoded[0], kind=study.TRANSLATED).arrays["translations"])
    assert blocks[2].splitlines()[2].split("  ")[-1].strip() == dense[order[0]]
    results.write_samples(tmp_path / "s.txt", tmp_path / "runs.csv", corpus, [], number=3, scale="smoke")
    assert "has translated yet" in (tmp_path / "s.txt").read_text(encoding="utf-8")


# Figure.


def drawn(table, scale="smoke", **changes):
    own = {"scale": scale} | load(scale, **changes).plain()
    numbers = figures.BLEU.numbers({"runs": table}, own)
    return numbers, figures.BLEU.draw(numbers, settings=own, missing=0)


def test_the_figure_draws_a_panel_a_rank_scale_and_a_line_a_start_and_decay():
    values = {DENSE: 50.0}
    for scale in (0.25, 0.5):
        for start, by in (("regular", 10), ("all", 20)):
            values[Variant(scale, start, "weight", 0.0)] = by
            values |= {Variant(scale, start, "weight", c): by + 1 for c in (1e-3, 1e-2)}
            values |= {Variant(scale, start, "all", c): by + 2 for c in (1e-4, 1e-3)}
    numbers, figure = drawn(table_of(values))
    assert len(numbers) == 21 and len(figure.axes) == 2
    for place, scale in zip(figure.axes, (0.25, 0.5), strict=True):
        assert place.get_title() == f"rank scale {scale:g}\n25 % of parameters"
        assert place.get_xlabel() == "coefficient $\\lambda$ of decay"
        heights = [bar[0].get_ydata().tolist() for bar in place.containers]
        assert heights == [pytest.approx([by + 0.1, *2 * [by + more + 0.1]]) for by in (10, 20) for more in (1, 2)]
        assert [line.get_ydata()[0] for line in place.lines if list(line.get_xdata()) == [0, 1]] == [
            pytest.approx(50.1)
        ]
        assert place.get_xticklabels()[0].get_text() == "0"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["regular start", "SI of all", "WD", "FD of all", "dense, no decay"]


def test_many_lines_come_in_rows_by_the_decay_of_attention():
    own = load("paper")
    numbers, figure = drawn(table_of(dict.fromkeys(own.variants, 20.0)), scale="paper")
    assert len(numbers) == 286 and len(figure.axes) == 9
    counts = [len(place.containers) for place in figure.axes]
    # Rows: weight decay, of output-value, of all attention; dense networks have no linear layers to decay.
    assert counts == [2, 8, 8] * 3
    assert [bool(place.get_title()) for place in figure.axes] == [True] * 3 + [False] * 6
    assert [bool(place.get_xlabel()) for place in figure.axes] == [False] * 6 + [True] * 3
    assert figure.get_figheight() < 9


def labels_of(variants, **changes):
    _, figure = drawn(table_of(dict.fromkeys(variants, 20.0)), **changes)
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    return [text.get_text() for text in figure.legends[0].get_texts()], ticks, figure


def test_the_legend_names_what_is_drawn():
    def one(start, decay, coefficient, scale=0.5):
        return Variant(scale, start, decay, coefficient)

    # Nothing decays by weight, so that nothing is called so.
    labels, ticks, _ = labels_of([one("all", "weight", 0.0), one("all", "all", 1e-3)])
    assert labels == ["SI of all", "FD of all"] and ticks == ["0", "$10^{-3}$"]
    labels, ticks, figure = labels_of([DENSE, one("all", "weight", 0.0)])
    assert labels == ["SI of all", "no decay", "dense, no decay"] and ticks == ["0"] and len(figure.axes) == 1
    # A dense network that is no reference has a panel of its own.
    labels, _, figure = labels_of([one("attention", "weight", 0.0, 0.0), one("all", "all", 1e-3)])
    assert "dense, no decay" not in labels and figure.axes[0].get_title() == "dense"
    many = [one("all", "weight", value) for value in (2e-6, 5e-6, 2e-5, 2e-3, 5e-1)]
    assert labels_of(many)[1] == ["0", "$10^{-5}$", "$10^{-3}$", "$10^{-1}$"]
    assert labels_of([one("all", "weight", value) for value in (2e-6, 5e-6)])[1] == [
        "0", "$2\\cdot10^{-6}$", "$5\\cdot10^{-6}$"
    ]  # fmt: skip
    _, _, figure = labels_of([DENSE, BOTH], translation={"flags": "published"})
    assert "flags as published" in figure.get_supxlabel().replace("\n", " ")


def test_without_runs_there_is_no_figure():
    empty = pd.DataFrame(columns=[*results.RUNS.keys, *results.RUNS.numbers])
    with pytest.raises(MissingRunsError, match="no translation is there yet"):
        figures.BLEU.numbers({"runs": empty}, {})


@pytest.mark.parametrize(
    "variants",
    [[DENSE], [BOTH], [Variant(0.5, "regular", "weight", 0.0)], [DENSE, Variant(0.0, "attention", "ov", 1e-3)]],
)
def test_part_of_a_grid_is_drawn_too(variants):
    numbers, figure = drawn(table_of(dict.fromkeys(variants, 20.0), seeds=1))
    assert len(numbers) == len(variants) and figure.axes
