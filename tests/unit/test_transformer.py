"""The Transformer against one written with PyTorch's own attention; its sizes, starts, steps and decays."""

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional

from tacit.nn import factorizing, rank_solver
from tacit.nn.attention import Attention, balance
from tacit.nn.factorized import FactorizedEmbedding, FactorizedLinear, factorized_layers
from tacit.nn.transformer import LayerNorm, Shape, Transformer, compressed, compressible, narrowed
from tacit.optim.decay_groups import Row
from tacit.optim.nesterov import Nesterov
from tacit.optim.transformer_decay import transformer_decay
from tacit.training import engine, optimizers
from tacit.training.decoding import Search, left_padded, translate
from tacit.training.objectives import LabelSmoothedCrossEntropy, Tokens

SMALL = Shape(width=24, inner_width=40, heads=3, layers=2, positions=16)
SOURCE = torch.tensor([[1, 1, 5, 6, 2], [9, 8, 7, 6, 2], [1, 1, 1, 3, 2]])
PREVIOUS = torch.tensor([[2, 5, 6, 1], [2, 9, 8, 4], [2, 7, 1, 1]])


def close(one, other, tolerance=1e-10):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def small(shape=SMALL, *, dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    made = Transformer(13, 11, shape, **options).to(dtype).eval()
    for module in made.modules():
        if isinstance(module, LayerNorm):
            # As if trained, so that neither can be left out.
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return made


def written_with_torch(model, source, previous):
    """The same by PyTorch's attention, normalisation by torch.std, positions counted in Python."""
    heads = model.shape.heads

    def norm(module, x):
        return module.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6) + module.bias

    def embed(tokens, embedding, table):
        positions = torch.ones_like(tokens)
        for row, line in enumerate(tokens.tolist()):
            count = itertools.count(2)
            positions[row] = torch.tensor([1 if token == 1 else next(count) for token in line])
        return embedding.weight[tokens] + table.weight[positions]

    def attend(module, x, y, seen):
        q, k, v = (
            functional.linear(of, part.weight).unflatten(-1, (heads, -1)).transpose(1, 2)
            for of, part in ((x, module.query), (y, module.key), (y, module.value))
        )
        read = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return functional.linear(read.transpose(1, 2).flatten(2), module.output.weight)

    def feed(module, x):
        return functional.linear(functional.linear(x, module.fc1.weight).relu(), module.fc2.weight)

    there = (source != 1)[:, None, None]
    x = embed(source, model.source_embedding, model.source_positions)
    for layer in model.encoder:
        normed = norm(layer.norms[0], x)
        x = x + attend(layer.attention, normed, normed, there)
        x = x + feed(layer.feed_forward, norm(layer.norms[1], x))
    encoded = norm(model.encoder_norm, x)
    length = previous.shape[1]
    past = torch.ones(length, length, dtype=torch.bool).tril() & (previous != 1)[:, None, None]
    x = embed(previous, model.target_embedding, model.target_positions)
    for layer in model.decoder:
        normed = norm(layer.norms[0], x)
        x = x + attend(layer.attention, normed, normed, past)
        seen = torch.ones_like(there) if model.masks == "published" else there
        x = x + attend(layer.source_attention, norm(layer.norms[1], x), encoded, seen)
        x = x + feed(layer.feed_forward, norm(layer.norms[2], x))
    return functional.linear(norm(model.decoder_norm, x), model.logits.weight, model.logits.bias)


@pytest.mark.parametrize("masks", ["repaired", "published"])
@pytest.mark.parametrize("rank_scale", [0.0, 0.5])
def test_logits_are_those_of_pytorchs_attention(masks, rank_scale):
    """Where targets are padded too."""
    model = small(masks=masks, rank_scale=rank_scale)
    close(model(SOURCE, PREVIOUS), written_with_torch(model, SOURCE, PREVIOUS))
    if rank_scale:
        made = compressed(model, rank_scale, spectral=False).model
        close(made(SOURCE, PREVIOUS), written_with_torch(factorizing.collapse(made), SOURCE, PREVIOUS))


def test_padding_matters_only_as_published():
    further = functional.pad(SOURCE, (3, 0), value=1)
    repaired, published = small(), small(masks="published")
    close(repaired(further, PREVIOUS), repaired(SOURCE, PREVIOUS))
    close(repaired(SOURCE, PREVIOUS)[1:2], published(SOURCE[1:2], PREVIOUS[1:2]))
    assert (published(further, PREVIOUS) - published(SOURCE, PREVIOUS)).abs().amax() > 1e-3


def test_a_source_of_padding_alone_gives_numbers():
    assert small()(torch.ones(1, 3, dtype=torch.int64), PREVIOUS[:1]).isfinite().all()


def test_later_tokens_do_not_matter():
    model, changed = small(), PREVIOUS.clone()
    changed[:, 2:] = 10
    close(model(SOURCE, PREVIOUS)[:, :2], model(SOURCE, changed)[:, :2])


def test_normalisation_has_the_unbiased_deviation_and_adds_epsilon_to_it():
    norm, x = LayerNorm(5, epsilon=0.3).double(), torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    expected = norm.weight * (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) ** 0.5 + 0.3) + norm.bias
    close(norm(x), expected)
    assert torch.autograd.gradcheck(norm, x)


def test_a_vector_that_is_dropped_altogether_has_a_gradient():
    """As the original's, by torch's own deviation."""
    x = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0], [3.0, 3.0, 3.0]], dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weights = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    (LayerNorm(3).double()(x) * weights).sum().backward()
    (((y - y.mean(-1, keepdim=True)) / (y.std(-1, keepdim=True) + 1e-6)) * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    assert x.grad.isfinite().all() and x.grad[0].any()


def test_what_is_dropped_where():
    model = small(SMALL._replace(dropout=0.2, inner_dropout=0.1)).train()
    dropped = []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, given, _: dropped.append((module.p, given[0].shape[-1])))
    model(SOURCE, PREVIOUS)
    outer, inner = (0.2, 24), (0.1, 40)
    encoder, decoder = [outer, inner, outer], [outer, outer, inner, outer]
    assert dropped == [outer, *encoder, *encoder, outer, *decoder, *decoder]
    assert not close_to(model(SOURCE, PREVIOUS), model(SOURCE, PREVIOUS))


def close_to(one, other):
    return (one - other).abs().amax() < 1e-6


# Sizes


def sizes(source_tokens, target_tokens, rank_scale, shape=None):
    with torch.device("meta"):
        model = Transformer(source_tokens, target_tokens, shape, rank_scale=rank_scale)
    if not rank_scale:
        return sum(parameter.numel() for parameter in model.parameters())
    return rank_solver.parameter_cost(model, factorizing.selected(model, compressible).values()).at(rank_scale)


def by_formula(source_tokens, target_tokens, rank_scale):
    """Of matrices of width 256 and 1024 and the two dictionaries, one after the other."""
    norms = 2 * 2 * 512 + 2 * 3 * 512 + 2 * 512
    if not rank_scale:
        attention = 6 * 4 * 256 * 256
        return 256 * (source_tokens + target_tokens + 2048) + 257 * target_tokens + attention + 8 * 256 * 1024 + norms
    rank, heads = round(rank_scale * 256), 4 * math.floor(rank_scale * 64)
    tables = sum(rank * (rows + 256) for rows in (source_tokens, target_tokens, 1024, 1024))
    logits = rank * (target_tokens + 256) + target_tokens
    return tables + logits + 6 * 4 * 256 * heads + 8 * rank * (1024 + 256) + norms


@pytest.mark.parametrize(("rank_scale", "published"), [(0.0, 10_864_448), (0.5, 5_865_280), (0.25, 2_939_712)])
def test_published_numbers_of_parameters(rank_scale, published):
    assert sizes(10_000, 8_000, rank_scale) == by_formula(10_000, 8_000, rank_scale) == published
    for source_tokens, target_tokens in ((3_000, 700), (1, 31_117)):
        expected = by_formula(max(source_tokens, 300), target_tokens, rank_scale)
        assert sizes(max(source_tokens, 300), target_tokens, rank_scale) == expected


@pytest.mark.parametrize("rank_scale", [0.1, 0.37, 0.99])
def test_other_scales_have_the_numbers_of_the_formula(rank_scale):
    assert sizes(900, 700, rank_scale) == by_formula(900, 700, rank_scale)


def test_a_compressed_network_is_as_large_as_counted():
    torch.manual_seed(0)
    made = compressed(Transformer(400, 300, rank_scale=0.25), 0.25, spectral=False)
    assert sum(parameter.numel() for parameter in made.model.parameters()) == by_formula(400, 300, 0.25)
    assert made.model.decoder[0].attention.head_width == 16
    layers = factorized_layers(made.model)
    assert Counter(type(layer) for layer in layers.values()) == {FactorizedEmbedding: 4, FactorizedLinear: 9}
    assert {layer.rank for layer in layers.values()} == {64}
    assert not any("attention" in name for name in layers)


@pytest.mark.parametrize(
    ("rank_scale", "width"), [(0.0, 64), (0.5, 32), (0.25, 16), (0.3, 19), (0.99, 63), (1 / 64, 1)]
)
def test_widths_of_heads_are_rounded_down(rank_scale, width):
    assert narrowed(Shape(), rank_scale) == width


def test_what_is_no_transformer_is_refused():
    with pytest.raises(ValueError, match="not divided by 3 heads"):
        Transformer(9, 9, Shape(heads=3))
    with pytest.raises(ValueError, match="leaves nothing of heads of 64"):
        Transformer(9, 9, rank_scale=0.01)
    for scale in (-0.1, 1.0, 2.0, float("nan")):
        with pytest.raises(ValueError, match="a share between 0 and 1"):
            Transformer(9, 9, rank_scale=scale)
    with pytest.raises(ValueError, match="masks = 'none'"):
        Transformer(9, 9, masks="none")


def test_positions_run_out():
    model = small(SMALL._replace(positions=8))
    assert model.longest == 6
    longest = torch.full((1, 6), 5)
    model(longest, longest)
    for source, previous in ((7, 6), (6, 7)):
        with pytest.raises(ValueError, match="7 tokens: there are positions for 6"):
            model(torch.full((1, source), 5), torch.full((1, previous), 5))
    assert Transformer(5, 5).longest == 1022


# Starts


def test_published_starts():
    torch.manual_seed(0)
    model = Transformer(2_000, 1_500)
    made = compressed(Transformer(2_000, 1_500, rank_scale=0.5), 0.5, spectral=False).model
    embeddings = [model.source_embedding.weight, made.source_embedding.U, made.target_positions.VT]
    matrices = [model.logits.weight, model.logits.bias, model.encoder[0].attention.query.weight, made.logits.U]
    matrices += [made.decoder[1].feed_forward.fc2.VT, made.decoder[1].attention.output.weight]
    for drawn in embeddings:
        assert drawn.std().item() == pytest.approx(0.1, rel=0.03)
        assert drawn.abs().amax() > 0.3
    assert model.source_embedding.weight[1].std() > 0.05 and made.source_embedding.U[1].std() > 0.05
    for drawn in matrices:
        assert drawn.abs().amax() <= 0.1
        assert drawn.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.05)


def test_padding_is_not_learned():
    """Its embedding stays where it is, though the decoder sees it."""
    for model in (small(masks="published"), compressed(small(masks="published"), 0.5, spectral=False).model):
        model(SOURCE, PREVIOUS).square().sum().backward()
        tables = [model.source_embedding, model.source_positions, model.target_embedding, model.target_positions]
        for table in tables:
            gradient = (table.U if isinstance(table, FactorizedEmbedding) else table.weight).grad
            assert not gradient[1].any() and gradient[2].any()


def test_spectral_start_is_the_best_approximation():
    model = small()
    made = compressed(model, 0.5, spectral=True).model
    for name, layer in factorized_layers(made).items():
        weight = model.get_submodule(name).weight
        values = torch.linalg.svdvals(weight)
        close((layer.matrix() - weight).square().sum(), values[layer.rank :].square().sum())


@pytest.mark.parametrize("rank_scale", [0.0, 0.5])
def test_balancing_attention_changes_no_logits(rank_scale):
    model, before = small(rank_scale=rank_scale), small(rank_scale=rank_scale)
    balance(model)
    close(model(SOURCE, PREVIOUS), before(SOURCE, PREVIOUS))
    pairs = [
        (one, other) for one, other in zip(model.modules(), before.modules(), strict=True) if isinstance(one, Attention)
    ]
    assert len(pairs) == 6
    for one, other in pairs:
        for product, old in ((one.query_key(), other.query_key()), (one.output_value(), other.output_value())):
            close(product.product(), old.product())
            close(product.U.mT @ product.U, product.VT @ product.VT.mT)
            assert (product.U - old.U).norm() > 0.1 * old.U.norm()
        rows = one.query.weight.unflatten(0, (3, -1)), one.key.weight.unflatten(0, (3, -1))
        close(rows[0][1] @ rows[0][1].T, rows[1][1] @ rows[1][1].T)
        columns, values = one.output.weight.unflatten(1, (3, -1)), one.value.weight.unflatten(0, (3, -1))
        close(one.output_value().product()[2], columns[:, 2] @ values[2])


def test_forms_of_attention_are_balanced_apart():
    model, before = small(), small()
    balance(model, output_value=False)
    changed = {
        name
        for (name, one), other in zip(model.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(one, other)
    }
    assert changed == {name for name, _ in model.named_parameters() if "query" in name or "key" in name}


# A token at a time


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
@pytest.mark.parametrize("rank_scale", [0.0, 0.5])
def test_steps_give_the_logits_of_the_whole(dtype, tolerance, rank_scale):
    """With several targets to each source, whose order changes, and a source that is left out on the way."""
    model = small(dtype=dtype, rank_scale=rank_scale)
    if rank_scale:
        model = compressed(model, rank_scale, spectral=False).model
    generator = torch.Generator().manual_seed(0)
    beams, sources, progress = 4, torch.arange(3), model.begin(SOURCE)
    targets = torch.full((3, beams, 1), 2)
    for step in range(8):
        logits, progress = model.step(targets[..., -1], progress)
        for beam in range(beams):
            close(logits[:, beam], model(SOURCE[sources], targets[:, beam])[:, -1], tolerance)
        if step == 3:
            kept = torch.tensor([0, 2])
            progress = progress.sources(kept)
            sources, targets = sources[kept], targets[kept]
        else:
            kept = torch.arange(len(sources))
        chosen = torch.randint(beams, (len(sources), beams), generator=generator)
        progress = progress.targets((kept[:, None] * beams + chosen).flatten())
        words = torch.randint(3, 11, (len(sources), beams, 1), generator=generator)
        before = targets.gather(1, chosen[..., None].expand(-1, -1, targets.shape[2]))
        targets = torch.cat([before, words], 2)


def test_steps_hide_padding_as_published_too():
    model = small(masks="published")
    whole, _ = model.step(torch.full((3, 1), 2), model.begin(SOURCE))
    close(whole[0], model(SOURCE[:1, 2:], PREVIOUS[:1, :1])[0])


def test_steps_end_where_positions_do():
    model = small(SMALL._replace(positions=5))
    progress = model.begin(SOURCE[:1, -3:])
    for _ in range(3):
        _, progress = model.step(torch.tensor([[4]]), progress)
    with pytest.raises(ValueError, match="4 tokens"):
        model.step(torch.tensor([[4]]), progress)


# Decay

WEIGHT, FROBENIUS = 3e-4, 5e-5


def kind_of(name):
    part = name.rsplit(".", 2)[-2:]
    if part[-1] in ("U", "VT"):
        return "linear"
    return {"query": "query_key", "key": "query_key", "value": "output_value", "output": "output_value"}.get(part[0])


@pytest.mark.parametrize("flags", ["published", "repaired"])
@pytest.mark.parametrize("rank_scale", [0.0, 0.5])
@pytest.mark.parametrize("on", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize(("weight", "frobenius"), [(WEIGHT, 0.0), (0.0, FROBENIUS), (WEIGHT, FROBENIUS)])
def test_who_decays_how(flags, rank_scale, on, weight, frobenius):
    """The table of flags; published, that of linear layers is as if it were not there."""
    chosen = dict(zip(("linear", "query_key", "output_value"), on, strict=True))
    model = small(rank_scale=rank_scale)
    model = compressed(model, rank_scale, spectral=False).model if rank_scale else model
    options = {"weight_decay": weight, "frobenius_decay": frobenius, "flags": flags}
    inert = (chosen["linear"] and not rank_scale) or (frobenius and not any(on))
    if flags == "repaired" and inert:
        with pytest.raises(ValueError, match="decay"):
            transformer_decay(model, **chosen, **options)
        return
    plan = transformer_decay(model, **chosen, **options)
    expected = []
    for name, _ in model.named_parameters():
        kind = kind_of(name)
        moved = kind is not None and chosen[kind] and not (kind == "linear" and flags == "published")
        shrinks = 0.0 if moved else weight
        product = frobenius if moved or (kind == "linear" and flags == "published") else 0.0
        rows = [Row(name, "weight", shrinks)] * bool(shrinks) + [Row(name, "frobenius", product)] * bool(product)
        expected += rows or [Row(name, "none", 0.0)]
    assert plan.report == expected
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {names[id(one)]: group["weight_decay"] for group in plan.groups for one in group["params"]}
    shrinking = {row.parameter: row.coefficient for row in expected if row.kind == "weight"}
    assert groups == dict.fromkeys(names.values(), 0.0) | shrinking
    plan.frobenius.add_gradients()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert touched == {row.parameter for row in expected if row.kind == "frobenius"}


def test_frobenius_decay_of_a_transformer_is_the_gradient_of_its_penalty():
    model = compressed(small(rank_scale=0.5), 0.5, spectral=False).model
    plan = transformer_decay(model, frobenius_decay=0.3, linear=True, query_key=True, output_value=True)
    plan.frobenius.add_gradients()
    penalty = sum(layer.matrix().square().sum() for layer in factorized_layers(model).values())
    for module in model.modules():
        if isinstance(module, Attention):
            for head in range(3):
                q, k, v = (part.weight[4 * head : 4 * head + 4] for part in (module.query, module.key, module.value))
                written = module.output.weight[:, 4 * head : 4 * head + 4] @ v
                penalty = penalty + (q.T @ k).square().sum() + written.square().sum()
    decayed = {name: one for name, one in model.named_parameters() if one.grad is not None}
    assert set(decayed) == {name for name, _ in model.named_parameters() if kind_of(name)}
    gradients = torch.autograd.grad(0.15 * penalty, list(decayed.values()))
    for parameter, gradient in zip(decayed.values(), gradients, strict=True):
        close(parameter.grad, gradient)


def test_coefficients_and_flags_that_are_none_are_refused():
    model = small()
    for options, said in (
        ({"weight_decay": -1.0}, "weight_decay = -1"),
        ({"frobenius_decay": -1.0, "query_key": True}, "coefficient = -1"),
        ({"flags": "none"}, "flags = 'none'"),
    ):
        with pytest.raises(ValueError, match=said):
            transformer_decay(model, **options)


# All of it together


class Turned:
    """Sentences of two to four words out of six, whose translations are the same words in reverse."""

    def __init__(self, count, *, seed):
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.randint(2, 5, (count,), generator=generator).tolist()
        self.words = [torch.randint(4, 10, (length,), generator=generator).tolist() for length in lengths]
        self.sources = [[*words, 2] for words in self.words]
        self.labels = torch.tensor(lengths) + 1

    def begin(self, epoch):
        pass

    def batch(self, numbers, memory_format):
        words = [self.words[number][::-1] for number in numbers.tolist()]
        longest = max(map(len, words)) + 1
        previous = [[2, *target] + [1] * (longest - len(target) - 1) for target in words]
        target = [[*target, 2] + [1] * (longest - len(target) - 1) for target in words]
        sources = left_padded([self.sources[number] for number in numbers.tolist()], 1)
        return Tokens(sources, torch.tensor(previous), torch.tensor(target))


def learning(steps):
    """A compressed network with all that the paper trains by: spectral starts, decay of products, clipping."""
    torch.manual_seed(0)
    shape = Shape(width=48, inner_width=96, heads=4, layers=2, positions=16, dropout=0.0, inner_dropout=0.0)
    model = compressed(Transformer(10, 10, shape, rank_scale=0.5), 0.5, spectral=True).model
    balance(model)
    plan = transformer_decay(model, frobenius_decay=1e-5, linear=True, query_key=True, output_value=True)
    step = engine.Minimize(
        model,
        Turned(2_000, seed=0),
        LabelSmoothedCrossEntropy(smoothing=0.1, padding=1),
        Nesterov(plan.groups, lr=0.25, momentum=0.99),
        rate=optimizers.inverse_square_root(0.25, steps=steps, constant=steps // 2),
        decays=[plan.frobenius.add_gradients, optimizers.clipping(model.parameters(), 0.1)],
    )
    step.begin(0, steps)
    return model, step


def test_it_learns_and_goes_on_where_it_was_left(tmp_path):
    steps, batches = 200, torch.arange(2_000).split(50)
    model, step = learning(steps)
    for number in range(steps):
        if number == steps - 20:
            torch.save(step.state(), tmp_path / "state.pt")
        step.take(number, batches[number % len(batches)])
    again, resumed = learning(steps)
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for number in range(steps - 20, steps):
        resumed.take(number, batches[number % len(batches)])
    for one, other in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
    test = Turned(60, seed=1)
    found = translate(model, test.sources, Search(beams=3, longest=10))
    assert sum(best.tokens == words[::-1] for best, words in zip(found, test.words, strict=True)) > 50
