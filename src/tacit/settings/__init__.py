"""All settings of the workflow: strict, immutable, and light to import (no torch).

`load` merges a configuration (config.yaml and what the command line adds) over the files of the scale it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from tacit.settings import yaml_files
from tacit.settings.base import MOST_LEVELS, Count, Folder, Settings, SettingsError, parse, short, suggest
from tacit.settings.compressed import CompressedSettings
from tacit.settings.depth_cifar import DepthCifarSettings
from tacit.settings.depth_limit import DepthLimitSettings
from tacit.settings.factorized import FactorizedSettings
from tacit.settings.norms import NormsSettings
from tacit.settings.pathfinder import PathfinderSettings
from tacit.settings.rank_dynamics import RankDynamicsSettings
from tacit.settings.same_class import SameClassSettings
from tacit.settings.translation import TranslationSettings
from tacit.settings.untied import UntiedSettings

__all__ = ["Configuration", "SettingsError", "load"]


class Configuration(Settings):
    """What a user chooses, and the settings of every study at the chosen scale."""

    scale: str
    device: Literal["auto", "cpu", "cuda"]
    processor: Literal["common", "native"]
    gpus_per_run: Annotated[int, Field(ge=0, le=1000)]
    gpu_slots: Annotated[int, Field(ge=1, le=1000)]
    checkpoint_epochs: Count
    checkpoint_seconds: Annotated[float, Field(ge=0, le=1e9)]
    extendable: bool
    tensorboard: bool
    partial: bool
    accept_older_code: bool
    images_folder: Folder
    download_images: bool
    texts_folder: Folder
    pathfinder: PathfinderSettings
    same_class: SameClassSettings
    rank_dynamics: RankDynamicsSettings
    norms: NormsSettings
    untied: UntiedSettings
    depth_limit: DepthLimitSettings
    depth_cifar: DepthCifarSettings
    factorized: FactorizedSettings
    compressed: CompressedSettings
    translation: TranslationSettings


STUDIES = tuple(
    name
    for name, field in Configuration.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
)
"""Names of the blocks that each scale has a file of."""


def load(
    config: Mapping[str, Any], scales: str | Path, *, files: Iterable[str | Path] = (), source: str = "config"
) -> Configuration:
    """Return the settings that `config` asks for, over those of `files` in turn, over those of the scale they name.

    Scales are folders in the folder `scales`, with a file a study. Blocks of studies override single keys of what they
    are over. In `config`, which errors call `source`, text that spells a number or a truth value is taken as one,
    because Snakemake hands on much of what the command line gives as text; in files a quoted number is text. Raises
    SettingsError with one message that says, of each mistake, where it is and what is allowed.
    """
    layers = [(yaml_files.shown(file), yaml_files.read(file)) for file in files]
    layers.append((source, _read_text(config, source)))
    over: dict[str, Any] = {}
    for _, layer in layers:
        over = _merged(over, layer)
    scales = Path(scales)
    allowed = sorted({path.parent.name for path in scales.glob("*/*.yaml")})
    scale = over.get("scale")
    if not isinstance(scale, str) or scale not in allowed:
        where = next((name for name, layer in reversed(layers) if "scale" in layer), source)
        said = repr(scale[:60]) if isinstance(scale, str) else short(scale)
        raise SettingsError(f"{where}: scale = {said}: no such scale; {suggest(said, allowed)}", "scale")
    base, holder = _read_scale(scales / scale)

    def source_of(path: tuple[Any, ...]) -> str:
        # What is missing in a list is missing where the list stands.
        of_list = next((path[:place] for place, part in enumerate(path) if isinstance(part, int)), path)
        for name, layer in reversed(layers):
            if _has(layer, path) or _has(layer, of_list):
                return name
        # The blocks of studies are a scale's, all else is of the configuration.
        study = str(path[0]) if path else ""
        return holder.get(study) or (
            yaml_files.shown(scales / scale / f"{study}.yaml") if study in STUDIES else layers[0][0]
        )

    return parse(Configuration, _merged(base, over), source_of=source_of)


def _read_scale(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the blocks of the studies at a scale, and the file in `folder` that each is in.

    Raises SettingsError if a file holds anything but the block of the study that it is named after.
    """
    base: dict[str, Any] = {}
    holder: dict[str, str] = {}
    for path in sorted(folder.glob("*.yaml")):
        study, file = path.stem, yaml_files.shown(path)
        if study not in STUDIES:
            raise SettingsError(f"{file}: there is no study of this name; {suggest(study, STUDIES)}", study)
        block = yaml_files.read(path)
        if stray := [name for name in block if name != study]:
            raise SettingsError(f"{file}: {stray[0]}: unknown key; {suggest(stray[0], [study])}", stray[0])
        base |= block
        holder[study] = file
    return base, holder


def _read_text(value: Any, source: str, path: tuple[str, ...] = ()) -> Any:
    """Return `value` with all text in it turned into the number or truth value that it spells, if any."""
    if len(path) > MOST_LEVELS:
        raise SettingsError(f"{source}: {'.'.join(path[:3])}: blocks and lists are nested too deep")
    if isinstance(value, Mapping):
        return {name: _read_text(inner, source, (*path, str(name))) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_read_text(inner, source, (*path, str(place))) for place, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return yaml_files.scalar(value)
    except ValueError as error:
        key = ".".join(path)
        raise SettingsError(f"{source}: {key} = {value[:60]}: {error}", key) from None


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
