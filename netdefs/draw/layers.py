"""TensorRT's layers in words: what each is, and the arguments that set it apart."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

FEW = 4  # numbers of a constant that are said
Words = tuple[str, list[str]]  # a layer's type and its parameters

# The names of TensorRT's enums in words.
OPERATIONS = {"SUM": "Add", "PROD": "Multiply", "SUB": "Subtract", "DIV": "Divide", "MAX": "Maximum", "MIN": "Minimum"}
NAMES = {"LRN": "LRN", "NMS": "NMS", "PARAMETRIC_RELU": "PReLU"}
ACTIVATIONS = {
    "RELU": "ReLU",
    "LEAKY_RELU": "Leaky ReLU",
    "ELU": "ELU",
    "SELU": "SELU",
    "GELU_ERF": "GELU",
    "GELU_TANH": "GELU (tanh)",
    "TANH": "Tanh",
}
ARGUMENTS = {
    "LEAKY_RELU": ("slope {alpha}",),
    "ELU": ("alpha {alpha}",),
    "SELU": ("alpha {alpha}", "beta {beta}"),
    "CLIP": ("{alpha} to {beta}",),
    "THRESHOLDED_RELU": ("above {alpha}",),
    "HARD_SIGMOID": ("{alpha} x + {beta}",),
    "SOFTPLUS": ("alpha {alpha}", "beta {beta}"),
    "SCALED_TANH": ("alpha {alpha}", "beta {beta}"),
}


def words(layer: Any, kind: str, batch_norm: bool = False) -> Words:
    """A layer's type and parameters.

    Args:
        layer: cast to the class of its LayerType `kind`.
        kind: the name of that.
        batch_norm: it has the weights of one.
    """
    if kind == "SCALE" and batch_norm:
        return "Batch norm", [f"{_channels(layer, 0)} channels"]
    if kind not in WORDS:
        return NAMES.get(kind, spelled(kind)), []
    return WORDS[kind](layer)


def values(constant: Any) -> str:
    """A constant in words: its numbers if they are few, else its shape."""
    held = constant.weights
    if isinstance(held, np.ndarray) and held.size <= FEW:
        return "= " + ", ".join(f"{value:.6g}" for value in held.reshape(-1))
    return f"({', '.join(map(str, constant.shape))})"


def spelled(name: str) -> str:
    """The name of an enum's member as it is spoken."""
    return name.replace("_", " ").capitalize()


def times(sizes: Iterable[int]) -> str:
    """Sizes as 3×3."""
    return "×".join(map(str, sizes))


def each(name: str, sizes: Sequence[int], usual: int | None = None) -> list[str]:
    """A parameter of one number per axis, in one number where all are alike; nothing where it is as usual."""
    sizes = [int(size) for size in sizes]
    if all(size == usual for size in sizes):
        return []
    return [f"{name} {sizes[0] if len(set(sizes)) == 1 else times(sizes)}"]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _channels(layer: Any, tensor: int) -> int:
    return int(layer.get_input(tensor).shape[1])


def _convolution(layer: Any) -> Words:
    transposed = "CONVOLUTION" not in type(layer).__name__.upper().replace("DECONVOLUTION", "")
    params = [times(layer.kernel_size_nd), f"{_channels(layer, 0)} → {layer.num_output_maps}"]
    params += [*each("stride", layer.stride_nd, 1), *_padding(layer), *each("dilation", layer.dilation_nd, 1)]
    params += [f"groups {layer.num_groups}"] if layer.num_groups != 1 else []
    return "Deconvolution" if transposed else "Convolution", params + (["bias"] if _size(layer.bias) else [])


def _padding(layer: Any) -> list[str]:
    mode = layer.padding_mode.name
    if mode.startswith("SAME"):
        return [f"padding {mode.lower().replace('_', ' ')}"]
    before, after = list(layer.pre_padding), list(layer.post_padding)
    pads = each("padding", before, 0) if before == after else [f"padding {times(before)} before, {times(after)} after"]
    return pads + (["rounded up"] if mode == "EXPLICIT_ROUND_UP" else [])


def _size(weights: Any) -> int:
    return int(np.size(weights) if isinstance(weights, np.ndarray) else weights.size)


def _scale(layer: Any) -> Words:
    params = [f"per {layer.mode.name.lower()}"]
    return "Scale", params + (["power"] if _size(layer.power) else [])


def _activation(layer: Any) -> Words:
    kind = layer.type.name
    terms = {"alpha": _number(layer.alpha), "beta": _number(layer.beta)}
    return ACTIVATIONS.get(kind, spelled(kind)), [text.format(**terms) for text in ARGUMENTS.get(kind, ())]


def _pooling(layer: Any) -> Words:
    kind = layer.type.name
    params = [times(layer.window_size_nd), *each("stride", layer.stride_nd), *_padding(layer)]
    padded = any(layer.pre_padding) or any(layer.post_padding)
    if kind != "MAX" and padded:
        params.append("padding not counted" if layer.average_count_excludes_padding else "padding counted")
    if kind == "MAX_AVERAGE_BLEND":
        params.append(f"blend {_number(layer.blend_factor)}")
    return {"MAX": "Max pooling", "AVERAGE": "Average pooling"}.get(kind, "Blended pooling"), params


def _elementwise(layer: Any) -> Words:
    return OPERATIONS.get(layer.op.name, spelled(layer.op.name)), []


def _unary(layer: Any) -> Words:
    return spelled(layer.op.name), []


def _reduce(layer: Any) -> Words:
    axes = [str(axis) for axis in range(32) if layer.axes >> axis & 1]
    kind = {"AVG": "Mean", "SUM": "Sum", "PROD": "Product"}.get(layer.op.name, spelled(layer.op.name))
    return kind, [f"over {_axes(axes)}", *(["keeps dims"] if layer.keep_dims else [])]


def _axes(axes: Sequence[Any]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def _axis(title: str) -> Callable[[Any], Words]:
    return lambda layer: (title, [_axes([layer.axis])] if layer.axis >= 0 else ["per tensor"])


def _softmax(layer: Any) -> Words:
    return "Softmax", [_axes([axis for axis in range(32) if layer.axes >> axis & 1])]


def _shuffle(layer: Any) -> Words:
    rank = len(layer.get_input(0).shape)
    out = len(layer.get_output(0).shape)
    first, second = list(layer.first_transpose)[:rank], list(layer.second_transpose)[:out]
    moved = [text for text in (_permutation(first), _permutation(second)) if text]
    shaped = _reshape(layer)
    return " and ".join((["Reshape"] if shaped else []) + (["Permute"] if moved else [])) or "Reshape", [
        *shaped,
        *moved,
    ]


def _permutation(axes: Sequence[int]) -> str:
    return "" if axes == sorted(axes) else f"axes {', '.join(map(str, axes))}"


def _reshape(layer: Any) -> list[str]:
    if layer.num_inputs > 1 and layer.get_input(1) is not None:
        return ["to a computed shape"]
    try:
        wanted = [int(size) for size in layer.reshape_dims or ()]
    except (ValueError, RuntimeError):  # it has none: None, or in other versions a Dims of negative length
        return []
    return [f"to ({', '.join(map(str, wanted))})"] if wanted else []


def _slice(layer: Any) -> Words:
    mode, params = layer.mode.name, []
    for i, (name, sizes) in enumerate((("start", layer.start), ("size", layer.shape), ("stride", layer.stride))):
        if layer.num_inputs > i + 1 and layer.get_input(i + 1) is not None:
            params.append(f"{name} computed")
        elif name != "stride" or any(step != 1 for step in sizes):
            params.append(f"{name} ({', '.join(map(str, sizes))})")
    return "Slice", params + ([f"outside: {mode.lower()}"] if mode not in ("STRICT_BOUNDS", "DEFAULT") else [])


def _resize(layer: Any) -> Words:
    params = [layer.resize_mode.name.lower()]
    if layer.num_inputs > 1 and layer.get_input(1) is not None:
        params.append("to a computed size")
    elif layer.shape is not None:
        params.append(f"to {times(list(layer.shape)[2:])}")
    else:  # asked for only now: TensorRT logs a warning where there are none
        shown = [_number(scale) for scale in list(layer.scales)[2:]]
        params.append(f"× {shown[0] if len(set(shown)) == 1 else ' '.join(shown)}")
    transformation = layer.coordinate_transformation.name
    usual = transformation == "ASYMMETRIC" and params[0] == "nearest"
    return "Resize", params if usual else [*params, transformation.lower().replace("_", " ")]


def _matrix_multiply(layer: Any) -> Words:
    return "Matrix multiply", [
        f"{name} {op.name.lower()}d" if op.name == "TRANSPOSE" else f"{name} a {op.name.lower()}"
        for name, op in (("first", layer.op0), ("second", layer.op1))
        if op.name != "NONE"
    ]


def _topk(layer: Any) -> Words:
    axes = [axis for axis in range(32) if layer.axes >> axis & 1]
    return "Top k", [f"{'largest' if layer.op.name == 'MAX' else 'smallest'} {layer.k}", _axes(axes)]


def _cast(layer: Any) -> Words:
    return "Cast", [f"to {re.sub('^DataType.', '', str(layer.to_type)).lower()}"]


def _gather(layer: Any) -> Words:
    return "Gather", [_axes([layer.axis]), *([layer.mode.name.lower()] if layer.mode.name != "DEFAULT" else [])]


def _padding_layer(layer: Any) -> Words:
    return "Padding", [f"{times(layer.pre_padding_nd)} before, {times(layer.post_padding_nd)} after"]


def _normalization(layer: Any) -> Words:
    params = [_axes([axis for axis in range(32) if layer.axes >> axis & 1]), f"eps {_number(layer.epsilon)}"]
    return "Normalization", params + ([f"groups {layer.num_groups}"] if layer.num_groups != 1 else [])


def _constant(layer: Any) -> Words:
    return "Constant", []


WORDS: dict[str, Callable[[Any], Words]] = {
    "ACTIVATION": _activation,
    "CAST": _cast,
    "CONCATENATION": _axis("Concat"),
    "CONSTANT": _constant,
    "CONVOLUTION": _convolution,
    "DECONVOLUTION": _convolution,
    "DEQUANTIZE": _axis("Dequantize"),
    "ELEMENTWISE": _elementwise,
    "GATHER": _gather,
    "MATRIX_MULTIPLY": _matrix_multiply,
    "NORMALIZATION": _normalization,
    "PADDING": _padding_layer,
    "POOLING": _pooling,
    "QUANTIZE": _axis("Quantize"),
    "REDUCE": _reduce,
    "RESIZE": _resize,
    "SCALE": _scale,
    "SHUFFLE": _shuffle,
    "SLICE": _slice,
    "SOFTMAX": _softmax,
    "TOPK": _topk,
    "UNARY": _unary,
}
