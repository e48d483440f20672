"""Types: each layer in the precision that was asked for, with casts only where types change.

The type of most values is the network's choice: a layer takes them in its own type, and they are cast where that
differs, once per type. Other values have their type for a reason: they were cast with `cast`, are outputs, constants of
a type of their own, or follow from such. What is computed from those stays in their type, so that a definition can say
`cast(x, ..., float32)` and go on in float32 in any network: boxes are decoded that way.
"""

import dataclasses
from types import ModuleType
from typing import Any

import numpy as np

from netdefs.core.precision import FLOATS, FULL, Choice, Precision
from netdefs.core.scope import Layer, Scope, Tensor
from netdefs.core.weights import Weights


@dataclasses.dataclass
class Types:
    """What is known of a network's tensors, by their names.

    Attributes:
        chosen: those whose type is the network's choice.
        casts: name and type -> the tensor cast to it.
        originals: of casts -> what was cast.
        constants: the values of those made for a tensor's type.
    """

    chosen: set[str] = dataclasses.field(default_factory=set)
    casts: dict[tuple[str, str], Tensor] = dataclasses.field(default_factory=dict)
    originals: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


class Typed(Scope):
    """A scope whose layers have the types of a `Precision`."""

    def __init__(self, definition: Any, trt: ModuleType, weights: Weights, precision: Precision) -> None:
        super().__init__(definition, trt, weights)
        self.precisions = precision
        self.types = Types()

    def layer(self, layer: Layer, name: str | None, *inputs: Tensor) -> Tensor:
        """As `Scope.layer`. The result's type is the network's choice if that of an input is, and of none is not."""
        result = super().layer(layer, name, *inputs)
        floats = [x for x in inputs if self.is_float(x)]
        if floats and not self.fixed(*floats):
            self.types.chosen.update(layer.get_output(i).name for i in range(layer.num_outputs))
        return result

    def cast(self, x: Tensor, name: str | None, dtype: Any) -> Tensor:
        """`x` in another TensorRT type, and what is computed from it as well, until it is cast to the network's type.

        Where that changes nothing it is `x` itself.
        """
        base = getattr(self.trt, self.precisions.base.dtype)
        keeps = dtype != base or base == self.trt.float32  # whether the result's type is not the network's choice
        same = x.dtype == dtype
        if same and (not self.is_float(x) or self.precisions.single_float32 or self.fixed(x) == keeps):
            return x
        add = self.definition.add_identity(x) if same else self.definition.add_cast(x, dtype)
        result = self.layer(add, name, x)
        (self.types.chosen.discard if keeps else self.types.chosen.add)(result.name)
        return result

    def chosen(self, x: Tensor) -> Tensor:
        """`x` itself, whose type is from here on the network's choice."""
        self.types.chosen.add(x.name)
        return x

    def constant(self, array: Any, name: str, like: Tensor | None = None) -> Tensor:
        """A constant tensor; of the type of `like` if that is given, else of the array's own."""
        result = super().constant(array, name, like)
        if like is not None and not self.fixed(like):
            self.types.constants[result.name] = np.asarray(array)
            self.types.chosen.add(result.name)
        return result

    def is_float(self, x: Tensor) -> bool:
        """Whether a tensor is of a floating-point type that layers compute in."""
        return x.dtype in (self.trt.float32, self.trt.float16, self.trt.bfloat16)

    def fixed(self, *tensors: Tensor) -> bool:
        """Whether any of these floating-point tensors has its type for a reason."""
        return any(x.name not in self.types.chosen for x in tensors)

    def choice(
        self, name: str | None, *inputs: Tensor, of: str | None = None, rule: bool = False, quantizable: bool = False
    ) -> Choice:
        """The precision of the layer `name`.

        Args:
            name: of the layer in this scope.
            inputs: its floating-point inputs.
            of: another name in this scope that it goes by: that of the primitive which it is a part of.
            rule: it stays in float32, unless a pattern spells its name out.
            quantizable: whether int8 and fp8 make a difference to it.
        """
        names = dict.fromkeys(self.path_of(each) for each in ((name,) if of is None else (name, of)))
        choice, spelled = self.precisions.of(*names, quantizable=quantizable)
        if spelled:
            return choice
        if rule:
            return FULL
        fixed = [x for x in inputs if self.fixed(x)]
        if not fixed:
            return choice
        types = {x.dtype.name for x in fixed}
        return next((Choice(f) for f, dtype in FLOATS.items() if getattr(self.trt, dtype).name in types), FULL)

    def typed(self, name: str | None, *inputs: Tensor, of: str | None = None, rule: bool = False) -> list[Tensor]:
        """The inputs of the layer `name`, those of a floating-point type in the layer's; see `choice`."""
        floats = [x for x in inputs if self.is_float(x)]
        choice = self.choice(name, *floats, of=of, rule=rule)
        dtype = getattr(self.trt, choice.dtype)
        return [self.as_type(x, dtype) if self.is_float(x) else x for x in inputs]

    def as_type(self, x: Tensor, dtype: Any) -> Tensor:
        """`x` in a floating-point type: itself, or what it was cast from, or a cast that all who want it share."""
        if x.dtype == dtype:
            return x
        x = self.original(x)
        if x.dtype == dtype:
            return x
        key = (x.name, dtype.name)
        if key not in self.types.casts:
            short = next(f for f, full in FLOATS.items() if getattr(self.trt, full) == dtype)
            name, root = f"{x.name}.{short}", self.root
            if x.name in self.types.constants:
                cast = root.constant_of(self.types.constants[x.name], name, dtype)
            else:
                cast = root.layer(self.definition.add_cast(x, dtype), name, x)
                self.types.originals[name] = x
            if not self.fixed(x):
                self.types.chosen.add(name)
            self.types.casts[key] = cast
        return self.types.casts[key]

    def original(self, x: Tensor) -> Tensor:
        """What a cast that the network made was made of; any other tensor itself."""
        return self.types.originals.get(x.name, x)
