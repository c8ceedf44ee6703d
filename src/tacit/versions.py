"""The versions that a result was made with."""

from __future__ import annotations

from importlib.metadata import version

from tacit import processors


def of_libraries() -> dict[str, str]:
    """Return the versions of Tacit and of the libraries that decide numbers, by name, and `computed_on`.

    The latter is one for all processors that are held (`tacit.processors`), so that their files are the same.
    """
    found = {f"version_{name}": version(name) for name in ("tacit", "torch", "torchvision", "numpy")}
    return found | {"computed_on": processors.computed_on()}
