"""Which precision each layer of a network has: a name for all of them, or patterns over their names."""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from netdefs.core.errors import NetdefsError
from netdefs.core.scope import near

# The type that values have inside the network. TF32 is float32 there; it lets the GPU round the factors of products.
FLOATS = {"fp32": "float32", "tf32": "float32", "fp16": "float16", "bf16": "bfloat16"}
QUANTIZED = ("int8", "fp8")
PRECISIONS = (*FLOATS, *QUANTIZED)  # the coarser, the later
WILD = frozenset("*?[")


@dataclasses.dataclass(frozen=True)
class Choice:
    """The precision of a layer.

    Attributes:
        floats: "fp32", "tf32", "fp16" or "bf16": of the values that are not quantized.
        quantized: "int8" or "fp8": of what goes into convolutions and products; None if they are not quantized.
    """

    floats: str
    quantized: str | None = None

    @property
    def dtype(self) -> str:
        """TensorRT's name of the floating-point type."""
        return FLOATS[self.floats]


FULL = Choice("fp32")


class Precision:
    """What was asked for as `precision=`, and what came of it.

    Args:
        asked: a precision, or a mapping from patterns to precisions: globs over full layer names (`*` also matches
            dots), the later ones win. A precision is one of `PRECISIONS`, or int8 or fp8 with the type of what stays
            unquantized: "int8+fp16".
        keep: the names of layers that are not quantized unless a pattern other than `*` says so: a network's policy.

    Raises:
        NetdefsError: it is none of these.
    """

    def __init__(self, asked: str | Mapping[str, str], keep: Iterable[str] = ()) -> None:
        if not isinstance(asked, Mapping):
            asked = {"*": asked}
        if not asked:
            raise NetdefsError("precision={}: it has no entry. Give one for all layers, such as {'*': 'fp16'}.")
        entries = {pattern: _parsed(pattern, value) for pattern, value in asked.items()}
        if "*" in entries and next(iter(entries)) != "*":
            dead = next(iter(entries))
            raise NetdefsError(
                f"precision: '*' comes after {dead!r} and overrides it, for the later wins: put it first."
            )
        self.asked = dict(asked)
        self.base = entries.pop("*", FULL)
        given = {choice.floats for choice in (self.base, *entries.values())}
        if "tf32" in given and "fp32" in given:
            raise NetdefsError(
                "precision: TensorRT allows TF32 for a whole network or not at all: 'tf32' and 'fp32' can't be in one. "
                "int8 and fp8 leave the rest in fp32; 'int8+tf32' leaves it in tf32."
            )
        self.tf32 = "tf32" in given
        self._given = entries
        self._kept = frozenset(keep) if self.base.quantized else frozenset()
        self._asked_for: dict[str, bool] = {}  # names of layers -> whether they can be quantized

    @property
    def single(self) -> bool:
        """Whether all layers have one type, which is neither int8 nor fp8."""
        return not self._given and self.base.quantized is None

    @property
    def single_float32(self) -> bool:
        """Whether all values are float32."""
        return self.single and self.base.dtype == "float32"

    @property
    def quantizes(self) -> bool:
        """Whether any layer may be quantized."""
        return any(choice.quantized for choice in (self.base, *self._given.values()))

    @property
    def coarsest(self) -> str:
        """The coarsest precision of any layer: what the network's values are to be judged by."""
        choices = (self.base, *self._given.values())
        return max((choice.quantized or choice.floats for choice in choices), key=PRECISIONS.index)

    @property
    def layers(self) -> list[str]:
        """The names of the layers so far that have a precision of their own: those that patterns can be about."""
        return list(self._asked_for)

    def of(self, *names: str, quantizable: bool = False) -> tuple[Choice, bool]:
        """The precision of a layer.

        Args:
            names: its full name; and others that it goes by, such as that of a convolution that a batch norm took in.
            quantizable: whether it is a layer that int8 and fp8 make a difference to.

        Returns:
            The precision, and whether a pattern spells out the layer's own name, its last part without a wildcard. Only
            such a pattern overrides the rules: what they keep in float32 is easily caught by a `head.*`.
        """
        for name in names:
            self._asked_for[name] = quantizable or self._asked_for.get(name, False)
        for pattern, choice in reversed(self._given.items()):
            if any(fnmatch.fnmatchcase(name, pattern) for name in names):
                return choice, not WILD.intersection(pattern.rpartition(".")[2])
        kept = not self._kept.isdisjoint(names)
        return Choice(self.base.floats) if kept else self.base, False

    def check(self, layers: Iterable[str]) -> None:
        """Checks that every pattern had an effect, now that all layers are there.

        Args:
            layers: the names of all layers, also of those that have no precision of their own.

        Raises:
            NetdefsError: one had none.
        """
        for pattern, choice in self._given.items():
            found = [name for name in self._asked_for if fnmatch.fnmatchcase(name, pattern)]
            if not found:
                others = fnmatch.filter(layers, pattern)
                why = f" {others[0]!r} has no precision of its own: its type is that of its inputs." if others else ""
                raise NetdefsError(f"precision: no layer matches {pattern!r}.{why}{near(pattern, self._asked_for)}")
            if choice.quantized and not any(self._asked_for[name] for name in found):
                raise NetdefsError(
                    f"precision: {pattern!r} matches no layer that can be {choice.quantized}, only {found[0]!r}"
                    f"{' and others' if found[1:] else ''}. Quantized are the inputs of convolutions, deconvolutions, "
                    "linear layers, matrix products and residual sums (see docs/precision.md)."
                )


def _parsed(pattern: Any, value: Any) -> Choice:
    """One entry of a mapping."""
    where = "" if pattern == "*" else f" for {pattern!r}"
    if not isinstance(pattern, str) or not isinstance(value, str):
        raise NetdefsError(
            f"precision: {pattern!r}: {value!r} is no entry. It is a precision, or a mapping of layer names or globs "
            "to precisions, such as {'*': 'int8', 'head.*': 'fp16'}."
        )
    first, plus, rest = value.partition("+")
    if first in QUANTIZED and (not plus or rest in FLOATS):
        return Choice(rest or "fp32", first)
    if value in FLOATS:
        return Choice(value)
    raise NetdefsError(
        f"precision={value!r}{where} is unknown. Choose from {', '.join(PRECISIONS)}, or say what int8 and fp8 leave "
        f"the rest in, such as 'int8+fp16'.{near(value, PRECISIONS)}"
    )
