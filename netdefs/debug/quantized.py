"""PyTorch's module with a network's int8 or fp8 in it: compared with that, rounding is no error."""

import copy
import dataclasses
import functools
import re
import weakref
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import CompareError
from netdefs.core.optional import require
from netdefs.core.quantize import dequantize, fake_quantize, quantize_weight

LISTED = 3
SUM = re.compile(r"(^|\.)add(#\d+)?$")  # what the names of sums end with
ADDS = ("add", "__add__", "__radd__", "add_", "__iadd__")


@dataclasses.dataclass
class Quantized:
    """A copy of a module that rounds as a network does.

    Attributes:
        module: the copy. Its weights are the module's own, and are other ones while it runs.
        missing: quantized layers of the network that have no counterpart in the module, and stay float in it.
    """

    module: Any
    missing: list[str]

    @property
    def note(self) -> str:
        """What the reader of a report should know."""
        text = (
            "PyTorch's module was run with the network's scales: its inputs and weights are rounded as the network's."
        )
        if self.missing:
            names = ", ".join(self.missing[:LISTED]) + (" ..." if len(self.missing) > LISTED else "")
            text += f" Not so in {len(self.missing)} layers, which are no modules of one input: {names}."
        return text


def as_quantized(module: Any, info: Mapping[str, Any]) -> Quantized:
    """A copy of `module` whose layers round their inputs and weights as a quantized network does.

    Convolutions, deconvolutions and linear layers do it in hooks. Weights are rounded with their batch norm folded in,
    and what comes of it is taken out again, for the module applies it itself. Of a sum, the terms that the network
    quantizes are rounded if they are what a module returned.

    Args:
        module: a torch.nn.Module.
        info: `info` of the network: "quantized", "scales", "folded".

    Raises:
        CompareError: the module can't be copied.
    """
    torch = require("torch", "torch")
    try:
        found = Quantized(copy.deepcopy(module), [])
    except Exception as error:
        raise CompareError(
            f"The module can't be copied ({error}), and comparing a network in {info.get('precision')} takes a copy."
        ) from error
    modules: dict[str, Any] = dict(found.module.named_modules())
    convolutions = {norm: conv for conv, norm in info.get("folded", {}).items()}
    scales, layers = info["scales"], info["quantized"]
    terms = _Terms({x: (scales[x], e["precision"]) for e in layers.values() if not e["weight"] for x in e["inputs"]})
    for name, entry in layers.items():
        inner = modules.get(convolutions.get(name, name))
        kind, inputs = entry["precision"], entry["inputs"]
        weight = getattr(inner, "weight", None)
        if (
            inner is not None
            and isinstance(weight, torch.Tensor)
            and entry["weight"]
            and len(inputs) == 1
            and weight.ndim > 1
        ):
            norm = modules.get(name) if name in convolutions else None
            rounded = _rounded(weight, _gain(norm), int(entry["axis"]), kind, name)
            inner.register_forward_pre_hook(functools.partial(terms.given, inputs[0]))
            inner.register_forward_pre_hook(functools.partial(_enter, scales[inputs[0]], kind, rounded))
            inner.register_forward_hook(functools.partial(_leave, weight.data), always_call=True)
            terms.seen.add(inputs[0])
        elif entry["weight"]:
            found.missing.append(name)
    for term in terms.wanted:
        if term in modules:
            modules[term].register_forward_hook(functools.partial(terms.returned, term))
        if term in modules or SUM.search(term):
            terms.seen.add(term)
    found.missing += [name for name, e in layers.items() if not e["weight"] and not terms.seen.issuperset(e["inputs"])]
    if terms.wanted:
        for name, inner in modules.items():
            inner.register_forward_pre_hook(functools.partial(terms.enter, name))
            inner.register_forward_hook(terms.leave, always_call=True)
    return found


def _gain(norm: Any) -> np.ndarray | None:
    """What a batch norm multiplies its channels by."""
    if norm is None:
        return None
    variance = norm.running_var.detach().cpu().double().numpy() + norm.eps
    gamma = np.ones_like(variance) if norm.weight is None else norm.weight.detach().cpu().double().numpy()
    return np.asarray(gamma / np.sqrt(variance))


def _rounded(weight: Any, gain: np.ndarray | None, axis: int, kind: str, name: str) -> Any:
    """A weight after quantization, as a tensor like it."""
    torch = require("torch", "torch")
    array = weight.detach().cpu().double().numpy()
    along = [-1 if i == axis else 1 for i in range(array.ndim)]
    factor = np.ones(1) if gain is None else gain
    folded = array * factor.reshape(along)
    values, scales = quantize_weight(folded, axis, kind, name=name)
    rounded = dequantize(values, scales.reshape(along), kind).astype(np.float64)
    rounded = rounded / np.where(factor == 0, 1, factor).reshape(along)
    return torch.from_numpy(rounded).to(weight.device, weight.dtype)


def _activation(x: Any, scale: float, kind: str) -> Any:
    torch = require("torch", "torch")
    rounded = fake_quantize(x.detach().cpu().numpy(), np.array(scale, np.float32), kind)
    return torch.from_numpy(np.ascontiguousarray(rounded)).to(x.device, x.dtype)


def _enter(scale: float, kind: str, weight: Any, module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    module.weight.data = weight
    return (_activation(arguments[0], scale, kind), *arguments[1:])


def _leave(weight: Any, module: Any, arguments: Any, output: Any) -> None:
    module.weight.data = weight


class _Terms:
    """Rounds the terms of sums: tensors that a module returned, or that one was given before.

    Args:
        wanted: by the name of the network's tensor, its scale and "int8" or "fp8".

    Attributes:
        seen: the names of those that some module has to do with.
    """

    def __init__(self, wanted: Mapping[str, tuple[float, str]]) -> None:
        self.wanted = wanted
        self.seen: set[str] = set()
        self._known: dict[int, tuple[Any, tuple[float, str]]] = {}
        self._mode: Any = None
        self._within: list[str] = []
        self._sums: Counter[str] = Counter()  # by module, how many it has made so far

    def given(self, name: str, module: Any, arguments: tuple[Any, ...]) -> None:
        """Notes the input of a module."""
        self._note(name, arguments[0])

    def returned(self, name: str, module: Any, arguments: Any, output: Any) -> None:
        """Notes what a module returned."""
        self._note(name, output)

    def _note(self, name: str, tensor: Any) -> None:
        if name in self.wanted and isinstance(tensor, require("torch", "torch").Tensor):
            self._known[id(tensor)] = (weakref.ref(tensor), self.wanted[name])

    def enter(self, name: str, module: Any, arguments: Any) -> None:
        """A module begins. With the whole one, sums are looked at."""
        if not name:
            self._known.clear()
            self._sums.clear()
            self._mode = self._looking()
            self._mode.__enter__()
        self._within.append(name)

    def leave(self, module: Any, arguments: Any, output: Any) -> None:
        """A module has ended."""
        if self._within and not self._within.pop() and self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None

    def _looking(self) -> Any:
        overrides = require("torch.overrides", "torch")
        terms = self

        class Mode(overrides.TorchFunctionMode):  # type: ignore[name-defined]
            def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if getattr(function, "__name__", "") not in ADDS:
                    return function(*args, **(kwargs or {}))
                result = function(*(terms.rounded(each) for each in args), **(kwargs or {}))
                terms.summed(result)
                return result

        return Mode()

    def summed(self, result: Any) -> None:
        """Notes a sum, under the names that `netdefs.debug.names` has for it."""
        scope = self._within[-1]
        self._sums[scope] += 1
        prefix = f"{scope}.add" if scope else "add"
        for name in (f"{prefix}#{self._sums[scope]}", *([prefix] if self._sums[scope] == 1 else [])):
            self._note(name, result)

    def rounded(self, term: Any) -> Any:
        """The term, rounded if it is one that was noted."""
        reference, how = self._known.get(id(term), (None, (0.0, "")))
        return term if reference is None or reference() is not term else _activation(term, *how)
