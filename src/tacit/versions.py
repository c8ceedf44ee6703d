"""The versions that a result was made with."""

from __future__ import annotations

from importlib.metadata import version


def of_libraries() -> dict[str, str]:
    """Return the versions of Tacit and of the libraries that decide numbers, by name."""
    return {f"version_{name}": version(name) for name in ("tacit", "torch", "torchvision", "numpy")}
