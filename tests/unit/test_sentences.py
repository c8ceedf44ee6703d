"""Batches of sentences by tokens (check 29), and what is composed of them."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.data.subwords import END, PAD
from tacit.data.translation import Lines, Pairs
from tacit.training.sentences import MOST_POSITIONS, Sentences, TokenBatches, evaluation_batches


def numbers_of(batches, epoch):
    return [group.numbers for group in batches.of_epoch(epoch, CPU)]


CPU = torch.device("cpu")
LENGTHS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=60)


def sides(lengths):
    source, target = np.array(lengths, np.int64).T
    return source, target


def grouped_plainly(order, source, target, most_tokens):
    """The rule as it is written: as long as (sentences + 1) times the longest of either side has room."""
    batches, batch, longest = [], [], 0
    for number in order:
        longest = max(longest, source[number], target[number])
        if batch and (len(batch) + 1) * longest > most_tokens:
            batches.append(batch)
            batch, longest = [], max(source[number], target[number])
        batch.append(number)
    return [*batches, batch]


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(30, 200), st.integers(0, 5))
def test_every_pair_is_once_in_a_batch_with_room_for_it(lengths, most_tokens, epoch):
    source, target = sides(lengths)
    batches = TokenBatches(source, target, most_tokens=most_tokens, stream=("test",))
    found = [numbers.numpy() for numbers in numbers_of(batches, epoch)]
    assert sorted(np.concatenate(found)) == list(range(len(lengths)))
    assert (len(batches.kept), batches.skipped) == (len(lengths), 0)
    for numbers in found:
        assert len(numbers) * max(source[numbers].max(), target[numbers].max()) <= most_tokens
    # Which of the pairs of equal lengths are together is left to chance, and nothing else.
    expected = grouped_plainly(np.lexsort((target, source)), source, target, most_tokens)
    contents = (
        sorted(sorted((source[number], target[number]) for number in batch) for batch in batches_of)
        for batches_of in (found, expected)
    )
    assert next(contents) == next(contents)
    assert [target[numbers].sum() for numbers in found] == batches.weights(epoch)
    assert len(found) == batches.steps
    for group, numbers in zip(batches.of_epoch(epoch, CPU), found, strict=True):
        expected = (len(numbers), source[numbers].max(), target[numbers].max(), target[numbers].sum())
        assert group.shape == expected


def test_sources_decide_first_and_then_targets():
    source, target = sides([(3, 9), (2, 1), (3, 2), (2, 8)])
    # Room for two: by source and then target they are 1, 3 and 2, 0.
    batches = TokenBatches(source, target, most_tokens=18, stream=("test",))
    assert sorted(numbers.tolist() for numbers in numbers_of(batches, 0)) == [[1, 3], [2, 0]]


def test_epochs_differ_in_which_pairs_come_together_and_when():
    source = target = np.full(50, 10)
    batches = TokenBatches(source, target, most_tokens=100, stream=("run", 3))
    first, again, second = (numbers_of(batches, epoch) for epoch in (0, 0, 1))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    together = [{frozenset(numbers.tolist()) for numbers in epoch} for epoch in (first, second)]
    assert together[0] != together[1]
    other = numbers_of(TokenBatches(source, target, most_tokens=100, stream=("run", 4)), 0)
    assert {frozenset(numbers.tolist()) for numbers in other} != together[0]
    # Batches come in any order of lengths.
    source = target = np.repeat(np.arange(1, 41), 5)
    batches = TokenBatches(source, target, most_tokens=200, stream=("run", 3))
    longest = [shape.source for shape in batches.shapes(0)]
    assert longest != sorted(longest)


def test_with_a_number_of_updates_the_last_epoch_is_cut_short():
    source = target = np.repeat(np.arange(1, 8), 5)
    whole = TokenBatches(source, target, most_tokens=10, stream=("run", 3))
    batches = TokenBatches(source, target, most_tokens=10, stream=("run", 3), updates=2 * whole.steps + 5)
    assert (batches.steps, batches.epochs) == (whole.steps, 3)
    for epoch, count in enumerate((whole.steps, whole.steps, 5)):
        assert [numbers.tolist() for numbers in numbers_of(batches, epoch)] == [
            numbers.tolist() for numbers in numbers_of(whole, epoch)[:count]
        ]
        assert batches.weights(epoch) == whole.weights(epoch)[:count]
    assert TokenBatches(source, target, most_tokens=10, stream=("run", 3), updates=2 * whole.steps).epochs == 2
    with pytest.raises(ValueError, match="without updates"):
        _ = whole.epochs


def test_pairs_beyond_the_positions_are_left_out_and_counted():
    source, target = sides([(MOST_POSITIONS, 2), (MOST_POSITIONS + 1, 2), (2, MOST_POSITIONS + 1), (3, 3)])
    batches = TokenBatches(source, target, most_tokens=4000, stream=("test",))
    assert batches.skipped == 2
    assert sorted(torch.cat(numbers_of(batches, 0)).tolist()) == [0, 3]
    # Nor is any longer than a batch.
    assert TokenBatches(source, target, most_tokens=100, stream=("test",)).skipped == 3
    with pytest.raises(ValueError, match="of 4 pairs none is at most 2 tokens long"):
        TokenBatches(source, target, most_tokens=2, stream=("test",))


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(30, 200), st.one_of(st.none(), st.integers(1, 5)))
def test_evaluation_batches_have_one_source_length(lengths, most_tokens, most_pairs):
    source, target = sides(lengths)
    found = evaluation_batches(source, target, most_tokens=most_tokens, most_pairs=most_pairs)
    assert sorted(np.concatenate(found)) == list(range(len(lengths)))
    for numbers in found:
        assert len(set(source[numbers])) == 1
        assert len(numbers) * max(source[numbers].max(), target[numbers].max()) <= most_tokens
        assert most_pairs is None or len(numbers) <= most_pairs
    # No two could have been one.
    for one, other in itertools.pairwise(found):
        if source[one[0]] == source[other[0]] and len(one) != most_pairs:
            longest = max(source[one[0]], target[one].max(), target[other[0]])
            assert (len(one) + 1) * longest > most_tokens


def test_a_sentence_longer_than_a_batch_is_evaluated_alone():
    found = evaluation_batches(np.array([500, 3, 3]), np.array([2, 2, 2]), most_tokens=100)
    assert [numbers.tolist() for numbers in found] == [[1, 2], [0]]
    assert evaluation_batches(np.array([], int), np.array([], int), most_tokens=100) == []


def lines(sentences):
    return Lines(
        np.array(list(itertools.chain(*sentences)), np.int32), np.cumsum([0, *map(len, sentences)], dtype=np.int64)
    )


def test_sources_are_padded_left_and_targets_right():
    pairs = Pairs(lines([[5, 6, END], [7, END]]), lines([[8, END], [9, 10, 11, END]]))
    sentences = Sentences(CPU, pairs)
    batch = sentences.batch(sentences.group(np.array([0, 1])))
    assert batch.source.tolist() == [[5, 6, END], [PAD, 7, END]]
    assert batch.target.tolist() == [[8, END, PAD, PAD], [9, 10, 11, END]]
    assert batch.previous.tolist() == [[END, 8, PAD, PAD], [END, 9, 10, 11]]
    assert {part.dtype for part in batch} == {torch.int64}


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(30, 200))
def test_batches_of_a_step_hold_their_sentences_and_nothing_else(lengths, most_tokens):
    draw = np.random.default_rng(0)
    texts = [[[*draw.integers(4, 99, length - 1).tolist(), END] for length in side] for side in sides(lengths)]
    pairs = Pairs(*map(lines, texts))
    batches = TokenBatches(*(side.lengths for side in pairs), most_tokens=most_tokens, stream=("test",))
    sentences = Sentences(CPU, pairs)
    assert len(sentences) == len(lengths)
    for group in batches.of_epoch(2, CPU):
        batch = sentences.batch(group)
        for row, number in enumerate(group.numbers.tolist()):
            source, given, target = (part[row].tolist() for part in batch)
            assert source == [PAD] * (len(source) - len(texts[0][number])) + texts[0][number]
            assert target == texts[1][number] + [PAD] * (len(target) - len(texts[1][number]))
            assert given == [END, *texts[1][number][:-1]] + [PAD] * (len(target) - len(texts[1][number]))
        assert group.shape.tokens == (batch.target != PAD).sum()
        assert batch.source.numel() <= most_tokens
        assert batch.target.numel() <= most_tokens
