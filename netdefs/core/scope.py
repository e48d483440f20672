"""`Scope`: a place in a network that is being defined; names, weights and checks of all that is added go through it."""

import copy
import difflib
import sys
import weakref
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.dtypes import float32_to_bfloat16
from netdefs.core.errors import NetworkError
from netdefs.core.weights import Weights

Tensor = Any  # trt.ITensor, of whichever TensorRT
Layer = Any  # trt.ILayer
Self = TypeVar("Self", bound="Scope")

IntPair = int | tuple[int, int]
IntTriple = int | tuple[int, int, int]
IntSides = int | tuple[int, ...]  # for height and width, or for depth, height and width

# A size that is known only at run time: `Size(axis, factor)` is the input's size along `axis`, times `factor`.
Size = tuple[int, int]


class Scope:
    """One module path of a network: `net / "layer1" / 0` is the same network, one module deeper, twice.

    All scopes of a network share its definition, weights and names.
    """

    def __init__(self, definition: Any, trt: ModuleType, weights: Weights) -> None:
        self.definition = definition
        self.trt = trt
        self.trt_log = tensorrt.logger_of(trt)
        self.weights = weights
        self.path = ""
        self.names: dict[str, str] = {}  # tensor name -> where it was added
        self.folded: dict[str, str] = {}  # convolution -> the batch norm that it was folded into
        self.keep: list[Any] = []  # memory that TensorRT reads until the build is over
        # It must live as long as the definition, which may outlive this object, and holds no reference to it.
        weakref.finalize(definition, self.keep.clear).atexit = False

    def __truediv__(self: Self, child: str | int) -> Self:
        scope = copy.copy(self)
        scope.path = self.path_of(str(child))
        return scope

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.path or 'its root'}: {self.definition.num_layers} layers>"

    @property
    def root(self: Self) -> Self:
        """The network's own scope, where names are full names."""
        scope = copy.copy(self)
        scope.path = ""
        return scope

    def call(self: Self, k: int) -> Self:
        """The module of this scope where it is called for the (k + 1)th time; with k = 0 the scope itself.

        Layers of further calls are called `<path>@<k>` and so on; their weights are those of the first.

        Raises:
            NetworkError: k is negative, or this is the root of the network.
        """
        if k == 0:
            return self
        if k < 0 or not self.path:
            raise NetworkError(f"call({k}) of {self.path or 'the network itself'}: a module's calls count from 0.")
        scope = copy.copy(self)
        scope.path = f"{self.path}@{k}"
        self.weights.repeated(scope.path, self.path)
        return scope

    def module(self: Self, name: str | None) -> Self:
        """The scope of the module that a primitive is named after: where its weights are."""
        return self if name is None else self / name

    def path_of(self, name: str | None) -> str:
        """The full name of a child of this scope; `None` is the scope itself."""
        if name is None:
            if not self.path:
                raise NetworkError("A layer at the root of a network needs a name: name=None stands for its scope.")
            return self.path
        return f"{self.path}.{name}" if self.path else name

    def layer(self, layer: Layer, name: str | None, *inputs: Tensor) -> Tensor:
        """Names a layer that was just added, and its output, and checks it: any TensorRT layer can be mixed in.

            y = net.layer(net.definition.add_unary(x, trt.UnaryOperation.EXP), "exp", x)

        Args:
            layer: what an `add_*` of the definition returned.
            name: the layer's name in this scope; None for the scope's own.
            inputs: the layer's inputs, for error messages.

        Returns:
            The layer's first output. Further outputs are called `<name>.1`, `<name>.2` ...

        Raises:
            NetworkError: TensorRT refused the layer, its shape can't be had, or the name is taken.
        """
        path = self.path_of(name)
        where = _caller()
        if layer is None:
            raise NetworkError(self._refusal(path, where, inputs))
        for i in range(layer.num_outputs):
            output = layer.get_output(i)
            try:
                shape = tuple(output.shape)
            except (RuntimeError, ValueError) as error:  # RTX raises; TensorRT 11 gives a Dims of negative length
                raise NetworkError(self._refusal(path, where, inputs)) from error
            # An argument that a layer can't have is only logged by TensorRT, and then ignored.
            if self.trt_log.complaints or 0 in shape:
                raise NetworkError(self._refusal(path, where, inputs, shape))
            self._claim(path if i == 0 else f"{path}.{i}", where)
            output.name = path if i == 0 else f"{path}.{i}"
        layer.name = path
        layer.metadata = f"{path} ({where})"
        return layer.get_output(0)

    def parameter(self, key: str, shape: Sequence[int]) -> np.ndarray:
        """The weight or buffer `key` of this scope, read-only float32, recorded as used; see `Weights.take`."""
        return self.weights.take(self.path_of(key), tuple(shape))

    def weight(self, key: str, shape: Sequence[int], like: Tensor) -> Any:
        """The weight `key` of this scope, in the type of the tensor `like`, for an `add_*` call."""
        return self.convert(self.parameter(key, shape), like.dtype, self.path_of(key))

    def convert(self, array: np.ndarray, dtype: Any, name: str) -> Any:
        """An array as weights of TensorRT type `dtype`, kept alive as long as the network.

        Raises:
            NetworkError: a value does not fit into half precision.
        """
        trt = self.trt
        if dtype in (trt.bfloat16, trt.fp8):  # numpy has no such types; fp8 comes as its bits
            bits = np.ascontiguousarray(float32_to_bfloat16(array) if dtype == trt.bfloat16 else array)
            self.keep.append(bits)
            return trt.Weights(dtype, bits.ctypes.data, bits.size)
        with np.errstate(over="ignore"):
            converted = np.asarray(array, np.dtype(trt.nptype(dtype)), order="C")
        if converted.dtype == np.float16 and not np.array_equal(np.isfinite(converted), np.isfinite(array)):
            worst = float(array.flat[int(np.argmax(np.abs(array)))])
            raise NetworkError(f"{name} holds {worst:g}, which half precision can't: its largest is 65504. Use bf16.")
        self.keep.append(converted)
        return converted

    def constant(self, array: Any, name: str, like: Tensor | None = None) -> Tensor:
        """A constant tensor; of the type of `like` if that is given, else of the array's own."""
        array = np.asarray(array)
        return self.constant_of(array, name, like.dtype if like is not None else getattr(self.trt, str(array.dtype)))

    def constant_of(self, array: np.ndarray, name: str, dtype: Any) -> Tensor:
        """A constant tensor of a TensorRT type."""
        values = self.convert(array, dtype, self.path_of(name))
        return self.layer(self.definition.add_constant(array.shape, values), name)

    def cast(self, x: Tensor, name: str | None, dtype: Any) -> Tensor:
        """`x` in another TensorRT type; `x` itself if it has it."""
        return x if x.dtype == dtype else self.layer(self.definition.add_cast(x, dtype), name, x)

    def child(self, name: str | None, suffix: str) -> str:
        """The name of an inner layer of the primitive `name`."""
        return suffix if name is None else f"{name}.{suffix}"

    def known_size(self, x: Tensor, axis: int, what: str) -> int:
        """The size of `x` along an axis that must be known while the network is defined."""
        size = int(x.shape[axis])
        if size < 0:
            raise NetworkError(f"{what} needs a fixed size along axis {axis} of {describe(x)}, which is dynamic.")
        return size

    def sizes(self, x: Tensor, wanted: Sequence[int | Size], name: str | None) -> Tensor:
        """A shape tensor made of fixed sizes and multiples of x's dynamic ones."""
        axes, factors, fixed = [], [], []
        for size in wanted:
            axis, factor = size if isinstance(size, tuple) else (0, 0)
            axes.append(axis)
            factors.append(factor)
            fixed.append(0 if isinstance(size, tuple) else size)
        child, definition, ops = self.child(name, "size"), self.definition, self.trt.ElementWiseOperation

        def constant(values: list[int], part: str, dtype: type) -> Tensor:
            return self.constant(np.array(values, dtype), f"{child}.{part}")

        shape = self.layer(definition.add_shape(x), f"{child}.shape", x)
        gathered = definition.add_gather(shape, constant(axes, "axes", np.int32), 0)
        size = self.layer(gathered, f"{child}.gather", shape)
        scale = constant(factors, "factors", np.int64)
        size = self.layer(definition.add_elementwise(size, scale, ops.PROD), f"{child}.scale", size, scale)
        offset = constant(fixed, "fixed", np.int64)
        return self.layer(definition.add_elementwise(size, offset, ops.SUM), child, size, offset)

    def ignore(self, pattern: str) -> None:
        """Says that weights of this scope matching the glob `pattern` are knowingly left unused."""
        self.weights.ignore(self.path_of(pattern))

    def inner(self, layer: str) -> None:
        """Says that layers called `<module>.<layer>`, anywhere in the network, have the weights of `<module>` itself.

        A module of its own class may go on behind such a layer, as a batch norm with its activation does: what it
        returns then has the module's name, and the batch norm is called `<module>.batch_norm`.
        """
        self.weights.inner(layer)

    def other_names(self, rename: Callable[[str], str]) -> None:
        """Says that a file may have the weights of this scope under other names: `rename(key)` instead of `key`."""
        self.weights.other_names(f"{self.path}." if self.path else "", rename)

    def _claim(self, path: str, where: str) -> None:
        if path in self.names:
            raise NetworkError(
                f"The name {path!r} is taken: it was added at {self.names[path]} and again at {where}. "
                "A module that is used twice needs names of its own for what has no weights."
            )
        self.names[path] = where

    def _refusal(self, path: str, where: str, inputs: Sequence[Tensor], shape: tuple[int, ...] = ()) -> str:
        lines = [f"TensorRT refused the layer {path!r}, added at {where}."]
        if 0 in shape:
            lines[0] = f"The layer {path!r}, added at {where}, would have an empty output, {shape}."
        lines += [f"  input: {describe(x)}" for x in inputs]
        said = self.trt_log.take()
        lines += [f"  TensorRT: {line}" for line in said.splitlines()]
        return "\n".join(lines)


def pair(value: IntPair) -> tuple[int, int]:
    """An int as (int, int): PyTorch's rule for height and width."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2 or not all(isinstance(n, int | np.integer) for n in both):
        raise NetworkError(f"A size for height and width is an int or a pair of ints, not {value!r}.")
    return int(both[0]), int(both[1])


def each_side(value: IntSides, count: int) -> tuple[int, ...]:
    """An int as so many: PyTorch's rule for height and width, with a depth in front of them if they are three."""
    if count == 2:
        return pair(value)  # type: ignore[arg-type]
    sides = tuple(value) if isinstance(value, tuple | list) else (value,) * count
    if len(sides) != count or not all(isinstance(n, int | np.integer) for n in sides):
        raise NetworkError(f"A size for depth, height and width is an int or three of them, not {value!r}.")
    return tuple(int(n) for n in sides)


def configure(layer: Layer | None, **attributes: Any) -> None:
    """Sets attributes of a layer that was just added; `Scope.layer` reports one that TensorRT did not add."""
    if layer is not None:
        for name, value in attributes.items():
            setattr(layer, name, value)


def describe(x: Tensor) -> str:
    """A tensor in words: name, type and shape."""
    try:
        return f"{x.name!r} {x.dtype.name.lower()}{tuple(x.shape)}"
    except (RuntimeError, ValueError, AttributeError):
        return repr(x)


def near(name: str, names: Any) -> str:
    """A hint with the nearest of `names`, or nothing."""
    found = difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f" Near: {', '.join(found)}." if found else ""


def _caller() -> str:
    """Where in the network's source a layer is added: the first frame outside netdefs.core, and its line."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("netdefs.core."):
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__', '?')}, line {frame.f_lineno}"
