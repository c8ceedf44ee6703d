"""The long-range regulariser as a term of one's own loss (Razin, Maman, Cohen 2022, section 6), for any network.

What it is, and the published form that the studies use, is in `tacit.optim.long_range`. Here a network may have any
layers that PyTorch can differentiate twice, and any number of classes; neither its running statistics nor the random
numbers of whoever trains it are touched.

Differentiated is, as published, the logit, where there is one. Of K > 1 classes it is the logit of the label less the
mean of all: only differences of logits enter a softmax, and the sum of all gets no gradient from a cross-entropy. Of
two classes that is half the difference of their logits, up to sign, so that the regulariser is that of one logit, but
for what passes from image to image where a batch is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tacit import streams
from tacit.front.passes import Model, twice_differentiable, without_trace
from tacit.nn.local import LocalConv2d
from tacit.nn.products import Linear
from tacit.optim.long_range import Patch, draw_distant_patches, exchanged, input_gradient
from tacit.settings.networks import LongRangeRegularizer as Settings

Patches = Sequence[Sequence[int]]
"""Two patches, each (row, column) of its top left corner, or (row, column, height, width), in px from 0."""


class LongRangeRegularizer:
    """Mean absolute cosine of input gradients on a patch before and after a distant one takes another image's content.

    It is 1 where the network's answer has no interaction between the patches and less the more it has: add it to a loss
    to learn dependencies over a distance.

    >>> import torch, tacit
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 5), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 20 * 20, 1))
    >>> images, labels = torch.rand(16, 1, 24, 24), torch.randint(2, (16,))
    >>> regularizer = tacit.LongRangeRegularizer(patch_size=2, distance=8, seed=0)
    >>> loss = nn.functional.binary_cross_entropy_with_logits(model(images).squeeze(1), labels.float())
    >>> loss = loss + 0.5 * regularizer(model, images)
    >>> loss.backward()
    """

    def __init__(
        self,
        patch_size: int = 2,
        distance: int = 8,
        *,
        adjacent_only: bool = False,
        skip_zero_gradients: bool = False,
        seed: int = 0,
    ):
        """Say which patches are drawn.

        Args:
            patch_size: side of both square patches, px.
            distance: least gap between them, px: their corners are patch_size + distance apart, or more, in rows or in
                columns.
            adjacent_only: take the gap as exact instead of least.
            skip_zero_gradients: leave images whose gradient on the patch is 0, and so has no direction, out of the
                mean. Otherwise they are an error.
            seed: of the patches; `generator` draws them.

        Raises ValueError for sizes that are none.
        """
        if patch_size < 1 or distance < 0:
            raise ValueError(f"patch_size = {patch_size}, distance = {distance}: a patch has 1 px or more, a gap 0")
        self.settings = Settings(patch_size=patch_size, distance=distance, adjacent_only=adjacent_only)
        self.skip_zero_gradients = skip_zero_gradients
        self.generator = streams.numpy_generator("long-range regularizer", seed)

    def __call__(
        self,
        model: Model,
        images: Tensor,
        logits: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        patches: Patches | None = None,
    ) -> Tensor:
        """Return the regulariser, a scalar in [0, 1], differentiable with respect to the parameters of the network.

        The network computes in the mode that it is in. Under `torch.no_grad()` the value is only measured. One number
        is read back from a GPU.

        Args:
            model: a module, or a function of images; gives logits (B,), (B, 1) or (B, K).
            images: (B, C, H, W) of floating point, B of 2 or more.
            logits: model(images), if they are there already and `images` required a gradient before. That saves one of
                two passes; but without them both take quick second derivatives where layers have such.
            labels: (B,), of which of K classes the logit is differentiated; needed where K is 2 or more.
            patches: I, on which gradients are compared, and J, which is exchanged; by default they are drawn.

        Raises:
            ValueError: if patches leave the image, overlap or have no room, for a batch of one, for a gradient on the
                patch that is zero or not finite, or if logits do not come of the images.
            TypeError: if the model returns no tensor.
        """
        _check(model, images, is_given=logits is not None)
        first, second = self._patches(patches, *images.shape[-2:])
        is_measured = not torch.is_grad_enabled()
        with torch.enable_grad():
            given = logits is not None
            if logits is None:
                images = images.detach().requires_grad_()
                with twice_differentiable(model):
                    logits = without_trace(model, images).outputs
            mixed = exchanged(images, second).requires_grad_()
            with twice_differentiable(model):
                again = without_trace(model, mixed)
            if given and again.draws:
                raise ValueError(
                    "the model draws random numbers, as for dropout, so another pass is through another network; leave "
                    "logits out, and both passes draw the same"
                )
            before = _gradient(_answers(logits, labels), images, first)
            after = _gradient(_answers(again.outputs, labels), mixed, first)
            found = self._mean_cosine(before, after, first)
        return found.detach() if is_measured else found

    def _patches(self, given: Patches | None, height: int, width: int) -> tuple[Patch, Patch]:
        if given is None:
            _check_room(self.settings, height, width)
            return draw_distant_patches(self.settings, height=height, width=width, generator=self.generator)
        if len(given) != 2:
            raise ValueError(f"patches = {given}: they are two, I and J")
        first, second = (_patch(corner, self.settings.patch_size, height, width) for corner in given)
        rows = min(first.row + first.height, second.row + second.height) - max(first.row, second.row)
        columns = min(first.column + first.width, second.column + second.width) - max(first.column, second.column)
        if rows > 0 and columns > 0:
            raise ValueError(f"patches = {given}: they overlap, in {rows} x {columns} px; choose others")
        return first, second

    def _mean_cosine(self, before: Tensor, after: Tensor, patch: Patch) -> Tensor:
        """Return the mean absolute cosine of the rows (B, C h w) of two gradients."""
        lengths = before.norm(dim=1) * after.norm(dim=1)
        usable = (lengths > 0) & lengths.isfinite()
        cosines = ((before * after).sum(1) / lengths).abs()
        if usable.all():
            return cosines.mean()
        if not (before.isfinite().all() and after.isfinite().all() and lengths.isfinite().all()):
            raise ValueError(f"the gradient of the logits on {_named(patch)} is not finite; has the training diverged?")
        count, size = int(usable.sum()), len(usable)
        if self.skip_zero_gradients and count:
            return (before[usable] * after[usable]).sum(1).div(lengths[usable]).abs().mean()
        advice = "" if not count else ", or leave such images out of the mean by skip_zero_gradients=True"
        raise ValueError(
            f"the gradient of the logits on {_named(patch)} is 0 for {size - count} of {size} images, before or after "
            "the exchange, and has no direction there: the network does not look at the patch, or its units are dead "
            f"or saturated; give other patches or activations that do not die{advice}"
        )


def _check(model: Model, images: Tensor, *, is_given: bool) -> None:
    """Raise ValueError for what can have no regulariser, whatever the patches."""
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: they are (B, C, H, W), of floating point"
        )
    if len(images) < 2:
        raise ValueError(
            f"a batch of {len(images)}: each image takes a patch from the next, so there are two or more; leave out a "
            "last batch of one (drop_last=True)"
        )
    if torch.is_inference_mode_enabled():
        raise ValueError("under torch.inference_mode() nothing is differentiated; measure under torch.no_grad()")
    if hasattr(model, "_orig_mod"):
        raise ValueError("what torch.compile made cannot be differentiated twice; give the module itself")
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        if isinstance(module, LocalConv2d | Linear):
            raise ValueError(f"layer {name}, {module}, cannot be differentiated twice")
        if is_given and type(module) is nn.Hardsigmoid:
            raise ValueError(
                f"layer {name}, {module}, cannot be differentiated twice as PyTorch has it; leave logits out"
            )


def _check_room(settings: Settings, height: int, width: int) -> None:
    """Raise ValueError unless every first patch has a second one."""
    side = settings.patch_size
    # Of a first patch in the middle, the farthest corner.
    most = max((height - side + 1) // 2, (width - side + 1) // 2) - side if min(height, width) >= side else -1
    if settings.distance > most:
        can = f"at most {most} px apart" if most >= 0 else "nowhere"
        raise ValueError(
            f"images of {height} x {width} px have no room for two patches of {side} px, {settings.distance} px apart, "
            f"wherever the first is; they fit in {can}: reduce distance or patch_size, or give patches"
        )


def _patch(given: Sequence[int], side: int, height: int, width: int) -> Patch:
    """Return a patch given as (row, column), of the side of those drawn, or (row, column, height, width)."""
    numbers = [int(number) for number in given]
    if len(numbers) not in (2, 4) or numbers != list(given):
        raise ValueError(f"{tuple(given)} is no patch, (row, column) or (row, column, height, width) in px")
    patch = Patch(*(numbers if len(numbers) == 4 else [*numbers, side, side]))
    inside = patch.row + patch.height <= height and patch.column + patch.width <= width
    if not (inside and min(patch.row, patch.column) >= 0 and min(patch.height, patch.width) >= 1):
        raise ValueError(f"{_named(patch)} is not inside of images of {height} x {width} px, counted from 0")
    return patch


def _named(patch: Patch) -> str:
    return f"the patch of {patch.height} x {patch.width} px at ({patch.row}, {patch.column})"


def _answers(logits: Tensor, labels: Tensor | None) -> Tensor:
    """Return of each image the number (B,) that is differentiated."""
    if logits.ndim == 1 or (logits.ndim == 2 and logits.shape[1] == 1):
        return logits.flatten()
    if logits.ndim != 2:
        raise ValueError(f"logits of shape {tuple(logits.shape)}: they are (B,), (B, 1) or (B, K)")
    count = logits.shape[1]
    if labels is None:
        raise ValueError(
            f"logits of {count} classes: say by labels, (B,), whose is differentiated (labels=logits.argmax(1) for the "
            "network's own answer), or give a function with one logit as model"
        )
    labels = torch.as_tensor(labels, device=logits.device)
    if labels.shape != logits.shape[:1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels of shape {tuple(labels.shape)} and type {labels.dtype}: they are ({len(logits)},), whole numbers"
        )
    if not ((labels >= 0) & (labels < count)).all():
        raise ValueError(f"labels from {int(labels.min())} to {int(labels.max())}: classes are 0 to {count - 1}")
    return logits.gather(1, labels.long()[:, None]).squeeze(1) - logits.mean(1)


def _gradient(answers: Tensor, images: Tensor, patch: Patch) -> Tensor:
    """Return the gradient (B, C h w) of each image's answer on the patch; raises ValueError if there is none."""
    if len(answers) != len(images):
        raise ValueError(f"{len(answers)} logits of {len(images)} images")
    try:
        return input_gradient(answers, images, patch)
    except RuntimeError as error:
        if answers.requires_grad and images.requires_grad and "appears to not have been used" not in str(error):
            raise
        raise ValueError(
            "logits are not connected to the images: call images.requires_grad_() before logits = model(images), or "
            "leave logits out"
        ) from error
