"""Beam search against a search of one sentence that computes everything anew, and against all that is possible."""

import itertools

import pytest
import torch

from tacit.data.subwords import END, PAD
from tacit.errors import DivergenceError
from tacit.nn.transformer import Shape, Transformer, compressed
from tacit.training.decoding import Search, beam_search, left_padded, translate

SHAPE = Shape(width=16, inner_width=24, heads=2, layers=2, positions=64)


def network(*, target_tokens=12, ends=0.0, seed=0, **options):
    """A network whose hypotheses differ in score and in length, in training mode."""
    torch.manual_seed(seed)
    model = Transformer(15, target_tokens, SHAPE, **options).double()
    with torch.no_grad():
        model.logits.weight.mul_(6)
        model.logits.bias[END] += ends
        # What may never be chosen is the likeliest.
        model.logits.bias[PAD] += 4
        # So that much depends on the source.
        model.source_embedding.weight.mul_(5)
        for layer in model.decoder:
            layer.source_attention.value.weight.mul_(5)
            layer.source_attention.output.weight.mul_(5)
    return model


def sentences(count, *, longest=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest, (count,), generator=generator).tolist()
    return [[*torch.randint(3, 15, (length,), generator=generator).tolist(), END] for length in lengths]


@torch.no_grad()
def log_p(model, source, tokens):
    """Of each token after those before, and of what could come after them, computed as a whole (T + 1, V)."""
    model.eval()
    return model(torch.tensor([source]), torch.tensor([[END, *tokens]]))[0].log_softmax(-1)


def rescored(model, source, tokens, power=1.0):
    rows = log_p(model, source, tokens)
    found = [row[token] for row, token in zip(rows, [*tokens, END], strict=True)]
    return sum(found).item() / len(found) ** power


def search_one(model, source, search):
    """Beam search of one sentence, as it is written down."""
    alive, finished = [([], 0.0)], []
    for length in range(search.longest + 1):
        candidates = []
        for tokens, total in alive:
            row = log_p(model, source, tokens)[-1]
            for token, value in enumerate(row.tolist()):
                may_end = length >= search.shortest
                if (token == END and may_end) or (token not in (END, PAD) and length < search.longest):
                    candidates.append(([*tokens, token], total + value))
        candidates = sorted(candidates, key=lambda candidate: -candidate[1])[: 2 * search.beams]
        for tokens, total in candidates[: search.beams]:
            if tokens[-1] == END and len(finished) < search.beams:
                finished.append((tokens[:-1], total / len(tokens) ** search.length_power))
        if len(finished) == search.beams:
            break
        alive = [candidate for candidate in candidates if candidate[0][-1] != END][: search.beams]
    return sorted(finished, key=lambda found: -found[1])


def same(found, expected):
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-9)


SEARCHES = [
    Search(beams=5, longest=12),
    Search(beams=1, longest=12),
    Search(beams=3, shortest=4, longest=9, length_power=0.6),
    Search(beams=4, shortest=0, longest=6, length_power=0.0),
    Search(beams=2, shortest=3, longest=3),
]


@pytest.mark.parametrize("ends", [-3.0, 0.0, 4.0])
@pytest.mark.parametrize("search", SEARCHES)
def test_all_hypotheses_are_those_of_a_plain_search(search, ends):
    """Of sentences of different lengths, searched together, of which some are done before others."""
    model, sources = network(ends=ends), sentences(12)
    made = beam_search(model, left_padded(sources, PAD), search)
    for source, found in zip(sources, made, strict=True):
        same(found, search_one(model, source, search))
        for tokens, score in found:
            assert rescored(model, source, tokens, search.length_power) == pytest.approx(score, rel=1e-9)
            assert search.shortest <= len(tokens) <= search.longest
            assert not {END, PAD} & set(tokens)
    lengths = {len(tokens) for found in made for tokens, _ in found}
    # So that both limits, and ends between them, are seen.
    if ends == 0:
        assert len(lengths) > 2 or search.shortest == search.longest
    else:
        assert (search.longest if ends < 0 else search.shortest) in lengths


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_with_beams_enough_it_finds_the_best_of_all(power):
    """Three words, at most two of them: twelve hypotheses."""
    model, source = network(target_tokens=6), sentences(1)[0]
    with torch.no_grad():
        # So that one word is none, and three are left.
        model.logits.bias[5] -= 1e9
    words = (0, 3, 4)
    everything = [list(tokens) for length in (1, 2) for tokens in itertools.product(words, repeat=length)]
    scores = {tuple(tokens): rescored(model, source, tokens, power) for tokens in everything}
    best = sorted(everything, key=lambda tokens: -scores[tuple(tokens)])
    search = Search(beams=40, longest=2, length_power=power)
    found = beam_search(model, torch.tensor([source]), search)[0][:12]
    same(found, [(tokens, scores[tuple(tokens)]) for tokens in best])


def test_one_beam_is_greedy():
    model = network()
    for source in sentences(8):
        tokens = []
        while True:
            row = log_p(model, source, tokens)[-1]
            row[PAD] = -torch.inf
            if not tokens:
                row[END] = -torch.inf
            if row.argmax() == END or len(tokens) == 12:
                break
            tokens.append(row.argmax().item())
        found = translate(model, [source], Search(beams=1, longest=12))[0]
        same([found], [(tokens, rescored(model, source, tokens))])


@pytest.mark.parametrize("masks", ["repaired", "published"])
def test_it_does_not_matter_which_are_translated_together(masks):
    model, sources = network(masks=masks), sentences(23)
    search = Search(beams=3, longest=12)
    alone = [translate(model, [source], search)[0] for source in sources]
    for size in (4, 23, 128):
        same(translate(model, sources, search, batch_size=size), alone)
    same(translate(model, sources[::-1], search, batch_size=5)[::-1], alone)
    assert translate(model, [], search) == []
    assert len({len(tokens) for tokens, _ in alone}) > 3


def test_compressed_networks_are_searched_too():
    model = compressed(network(rank_scale=0.5), 0.5, spectral=True).model
    search = Search(beams=3, longest=8)
    sources = sentences(5)
    for source, found in zip(sources, beam_search(model, left_padded(sources, PAD), search), strict=True):
        same(found, search_one(model, source, search))


def test_scores_in_single_precision_are_those_of_the_whole():
    model, sources = network().float(), sentences(6)
    for source, (tokens, score) in zip(sources, translate(model, sources, Search(longest=12)), strict=True):
        assert rescored(model, source, tokens) == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_dropout_rests_and_the_mode_stays(training):
    model, sources = network().train(training), sentences(4)
    first, second = (translate(model, sources, Search(longest=8)) for _ in range(2))
    assert first == second and model.training == training
    assert all(module.training == training for module in model.modules())


def test_published_limits():
    search = Search()
    assert search == (5, 1, 200, 1.0, 2)
    assert Transformer(5, 5).longest > search.longest


def test_sentences_are_padded_on_the_left():
    assert left_padded([[4, 2], [5, 6, 2]], 1).tolist() == [[1, 4, 2], [5, 6, 2]]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (Search(beams=0), "beams = 0"),
        (Search(shortest=5, longest=4), "shortest = 5, longest = 4"),
        (Search(shortest=-1, longest=4), "shortest = -1"),
        (Search(longest=62), "with its end, a target has 62 tokens at most"),
    ],
)
def test_limits_that_are_none_are_refused(search, said):
    with pytest.raises(ValueError, match=said):
        translate(network(), sentences(2), search)


def test_a_target_may_have_as_many_tokens_as_there_are_positions():
    found = translate(network(ends=-1e4), sentences(1), Search(beams=2, longest=61))[0]
    assert len(found.tokens) == 61


def test_what_has_diverged_is_refused():
    model = network()
    with torch.no_grad():
        model.logits.bias.fill_(torch.nan)
    with pytest.raises(DivergenceError, match="not finite"):
        translate(model, sentences(2), Search(longest=4))
