"""Ranks and the scales that meet a target, against published tables and networks that are built."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tacit.nn import rank_solver
from tacit.nn.factorizing import factorize, selected
from tacit.nn.rank_solver import Solution, convolution_rank, matrix_rank, multiply_add_cost, parameter_cost, solve
from tacit.nn.scaled_convnets import ScaledConvNet, in_blocks
from tacit.nn.vgg import VGG, after_the_first
from tacit.nn.wide_resnets import WideResNet, in_groups


def conv(inputs, outputs, kernel=3):
    return nn.Conv2d(inputs, outputs, kernel, bias=False)


def resnet32(classes):
    return ScaledConvNet(32, width=64, in_channels=3, num_classes=classes, kaiming=True, projected=True)


def vgg19(classes):
    return VGG(19, width=64, side=32, in_channels=3, num_classes=classes)


def wide_resnet(classes):
    """WRN-28-10."""
    return WideResNet(28, width=10, in_channels=3, num_classes=classes)


SELECTED = {resnet32: in_blocks, vgg19: after_the_first, wide_resnet: in_groups}


def cost_of(build, classes):
    with torch.device("meta"):
        model = build(classes)
    layers = selected(model, SELECTED[build])
    return parameter_cost(model, layers.values()), layers


SIZES = {
    (resnet32, 10): (7_427_914, 14_154, 32),
    (resnet32, 100): (7_451_044, 37_284, 32),
    (resnet32, 200): (7_476_744, 62_984, 32),
    (vgg19, 10): (20_035_018, 17_866, 15),
    (vgg19, 100): (20_081_188, 64_036, 15),
    (vgg19, 200): (20_132_488, 115_336, 15),
    (wide_resnet, 10): (36_479_194, 24_794, 27),
}

# Target, scale, parameters, ratio, ranks of 3 x 3 and of 1 x 1 convolutions from few channels to many.
SOLVED = {
    (resnet32, 10): [
        (0.02, 0.0087890625, 150_090, 0.0202, [2, 3, 7], [1, 2]),
        (0.05, 0.02392578125, 373_194, 0.0502, [5, 9, 18], [3, 6]),
        (0.10, 0.0478515625, 743_370, 0.1001, [9, 18, 37], [6, 12]),
    ],
    (resnet32, 100): [
        (0.02, 0.00732421875, 154_404, 0.0207, [1, 3, 6], [1, 2]),
        (0.05, 0.02197265625, 370_020, 0.0497, [4, 8, 17], [3, 6]),
        (0.10, 0.046875, 751_524, 0.1009, [9, 18, 36], [6, 12]),
    ],
    (resnet32, 200): [
        (0.05, 0.0205078125, 380_360, 0.0509, [4, 8, 16], [3, 5]),
        (0.10, 0.04541015625, 754_760, 0.1009, [9, 17, 35], [6, 12]),
        (0.15, 0.0693359375, 1_117_448, 0.1495, [13, 27, 53], [9, 18]),
    ],
    (vgg19, 10): [
        (0.02, 0.00927734375, 397_642, 0.0198, [2, 4, 7, 14], []),
        (0.05, 0.023681640625, 992_650, 0.0495, [5, 9, 18, 36], []),
        (0.10, 0.047607421875, 1_996_618, 0.0997, [9, 18, 37, 73], []),
    ],
    (vgg19, 100): [
        (0.02, 0.00830078125, 412_900, 0.0206, [2, 3, 6, 13], []),
        (0.05, 0.022705078125, 1_008_868, 0.0502, [4, 9, 17, 35], []),
        (0.10, 0.046875, 2_013_220, 0.1003, [9, 18, 36, 72], []),
    ],
    (vgg19, 200): [
        (0.02, 0.007080078125, 410_440, 0.0204, [1, 3, 5, 11], []),
        (0.05, 0.021484375, 1_005_448, 0.0499, [4, 8, 16, 33], []),
        (0.10, 0.0458984375, 2_011_144, 0.0999, [9, 18, 35, 70], []),
    ],
    (wide_resnet, 10): [
        (0.01667, 0.00756836, 610_282, 0.016730, [4, 7, 15], [1, 2, 5]),
        (0.06667, 0.03198242, 2_435_034, 0.066751, [15, 31, 61], [5, 10, 20]),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("build", "classes"), SIZES)
def test_scales_sizes_and_ranks_are_the_published_ones(build, classes):
    cost, layers = cost_of(build, classes)
    assert (cost.dense, cost.rest, len(cost.layers)) == SIZES[build, classes]
    for target, scale, parameters, ratio, ranks, of_shortcuts in SOLVED[build, classes]:
        found = solve(cost, target)
        digits = 8 if build is wide_resnet else 12
        assert round(found.rank_scale, digits) == round(scale, digits)
        assert found.amount == parameters and found.ratio == parameters / cost.dense
        assert round(found.ratio, 6 if build is wide_resnet else 4) == ratio
        by_kernel = {3: {}, 1: {}}
        for layer in layers.values():
            rank = rank_solver.layer_rank(layer, found.rank_scale)
            assert by_kernel[layer.kernel_size[0]].setdefault(layer.out_channels, rank) == rank
        assert list(by_kernel[3].values()) == ranks and list(by_kernel[1].values()) == of_shortcuts


RESNETS = {
    20: (269_722, 23_482, 63_850, 188_314, 560_026, 1_675_162, 5_020_570, 850_330),
    32: (464_154, 38_970, 107_370, 318_234, 947_994, 2_837_274, 8_505_114, 1_431_834),
    44: (658_586, 54_458, 150_890, 448_154, 1_335_962, 3_999_386, 11_989_658, 2_013_338),
    56: (853_018, 69_946, 194_410, 578_074, 1_723_930, 5_161_498, 15_474_202, 2_594_842),
    110: (1_727_962, 139_642, 390_250, 1_162_714, 3_469_786, 10_391_002, 31_154_650, 5_211_610),
}


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("depth", RESNETS)
def test_residual_networks_are_of_the_published_sizes(depth, classes):
    with torch.device("meta"):
        model = ScaledConvNet(depth, width=16, delta_exponent=0.0, in_channels=3, num_classes=classes)
    layers = selected(model, lambda name, module: name.startswith("blocks") and isinstance(module, nn.Conv2d))
    assert len(layers) == depth - 2
    assert list(layers) == list(selected(model))
    two, three = (parameter_cost(model, layers.values(), factors=factors) for factors in (2, 3))
    found = [two.dense, *map(two.at, (0.037, 0.111, 0.333, 1.0, 3.0, 9.0)), three.at(1.0)]
    assert found == [size + 5_850 * (classes == 100) for size in RESNETS[depth]]


def test_ranks():
    table = {0.037: (2, 4, 7), 0.111: (5, 11, 21), 0.333: (16, 32, 64), 1.0: (48, 96, 192), 9.0: (432, 864, 1728)}
    for scale, ranks in table.items():
        assert tuple(convolution_rank(scale, width, 3) for width in (16, 32, 64)) == ranks
    # Ties go to the even number, and a convolution keeps a rank of 1.
    assert [convolution_rank(0.25, outputs, 1) for outputs in (10, 14, 1, 2)] == [2, 4, 1, 1]
    assert [matrix_rank(0.5, rows, 7) for rows in (3, 5, 1, 100)] == [2, 2, 0, 4]
    assert matrix_rank(0.5, 1024, 256) == matrix_rank(0.5, 256, 1024) == 128


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, (3, 2), stride=(2, 1), padding=(1, 0), bias=False),
        nn.Conv2d(12, 6, 1, stride=2),
        nn.Conv2d(6, 8, (1, 3), stride=(2, 1), padding=(0, 1), dilation=(1, 2)),
        nn.Flatten(),
        nn.Linear(8 * 3 * 4, 10),
    )


def everything(name, module):
    return True


@pytest.mark.parametrize("factors", [2, 3])
def test_what_is_counted_is_what_is_built(factors):
    cost = parameter_cost(small(), selected(small(), everything).values(), factors=factors)
    for scale in (0.06, 0.31, 0.5, 0.77, 1.0, 2.4):
        made = factorize(small(), select=everything, rank_scale=scale, factors=factors)
        assert cost.at(scale) == made.parameters == sum(parameter.numel() for parameter in made.model.parameters())
        assert made.dense_parameters == sum(parameter.numel() for parameter in small().parameters())


def test_a_ratio_never_falls_with_the_scale():
    cost, _ = cost_of(vgg19, 10)
    ratios = [cost.ratio(scale / 500) for scale in range(501)]
    assert ratios == sorted(ratios) and ratios[0] < 0.005 and ratios[-1] > 1


def multiplications(model, example):
    with FlopCounterMode(display=False) as counter:
        model(example)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("factors", [2, 3])
def test_multiply_adds_are_those_that_pytorch_counts(factors):
    model, example = small(), torch.randn(5, 3, 18, 13)
    cost = multiply_add_cost(model, selected(model, everything), example, factors=factors)
    assert cost.dense == multiplications(model, example)
    for scale in (0.1, 0.5, 0.9):
        made = factorize(model, select=everything, rank_scale=scale, factors=factors).model
        assert cost.at(scale) == multiplications(made, example)
    part = multiply_add_cost(model, selected(model), example)
    assert part.rest > 0 and part.at(0.5) == multiplications(factorize(model, rank_scale=0.5).model, example)


def test_a_target_in_multiply_adds_is_met():
    model = ScaledConvNet(20, width=16, delta_exponent=0.0, in_channels=3, num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost = multiply_add_cost(model, selected(model), torch.empty(1, 3, 32, 32))
    assert cost.dense == multiplications(model.eval(), torch.empty(1, 3, 32, 32)) == 40_551_040
    found = solve(cost, 0.3)
    assert abs(found.ratio - 0.3) < 0.02
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_that_is_used_twice_works_twice_and_embeddings_by_their_lookups():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mix = nn.Embedding(30, 8), nn.Linear(8, 8)

        def forward(self, numbers):
            return self.mix(self.mix(self.table(numbers)))

    model, numbers = Text(), torch.arange(12).view(3, 4)
    cost = multiply_add_cost(model, selected(model, everything), numbers)
    assert cost.dense == 2 * 12 * 64
    assert cost.at(0.5) == 4 * 12 * 8 + 2 * 12 * 4 * 16


def test_the_bisection_is_the_published_one():
    """Its midpoints, and the best of them, the earliest of equals."""
    layer = nn.Conv2d(1, 10, 1, bias=False)
    cost = rank_solver.Cost((rank_solver.LayerCost(layer, 128, 16),), 0)
    # 0.5 gives rank 5, 0.75 8, 0.625 6, 0.5625 6; the first target lies exactly half way from 5 to 6.
    assert solve(cost, 0.6875) == Solution(0.5, 80, 0.625)
    assert solve(cost, 0.75) == Solution(0.625, 96, 0.75)
    # By the time an interval is shorter than the tolerance there were 21 midpoints.
    asked = []

    class Recorded(rank_solver.Cost):
        def ratio(self, rank_scale):
            asked.append(rank_scale)
            return super().ratio(rank_scale)

    solve(Recorded(cost.layers, 0), 0.6875)
    assert asked[2:6] == [0.5, 0.75, 0.625, 0.5625] and len(asked) == 2 + 21


@pytest.mark.parametrize("target", [0, 1, -0.1, 1.5, float("nan"), 0.001])
def test_targets_out_of_reach_are_refused(target):
    cost, _ = cost_of(resnet32, 10)
    with pytest.raises(ValueError, match=r"ratio = .*(between 0 and 1|leads to ratios)"):
        solve(cost, target)
    with pytest.raises(ValueError, match="no layer"):
        solve(rank_solver.Cost((), 10), 0.5)
