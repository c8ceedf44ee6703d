"""Settings of the CNNs that can be untied (Sanford, Ardeshir, Hsu 2022; d'Ascoli, Sagun, Bruna, Biroli 2019)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from tacit.settings.base import Settings


class Convolution(NamedTuple):
    """A convolution behind zero padding and before a ReLU, and whether max-pooling (3 x 3, 2 apart) follows."""

    widths: int
    """Output channels, in multiples of the width."""
    kernel: int
    stride: int
    padding: int
    pooled: bool


class Layout(NamedTuple):
    """What a CNN is made of."""

    convolutions: tuple[Convolution, ...]
    hidden: tuple[int, ...]
    """Units of the hidden linear layers, each behind dropout, in multiples of the width."""


LAYOUTS = {
    "skinny": Layout(
        (Convolution(1, 4, 2, 2, True), Convolution(1, 5, 1, 2, True), Convolution(1, 3, 1, 1, True)),
        (),
    ),
    "alexnet": Layout(
        (
            Convolution(1, 4, 2, 2, True),
            Convolution(3, 5, 1, 2, True),
            Convolution(6, 3, 1, 1, False),
            Convolution(4, 3, 1, 1, False),
            Convolution(4, 3, 1, 1, True),
        ),
        (8, 8),
    ),
}
POOL, POOL_STRIDE = 3, 2


class Architecture(Settings):
    """A convolutional network, and with it the locally and the fully connected one it can become."""

    name: Literal["skinny", "alexnet"]
    """skinny: three convolutions of one width; alexnet: five of growing width, two hidden layers, dropout."""
    width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels of the first convolution."""

    @property
    def layout(self) -> Layout:
        """Its layers."""
        return LAYOUTS[self.name]

    def sides(self, side: int) -> list[tuple[int, int, int]]:
        """Return, for images of `side` px, those of each convolution's input, output, and output behind its pooling.

        Raises ValueError if images are too small.
        """
        found, given = [], side
        for conv in self.layout.convolutions:
            made = (given + 2 * conv.padding - conv.kernel) // conv.stride + 1
            left = (made - POOL) // POOL_STRIDE + 1 if conv.pooled else made
            if left < 1:
                raise ValueError(f"images of {side} px are too small for {self.name}; choose a larger size of images")
            found.append((given, made, left))
            given = left
        return found

    def final_side(self, side: int) -> int:
        """Return the side of the last map for images of `side` px; raises ValueError if they are too small."""
        return self.sides(side)[-1][-1]
