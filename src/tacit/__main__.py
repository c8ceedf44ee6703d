"""The command `python -m tacit`."""

from __future__ import annotations

import argparse
import sys

from tacit import status


def main() -> int:
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tacit", description="Tacit beside Snakemake.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("status", help="say, figure by figure, what is done, missing or failed")
    shown.add_argument("figures", nargs="*", metavar="figures/NAME.pdf", help="default: all figures")
    shown.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for Snakemake")
    arguments = parser.parse_args()
    passed_on = ["--config", *arguments.config] if arguments.config else []
    try:
        figures = arguments.figures or status.all_figures(passed_on)
        print(status.report(status.figure_status(figure, passed_on) for figure in figures))
    except status.StatusError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
