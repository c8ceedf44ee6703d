"""Files of a user's own that results are made from: whether they are there, and what they hold, as a digest.

Such a file may be replaced by an older one, which Snakemake takes for no change; so its digest is among what a result
depends on.
"""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from tacit import files


def complaint(path: Path) -> str | None:
    """Say why there is no file at `path`; None if there is."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "is no file but a folder or a device"
        path.open("rb").close()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return f"cannot be read: {files.state(error) or error}"
    return None


def digest_of(path: Path) -> str:
    """Return a digest of the content of a file; nothing of one that cannot be read, which is said elsewhere."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:20]
    except OSError:
        return ""
