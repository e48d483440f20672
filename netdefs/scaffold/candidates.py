"""The blocks of the library that a module may be, and the arguments with which it would be: a guess, to be proven."""

from collections.abc import Callable, Sequence
from typing import Any

from netdefs.scaffold.program import Arg, Call, Name, Raw, Value

Options = dict[str, Arg]
METHODS = ("relu", "relu6", "silu", "hardswish", "mish", "sigmoid", "hardsigmoid", "tanh", "gelu")


class Parts:
    """What a module is made of, by the names inside of it.

    Args:
        calls: its statements.
        path: the module's.
        given: what it takes.
    """

    def __init__(self, calls: Sequence[Call], path: Sequence[str], given: Value) -> None:
        self.calls, self.given = calls, given
        self.channels = int(given.shape[1])
        self.names = {id(call): ".".join((call.path or ())[len(path) :]) for call in calls}
        self.by_name = {name: call for call, name in zip(calls, self.names.values(), strict=True) if name}
        self.convs = [call for call in calls if call.function == "conv"]

    def name(self, call: Call) -> str:
        """What a statement is called inside of the module."""
        return self.names[id(call)]

    def option(self, name: str, key: str, usual: Any = None) -> Any:
        """An option of the statement called `name`.

        Raises:
            KeyError: there is no such statement.
        """
        return self.by_name[name].options.get(key, usual)

    def out(self, name: str) -> int:
        """The channels that a convolution makes."""
        return int(self.option(name, "out_channels"))

    def kernel(self, name: str) -> Any:
        """The kernel of a convolution."""
        return self.option(name, "kernel")

    def first(self, function: str) -> Call:
        """The first statement of a kind.

        Raises:
            LookupError: there is none.
        """
        found = [call for call in self.calls if call.function == function]
        return found[0]

    def after(self, call: Call) -> Call | None:
        """The first statement that takes what a statement gives."""
        return next((each for each in self.calls if call.results[0] in list(each.values())), None)

    def has(self, function: str, inside: str | None = None) -> bool:
        """Whether there is such a statement: anywhere, or directly inside of the module's own forward (`inside=""`)."""
        own = (self.name(call).partition("#")[0] for call in self.calls if call.function == function)
        return any(inside is None or "." not in name for name in own)

    def count(self, prefix: str) -> int:
        """How many modules are called `prefix` and 0, 1 ..."""
        number = 0
        while any(name.startswith(f"{prefix}{number}.") for name in self.by_name):
            number += 1
        return number

    def eps(self, usual: float) -> Options:
        """The eps of the batch norms, where it is not the usual one."""
        found = next((call.options.get("eps", 1e-5) for call in self.calls if call.function == "batch_norm"), usual)
        return without({"eps": found}, eps=usual)


Guess = Callable[[Parts], Options]  # raises LookupError or ValueError where a module has no such parts


def without(options: Options, **usual: Any) -> Options:
    """Options without those that are the usual ones."""
    return {key: value for key, value in options.items() if key not in usual or value != usual[key]}


def activation(call: Call | None) -> Raw:
    """The method that an activation is, as an argument.

    Raises:
        LookupError: it is none.
    """
    if call is None or call.options or not isinstance(call.function, str) or call.function not in METHODS:
        raise LookupError
    return Raw(f"Network.{call.function}")


def basic_block(parts: Parts) -> Options:
    """Of `blocks.basic_block`."""
    relu = parts.after(parts.by_name["bn1"])
    options = {"channels": parts.out("conv2"), "stride": parts.option("conv1", "stride", 1), **parts.eps(1e-5)}
    if relu is not None:
        options["relu"] = parts.name(relu)
    return without(options, stride=1, relu="bn1.relu")


def bottleneck(parts: Parts) -> Options:
    """Of `blocks.bottleneck`."""
    channels, groups = parts.out("conv3") // 4, parts.option("conv2", "groups", 1)
    first, second = (parts.option(name, "stride", 1) for name in ("conv1", "conv2"))
    options = {
        "channels": channels,
        "stride": max(first, second),
        "groups": groups,
        "base_width": parts.out("conv2") * 64 // (channels * groups),
        "stride_first": first > second,
        **parts.eps(1e-5),
    }
    return without(options, stride=1, groups=1, base_width=64, stride_first=False)


def squeeze_excite(parts: Parts) -> Options:
    """Of `blocks.squeeze_excite`, with convolutions of any names."""
    reduce, expand = parts.convs
    act, gate = parts.after(reduce), parts.after(expand)
    names = (parts.name(reduce), parts.name(expand))
    found: Options = {
        "reduce": Name((names[0],)),
        "expand": Name((names[1],)),
        "squeeze_channels": reduce.options["out_channels"],
        "act": activation(act),
        "gate": activation(gate),
        "names": tuple(parts.name(each) for each in (act, gate) if each is not None),
    }
    usual = (f"{names[0]}.relu", f"{names[1]}.sigmoid")
    return without(found, act=Raw("Network.relu"), gate=Raw("Network.sigmoid"), names=usual)


def inverted_residual(parts: Parts) -> Options:
    """Of `blocks.inverted_residual`."""
    wide, *_ = (call for call in parts.convs if call.options.get("groups", 1) > 1)
    norm = parts.after(wide)
    act = parts.after(norm) if norm is not None else None
    found: Options = {
        "channels": parts.convs[-1].options["out_channels"],
        "kernel": wide.options["kernel"],
        "stride": wide.options.get("stride", 1),
        "hidden": wide.options["out_channels"],
        "act": activation(act),
    }
    inner = [call for call in parts.convs if parts.name(call).endswith(".fc1")]
    if inner:
        expand, *_ = (call for call in parts.convs if parts.name(call).endswith(".fc2"))
        found |= {
            "squeeze": inner[0].options["out_channels"],
            "squeeze_act": activation(parts.after(inner[0])),
            "gate": activation(parts.after(expand)),
        }
    found |= parts.eps(1e-5)
    return without(found, squeeze_act=Raw("Network.relu"), gate=Raw("Network.sigmoid"))


BLOCKS: dict[str, Guess] = {
    "blocks.basic_block": basic_block,
    "blocks.bottleneck": bottleneck,
    "blocks.squeeze_excite": squeeze_excite,
    "blocks.inverted_residual": inverted_residual,
}
