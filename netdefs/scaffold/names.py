"""What layers are called: as compare calls what PyTorch does, so that every statement of a draft has a partner."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from netdefs.core.torch_module import evaluating
from netdefs.debug.names import SAME
from netdefs.debug.watch import watch
from netdefs.scaffold.capture import word_of

# ATen's names for what PyTorch's functions are called.
FUNCTIONS = {
    **dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d"), "interpolate"),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), "interpolate"),
    **dict.fromkeys(("_upsample_nearest_exact1d", "_upsample_nearest_exact2d"), "interpolate"),
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), "interpolate"),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d", "_pad_circular"), "pad"),
    "hardtanh": "relu6",
    "_unsafe_view": "reshape",
    "__and__": "logical_and",
    "rsub": "sub",
    "linalg_vector_norm": "norm",
    "im2col": "unfold",
    "col2im": "fold",
    "grid_sampler": "grid_sample",
    "_to_copy": "to",
    # What functions become once PyTorch is asked for operators that change nothing in place.
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "_fused_rms_norm": "rms_norm",
    "max_pool2d_with_indices": "max_pool2d",
    "max_pool3d_with_indices": "max_pool3d",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
    "_scaled_dot_product_flash_attention_for_cpu": "scaled_dot_product_attention",
}


class Names:
    """Gives every layer its full path.

    Args:
        module: the traced module.
        inputs: its inputs, to see once which functions its modules call, and how often.
    """

    def __init__(self, module: Any, inputs: Sequence[Any]) -> None:
        self.called: Counter[tuple[str, str]] = Counter()
        self.modules: Counter[str] = Counter()

        def left(who: Any, _: Any, __: Any) -> None:
            if isinstance(who, str):
                self.modules[who] += 1
            else:
                self.called[who.scope, who.word] += 1

        with evaluating(module):
            watch(module, list(inputs), left)
        self.restart()

    def restart(self) -> None:
        """Forgets the names that were given."""
        self.traced: Counter[tuple[str, str]] = Counter()
        self._numbers: dict[Any, int] = {}
        self._taken: set[str] = set()

    def count(self, scope: str, node: Any) -> None:
        """Counts an operator that is called in a module's own forward, before any is named."""
        self.traced[scope, function_of(node)] += 1
        self._numbers[node] = self.traced[scope, function_of(node)]

    def function(self, scope: tuple[str, ...], module: str, node: Any) -> tuple[str, ...]:
        """The path of a function called in the forward of `module`, at the place `scope`."""
        word = function_of(node)
        number = self._numbers.get(node, 1)
        seen, traced = self.called[module, word], self.traced[module, word]
        if traced != seen:  # which of PyTorch's calls it is can't be told: a name that none of them has
            return self.free((*scope, f"{word}_{number}"))
        return self.free((*scope, word if seen == 1 else f"{word}#{number}"))

    def free(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """A path that no other layer has: this one, or with a number behind it."""
        found, number = path, 1
        while ".".join(found) in self._taken:
            number += 1
            found = (*path[:-1], f"{path[-1]}_{number}")
        self._taken.add(".".join(found))
        return found

    def reserve(self, path: tuple[str, ...]) -> bool:
        """Takes a path, if no other layer has it yet."""
        if ".".join(path) in self._taken:
            return False
        self._taken.add(".".join(path))
        return True

    def release(self, path: tuple[str, ...]) -> None:
        """Gives a path back."""
        self._taken.discard(".".join(path))


def function_of(node: Any) -> str:
    """What compare calls the function that a node's operator is."""
    word = word_of(node).rstrip("_")
    word = FUNCTIONS.get(word, word)
    return SAME.get(word, word)
