import pytest

from tacit.settings.mode_trees import level_widths, mode_tree

PATTERNS = ("checkerboard", "half", "checkerboard_sq")


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


def test_half_takes_from_both_halves_in_turn_whatever_the_pool_size():
    assert mode_tree(6, 3, "half").groups == (((0, 3, 1), (4, 2, 5)), ((0, 1),))
    assert mode_tree(8, 4, "half").modes[1] == ((0, 4, 1, 5), (2, 6, 3, 7))
    # Of an odd number the middle one is last, and what is left over is pooled by itself.
    assert mode_tree(7, 3, "half").groups == (((0, 4, 1), (5, 2, 6), (3,)), ((0, 2, 1),))
    assert mode_tree(5, 5, "half").groups == (((0, 3, 1, 4, 2),),)


@pytest.mark.parametrize(
    ("nodes", "pool_size", "expected"),
    [
        # Fewer nodes than a patch are one group.
        (3, 4, [(0, 1, 2)]),
        # A grid of 2 x 2 and nodes behind it.
        (6, 4, [(0, 1, 2, 3), (4, 5)]),
        # 3 x 3: a patch; the last column 2, 5, 8; the last row 6, 7.
        (9, 4, [(0, 1, 3, 4), (2, 5, 8, 6), (7,)]),
        # The same, and a node behind the grid.
        (10, 4, [(0, 1, 3, 4), (2, 5, 8, 6), (7, 9)]),
        # 4 x 4 of patches of 3 x 3: column 3 from the top, then the rest of row 3; the grid is full.
        (16, 9, [(0, 1, 2, 4, 5, 6, 8, 9, 10), (3, 7, 11, 15, 12, 13, 14)]),
        # 5 x 5: four patches; the last column 4, 9, 14, 19, 24; the last row 20 to 23.
        (
            25,
            4,
            [(0, 1, 5, 6), (2, 3, 7, 8), (10, 11, 15, 16), (12, 13, 17, 18), (4, 9, 14, 19), (24, 20, 21, 22), (23,)],
        ),
    ],
)
def test_square_patches_with_remainders(nodes, pool_size, expected):
    assert mode_tree(nodes, pool_size, "checkerboard_sq").groups[0] == tuple(expected)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("order", range(2, 31))
@pytest.mark.parametrize("pool_size", [2, 3, 4, 5, 9])
def test_groups_of_every_pattern_hold_each_node_once(pattern, order, pool_size):
    if pattern == "checkerboard_sq" and pool_size not in (4, 9):
        return
    tree, left = mode_tree(order, pool_size, pattern), order
    for groups in tree.groups:
        assert sorted(node for group in groups for node in group) == list(range(left))
        assert all(len(group) == pool_size for group in groups[:-1]) and 1 <= len(groups[-1]) <= pool_size
        left = len(groups)
    assert left == 1 and sorted(tree.leaf_order) == list(range(order))


def test_pool_sizes_by_level():
    tree = mode_tree(12, [3, 2, 2])
    assert tree.groups == (((0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)), ((0, 1), (2, 3)), ((0, 1),))
    tree = mode_tree(12, [2, 6], "half")
    assert tree.modes[1] == ((0, 6), (1, 7), (2, 8), (3, 9), (4, 10), (5, 11))
    # Six nodes again, and from both halves again.
    assert tree.groups[1] == ((0, 3, 1, 4, 2, 5),)
    # Of 16 nodes, patches of 3 x 3, then what is left of both groups.
    assert mode_tree(16, [9, 4], "checkerboard_sq").levels == 2
    # The pattern is applied anew to as many nodes with another pool size.
    tree = mode_tree(16, [4, 9], "checkerboard_sq")
    assert tree.groups[1] == ((0, 1, 2, 3),)
    for pattern in PATTERNS:
        assert mode_tree(16, [4, 4], pattern) == mode_tree(16, 4, pattern)


def test_one_width_for_each_level():
    tree = mode_tree(8, [4, 2])
    assert level_widths([3, 7], tree, (2,) * 8) == (3, 7)
    assert level_widths(6, tree, (2,) * 8) == (6, 6)
    assert level_widths("max", tree, (2, 3, 2, 2, 2, 2, 2, 5)) == (192, 192)
    with pytest.raises(ValueError, match=r"max would be 1,048,576 channels"):
        level_widths("max", mode_tree(6, 2), (16,) * 6)


def test_square_patches():
    tree = mode_tree(16, 4, "checkerboard_sq")
    assert tree.modes[1] == ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15))
    assert tree.levels == 2


@pytest.mark.parametrize(
    ("order", "pool_size", "pattern", "said"),
    [
        (1, 2, "checkerboard", "at least 2 modes"),
        (4, 1, "checkerboard", "at least 2 nodes"),
        (16, 3, "checkerboard_sq", "pool_size = 3: checkerboard_sq pools square patches"),
        (16, [4, 2], "checkerboard_sq", "pool_size = 2: checkerboard_sq pools square patches"),
        (8, [2, 1, 2], "checkerboard", "pool_size = 1: at least 2 nodes"),
        (8, [2, 2], "half", "of 8 modes 2 nodes are left after 2 levels; one pool size is needed for each level"),
        (8, [2], "half", "of 8 modes 4 nodes are left after 1 level;"),
        (8, [8, 2], "checkerboard", "of 8 modes one node is left after 1 level; leave out the rest"),
    ],
)
def test_what_does_not_fit_is_refused(order, pool_size, pattern, said):
    with pytest.raises(ValueError, match=said):
        mode_tree(order, pool_size, pattern)
