"""What every engine is."""

import abc
import json
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from netdefs.core.errors import EngineError

Self = TypeVar("Self", bound="Engine")
Shape = tuple[int, ...]
Profile = dict[str, tuple[Shape, Shape, Shape]]

# numpy has no bfloat16: a tensor of that type is described by this word, and its values travel as float32.
BFLOAT16 = "bfloat16"


class TensorInfo(NamedTuple):
    """An input or output of an engine.

    Attributes:
        shape: its sizes, -1 for a dynamic one.
        dtype: its numpy dtype, or "bfloat16".
    """

    shape: Shape
    dtype: np.dtype[Any] | str

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


class Engine(abc.ABC):
    """A network that is ready to run. A context manager: `close` frees what it holds.

    Attributes:
        target: "cpu", "tensorrt" or "tensorrt_rtx".
        inputs: input name -> TensorInfo.
        outputs: output name -> TensorInfo.
        profile: dynamic input's name -> its (min, opt, max) shapes, where they are known.
        info: what the network says of itself (model, variant, precision, preprocess ...): what JSON can hold.
    """

    def __init__(
        self,
        target: str,
        inputs: Mapping[str, TensorInfo],
        outputs: Mapping[str, TensorInfo],
        profile: Profile,
        info: Mapping[str, Any],
    ) -> None:
        self.target = target
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        self.profile = dict(profile)
        try:
            # As it will be once it was saved and loaded: lists for tuples, and nothing shared with the network.
            self.info: dict[str, Any] = json.loads(json.dumps(dict(info)))
        except (TypeError, ValueError) as error:
            raise EngineError(f"The network's info can't be saved as JSON: {error}.") from error
        self._closed = False

    @abc.abstractmethod
    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the network on arrays by input name; returns its outputs by name.

        Raises:
            InputError: an input has the wrong name, shape or type.
            EngineError: the network can't run here.
        """

    @abc.abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file that `netdefs.load_engine` reads, replacing what is there only when all is written.

        Raises:
            FileError: the file can't be written.
        """

    def close(self) -> None:
        """Frees the memory that running takes. The engine can't run after it."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError("This engine is closed. Load or build it again to run it.")

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        def listing(tensors: Mapping[str, TensorInfo]) -> str:
            return ", ".join(f"{name} {info}" for name, info in tensors.items())

        return f"<{self.target} engine: {listing(self.inputs)} -> {listing(self.outputs)}>"
