"""The first page of a report of Snakemake: its introduction, the ledger, and the figures themselves.

Snakemake fills in the text, a template of reStructuredText, once it knows what is in the report: `categories` of files.
So everything here is shown only if it is one of them.
"""

from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tacit import provenance, store
from tacit.errors import UserError
from tacit.figures import style
from tacit.studies import ledger

_SHOWN = """\
{% set shown = [] %}{% for subcategories in categories.values() %}{% for results in subcategories.values() %}
{% for result in results %}{% set _ = shown.append(result.path | string) %}{% endfor %}{% endfor %}{% endfor %}
"""
"""Snakemake's own list, `files`, has but one of several files of one name, such as claims.csv."""


def page(introduction: str, *, tables: Iterable[str], figures: Iterable[str]) -> str:
    """Return the template: `introduction`, then what is there of the `tables` of claims and of the `figures` (PDF)."""
    claims = [_only(path, _claims(path)) for path in tables if Path(path).exists()]
    drawn = [_only(path, _figure(Path(path))) for path in figures if Path(path).exists()]
    blocks = ["**The ledger**", *claims, "**The figures**", *drawn]
    return "\n\n".join([introduction.rstrip(), _SHOWN, *blocks]) + "\n"


class ReportError(UserError):
    """A report would say of a figure what it is not."""


def check_drawn(numbers: Mapping[str, str], asked: Mapping[str, Any], *, scale: str) -> None:
    """Raise ReportError if a figure is not there, or drawn at another scale than `scale` or of other settings.

    Captions are of what is asked now. `numbers` are the tables beside the figures, `asked` what is asked of what they
    are drawn from, as parameters of rules hold it; both by figure.
    """
    for figure, table in numbers.items():
        if not Path(figure).exists():
            raise ReportError(
                f"{figure} is not drawn yet, and a report is of what is there; draw it, or name the figures that are: "
                "snakemake figures/NAME.pdf --report report.html"
            )
        found = store.describe(table)
        own = sorted({Path(path).parts[1] for path in found.collected if Path(path).parts[0] == "results"} - {"data"})
        if own and own != [scale]:
            reason = f"was drawn at scale {', '.join(own)}, and this call is of {scale}"
        elif found.asked is not None and _plainly(found.asked) != _plainly(provenance.said(asked[figure])):
            reason = "was drawn with other settings than are asked for now"
        else:
            continue
        raise ReportError(
            f"{figure} {reason}, so its caption in the report would not be its own; draw it again, or give --report "
            "the settings that it was drawn with (--config scale=... and the like)"
        )


def _plainly(asked: provenance.Asked) -> Any:
    return json.loads(json.dumps(asked))


def _only(path: str, block: str) -> str:
    """Return a block that is shown if the file is in the report. What stands in it is no template."""
    return f"{{% if {path!r} in shown %}}{{% raw %}}\n\n{block}\n\n{{% endraw %}}{{% endif %}}"


def _claims(path: str) -> str:
    """Return a table of claims: verdict, claim, what was measured; or why it cannot be read."""
    try:
        claims = store.read_table(path, expected=ledger.TABLE)
    except UserError as error:
        return _plain(str(error))
    if claims.empty:
        return _plain(f"{path}: nothing is claimed of these settings")
    title = f"{claims['study'].iloc[0]}: {claims['source'].iloc[0].partition(', section')[0]}"
    lines = [f".. list-table:: {_plain(title)}", "   :header-rows: 1", "   :widths: 12 50 38", ""]
    rows = [("verdict", "claim", "measured, with 95 % interval")]
    for _, row in claims.iterrows():
        rows.append((row["verdict"], row["claim"], ledger.measured(row)))
    for first, *others in rows:
        lines += [f"   * - {_plain(first)}", *(f"     - {_plain(cell)}" for cell in others)]
    return "\n".join(lines)


def _figure(path: Path) -> str:
    """Return a figure as part of the page, as wide as it, under its name."""
    preview = style.preview_of(path)
    picture = preview.read_bytes() if preview.is_file() else b""
    if not picture.startswith(b"\x89PNG"):
        return _plain(f"{path.name}: no preview is beside it; snakemake --forcerun with this figure makes one")
    coded = base64.b64encode(picture).decode()
    # In lines, as docutils takes none of 10,000 letters; a browser leaves their ends out of an address.
    lines = "\n   ".join(textwrap.wrap(coded, 1000))
    return f'{_plain(path.name)}\n\n.. raw:: html\n\n   <img alt="{path.name}" src="data:image/png;base64,{lines}">'


def _plain(text: str) -> str:
    """Return text that means itself in reStructuredText."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)
