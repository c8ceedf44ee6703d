"""The order of images and weights in memory."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from tacit.nn import layout, resnets
from tacit.settings.networks import Network

CPU, GPU = torch.device("cpu"), torch.device("cuda")
BOTH = (torch.contiguous_format, torch.channels_last)

# Ends, hangs or passes by chance where the order is unsound, so it runs many times, and in a process of its own.
PASSES = """
import torch
from tacit.nn import layout, resnets
from tacit.nn.double_backward import adapt
from tacit.settings.networks import Network

torch.set_num_threads(1)

def learn(network, images, passes):
    order = layout.memory_format(network, torch.device("cpu"))
    network.to(memory_format=order)
    for _ in range(passes):
        own = layout.arranged(images, order).requires_grad_()
        network(own).square().sum().backward()

for channels in range(1, 18):
    for stride in (2, (1, 2)):
        convolution = torch.nn.Conv2d(channels, 2 * channels, 1, stride=stride, bias=False)
        learn(torch.nn.Sequential(convolution), torch.rand(16, channels, 16, 16), 60)
for width in (2, 4, 7, 12):
    network = resnets.build(Network(name="resnet8", width=width, stem_stride=1), in_channels=1)
    learn(network, torch.rand(16, 1, 16, 16), 15)
    learn(adapt(network), torch.rand(16, 1, 16, 16), 5)
print("sound")
"""


def test_no_convolution_runs_in_an_order_in_which_it_writes_beyond_its_memory():
    done = subprocess.run(
        [sys.executable, "-c", PASSES],
        # Has the C library look at its memory, and end the process, at once.
        env=os.environ | {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "sound\n"), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("convolution", "expected"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), torch.contiguous_format),
        (nn.Conv2d(15, 8, 1, stride=(1, 2)), torch.contiguous_format),
        (nn.Conv2d(32, 8, 1, stride=2, groups=8), torch.contiguous_format),
        (nn.Conv2d(16, 8, 1, stride=2), torch.channels_last),
        (nn.Conv2d(4, 8, 1, stride=1), torch.channels_last),
        (nn.Conv2d(4, 8, 3, stride=2), torch.channels_last),
    ],
)
def test_narrow_1x1_convolutions_with_a_stride_lie_plainly_on_a_processor(convolution, expected):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(convolution))
    assert layout.memory_format(network, CPU) == expected
    assert layout.memory_format(network, GPU) == torch.channels_last
    assert layout.memory_format(network, CPU, channels_last=False) == torch.contiguous_format


def test_the_published_network_and_that_of_the_demo_keep_their_order():
    for network in (Network(name="resnet18"), Network(name="resnet8", width=16)):
        assert layout.memory_format(resnets.build(network, in_channels=1), CPU) == torch.channels_last


@pytest.mark.parametrize("order", BOTH)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_the_strides_of_the_order_also_with_one_channel(order, channels):
    for images in (torch.rand(5, channels, 6, 7), torch.rand(5, 6, 7, channels).permute(0, 3, 1, 2)):
        found = layout.arranged(images, order)
        assert torch.equal(found, images)
        assert found.stride() == torch.empty(5, channels, 6, 7, memory_format=order).stride()
        # What a convolution goes by.
        plain = nn.Conv2d(channels, 20, 3)(found)
        assert plain.is_contiguous(memory_format=order)
