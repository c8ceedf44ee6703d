"""The most memory that a process had at a time. What `getrusage` says of a child begins with its parent's."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def reset():
    """Begin anew from what this process has now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def megabytes():
    """Of this process, since it began or since `reset`."""
    _, _, rest = Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")
    return int(rest.split()[0]) / 1000


def printed_by(code, *arguments):
    """The number that Python code prints in a process of its own, which may import this module."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
