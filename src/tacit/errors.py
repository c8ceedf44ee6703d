"""What all errors have in common that a user can do something about."""

from __future__ import annotations


class UserError(Exception):
    """Says itself what is wrong, where, and what to do; a traceback on the terminal would only hide it."""


class DivergenceError(UserError):
    """A loss became infinite or not a number."""
