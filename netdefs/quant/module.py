"""A PyTorch module that is calibrated: its modules' outputs, taken through hooks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import CalibrationError, InputError, NetdefsError
from netdefs.core.marks import matching
from netdefs.core.optional import require
from netdefs.core.torch_module import evaluating, hooked
from netdefs.core.weights import weights_sha256
from netdefs.engine.tensorrt import definition_inputs
from netdefs.quant.feeds import Feed, Pictures, Takes, items
from netdefs.quant.recording import Recording


def chosen(names: list[str], needed: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """The tensors to measure, in the network's order: what matches `patterns`; else what is needed, if that is known.

    Raises:
        CalibrationError: a pattern matches nothing.
    """
    if patterns is not None:
        wanted = {name for pattern in patterns for name in matching(names, pattern, CalibrationError)}
        return [name for name in names if name in wanted]
    return [name for name in names if name in set(needed)] or names


class Module:
    """A torch.nn.Module in the place of a network.

    Args:
        module: evaluated in eval mode and without gradients.
        like: the `Network` that the calibration is for, if there is one.
        patterns: of the modules to measure.

    Raises:
        CalibrationError: `like` is no Network.
    """

    def __init__(self, module: Any, like: Any, patterns: Sequence[str] | None) -> None:
        self._module, self._patterns = module, patterns
        self._needed: list[str] = []
        self._takes: Takes | None = None
        self._wanted: list[str] = []
        state = {key: value for key, value in module.state_dict().items() if hasattr(value, "dtype")}
        self.recording = Recording("", weights_sha256(state))
        if like is None:
            return
        if not hasattr(like, "definition") or not hasattr(like, "weights"):
            raise CalibrationError(f"like= is the Network that the calibration is for, not {type(like).__name__}.")
        self._takes = Takes(definition_inputs(like.definition), like.profile, like.info.get("preprocess"))
        self._needed = list(getattr(like, "activations", ()))
        self.recording.network = like.name
        self.recording.preprocess = like.info.get("preprocess")

    def feeds(self, pictures: Pictures) -> Iterator[Feed]:
        """The module's inputs, run by run."""
        if self._takes is not None:
            yield from self._takes.feeds(pictures)
            return
        for name, item in items(pictures):
            given = item if isinstance(item, Mapping) else {"input": item}
            arrays = {key: _array(value, name) for key, value in given.items()}
            if any(array.dtype == np.uint8 for array in arrays.values()):
                raise InputError(
                    f"{name} is a picture as it was read, and a torch module does not say how it wants pictures. Give "
                    "arrays as it takes them, or like=, the Network that the calibration is for."
                )
            yield Feed(name, arrays, max((len(array) for array in arrays.values() if array.ndim), default=1))

    def values(self, feed: Feed) -> Iterator[tuple[str, np.ndarray]]:
        """What the module's inputs hold; what its modules return is recorded while it runs.

        Raises:
            CalibrationError: the module can't run.
        """
        if not self._wanted:
            self._wanted = self._choose(feed)
        yield from ((name, array) for name, array in feed.arrays.items() if name in self._wanted)
        # At once: an in-place ReLU behind a module changes what it returned.
        self._run(feed, lambda name, value: self.recording.add(name, _array(value.float(), name), feed.name))

    def _choose(self, feed: Feed) -> list[str]:
        seen: dict[str, None] = {}
        self._run(feed, lambda name, value: seen.update({name: None}))
        return chosen([*feed.arrays, *seen], self._needed, self._patterns)

    def _run(self, feed: Feed, sink: Callable[[str, Any], None]) -> None:
        torch = require("torch", "torch")
        inputs = set(feed.arrays)
        parameter = next(iter(self._module.parameters()), None)

        def returned(name: str, _: Any, __: Any, ___: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point() and name not in inputs:
                sink(name, output)

        device = None if parameter is None else parameter.device
        every, wanted = self._module.named_modules(), self._wanted
        measured = [(name, module) for name, module in every if name and (not wanted or name in wanted)]
        with hooked(measured, None, returned), evaluating(self._module), torch.no_grad():
            try:
                self._module(*(torch.tensor(array, device=device) for array in feed.arrays.values()))
            except NetdefsError:
                raise
            except Exception as error:  # whatever the user's module raises
                raise CalibrationError(
                    f"The PyTorch module can't run on {feed.name}: {type(error).__name__}: {error}"
                ) from error


def _array(value: Any, name: str) -> np.ndarray:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    if not hasattr(value, "__array__"):
        raise InputError(f"{name} is of type {type(value).__name__}; a torch module is given arrays or tensors.")
    return np.asarray(value)
