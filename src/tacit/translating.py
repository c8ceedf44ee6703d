"""The command that translates text of one's own by a network that was trained (`python -m tacit translate`)."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import NamedTuple

from tacit import devices, files, runlog, store
from tacit.data.translation_sources import lines_in
from tacit.errors import UserError
from tacit.runlog import log

STANDARD = "-"
"""In place of the name of a file: what comes from standard input."""

_AT_ONCE = 640
"""Hypotheses that are followed at a time."""


class Asked(NamedTuple):
    """What a user asks for."""

    run: str
    text: str = STANDARD
    output: str | None = None
    """A file; by default standard output."""
    reference: str | None = None
    """A file of translations to compare with."""
    words: bool = False
    """Words and signs stay apart."""
    weights: str = "best"
    beams: int = 5
    device: str = "auto"


def translate(asked: Asked) -> None:
    """Translate what is asked; what else there is to say goes to standard error. Raises UserError for a mistake."""
    from tacit.analysis.bleu import bleu
    from tacit.data.translation import detokeniser, tokeniser
    from tacit.settings.translation import Decoding
    from tacit.studies import translation

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    decoding = Decoding.from_plain({"beams": asked.beams, "weights": asked.weights}, source="translate")
    # As many hypotheses at a time as by default.
    decoding = decoding.model_copy(update={"batch_size": max(1, _AT_ONCE // decoding.beams)})
    _check_run(asked.run)
    _check_output(asked)
    lines = _read(asked.text)
    references = _read(asked.reference) if asked.reference else None
    if references is not None and len(references) != len(lines):
        raise UserError(f"{asked.reference} has {len(references):,} lines, and there are {len(lines):,} to translate")
    if references is not None and not any(line.split() for line in references):
        raise UserError(f"{asked.reference} has no words to compare with")
    os.environ[devices.DEVICE_VARIABLE] = asked.device
    with devices.acquire() as device:
        translator = translation.translator(asked.run, weights=decoding.weights, device=device)
        corpus = translator.corpus
        log.info("%s to %s, learned from %s", corpus.source_language, corpus.target_language, corpus.title)
        progress = runlog.Progress(len(lines), what="translating", unit="sentence")
        found = translation.translate_text(translator, lines, decoding, advance=progress.advance)
        progress.close()
    written = detokeniser(corpus, corpus.target_language)
    said = "".join(f"{line if asked.words else written(line.split())}\n" for line in found)
    _write(asked.output, said.encode())
    if references is not None:
        words = tokeniser(corpus, corpus.target_language)
        print(bleu(found, [" ".join(words(line)) for line in references]).line, file=sys.stderr)


def _check_run(path: str) -> None:
    """Raise UserError if a file is no network that translates; nothing should be deleted for that."""
    advice = "give the file of a trained network, below the folder trained/ of the study translation"
    if Path(path).is_file() and Path(path).suffix == ".h5":
        settings = store.describe(path).settings
        if "architecture" not in settings or "decoding" in settings:
            raise UserError(f"{path}: holds something else than a network that translates; {advice}")
    elif Path(path).exists():
        raise UserError(f"{path}: is no run file; {advice}")
    else:
        raise UserError(f"{path}: there is no such file; {advice}")


def _check_output(asked: Asked) -> None:
    """Raise UserError if the translations have no place, or would take that of what they are made from."""
    if not asked.output or asked.output == STANDARD:
        return
    path = Path(asked.output)
    if not path.absolute().parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    for name in (asked.run, asked.text, asked.reference):
        if name and path.exists() and Path(name).exists() and path.samefile(name):
            raise UserError(f"{path}: would be overwritten, and is what is to be read")


def _write(output: str | None, content: bytes) -> None:
    """Write to a file, whole or not at all, to a pipe or device, or to standard output."""
    if output is None or output == STANDARD:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    path = Path(output).resolve()
    if path.exists() and not path.is_file():
        try:
            path.write_bytes(content)
        except OSError as error:
            raise UserError(files.writing_failed(path, error)) from error
    else:
        files.write_bytes(path, content)


def _read(name: str) -> list[str]:
    """Return the lines of a file, or of standard input."""
    if name == STANDARD:
        return lines_in(sys.stdin.buffer.read(), "standard input")
    path = Path(name)
    if not path.is_file():
        raise UserError(f"{name}: there is no such file of text")
    try:
        return lines_in(path.read_bytes(), name)
    except OSError as error:
        raise UserError(files.reading_failed(path, error)) from error
