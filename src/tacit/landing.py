"""The first page of a report of Snakemake: its introduction, the ledger, and the figures themselves.

Snakemake fills in the text, a template of reStructuredText, once it knows what is in the report: `files`. So everything
here is shown only if it is one of them.
"""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from tacit import store
from tacit.figures import style
from tacit.studies import ledger

_SHOWN = "{% set shown = files | map(attribute='path') | map('string') | list %}\n"


def page(introduction: str, *, tables: Iterable[str], figures: Iterable[str]) -> str:
    """Return the template: `introduction`, then what is there of the `tables` of claims and of the `figures` (PDF)."""
    claims = [_only(path, _claims(store.read_table(path, expected=ledger.TABLE))) for path in _there(tables)]
    drawn = [_only(path, _figure(Path(path))) for path in _there(figures) if style.preview_of(path).exists()]
    blocks = [_heading("The ledger"), *claims, _heading("The figures"), *drawn]
    return "\n\n".join([introduction.rstrip(), _SHOWN, *blocks]) + "\n"


def _there(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if Path(path).exists()]


def _only(path: str, block: str) -> str:
    """Return a block that is shown if the file is in the report. What stands in it is no template."""
    return f"{{% if {path!r} in shown %}}{{% raw %}}\n\n{block}\n\n{{% endraw %}}{{% endif %}}"


def _heading(words: str) -> str:
    return f"**{words}**"


def _claims(claims: pd.DataFrame) -> str:
    """Return claims as a table: verdict, claim, what was measured."""
    title = f"{claims['study'].iloc[0]}: {claims['source'].iloc[0].partition(', section')[0]}"
    lines = [f".. list-table:: {_plain(title)}", "   :header-rows: 1", "   :widths: 12 50 38", ""]
    rows = [("verdict", "claim", "measured, with 95 % interval")]
    for _, row in claims.iterrows():
        partial = f"; PARTIAL: {row['missing']} runs missing" if row["missing"] else ""
        rows.append((row["verdict"], row["claim"], f"{ledger.measured(row)}, {row['runs']} seeds{partial}"))
    for first, *others in rows:
        lines += [f"   * - {_plain(first)}", *(f"     - {_plain(cell)}" for cell in others)]
    return "\n".join(lines)


def _figure(path: Path) -> str:
    """Return a figure as part of the page, as wide as it, under its name."""
    coded = base64.b64encode(style.preview_of(path).read_bytes()).decode()
    # In lines, as docutils takes none of 10,000 letters; a browser leaves their ends out of an address.
    lines = "\n   ".join(textwrap.wrap(coded, 1000))
    return f'{_plain(path.name)}\n\n.. raw:: html\n\n   <img alt="{path.name}" src="data:image/png;base64,{lines}">'


def _plain(text: str) -> str:
    """Return text that means itself in reStructuredText."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)
