"""Convolutional networks of one's own as locally or fully connected ones (`tacit.nn.untying`), exactly.

A network is followed through its forward pass, which must be a chain of layers, however it is written: as nested
`nn.Sequential`, or with functions such as `relu` between its modules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from tacit.nn import untying
from tacit.nn.local import LocalConv2d

_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid,
    nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink,
    nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
"""Functions of each number by itself, which are the same in all kinds of network."""

_FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: nn.ReLU, torch.relu: nn.ReLU, "relu": nn.ReLU,
    functional.leaky_relu: nn.LeakyReLU, functional.elu: nn.ELU, functional.gelu: nn.GELU, functional.silu: nn.SiLU,
    functional.tanh: nn.Tanh, torch.tanh: nn.Tanh, "tanh": nn.Tanh,
    functional.sigmoid: nn.Sigmoid, torch.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid,
    functional.max_pool2d: nn.MaxPool2d, functional.avg_pool2d: nn.AvgPool2d, torch.flatten: nn.Flatten,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d, "flatten": nn.Flatten,
}  # fmt: skip
"""Functions, and methods of tensors, with the layers that do the same and take the same arguments."""

_ADVICE: list[tuple[type[nn.Module] | tuple[type[nn.Module], ...], str]] = [
    (
        nn.modules.batchnorm._NormBase,
        "fold it into the convolution before it: torch.nn.utils.fusion.fuse_conv_bn_eval, in evaluation mode",
    ),
    ((nn.GroupNorm, nn.LayerNorm), "it mixes positions and channels; train a network without it"),
    (nn.Dropout2d, "it drops whole maps; use nn.Dropout"),
    (
        (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        "its windows differ in size here; choose an output size that divides the map's",
    ),
    (nn.Conv2d, "its filters must be square, without groups and dilation, padded by a number of zeros"),
]


class _Kept(nn.ReLU):
    """Stands for a layer that is the same in all kinds of network, under a name that the conversions know."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer


def to_local(model: nn.Module, *, side: int) -> nn.Sequential:
    """Return the locally connected network that computes what a CNN does, on square images.

    Each convolution becomes a `tacit.LocalConv2d`, whose filters start equal at all positions and are free to differ
    (d'Ascoli, Sagun, Bruna, Biroli 2019). Nothing is shared with `model`; all of it is trained, in the mode of `model`.

    >>> import torch, tacit
    >>> from torch import nn
    >>> cnn = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> local, images = tacit.to_local(cnn, side=8), torch.rand(5, 3, 8, 8)
    >>> type(local[0]).__name__, torch.allclose(local(images), cnn(images), atol=1e-6)
    ('LocalConv2d', True)

    Args:
        model: a chain of square convolutions (without groups and dilation), pooling, padding by zeros, activations,
            dropout, flattening and linear layers.
        side: of the images, px, which are (B, C, side, side).

    Raises ValueError for a layer that has no exact form, which it names, and if images of `side` px do not fit.
    """
    return _converted(untying.to_local, model, side)


def to_dense(model: nn.Module, *, side: int) -> nn.Sequential:
    """Return the fully connected network that computes what a CNN, or a locally connected network, does.

    Each convolution becomes three layers: flatten, linear (with weights of 0 beyond its windows), unflatten. The weight
    of a layer has as many numbers as inputs times outputs. For the rest see `to_local`.

    >>> import torch, tacit
    >>> from torch import nn
    >>> cnn = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> dense, images = tacit.to_dense(cnn, side=8), torch.rand(5, 3, 8, 8)
    >>> dense[1].weight.shape, torch.allclose(dense(images), cnn(images), atol=1e-6)
    (torch.Size([144, 192]), True)
    """
    return _converted(untying.to_dense, model, side)


def _converted(convert: Callable[..., nn.Sequential], model: nn.Module, side: int) -> nn.Sequential:
    layers = _fitted(_chain(model), side)
    if not any(isinstance(layer, nn.Conv2d | LocalConv2d) for layer in layers.values()):
        raise ValueError("there is no convolution, and so nothing to convert")
    kept = [_Kept(layer) if isinstance(layer, _ELEMENTWISE) else layer for layer in layers.values()]
    found = _in_single_precision(convert, nn.Sequential(*kept), side)
    back = [copy.deepcopy(layer.layer) if isinstance(layer, _Kept) else layer for layer in found]
    return nn.Sequential(*back).train(model.training)


def _in_single_precision(convert: Callable[..., nn.Sequential], network: nn.Sequential, side: int) -> nn.Sequential:
    """Convert where new tensors are what `convert` takes them for, whatever they are by default in this process."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            return convert(network, side=side)
    finally:
        torch.set_default_dtype(before)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LocalConv2d | untying.Linear) or super().is_leaf_module(m, module_qualified_name)


def _chain(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a chain, in the order of the forward pass, by name; raises ValueError if it is none."""
    try:
        graph = _Tracer().trace(model)
    except Exception as error:
        raise ValueError(
            f"the forward pass of {type(model).__name__} cannot be followed ({error}); write it as nn.Sequential"
        ) from error
    modules = dict(model.named_modules())
    found: dict[str, nn.Module] = {}
    last = next(node for node in graph.nodes if node.op == "placeholder")
    for node in graph.nodes:
        if node is last or _is_a_size(node):
            continue
        inputs = [one for one in node.all_input_nodes if not _is_a_size(one)]
        if inputs != [last]:
            what = f"{node.target} takes {len(inputs)} inputs, or another than the last layer's"
            raise ValueError(
                f"the forward pass is no chain of layers: {node.name} ({what}); branches have no such form"
            )
        if node.op == "output":
            return found
        last = node
        layer = modules[str(node.target)] if node.op == "call_module" else _layer_of(node)
        if not isinstance(layer, nn.Identity):
            found[str(node.target) if node.op == "call_module" else node.name] = layer
    return found


def _is_a_size(node: fx.Node) -> bool:
    """Tell whether a step only asks for the shape of what is passed on."""
    is_asked = node.op == "call_method" and node.target in ("size", "dim")
    return is_asked or (node.op == "call_function" and getattr(node.target, "__name__", "") in ("getattr", "getitem"))


def _layer_of(node: fx.Node) -> nn.Module:
    """Return the layer that does what a function, or method of a tensor, does in a forward pass."""
    arguments, named = node.args[1:], {name: value for name, value in node.kwargs.items() if name != "inplace"}
    if node.target in ("view", "reshape") and len(arguments) == 2 and arguments[1] == -1:
        return nn.Flatten()
    if node.target is functional.dropout:
        return nn.Dropout(*arguments[:1], **{name: value for name, value in named.items() if name == "p"})  # type: ignore[arg-type]
    # Beyond the first two, arguments of functions and layers are in different orders.
    if node.target in _FUNCTIONS and len(arguments) <= 2:
        return _FUNCTIONS[node.target](*arguments, **named)
    raise ValueError(
        f"no exact conversion is known of {node.name}, {getattr(node.target, '__name__', node.target)}; write it as a "
        "layer, if there is one"
    )


@torch.no_grad()
def _fitted(layers: dict[str, nn.Module], side: int) -> dict[str, nn.Module]:
    """Return layers that all can be converted, on images of `side` px; raises ValueError for one that cannot."""
    found: dict[str, nn.Module] = {}
    seen: Tensor | None = None
    for name, layer in layers.items():
        if seen is None and isinstance(layer, nn.Conv2d | LocalConv2d):
            channels = (
                layer.in_channels if isinstance(layer, nn.Conv2d) else layer.weight.shape[1] // layer.kernel_size**2
            )
            seen = layer.weight.new_zeros(1, channels, side, side)
            for before in found.values():
                seen = before(seen)
        if isinstance(layer, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d) and seen is not None:
            layer = _fixed(layer, seen.shape[-1])
        if not isinstance(layer, _ELEMENTWISE):
            try:
                untying._check(layer)
            except ValueError as error:
                advice = next(
                    (said for kinds, said in _ADVICE if isinstance(layer, kinds)), "leave it out or replace it"
                )
                raise ValueError(f"layer {name}, {layer}, cannot be converted: {advice}") from error
        if seen is not None and not isinstance(layer, (nn.Dropout, *_ELEMENTWISE)):
            try:
                seen = layer(seen)
            except (RuntimeError, ValueError) as error:
                shape = " x ".join(map(str, seen.shape[1:]))
                raise ValueError(
                    f"layer {name}, {layer}, is given {shape}, which does not fit (side = {side} px)"
                ) from error
        found[name] = layer
    return found


def _fixed(layer: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, side: int) -> nn.Module:
    """Return pooling of windows of one size that does what an adaptive one does, if there is such."""
    sizes = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
    size = sizes[0]
    if size is None or sizes[1] != size or side % size:
        return layer
    return (nn.AvgPool2d if isinstance(layer, nn.AdaptiveAvgPool2d) else nn.MaxPool2d)(side // size)
