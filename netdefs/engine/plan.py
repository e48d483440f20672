"""The TensorRT engine: a plan, and what is known of it."""

import dataclasses
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError
from netdefs.engine import sidecar
from netdefs.engine.base import Engine
from netdefs.engine.debugging import Sink
from netdefs.engine.feeds import check_feeds
from netdefs.engine.gpu import Runner


class PlanEngine(Engine):
    """A network compiled by TensorRT. It is moved to the GPU at the first run; until then no GPU is needed.

    Args:
        plan: what the builder made.
        content: what is known of it.
        name: how to call it in messages: a file or network name.
        runner: the plan on the GPU, if it is there already.
    """

    def __init__(self, plan: bytes, content: sidecar.Sidecar, name: str, runner: Runner | None = None) -> None:
        super().__init__(content.target, content.inputs, content.outputs, content.profile, content.info)
        self.plan = plan
        self._content = content
        self._name = name
        self._runner = runner
        self._lock = threading.Lock()

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Runs the network on the GPU.

        Args:
            feeds: input name -> array of the input's shape and type. torch tensors on the GPU are read in place.

        Returns:
            Output name -> numpy array; or, where GPU tensors were fed, torch tensor on the GPU. bfloat16 outputs are
            float32 as numpy arrays.

        Raises:
            InputError: an input has the wrong name, shape or type.
            EngineError: there is no GPU, it is not the right one, or the plan is for another version of TensorRT.
        """
        self._check_open()
        checked = check_feeds(feeds, self.inputs, self.profile, accept_cuda=True)
        return self._ready().run(checked)

    def watch(self, feeds: Mapping[str, Any], sink: Sink) -> dict[str, np.ndarray]:
        """Runs the network, and gives each of its debug tensors to `sink(name, array)` the moment it is computed.

        `netdefs.build` makes them: `debug=("layer1.*",)`, or `unfused=True`.

        Args:
            feeds: input name -> array of the input's shape and type.
            sink: gets arrays of its own; bfloat16 as float32.

        Returns:
            Output name -> array.

        Raises:
            InputError: an input has the wrong name, shape or type.
            EngineError: the plan has no debug tensors, or as for `run`.
        """
        self._check_open()
        return self._ready().watch(check_feeds(feeds, self.inputs, self.profile), sink)

    def release(self) -> None:
        """Frees the GPU's memory until the next run."""
        with self._lock:
            if self._runner is not None:
                self._runner.close()
                self._runner = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the plan to `path`, and what is known of it to `<path>.json`.

        Raises:
            FileError: one can't be written.
        """
        sidecar.write(Path(path), self.plan, dataclasses.replace(self._content, info=self.info))

    def close(self) -> None:
        """Frees the GPU's memory."""
        super().close()
        self.release()

    def _ready(self) -> Runner:
        with self._lock:
            if self._runner is None:
                self._runner = self._load()
            return self._runner

    def _load(self) -> Runner:
        """Moves the plan to the GPU, if it can run there."""
        content = self._content
        found = tensorrt.compute_capability()
        if found is None:
            raise EngineError(f"{self._name} is a {content.target} plan, and no NVIDIA GPU answers on this machine.")
        trt = tensorrt.load(content.target)
        if trt.__version__ != content.tensorrt:
            raise EngineError(
                f"{self._name} was made by {content.target} {content.tensorrt}, and this is {trt.__version__}: "
                "build it again with this version, or install that one."
            )
        if content.compute_capabilities is not None and found not in content.compute_capabilities:
            raise EngineError(
                f"{self._name} was compiled for compute capability {', '.join(content.compute_capabilities)}, "
                f"and this GPU has {found}: build it again for that."
            )
        return Runner(trt, self.plan)
