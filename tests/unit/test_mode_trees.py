import pytest

from tacit.settings.mode_trees import mode_tree


def test_pairs_of_neighbours_up_to_the_root():
    tree = mode_tree(4, 2)
    assert tree.groups == (((0, 1), (2, 3)), ((0, 1),))
    assert tree.modes == (((0,), (1,), (2,), (3,)), ((0, 1), (2, 3)), ((0, 1, 2, 3),))
    assert tree.levels == 2
    assert [tree.label(level, node) for level, node in tree.inner_nodes()] == ["1_2", "3_4", "1_2_3_4"]


def test_a_left_over_node_is_pooled_by_itself_and_named_with_its_level():
    tree = mode_tree(5, 2)
    assert tree.groups == (((0, 1), (2, 3), (4,)), ((0, 1), (2,)), ((0, 1),))
    labels = [tree.label(level, node) for level, node in tree.inner_nodes()]
    assert labels == ["1_2", "3_4", "5_level1", "1_2_3_4", "5_level2", "1_2_3_4_5"]


@pytest.mark.parametrize("order", range(2, 20))
@pytest.mark.parametrize("pool_size", range(2, 6))
def test_as_many_levels_as_divisions_until_one_is_left(order, pool_size):
    tree, left, levels = mode_tree(order, pool_size), order, 0
    while left > 1:
        left, levels = -(-left // pool_size), levels + 1
    assert tree.levels == levels
    assert sorted(tree.leaf_order) == list(range(order))


def test_half_pools_each_node_with_the_one_half_the_nodes_further():
    assert mode_tree(4, 2, "half").modes[1] == ((0, 2), (1, 3))
    assert mode_tree(5, 2, "half").modes[1] == ((0, 3), (1, 4), (2,))
    assert mode_tree(4, 2, "half").leaf_order == (0, 2, 1, 3)


def test_square_patches():
    tree = mode_tree(16, 4, "checkerboard_sq")
    assert tree.modes[1] == ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15))
    assert tree.levels == 2


@pytest.mark.parametrize(
    ("order", "pool_size", "pattern", "said"),
    [
        (1, 2, "checkerboard", "at least 2 modes"),
        (4, 1, "checkerboard", "at least 2 nodes"),
        (6, 3, "half", "pools 2 nodes"),
        (6, 4, "checkerboard_sq", "6 nodes do not make a square grid"),
        (9, 4, "checkerboard_sq", "9 nodes do not make"),
        (16, 3, "checkerboard_sq", "square patches of 3"),
    ],
)
def test_what_does_not_fit_is_refused(order, pool_size, pattern, said):
    with pytest.raises(ValueError, match=said):
        mode_tree(order, pool_size, pattern)
