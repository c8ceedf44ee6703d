"""BLEU against values computed by hand, and against a plain reference."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.analysis.bleu import REFERENCE_UNKNOWN, bleu
from tacit.data.subwords import Dictionary


def test_a_translation_like_its_reference_has_all():
    found = bleu(["the cat sat down ."], ["the cat sat down ."])
    assert found.score == pytest.approx(100)
    assert found.line == "BLEU4 = 100.00, 100.0/100.0/100.0/100.0 (BP=1.000, ratio=1.000, syslen=5, reflen=5)"


def test_no_match_is_nothing():
    found = bleu(["a b c d e"], ["v w x y z"])
    assert found.score == 0
    assert found.precisions == (0, 0, 0, 0)


def test_no_four_words_that_match_are_nothing_either():
    # One to three words match, so smoothing would make something of it.
    found = bleu(["a b c x d e f"], ["a b c y d e f"])
    assert found.precisions[2] > 0
    assert found.score == 0


def test_a_short_translation_pays_for_it():
    # All of its words, pairs, triples and its one four are right: what is left is exp(1 - 6/4).
    found = bleu(["a b c d"], ["a b c d e f"])
    assert found.brevity_penalty == pytest.approx(math.exp(-0.5))
    assert found.score == pytest.approx(100 * math.exp(-0.5))
    assert found.line == "BLEU4 = 60.65, 100.0/100.0/100.0/100.0 (BP=0.607, ratio=0.667, syslen=4, reflen=6)"


def test_counts_are_clipped_and_of_the_whole_corpus():
    # Words 2 + 5 of 7 + 5, pairs 0 + 4 of 6 + 4: the the the ... counts twice, as the reference has it twice.
    found = bleu(["the the the the the the the", "a b c d e"], ["the cat is on the mat .", "a b c d e"])
    assert found.precisions == pytest.approx((100 * 7 / 12, 40, 100 * 3 / 8, 100 * 2 / 6))
    expected = 100 * (7 / 12 * 4 / 10 * 3 / 8 * 2 / 6) ** 0.25
    assert found.score == pytest.approx(expected)
    assert found.brevity_penalty == 1


def test_nothing_translated_is_nothing():
    found = bleu(["", ""], ["a b c d", "e f g h"])
    assert (found.score, found.hypothesis_length, found.ratio) == (0, 0, 0)
    assert "BP=0.000" in found.line


def test_words_are_left_as_they_are():
    # A tokeniser would part them, and lower case would make them equal.
    assert bleu(["it 's 3,5 &apos;x a-b"], ["it 's 3,5 &apos;x a-b"]).hypothesis_length == 5
    assert bleu(["A B C D"], ["a b c d"]).score == 0


def test_two_unknowns_never_match():
    dictionary = Dictionary.of([["a", "b", "c", "d", "e@@"]])
    ids = dictionary.encode(["a", "b", "c", "d", "e@@", "never"])
    hypothesis, reference = dictionary.decode(ids), dictionary.decode(ids, unknown=REFERENCE_UNKNOWN)
    assert hypothesis == "a b c d e<unk>"
    assert bleu([hypothesis], [reference]).precisions[0] == 80
    assert bleu(["a b c d <unk>"], [f"a b c d {REFERENCE_UNKNOWN}"]).precisions[0] == 80


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="2 translations of 1 references"):
        bleu(["a", "b"], ["a"])
    for nothing in ([], ["", " "]):
        with pytest.raises(ValueError, match="no words"):
            bleu(nothing, nothing)


def plain_bleu(hypotheses, references):
    correct, total, lengths = [0] * 4, [0] * 4, [0, 0]
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        first, second = hypothesis.split(), reference.split()
        lengths[0] += len(first)
        lengths[1] += len(second)
        for n in range(4):
            runs = [Counter(zip(*(side[k:] for k in range(n + 1)), strict=False)) for side in (first, second)]
            correct[n] += (runs[0] & runs[1]).total()
            total[n] += runs[0].total()
    if 0 in correct:
        return 0.0
    penalty = min(1, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * penalty * math.prod(c / t for c, t in zip(correct, total, strict=True)) ** 0.25


SENTENCES = st.lists(st.sampled_from("abc"), min_size=1, max_size=9).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=5))
def test_it_is_what_its_definition_says(pairs):
    hypotheses, references = zip(*pairs, strict=True)
    assert bleu(hypotheses, references).score == pytest.approx(plain_bleu(hypotheses, references), abs=1e-9)
