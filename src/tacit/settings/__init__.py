"""All settings of the workflow: strict, immutable, and light to import (no torch).

`load` merges a configuration (config.yaml and what the command line adds) over the file of the scale it names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from tacit.settings.base import Count, Folder, NonNegative, NonNegativeInt, Settings, SettingsError, parse, suggest
from tacit.settings.norms import NormsSettings
from tacit.settings.pathfinder import PathfinderSettings
from tacit.settings.rank_dynamics import RankDynamicsSettings
from tacit.settings.same_class import SameClassSettings
from tacit.settings.untied import UntiedSettings

__all__ = ["Configuration", "SettingsError", "load"]


class Configuration(Settings):
    """What a user chooses, and the settings of every study at the chosen scale."""

    scale: str
    device: Literal["auto", "cpu", "cuda"]
    gpus_per_run: NonNegativeInt
    gpu_slots: Count
    checkpoint_epochs: Count
    checkpoint_seconds: NonNegative
    partial: bool
    images_folder: Folder
    download_images: bool
    pathfinder: PathfinderSettings
    same_class: SameClassSettings
    rank_dynamics: RankDynamicsSettings
    norms: NormsSettings
    untied: UntiedSettings


def load(config: Mapping[str, Any], scales: str | Path) -> Configuration:
    """Return the settings that `config` asks for, over those of its scale in the folder `scales`.

    Blocks of studies in `config` override single keys of the scale. Text that spells a number or a truth value is
    taken as one, because Snakemake hands on much of what the command line gives as text. Raises SettingsError with
    one message that says, of each mistake, where it is and what is allowed.
    """
    config = _read_text(config)
    scales = Path(scales)
    allowed = sorted(path.stem for path in scales.glob("*.yaml"))
    scale = config.get("scale")
    if scale not in allowed:
        raise SettingsError(f"config: scale = {scale!r}: no such scale; {suggest(str(scale), allowed)}")
    file = scales / f"{scale}.yaml"
    base = _read(file)
    if stray := [name for name in base if name not in Configuration.model_fields]:
        names = [name for name in Configuration.model_fields if name not in config or name in base]
        raise SettingsError(f"{file}: {stray[0]}: unknown key; {suggest(stray[0], names)}")

    def source_of(path: tuple[Any, ...]) -> str:
        return "config" if _has(config, path) or not _has(base, path[:1]) else str(file)

    return parse(Configuration, _merged(base, config), source_of=source_of)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: must hold one block of settings for each study")
    return content


def _read_text(value: Any) -> Any:
    """Return `value` with all text in it turned into the number or truth value that it spells, if any."""
    if isinstance(value, Mapping):
        return {name: _read_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_read_text(inner) for inner in value]
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(value)
    return value


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top; blocks are merged key by key, everything else is replaced.

    So is a block that names another `source`: what the rest of it said was about the one in `base`.
    """
    if "source" in over and over["source"] != base.get("source"):
        return dict(over)
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _has(values: Any, path: tuple[Any, ...]) -> bool:
    """Tell whether nested blocks and lists hold something at `path`."""
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
