"""Values at places: indexing, gathering, sorting."""

from typing import Any

from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import is_array, is_tensor
from netdefs.scaffold.ops.table import Unsupported, computes, lowers
from netdefs.scaffold.program import Value


@lowers("aten.index.Tensor", "aten._unsafe_index.Tensor")
def _index(op: Op) -> Value:
    indices = tuple(op["indices"])
    if any(is_tensor(each) and each.dtype == "bool" for each in indices):
        raise Unsupported("how many values a mask takes is not known while the network is defined.")
    if op.is_batch(op["self"].shape[0]) and indices[0] is not None:
        raise Unsupported("it takes a part of the batch.")
    return op.layer("index", op["self"], indices=indices)


@computes("aten.index.Tensor", "aten._unsafe_index.Tensor")
def _index_array(op: Op) -> Value:
    inputs, parts = [op["self"]], []
    for each in op["indices"]:
        parts.append(":" if each is None else f"{{{len(inputs)}}}")
        inputs += [] if each is None else [each]
    return op.array(f"{{0}}[{', '.join(parts)}]", *inputs)


@lowers("aten.index_select.default")
def _index_select(op: Op) -> Value:
    if op.is_batch(op["self"].shape[op["dim"]]):
        raise Unsupported("it takes a part of the batch.")
    if is_array(op["self"]):
        indices = (*[None] * (op["dim"] % len(op["self"].shape)), op["index"])
        return op.layer("index", op["self"], indices=indices)
    return op.layer("index_select", op["self"], dim=op["dim"], index=op["index"])


@computes("aten.index_select.default")
def _index_select_array(op: Op) -> Value:
    return op.array("{0}.take({1}, {dim})", op["self"], op["index"], dim=op["dim"])


@computes("aten.embedding.default")
def _embedding_array(op: Op) -> Value:
    return op.array("{0}[{1}]", op["weight"], op["indices"])


@lowers("aten.gather.default", "aten.take_along_dim.default")
def _gather(op: Op) -> Value:
    index: Value = op.given["index" if "index" in op.given else "indices"]
    return op.layer("gather", op["self"], dim=op["dim"], index=op.tensor(index))


@computes("aten.gather.default", "aten.take_along_dim.default")
def _gather_array(op: Op) -> Value:
    index = op.given.get("index", op.given.get("indices"))
    return op.array("np.take_along_axis({0}, {1}, {dim})", op["self"], index, dim=op["dim"])


@lowers("aten.topk.default")
def _topk(op: Op) -> Any:
    options = {"k": op.size(op["k"]), **({} if op["dim"] == -1 else {"dim": op["dim"]})}
    if not op["largest"]:
        options["largest"] = False
    return op.layer("topk", op["self"], results=2, **options)


@lowers("aten.sort.default", "aten.sort.stable", "aten.argsort.default", "aten.argsort.stable")
def _sort(op: Op) -> Any:
    options = {} if op["dim"] == -1 else {"dim": op["dim"]}
    if op["descending"]:
        options["descending"] = True
    made = op.layer("sort", op["self"], results=2, **options)
    return made if "aten.sort" in str(op.node.target) else made[1]


@lowers("aten.tril.default", "aten.triu.default", "aten.tril_.default", "aten.triu_.default")
def _triangle(op: Op) -> Value:
    word = str(op.node.target).split(".")[1].rstrip("_")
    return op.layer(word, op["self"], **({"diagonal": op["diagonal"]} if op["diagonal"] else {}))


@computes("aten.tril.default", "aten.triu.default", "aten.tril_.default", "aten.triu_.default")
def _triangle_of_array(op: Op) -> Value:
    word = str(op.node.target).split(".")[1].rstrip("_")
    if op["diagonal"]:
        return op.array(f"np.{word}({{0}}, {{diagonal}})", op["self"], diagonal=op["diagonal"])
    return op.array(f"np.{word}({{0}})", op["self"])


@lowers("aten.nonzero.default", "aten.masked_select.default", "aten.nonzero_numpy.default", "aten.where.default")
@lowers("aten.unique_consecutive.default", "aten._unique2.default", "aten.bincount.default")
def _data_dependent(op: Op) -> Any:
    raise Unsupported("the shape of its result depends on the values that it is given.")


@lowers("aten.index_put.default", "aten.index_put_.default")
def _index_put(op: Op) -> Any:
    """`x[mask] = value`; what is put at other places has no layer."""
    mask, value, several = op["indices"][0], op["values"], any(n != 1 for n in op["values"].shape)
    if len(op["indices"]) > 1 or not is_tensor(mask) or mask.dtype != "bool" or op["accumulate"] or several:
        return _scatter(op)
    for _ in range(len(op["self"].shape) - len(mask.shape)):  # what it has no axes for it takes whole
        mask = op.layer("unsqueeze", mask, dim=-1, part="mask", sizes=(*mask.shape, 1), holds="bool")
    if value.fixed is not None:
        return op.layer("masked_fill", op["self"], mask=mask, value=value.fixed.item())
    return op.layer("where", mask, op.tensor(value), op["self"])


@lowers("aten.scatter.src", "aten.scatter.value", "aten.scatter_add.default")
@lowers("aten.index_add.default", "aten.index_copy.default", "aten.masked_scatter.default")
@lowers("aten.scatter_.src", "aten.scatter_.value", "aten.scatter_add_.default", "aten.scatter_reduce.two")
def _scatter(op: Op) -> Any:
    raise Unsupported("the library has no scatter to computed places; slice_scatter and select_scatter are there.")
