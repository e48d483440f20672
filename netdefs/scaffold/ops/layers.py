"""Layers with weights: convolutions, linear layers, PReLU, embeddings."""

from collections.abc import Sequence

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import differing, pair
from netdefs.scaffold.ops.table import Unsupported, lowers
from netdefs.scaffold.program import Arg, Value


def own_weights(*weights: Value | None) -> bool:
    """Whether these are the weights of one module of theirs, as they are in its state_dict."""
    keys = [value.weight for value in weights if value is not None]
    words = [key.rpartition(".")[2] for key in keys]
    return len({key.rpartition(".")[0] for key in keys}) == 1 and words == ["weight", "bias"][: len(words)]


def own_path(op: Op, *weights: Value | None) -> tuple[str, ...] | None:
    """The path of the module that has these weights, as its layer's name; None if they are another's or it is taken."""
    first = next(value for value in weights if value is not None)
    path = op.module_path(first) if own_weights(*weights) else ()
    return path if path and op.builder.names.reserve(path) else None


def source_of(op: Op, argument: str) -> Value:
    """The weight that an argument is, also behind a view of it."""
    value: Value = op[argument]
    names = [each.name for each in op.node.target._schema.arguments]
    node = op.node.args[names.index(argument)]
    while not value.weight and getattr(node, "args", None) and node.args[0] in op.builder.env:
        node = node.args[0]
        value = op.builder.env[node]
    return value


@lowers("aten.conv2d.default", "aten.conv2d.padding", "aten.conv1d.default", "aten.conv1d.padding")
@lowers("aten.conv3d.default", "aten.conv3d.padding")
def _conv(op: Op) -> Value:
    padding = op["padding"]
    if not isinstance(padding, str):
        return convolved(op, op["input"], padding)
    kernel = op["weight"].shape[2:]
    total = [0 if padding == "valid" else d * (k - 1) for d, k in zip(op["dilation"], kernel, strict=True)]
    if not any(n % 2 for n in total):
        return convolved(op, op["input"], [n // 2 for n in total])
    # PyTorch pads one more behind than in front.
    x = op["input"]
    sides = [side for n in reversed(total) for side in (n // 2, n - n // 2)]
    shape = [*x.shape[:2], *(size + n for size, n in zip(x.shape[2:], total, strict=True))]
    x = op.layer("pad", x, part="pad", sizes=shape, padding=tuple(sides))
    return convolved(op, x, [0] * len(total))


@lowers("aten.convolution.default")
def _convolution(op: Op) -> Value:
    if op["transposed"]:
        return _conv_transpose(op)
    return convolved(op, op["input"], op["padding"])


def convolved(op: Op, x: Value, padding: Sequence[int]) -> Value:
    """A convolution of one to three dimensions: a layer's, or one with weights that are computed."""
    weight, bias = op["weight"], op["bias"]
    kernel, count = weight.shape[2:], len(weight.shape) - 2
    _given(op, weight)
    if count == 1 and isinstance(x.shape[-1], int) is False and op.is_batch(x.shape[-1]):
        raise Unsupported("it is a convolution along the batch.")
    options = differing(
        {"stride": 1, "padding": 0, "dilation": 1, "groups": 1},
        stride=pair(_each(op["stride"], count)),
        padding=pair(_each(padding, count)),
        dilation=pair(_each(op["dilation"], count)),
        groups=op["groups"],
    )
    sizes = {"out_channels": weight.shape[0], "kernel": pair(kernel)}
    if path := own_path(op, weight, bias):
        if bias is None:
            options["bias"] = False
        method = {1: "conv1d", 2: "conv", 3: "conv3d"}[count]
        return op.layer(method, x, path=path, **sizes, **options)
    if count == 1:
        raise Unsupported("a convolution of one dimension whose weights are computed is not in the library.")
    return op.layer("convolution", x, **sizes, weight=weight, bias=bias, **options)


@lowers("aten.conv_transpose2d.input", "aten.conv_transpose1d.default", "aten.conv_transpose3d.input")
def _conv_transpose(op: Op) -> Value:
    weight, bias = op["weight"], op["bias"]
    _given(op, weight)
    count = len(weight.shape) - 2
    if count == 3:
        raise Unsupported("deconvolutions of (N, C, D, H, W) are not in the library.")
    window = {key: _each(op[key], count) for key in ("stride", "padding", "output_padding")}
    sizes = {"out_channels": weight.shape[1] * op["groups"], "kernel": pair(weight.shape[2:])}
    rest = differing({"groups": 1, "dilation": 1}, groups=op["groups"], dilation=pair(_each(op["dilation"], count)))
    if path := own_path(op, weight, bias):
        found = {key: pair(value) for key, value in window.items()}
        options = differing({"stride": 1, "padding": 0, "output_padding": 0}, **found)
        if bias is None:
            options["bias"] = False
        return op.layer("deconv" if count == 2 else "deconv1d", op["input"], path=path, **sizes, **options, **rest)
    if count == 1:
        raise Unsupported("a deconvolution of one dimension whose weights are computed is not in the library.")
    options = {"stride": window["stride"], "pad": window["padding"], "grow": window["output_padding"]}
    sizes["kernel"] = tuple(weight.shape[2:])
    return op.layer("deconvolution", op["input"], **sizes, **options, weight=weight, bias=bias, **rest)


@lowers("aten.linear.default")
def _linear(op: Op) -> Value:
    return multiplied(op, op["input"], op["weight"], op["bias"])


@lowers("aten.addmm.default")
def _addmm(op: Op) -> Value:
    if op["beta"] != 1 or op["alpha"] != 1:
        raise Unsupported("addmm with factors.")
    weight = source_of(op, "mat2")
    turned = weight.weight and tuple(weight.shape) == tuple(reversed(op["mat2"].shape))
    if turned and op["mat2"].kind == "array" and len(op["self"].shape) == 1:
        return multiplied(op, op["mat1"], weight, op["self"])
    product = op.layer("matmul", op["mat1"], op["mat2"], part="mm")
    return op.layer("add", product, op["self"])


def multiplied(op: Op, x: Value, weight: Value, bias: Value | None) -> Value:
    """A linear layer, or one whose weights are another's or computed."""
    _given(op, weight)
    if path := own_path(op, weight, bias):
        options: dict[str, Arg] = {} if bias is not None else {"bias": False}
        return op.layer("linear", x, path=path, out_features=weight.shape[0], **options)
    if bias is None:
        return op.layer("affine", x, weight=weight)
    return op.layer("affine", x, weight=weight, bias=bias)


@lowers("aten.prelu.default", "aten._prelu_kernel.default")
def _prelu(op: Op) -> Value:
    weight = source_of(op, "weight")
    count = weight.shape[0] if weight.shape else 1
    if path := own_path(op, weight):
        options = differing({"num_parameters": 1}, num_parameters=count)
        return op.layer("prelu", op["self"], path=path, **options)
    raise Unsupported("a PReLU whose weight is not a module's own.")


@lowers("aten.embedding.default")
def _embedding(op: Op) -> Value:
    return op.layer("index", op["weight"], indices=(op["indices"],))


def _given(op: Op, weight: Value) -> None:
    if weight.kind != "array":
        raise Unsupported("its weights are computed from the network's input.")


def _each(sizes: Sequence[int] | int, count: int) -> tuple[int, ...]:
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return sizes * count if len(sizes) == 1 else sizes
