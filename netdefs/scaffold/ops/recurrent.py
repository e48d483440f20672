"""Recurrent layers."""

import operator
from typing import Any

from netdefs.core.layers.recurrent import DIRECTIONS
from netdefs.scaffold.ops.op import Op
from netdefs.scaffold.ops.options import differing
from netdefs.scaffold.ops.table import Unsupported, lowers


@lowers("aten.lstm.input")
def _lstm(op: Op) -> Any:
    return recurrent(op, "lstm", ("h_n", "c_n"))


@lowers("aten.gru.input")
def _gru(op: Op) -> Any:
    return recurrent(op, "gru", ("h_n",))


@lowers("aten.rnn_tanh.input")
def _rnn_tanh(op: Op) -> Any:
    return recurrent(op, "rnn", ("h_n",))


@lowers("aten.rnn_relu.input")
def _rnn_relu(op: Op) -> Any:
    return recurrent(op, "rnn", ("h_n",), nonlinearity="relu")


@lowers("aten.lstm.data", "aten.gru.data", "aten.rnn_tanh.data", "aten.rnn_relu.data")
def _packed(op: Op) -> Any:
    raise Unsupported("it takes packed sequences, each of which ends at another step.")


def recurrent(op: Op, method: str, states: tuple[str, ...], **options: Any) -> Any:
    """A recurrent layer of the library's: what it gives, and its last states, or None where nothing uses these."""
    if op["train"] and op["dropout"]:
        raise Unsupported("dropout between its layers, as in training.")
    path = own_path(op)
    initial = op["hx"] if isinstance(op["hx"], list) else [op["hx"]] if op["hx"] is not None else []
    hidden = op["params"][1].shape[1]
    usual = {"num_layers": 1, "bias": True, "batch_first": False, "bidirectional": False}
    given = {word: op["has_biases" if word == "bias" else word] for word in usual}
    options = {"hidden_size": hidden, **differing(usual, **given), **options}
    if initial:
        options["initial"] = tuple(op.tensor(state) for state in initial)
    if all(user.target is operator.getitem and user.args[1] == 0 for user in op.node.users):
        return op.layer(method, op["input"], path=path, **options), *(None for _ in states)
    made = op.layer(method, op["input"], path=path, results=1 + len(states), **options, states=True)
    for value, word in zip(made[1:], states, strict=True):
        value.hint = word
    return made


def own_path(op: Op) -> tuple[str, ...]:
    """The path of the module whose weights these are, under PyTorch's names.

    Raises:
        Unsupported: they are others, computed, or the network has no place for the layer.
    """
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if op["has_biases"] else 2]
    ends = [f"_l{k}{way}" for k in range(op["num_layers"]) for way in DIRECTIONS[: 1 + op["bidirectional"]]]
    params = op["params"]
    if len(params) > len(ends) * len(kinds):
        raise Unsupported("LSTMs with projections (proj_size) are not in the library.")
    keys = [value.weight for value in params]
    base = keys[0].rpartition(".")[0]
    if keys != [f"{base}.{kind}{end}".removeprefix(".") for end in ends for kind in kinds]:
        raise Unsupported("a recurrent layer whose weights are not a module's own, under PyTorch's names.")
    if not base:
        raise Unsupported("a recurrent layer that is the whole module has no name: make it a part of one.")
    path = op.module_path(params[0])
    if not op.builder.names.reserve(path):
        raise Unsupported("a recurrent layer whose weights another layer has, too.")
    return path
