"""What was imported of Tacit: its very source, as it was read.

Python takes compiled code that it kept for that of a source of the same size and second, and a source that was changed
for a moment, just then, is gone when anyone looks. So modules of Tacit are compiled from their source each time, and
the source is remembered, for a job to compare with the code that was planned.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

sources: dict[Path, str] = {}
"""Source of what was imported, by file."""


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        content = self.get_data(path)
        sources[Path(path)] = importlib.util.decode_source(content)
        return self.source_to_code(content, path)


class _Finder:
    """Finds modules of one package where Python does, and has them loaded as said above."""

    def __init__(self, package: str):
        self._prefix = f"{package}."

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(self._prefix):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def watch(package: str) -> None:
    """Have modules below `package`, from now on, imported from their source, which is remembered."""
    sys.meta_path.insert(0, _Finder(package))
