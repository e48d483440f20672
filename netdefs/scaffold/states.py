"""The states that recurrent layers begin with, where they are zeros."""

from typing import Any

RECURRENT = ("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
ZEROS = ("zeros", "new_zeros", "zeros_like", "zero_")
# What of zeros gives zeros.
SAME = (
    *("to", "_to_copy", "clone", "contiguous", "detach", "detach_", "alias", "expand", "repeat"),
    *("view", "reshape", "unsqueeze", "squeeze", "permute", "transpose"),
)


def leave_zeros_out(graph: Any) -> None:
    """Takes the initial states from recurrent layers whose states are all zeros, as they are without any.

    Zeros have the size of the batch, for which a network would have to measure a tensor.

    Args:
        graph: a torch.fx.Graph of ATen operators, where nothing changes what it is given.
    """
    for node in graph.nodes:
        if str(node.target) in RECURRENT:
            several = isinstance(node.args[1], list | tuple)
            if all(_is_zeros(state) for state in (node.args[1] if several else node.args[1:2])):
                node.update_arg(1, [] if several else None)


def _is_zeros(node: Any) -> bool:
    while _word(node) in SAME:
        node = node.args[0]
    return _word(node) in ZEROS


def _word(node: Any) -> str:
    """The plain name of a node's operator: "zeros" of aten.zeros.default."""
    space, _, rest = str(getattr(node, "target", "")).partition(".")
    return rest.partition(".")[0] if space == "aten" else ""
