"""Only so that pip says which Python is needed: with constraints it speaks of a dependency conflict instead."""

import sys

from setuptools import setup

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(
        "Tacit needs Python 3.11 to 3.13, and this is {}.{}: make the environment with one of these, "
        "for example  python3.13 -m venv .venv".format(*sys.version_info)
    )

setup()
