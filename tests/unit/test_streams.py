import numpy as np
import pytest
import torch

from tacit import streams


def test_a_name_gives_the_same_numbers_again():
    first, second = (streams.numpy_generator("pathfinder", 3, 9).random(8) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("other", [("a", 2), ("a1",), ("a", "1"), ("a",), (1, "a"), ("b", 1)])
def test_names_that_differ_in_any_way_give_other_numbers(other):
    assert streams.key("a", 1) != streams.key(*other)


def test_counters_are_positions_of_one_stream_that_never_overlap():
    key = streams.key("images")
    numbers = np.concatenate([streams.philox(key, counter).random(1000) for counter in range(20)])
    assert len(np.unique(numbers)) == len(numbers)
    np.testing.assert_array_equal(numbers[7000:8000], streams.philox(key, 7).random(1000))


def test_a_longer_block_begins_with_the_shorter_one():
    key = streams.key("images")
    np.testing.assert_array_equal(streams.philox(key, 5).random(4096)[:100], streams.philox(key, 5).random(100))


def test_streams_are_uniform_and_uncorrelated():
    key = streams.key("images")
    draws = np.stack([streams.philox(key, counter).random(2000) for counter in range(50)])
    assert abs(draws.mean() - 0.5) < 4 / np.sqrt(12 * draws.size)
    correlations = np.corrcoef(draws)[np.triu_indices(50, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)


def test_torch_generators_follow_the_name():
    first, second, other = (torch.rand(4, generator=streams.torch_generator("init", k)) for k in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("part", [0.1, True, None, ("a",)])
def test_names_of_other_kinds_are_refused(part):
    with pytest.raises(TypeError, match="text and whole numbers"):
        streams.key("a", part)
