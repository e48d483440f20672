"""Normalization."""

from typing import Any

from netdefs.scaffold.ops.layers import own_path, own_weights
from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import differing
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Value


@lowers("aten.batch_norm.default")
def _batch_norm(op: Op) -> Value:
    if op["training"] or op["running_mean"] is None:
        raise Unsupported("a batch norm that takes its statistics from the batch, as in training.")
    keys = [op[name] for name in ("weight", "bias", "running_mean", "running_var")]
    return statistical(op, *keys)


@lowers("aten._native_batch_norm_legit_no_training.default")
def _batch_norm_tuple(op: Op) -> Any:
    made = statistical(op, op["weight"], op["bias"], op["running_mean"], op["running_var"])
    return made, None, None


def statistical(op: Op, weight: Value | None, bias: Value | None, mean: Value, variance: Value) -> Value:
    """A batch norm in eval mode."""
    if (weight is None) != (bias is None):
        raise Unsupported("a batch norm with one of weight and bias.")
    if not mean.weight.endswith(".running_mean") or (weight is not None and not own_weights(weight, bias)):
        raise Unsupported("a batch norm whose weights are not a module's own.")
    options = differing({"eps": 1e-5}, eps=op["eps"])
    if weight is None:
        options["affine"] = False
    return op.layer("batch_norm", op["input"], path=op.module_path(mean), **options)


@computes("aten.batch_norm.default")
def _standardized(op: Op) -> Value:
    """Of an array, by its own statistics: so convolutions standardize their weights."""
    x = op["input"]
    if not (op["training"] or op["running_mean"] is None):
        return _batch_norm(op)
    others = tuple(axis for axis in range(len(x.shape)) if axis != 1)
    text = "standardized({0}, {axes}, eps={eps})"
    inputs = [x]
    column = ", ".join(["-1", *["1"] * (len(x.shape) - 2)])
    for key, sign in (("weight", "*"), ("bias", "+")):
        if op[key] is not None:
            text += f" {sign} {{{len(inputs)}}}.reshape({column})"
            inputs.append(op[key])
    return op.array(text, *inputs, axes=others, eps=op["eps"])


@lowers("aten.layer_norm.default")
def _layer_norm(op: Op) -> Value:
    return by_layer(op, len(op["normalized_shape"]))


@lowers("aten.native_layer_norm.default")
def _layer_norm_tuple(op: Op) -> Any:
    return by_layer(op, len(op["normalized_shape"])), None, None


def by_layer(op: Op, count: int) -> Value:
    """A layer norm over the last `count` axes."""
    options = differing({"dim": -1, "eps": 1e-5}, dim=last(count), eps=op["eps"])
    return with_factors(op, "layer_norm", options, "elementwise_affine")


@lowers("aten.rms_norm.default")
def _rms_norm(op: Op) -> Value:
    options = differing({"dim": -1, "eps": None}, dim=last(len(op["normalized_shape"])), eps=op["eps"])
    return with_factors(op, "rms_norm", options, "elementwise_affine")


@lowers("aten._fused_rms_norm.default")
def _rms_norm_tuple(op: Op) -> Any:
    return _rms_norm(op), None


@lowers("aten.group_norm.default")
def _group_norm(op: Op) -> Value:
    options = {"num_groups": op["num_groups"], **differing({"eps": 1e-5}, eps=op["eps"])}
    return with_factors(op, "group_norm", options, "affine")


@lowers("aten.native_group_norm.default")
def _group_norm_tuple(op: Op) -> Any:
    options = {"num_groups": op["group"], **differing({"eps": 1e-5}, eps=op["eps"])}
    return with_factors(op, "group_norm", options, "affine"), None, None


@lowers("aten.instance_norm.default")
def _instance_norm(op: Op) -> Value:
    if not op["use_input_stats"]:
        if op["running_mean"] is None:
            raise Unsupported("an instance norm without statistics.")
        return statistical(op, op["weight"], op["bias"], op["running_mean"], op["running_var"])
    options = differing({"eps": 1e-5}, eps=op["eps"])
    if op["weight"] is None:
        return op.layer("instance_norm", op["input"], **options)
    return with_factors(op, "instance_norm", {**options, "affine": True}, "affine")


def with_factors(op: Op, method: str, options: dict[str, Arg], affine: str) -> Value:
    """A norm with the weights of its module, without any, or with such as are computed: a product and a sum."""
    x, weight, bias = op["input"], op["weight"], op.given.get("bias")
    complete = weight is not None and (bias is not None or method in ("layer_norm", "rms_norm"))
    if complete and (path := own_path(op, weight, bias)):
        if bias is None and method == "layer_norm":
            options["bias"] = False
        return op.layer(method, x, path=path, **options)
    rest = [(word, value) for word, value in (("mul", weight), ("add", bias)) if value is not None]
    made = op.layer(method, x, part=method if rest else "", **{**options, affine: False})
    for i, (word, value) in enumerate(rest):
        if method in ("group_norm", "instance_norm"):
            value = column(op, value, len(x.shape))
        made = op.layer(word, made, value, part="" if i == len(rest) - 1 else word)
    return made


def column(op: Op, value: Value, rank: int) -> Value:
    """A vector over the channels, to be broadcast over (N, C, ...)."""
    if rank == 2:
        return value
    ones = [1] * (rank - 2)
    return op.array("{0}.reshape({shape})", value, shape=(-1, *ones), sizes=(*value.shape, *ones))


def last(count: int) -> Arg:
    """The last `count` axes."""
    return -1 if count == 1 else tuple(range(-count, 0))


@computes("aten._weight_norm.default", "aten._weight_norm_interface.default")
def _weight_norm(op: Op) -> Any:
    """Of torch.nn.utils.weight_norm: a direction `v` and a length `g` for each place along an axis."""
    axes = tuple(axis for axis in range(len(op["v"].shape)) if axis != op["dim"])
    text = "{0} * {1} / np.sqrt(({0} ** 2).sum(axis={axes}, keepdims=True))"
    made = op.array(text, op["v"], op["g"], axes=axes)
    return (made, None) if "interface" in str(op.node.target) else made
