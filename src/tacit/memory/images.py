"""Image sets."""

from __future__ import annotations

from tacit.memory import NUMPY, total
from tacit.settings.images import FACTS


def image_set(source: str, size: int) -> int:
    """Return the bytes of all images of a source at `size` px."""
    return FACTS[source].num_bytes(size)


def convert(source: str, size: int) -> int:
    """Published files as they are read, their images twice (parts and whole), and resized."""
    return total(NUMPY, 3 * image_set(source, FACTS[source].side) + image_set(source, size))
