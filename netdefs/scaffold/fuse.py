"""Statements that the library has one block for: a convolution, its batch norm and its ReLU are `conv_bn_relu`."""

from collections.abc import Sequence
from typing import Any

from netdefs.core.scope import pair
from netdefs.scaffold.program import Call, Name, Value


def fused(body: Sequence[Any], outputs: Sequence[Value]) -> list[Any]:
    """A body in which blocks of the library stand for what they do."""
    items = list(body)
    for join in (_conv_bn, _conv_bn_relu, _channels_norm):
        at = 0
        while at < len(items):
            if isinstance(items[at], Call) and (found := join(items, at, outputs)) is not None:
                items = found
            else:
                at += 1
    return items


def only_user(items: Sequence[Any], at: int, outputs: Sequence[Value]) -> int | None:
    """Where the one result of a statement is used, if only one other call uses it, and once."""
    (made, *more) = items[at].results
    if more or made in outputs:
        return None
    users = [i for i in range(at + 1, len(items)) for value in items[i].values() if value is made]
    return users[0] if len(users) == 1 and isinstance(items[users[0]], Call) else None


def _conv_bn(items: list[Any], at: int, outputs: Sequence[Value]) -> list[Any] | None:
    conv = items[at]
    if conv.function not in ("conv", "deconv") or "weight" in conv.options:
        return None
    user = only_user(items, at, outputs)
    if user is None or items[user].function != "batch_norm" or not _is_2d(conv):
        return None
    norm: Call = items[user]
    assert conv.path is not None and norm.path is not None  # layers of the network have one
    place = _common(conv.path, norm.path)
    options = {"conv" if conv.function == "conv" else "deconv": Name(conv.path), "bn": Name(norm.path), **conv.options}
    if "bias" in options:
        del options["bias"]
    else:
        options["bias"] = True
    if conv.function == "conv":
        kernel, dilation = pair(options["kernel"]), pair(options.get("dilation", 1))
        same = tuple(d * (k // 2) for k, d in zip(kernel, dilation, strict=True))
        padding = pair(options.pop("padding", 0))
        if padding != same:
            options["padding"] = padding[0] if padding[0] == padding[1] else padding
    options.update(norm.options)
    function = "blocks.conv_bn" if conv.function == "conv" else "blocks.deconv_bn"
    if conv.function == "deconv" and {"groups", "dilation"} & set(options):
        return None
    return _joined(items, at, user, Call(function, conv.inputs, place, options, norm.results, named=norm.named))


def _conv_bn_relu(items: list[Any], at: int, outputs: Sequence[Value]) -> list[Any] | None:
    conv = items[at]
    if conv.function != "blocks.conv_bn":
        return None
    user = only_user(items, at, outputs)
    if user is None or items[user].function != "relu":
        return None
    relu: Call = items[user]
    place = conv.path
    assert place is not None and relu.path is not None
    if relu.path[: len(place)] != place or len(relu.path) == len(place):
        return None  # it is what the module around them returns, and has its name
    options = dict(conv.options)
    if ".".join(relu.path) != ".".join(options["bn"].path) + ".relu":
        options["relu"] = Name(relu.path)
    return _joined(
        items, at, user, Call("blocks.conv_bn_relu", conv.inputs, place, options, relu.results, named=relu.named)
    )


def _channels_norm(items: list[Any], at: int, outputs: Sequence[Value]) -> list[Any] | None:
    """A layer norm over axis 1: the channels go last, and back."""
    first = items[at]
    if first.function != "permute" or tuple(first.options["dims"]) != (0, 2, 3, 1):
        return None
    second = only_user(items, at, outputs)
    if second is None or items[second].function not in ("layer_norm", "blocks.layer_norm"):
        return None
    third = only_user(items, second, outputs)
    if third is None or items[third].function != "permute" or tuple(items[third].options["dims"]) != (0, 3, 1, 2):
        return None
    norm: Call = items[second]
    place = items[third].path
    if place is None or norm.path != (*place, norm.function):
        return None  # the norm is a module of its own, whose values have their channels last
    options = {**norm.options, "dim": 1}
    made = Call(norm.function, first.inputs, place, options, items[third].results, named=True)
    return _joined(_joined(items, at, second, norm), second - 1, third - 1, made)


def _joined(items: list[Any], at: int, user: int, made: Call) -> list[Any]:
    """The statements with one in place of two, where the second was."""
    return [*items[:at], *items[at + 1 : user], made, *items[user + 1 :]]


def _common(a: tuple[Any, ...] | None, b: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """The longest path that two layers are in."""
    assert a is not None and b is not None
    length = 0
    while length < min(len(a), len(b)) - 1 and a[length] == b[length]:
        length += 1
    return a[:length]


def _is_2d(conv: Call) -> bool:
    return len(conv.results[0].shape) == 4
