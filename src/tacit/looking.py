"""The commands that look at files: `show`, `plot` and `export`, with what they are told on the command line."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from tacit.errors import UserError

_MANY = ("y", "by", "log", "labels", "colours", "horizontal", "vertical", "x_ticks", "y_ticks")
_SINGLE = (
    "x", "spread", "value", "start", "stop", "least_loss", "loss", "factor", "x_label", "y_label",
)  # fmt: skip


def add_commands(commands: Any) -> None:
    """Add the commands to those of a parser (what its `add_subparsers` returned)."""
    shown = commands.add_parser("show", help="say what is in a file: settings, code, what is recorded, last values")
    shown.add_argument("files", nargs="+", metavar="FILE.h5")
    _add_plot(commands.add_parser("plot", help="draw what any runs recorded, and write the numbers beside"))
    exported = commands.add_parser("export", help="write images as PNG, with a table of what they are")
    exported.add_argument("file", metavar="FILE.h5", help="raw Pathfinder images, a Pathfinder dataset, or pairs")
    exported.add_argument("folder", metavar="FOLDER")
    exported.add_argument("--first", type=int, metavar="N", help="so many images, of each part; default: all")
    exported.add_argument("--images", metavar="FILE.h5", help="of pairs: the image set that they are of")
    exported.add_argument("--distance", type=int, default=0, metavar="PX", help="of pairs: between the two images")
    exported.add_argument("--canvas", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="default: just large enough")


def _add_plot(plotted: argparse.ArgumentParser) -> None:
    add = plotted.add_argument
    add("runs", nargs="+", metavar="RUN.h5", help="runs, or one YAML file that describes a figure (--keep writes one)")
    add("-o", "--output", required=True, metavar="OUT.pdf", help="the numbers go beside it, as OUT.csv")
    add("--y", nargs="+", metavar="NAME", help="a panel for each; NAME+NAME share one; * stands for any letters")
    add("--x", metavar="NAME", help="epoch, step, iteration, layer, a quantity, a setting; default: as it was recorded")
    add(
        "--by",
        nargs="*",
        metavar="SETTING",
        help="what tells lines apart; default: all that differs but seeds",
    )
    add("--spread", choices=["interval", "std", "quartiles", "range", "each"], help="over seeds; default: interval")
    add("--components", metavar="all|mean|N", help="of quantities with several, a line each, the mean, the first N")
    add("--value", choices=["last", "least", "greatest"], help="of y against a setting; default: last")
    add("--start", type=float, metavar="X", help="least x")
    add("--stop", type=float, metavar="X", help="greatest x")
    add("--least-loss", type=float, metavar="LOSS", help="lines end with the first loss below this")
    add("--loss", metavar="NAME", help="the loss that is meant; default: train_loss")
    add("--factor", type=float, help="by which y is multiplied, as 100 for per cent")
    add("--log", nargs="+", choices=["x", "y"], help="axes with a logarithmic scale")
    add("--x-limits", nargs=2, type=float, metavar=("LEFT", "RIGHT"))
    add("--y-limits", nargs=2, type=float, metavar=("BOTTOM", "TOP"))
    add("--x-ticks", nargs="+", type=float, metavar="X")
    add("--y-ticks", nargs="+", type=float, metavar="Y")
    add("--horizontal", nargs="+", type=float, metavar="Y", help="where dashed lines are drawn")
    add("--vertical", nargs="+", type=float, metavar="X")
    add("--titles", nargs="+", metavar="TEXT", help="one for each panel")
    add("--x-label", metavar="TEXT")
    add("--y-label", metavar="TEXT")
    add("--labels", nargs="+", metavar="TEXT", help="of the lines, in the order of the legend")
    add("--colours", nargs="+", metavar="COLOUR", help="of the lines: names, or #rrggbb")
    add("--columns", type=int, metavar="N", help="panels side by side")
    add("--height", type=float, metavar="INCHES")
    add("--keep", metavar="FIGURE.yaml", help="write down what was asked for, to be edited and drawn again")


def run(arguments: argparse.Namespace) -> int:
    """Do what one of these commands is told; return the exit status."""
    try:
        if arguments.command == "show":
            _show(arguments.files)
        elif arguments.command == "plot":
            _plot(arguments)
        else:
            _export(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _show(files: list[str]) -> None:
    from tacit import inspection

    width = max(shutil.get_terminal_size((110, 40)).columns, 60)
    print("\n\n".join(inspection.describe(path, width=width) for path in files))


def _plot(arguments: argparse.Namespace) -> None:
    from tacit import provenance, store
    from tacit.figures import runs as pictures
    from tacit.figures import style
    from tacit.settings.run_figures import RunFigure
    from tacit.studies import gathered

    out = Path(arguments.output)
    if out.suffix != ".pdf":
        raise UserError(f"{out}: figures are PDF files, with a name that ends in .pdf (a PNG of it is put beside)")
    plain, source = _described(arguments)
    figure = RunFigure.from_plain(plain, source=source)
    read = gathered.gather(figure)
    picture = pictures.draw(figure, read.panels, footnote=pictures.footnote(figure, read.panels))
    # The table beside the figure says of what content it is.
    provenance.begin(provenance.Origin(inputs=tuple(read.digests)))
    out.parent.mkdir(parents=True, exist_ok=True)
    numbers = out.with_suffix(".csv")
    style.save(picture, out)
    store.write_table(numbers, gathered.to_table(read.panels))
    if arguments.keep:
        _keep(figure.said(), Path(arguments.keep))
    print(f"drawn: {out}, numbers: {numbers}")


def _described(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Return the figure that is asked for, as plain values, and what errors call it."""
    from tacit.settings import yaml_files

    if Path(arguments.runs[0]).suffix in (".yaml", ".yml"):
        given = [name for name in (*_MANY, *_SINGLE, "components", "titles") if getattr(arguments, name) is not None]
        if given or len(arguments.runs) > 1:
            more = f"--{given[0].replace('_', '-')}" if given else arguments.runs[1]
            raise UserError(f"{arguments.runs[0]} says all of the figure; write {more} into it, or leave it out")
        found, source = yaml_files.read(arguments.runs[0]), yaml_files.shown(arguments.runs[0])
    else:
        found, source = {"panels": _panels(arguments)}, "plot"
    for name in ("columns", "height"):
        if getattr(arguments, name) is not None:
            found[name] = getattr(arguments, name)
    return found, source


def _panels(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a panel for each of y."""
    if not arguments.y:
        raise UserError("say what to draw: --y NAME ..., of the names that  python -m tacit show RUN.h5  lists")
    shared: dict[str, Any] = {"runs": arguments.runs}
    for name in (*_SINGLE, *_MANY[1:]):
        if getattr(arguments, name) is not None:
            shared[name] = getattr(arguments, name)
    for name in ("x_limits", "y_limits"):
        if getattr(arguments, name) is not None:
            shared[name] = getattr(arguments, name)
    if arguments.components is not None:
        number = arguments.components
        shared["components"] = int(number) if number.isdecimal() else number
    panels = [shared | {"y": word.split("+")} for word in arguments.y]
    if arguments.titles is not None:
        if len(arguments.titles) != len(panels):
            raise UserError(f"{len(arguments.titles)} titles, and there are {len(panels)} panels")
        panels = [panel | {"title": title} for panel, title in zip(panels, arguments.titles, strict=True)]
    return panels


def _keep(said: dict[str, Any], path: Path) -> None:
    """Write a description of a figure as YAML."""
    import yaml

    from tacit import store

    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=1000)
    store.write_bytes(path, f"# Drawn by  python -m tacit plot {path.name} -o OUT.pdf\n{text}".encode())


def _export(arguments: argparse.Namespace) -> None:
    from tacit.studies import exports

    canvas = tuple(arguments.canvas) if arguments.canvas else None
    found = exports.export(
        arguments.file, arguments.folder, first=arguments.first, images=arguments.images, distance=arguments.distance,
        canvas=canvas,
    )  # fmt: skip
    print(f"{found.images:,} images and {', '.join(found.tables)} in {found.folder}")
