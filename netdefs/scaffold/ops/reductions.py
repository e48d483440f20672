"""Many values to one."""

import math
from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import axes, differing, is_array
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Arg, Value

# Operators -> Network's method and numpy's.
KINDS = {
    "mean": ("mean", "mean"),
    "sum": ("sum", "sum"),
    "prod": ("prod", "prod"),
    "amax": ("amax", "max"),
    "amin": ("amin", "min"),
    "max": ("amax", "max"),
    "min": ("amin", "min"),
    "any": ("any", "any"),
    "all": ("all", "all"),
    "argmax": ("argmax", "argmax"),
    "argmin": ("argmin", "argmin"),
    "logsumexp": ("logsumexp", ""),
}


def along(op: Op) -> dict[str, Arg]:
    """The axes of a reduction, and whether they are kept."""
    dim = axes(op, op.given.get("dim"))
    over = range(len(op["self"].shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    if any(op.is_batch(op["self"].shape[axis]) for axis in over):
        raise Unsupported("it reduces the batch.")
    return differing({"dim": None, "keepdim": False}, dim=dim, keepdim=op.given.get("keepdim", False))


def _reduction(method: str, word: str) -> Any:
    def lowering(op: Op) -> Value:
        options = along(op)
        if not is_array(op["self"]):
            return op.layer(method, op["self"], **options)
        text, options = _arguments(options)
        return op.array(f"{{0}}.{word}({text})", op["self"], **options)

    return lowering


def _arguments(options: dict[str, Arg], **more: Arg) -> tuple[str, dict[str, Arg]]:
    """Arguments of numpy's reductions as a template."""
    words = {"dim": "axis={dim}", "keepdim": "keepdims={keepdim}", "correction": "ddof={correction}"}
    options = {**options, **more}
    return ", ".join(words[key] for key in options), options


for _name, (_method, _word) in KINDS.items():
    _targets = [f"aten.{_name}.{kind}" for kind in ("default", "dims", "dim_IntList", "dim_int")]
    if _name not in ("max", "min"):
        _targets.append(f"aten.{_name}.dim")
    lowers(*_targets)(_reduction(_method, _word))
    if _word:
        computes(*_targets)(_reduction(_method, _word))


@lowers("aten.max.dim", "aten.min.dim")
def _max_dim(op: Op) -> Any:
    word = str(op.node.target).split(".")[1]
    options = along(op)
    used = {user.args[1] for user in op.node.users if len(user.args) == 2}
    values = op.layer(f"a{word}", op["self"], **options) if 0 in used else None
    if 1 not in used:
        return values, None
    part = f"arg{word}" if 0 in used else ""
    return values, op.layer(f"arg{word}", op["self"], part=part, holds="int64", **options)


@lowers("aten.var.default", "aten.var.dim", "aten.var.correction")
@lowers("aten.std.default", "aten.std.dim", "aten.std.correction")
@computes("aten.var.default", "aten.var.dim", "aten.var.correction")
@computes("aten.std.default", "aten.std.dim", "aten.std.correction")
def var(op: Op) -> Value:
    """A variance or standard deviation; of `var_mean` the first result."""
    word = str(op.node.target).split(".")[1].removesuffix("_mean")
    correction = correction_of(op)
    if is_array(op["self"]):
        text, options = _arguments(along(op), **({"correction": correction} if correction else {}))
        return op.array(f"{{0}}.{word}({text})", op["self"], **options)
    return op.layer(word, op["self"], **along(op), **differing({"correction": 1}, correction=correction))


def correction_of(op: Op) -> Arg:
    """What a variance's count is less than the number of values."""
    if "unbiased" in op.given:
        return int(op["unbiased"])
    return 1 if op.given.get("correction") is None else op["correction"]


@lowers("aten.var_mean.default", "aten.var_mean.dim", "aten.var_mean.correction")
@lowers("aten.std_mean.default", "aten.std_mean.dim", "aten.std_mean.correction")
@computes("aten.var_mean.default", "aten.var_mean.dim", "aten.var_mean.correction")
@computes("aten.std_mean.default", "aten.std_mean.dim", "aten.std_mean.correction")
def _var_mean(op: Op) -> Any:
    spread = var(op)
    options = along(op)
    if is_array(op["self"]):
        text, options = _arguments(options)
        return spread, op.array(f"{{0}}.mean({text})", op["self"], **options)
    return spread, op.layer("mean", op["self"], part="mean", **options)


@lowers("aten.norm.Scalar", "aten.norm.ScalarOpt_dim", "aten.norm.ScalarOpt_dim_dtype", "aten.norm.ScalarOpt_dtype")
@lowers("aten.linalg_vector_norm.default", "aten.frobenius_norm.dim", "aten.linalg_norm.default")
def _norm(op: Op) -> Value:
    p = power_of(op)
    return op.layer("norm", op["self"], **differing({"p": 2}, p=p), **along(op))


@computes("aten.norm.Scalar", "aten.norm.ScalarOpt_dim", "aten.norm.ScalarOpt_dim_dtype", "aten.norm.ScalarOpt_dtype")
@computes("aten.linalg_vector_norm.default", "aten.frobenius_norm.dim", "aten.linalg_norm.default")
def _norm_of_array(op: Op) -> Value:
    p = power_of(op)
    text, options = _arguments(along(op))
    if p == 2:
        return op.array(f"np.sqrt(({{0}} ** 2).sum({text}))", op["self"], **options)
    if p == 1:
        return op.array(f"np.abs({{0}}).sum({text})", op["self"], **options)
    if math.isinf(p):
        return op.array(f"np.abs({{0}}).{'max' if p > 0 else 'min'}({text})", op["self"], **options)
    return op.array(f"(np.abs({{0}}) ** {{p}}).sum({text}) ** (1 / {{p}})", op["self"], p=p, **options)


def power_of(op: Op) -> Arg:
    """The p of a norm."""
    found = op.given.get("p", op.given.get("ord"))
    if "linalg_norm" in str(op.node.target) and len(op["self"].shape) > 1:
        dim = op["dim"]
        if found is not None and (dim is None or len(dim) > 1):
            raise Unsupported("norms of matrices are not in the library.")
    return 2 if found is None else found


@lowers("aten.cumsum.default", "aten.cumsum_.default")
def _cumsum(op: Op) -> Value:
    return op.layer("cumsum", op["self"], dim=op["dim"])


@computes("aten.cumsum.default", "aten.cumsum_.default")
def _cumsum_of_array(op: Op) -> Value:
    return op.array("{0}.cumsum({dim})", op["self"], dim=op["dim"])
