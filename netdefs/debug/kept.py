"""PyTorch's values of one run, kept so that it need not run again: all of them, or none where they are too large."""

import pickle
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.optional import require
from netdefs.debug.scan import Sink, Who, items_of
from netdefs.debug.watch import Origins, is_tensor


class Kept:
    """Takes what modules and functions return.

    Args:
        budget: how many bytes it may hold; once it is to hold more it lets all go.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._values: dict[Who, dict[str, np.ndarray]] = {}
        self._returned: dict[str, np.ndarray] = {}
        self._random = random_state()

    @property
    def complete(self) -> bool:
        """Whether it holds everything."""
        return self._left >= 0

    def take(self, who: Who, output: Any, origins: Origins) -> None:
        """Copies what was returned, at once: something may change it in place later.

        Args:
            who: what returned it.
            output: a tensor, or a container of such.
            origins: who returned a tensor before: that is copied once.
        """
        found = {item: self._copy(value, origins) for item, value in {"": output, **items_of(output)}.items()}
        if self.complete:
            self._values[who] = {item: array for item, array in found.items() if array is not None}

    def finish(self, returned: Mapping[str, Any], origins: Origins) -> None:
        """Takes what the whole module returned, by label; lets all go if anything was random."""
        found = {label: self._copy(value, origins) for label, value in returned.items()}
        self._returned = {label: array for label, array in found.items() if array is not None}
        if random_state() != self._random:
            self._drop()

    def replay(self, wanted: Mapping[Who, Sequence[tuple[str, str]]], labels: Sequence[str], sink: Sink) -> bool:
        """Hands over values in the order in which they were computed, and lets them go; False if it lacks one.

        Args:
            wanted: by who returned it, which part of it ("" for the whole), and its name.
            labels: of what the whole module returned.
            sink: gets each name and value.
        """
        lacks = any(item not in self._values.get(who, {}) for who, parts in wanted.items() for item, _ in parts)
        if lacks or not self.complete or any(label not in self._returned for label in labels):
            return False
        for who in list(self._values):
            values = self._values.pop(who)
            for item, name in wanted.get(who, ()):
                sink(name, values[item])
        for label in labels:
            sink(label, self._returned[label])
        self._drop()
        return True

    def _copy(self, value: Any, origins: Origins) -> np.ndarray | None:
        if not self.complete or not is_tensor(value) or unusual(value):
            return None
        for who in origins.of(value):
            if "" in self._values.get(who, {}):
                return self._values[who][""]
        self._left -= value.numel() * max(value.element_size(), 4)
        if not self.complete:
            self._drop()
            return None
        return copied(value)

    def _drop(self) -> None:
        self._left = -1
        self._values, self._returned = {}, {}


def unusual(tensor: Any) -> bool:
    """Whether a tensor is of a kind that can't be compared."""
    return bool(tensor.is_sparse or tensor.is_complex() or tensor.is_quantized)


def copied(tensor: Any) -> np.ndarray:
    """A tensor's values: float32, float64 or integers."""
    torch = require("torch", "torch")
    small = tensor.dtype in (torch.float16, torch.bfloat16)
    found = tensor.detach().to("cpu", torch.float32 if small else tensor.dtype, copy=True)
    return np.asarray(found.contiguous().numpy())


def random_state() -> list[Any]:
    """The state of the generators of random numbers: another one after a run that used them."""
    torch = require("torch", "torch")
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    states = [bytes(state.numpy()) for state in [torch.get_rng_state(), *gpus]]
    return [*states, random.getstate(), pickle.dumps(np.random.get_state(legacy=False))]
