"""Tacit: experiments on the implicit bias of deep networks, as a library. Knows nothing of the workflow around it."""

from tacit import imports

imports.watch(__name__)
