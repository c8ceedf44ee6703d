"""One module a figure, and one style for all."""
