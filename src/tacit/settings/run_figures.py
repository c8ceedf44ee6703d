"""What a figure of any runs shows: panels, and of each the runs, the quantities, how they are gathered and drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tacit.settings.base import NonNegative, Settings

Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Limits = tuple[Number | None, Number | None]
Texts = Annotated[tuple[Text, ...], Field(max_length=1000)]
Spread = Literal["interval", "std", "quartiles", "range", "each"]
Value = Literal["last", "least", "greatest"]
Inches = Annotated[float, Field(ge=0.5, le=100)]


class Panel(Settings):
    """One pair of axes."""

    runs: Annotated[tuple[Text, ...], Field(min_length=1, max_length=20_000)]
    """Files, or patterns of their names, in which ** stands for any folders."""
    y: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
    """Quantities, or patterns of their names."""
    x: Text | None = None
    """What y is drawn against: epoch, step, iteration, layer; another quantity; a setting or a number of the run, of
    which each has one, and then one value of y as well. By default what y was recorded by."""
    by: Texts | None = None
    """Settings that tell lines apart; by default all in which runs differ, besides x and seeds."""
    spread: Spread = "interval"
    """Of the runs of a line that differ in seed: mean and 95 % interval, mean and standard deviation, median and
    quartiles, median and range; or each a line of its own."""
    components: Literal["all", "mean"] | Annotated[int, Field(ge=1, le=10_000)] = "all"
    """Of quantities of several components, layers or entries: a line for each, for the first so many, or their mean."""
    value: Value = "last"
    """Which value of y is drawn against a setting."""
    start: Number | None = None
    """Least x that is drawn."""
    stop: Number | None = None
    """Greatest x."""
    least_loss: NonNegative | None = None
    """Lines end with the first loss below this."""
    loss: Text = "train_loss"
    """The loss that is meant."""
    factor: Number = 1.0
    """By which y is multiplied, as 100 for per cent."""
    log: Annotated[tuple[Literal["x", "y"], ...], Field(max_length=2)] = ()
    """Axes with a logarithmic scale."""
    x_limits: Limits | None = None
    """Left and right end of the axis, in this order; null is where the lines end."""
    y_limits: Limits | None = None
    x_ticks: tuple[Number, ...] | None = None
    y_ticks: tuple[Number, ...] | None = None
    horizontal: tuple[Number, ...] = ()
    """Where dashed lines are drawn."""
    vertical: tuple[Number, ...] = ()
    title: str | None = None
    x_label: str | None = None
    y_label: str | None = None
    labels: Texts | None = None
    """Of the lines, in the order of the legend."""
    colours: Texts | None = None
    """Of the lines, in the same order: names of colours, or #rrggbb."""

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        for name, (first, last) in (("x_limits", self.x_limits or (0, 1)), ("y_limits", self.y_limits or (0, 1))):
            if first == last and first is not None:
                raise ValueError(f"{name}: both ends are {first}")
            if name[0] in self.log and min(end for end in (first, last, 1) if end is not None) < 0:
                raise ValueError(f"{name}: a logarithmic axis has no end below 0")
        if self.start is not None and self.stop is not None and self.start > self.stop:
            raise ValueError(f"start = {self.start:g} lies beyond stop = {self.stop:g}")
        return self


class RunFigure(Settings):
    """The whole figure."""

    panels: Annotated[tuple[Panel, ...], Field(min_length=1, max_length=100)]
    columns: Annotated[int, Field(ge=1, le=10)] | None = None
    """Panels side by side; by default all, up to three."""
    width: Literal["column", "page"] | None = None
    """Of a paper: 3.25 or 6.75 inches; by default a column if panels are not side by side."""
    height: Inches | None = None
    """Of the figure, in inches."""
    legend: bool = True

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.columns is not None and self.columns > len(self.panels):
            raise ValueError(f"columns = {self.columns}: there are {len(self.panels)} panels")
        return self

    def said(self) -> dict[str, Any]:
        """Return what is not at its default, as plain values: what a file that is kept says."""
        return self.model_dump(mode="json", exclude_defaults=True)
