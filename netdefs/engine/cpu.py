"""The CPU engine: ONNX Runtime on the model that `netdefs.to_onnx` writes."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from netdefs.core.dtypes import bfloat16_to_float32, float32_to_bfloat16
from netdefs.core.errors import EngineError, NetdefsError
from netdefs.core.marks import matching
from netdefs.core.optional import require
from netdefs.core.version import __version__
from netdefs.engine import sidecar
from netdefs.engine.base import BFLOAT16, Engine, TensorInfo
from netdefs.engine.feeds import check_feeds, check_profile

if TYPE_CHECKING:
    import onnx

# The entry of an ONNX model's metadata_props that holds what the model itself can't say.
METADATA = "netdefs.engine"


class CpuEngine(Engine):
    """A network run by ONNX Runtime on the CPU.

    Half-precision networks compute in float32 and round every layer's result: see `netdefs.engine.emulate`. bfloat16
    inputs and outputs are float32 arrays, since numpy has no such type.

    Args:
        model: an ONNX model whose tensors have the network's names.
        info: what the network says of itself.
        profile: dynamic inputs' (min, opt, max) shapes; inputs outside of them are refused.
        threads: how many CPU threads to use; by default all that this process may use.

    Raises:
        EngineError: ONNX Runtime can't load the model.
    """

    def __init__(
        self,
        model: "onnx.ModelProto",
        info: Mapping[str, Any],
        profile: Mapping[str, Any] | None = None,
        threads: int | None = None,
    ) -> None:
        self._onnxruntime = require("onnxruntime", "cpu")
        require("onnx", "cpu")
        weights = {tensor.name for tensor in model.graph.initializer}
        inputs = {value.name: _tensor_info(value) for value in model.graph.input if value.name not in weights}
        outputs = {value.name: _tensor_info(value) for value in model.graph.output}
        super().__init__("cpu", inputs, outputs, check_profile(inputs, profile or {}, required=False), info)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise EngineError(f"threads={threads!r}: it must be a positive number of CPU threads.")
        self.model = model  # never changed: other threads may be reading it
        self._threads = threads or _usable_threads()
        self._session = self._make_session(model)
        # Another session, for the extra outputs that were asked for last: it holds the weights a second time.
        self._extra: tuple[tuple[str, ...], Any] = ((), None)
        self._extra_lock = threading.Lock()

    def run(self, feeds: Mapping[str, Any], outputs: str | Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Runs the network on numpy arrays, or torch tensors on the CPU, by input name.

        Args:
            feeds: input name -> array of the input's shape and type.
            outputs: names or globs (`*` also matches dots) of further layers whose results to return as well.

        Returns:
            Output name -> array: the network's outputs, then the further ones in execution order.

        Raises:
            InputError: an input has the wrong name, shape or type.
            EngineError: no layer's output matches, or ONNX Runtime fails.
        """
        self._check_open()
        arrays = check_feeds(feeds, self.inputs, self.profile)
        extra = self._matching([outputs] if isinstance(outputs, str) else outputs)
        names = [*self.outputs, *extra]
        session = self._session_for(extra)
        try:
            results = session.run(names, {name: _feed(array, self.inputs[name]) for name, array in arrays.items()})
        except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
            raise EngineError(f"ONNX Runtime could not run the network: {error}") from error
        halves = self._halves()
        return {
            name: result.astype(np.float16) if name in halves else result
            for name, result in zip(names, results, strict=True)
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the ONNX model to `path`, whatever its suffix; weights above 2 GB go to `<path>.data`.

        Raises:
            FileError: the file can't be written. Nothing that was there is then changed.
        """
        from netdefs.engine import modelfile  # imports onnx

        model = modelfile.copy(self.model)
        _write_metadata(model, {"netdefs": __version__, "profile": self.profile, "info": self.info})
        modelfile.write(model, path)
        sidecar.remove_stale(Path(path))

    def close(self) -> None:
        """Frees the sessions."""
        super().close()
        self._session, self._extra = None, ((), None)

    def _make_session(self, model: "onnx.ModelProto") -> Any:
        from netdefs.engine import emulate, integer, modelfile  # they import onnx

        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal only: errors are raised, and warnings leave the user nothing to do
        if emulate.has_fp8(model):
            # ONNX Runtime 1.31 makes integer convolutions of these, and refuses them; its further optimizations give
            # wrong numbers.
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            options.graph_optimization_level = self._onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        if emulate.needs_emulation(model):
            model = emulate.emulate(model)
        if integer.quantizes(model):
            model = integer.unsigned(model)
        try:
            with modelfile.source(model) as source:
                return self._onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except NetdefsError:
            raise
        except Exception as error:  # as in run
            raise EngineError(f"ONNX Runtime can't load the network {model.graph.name!r}: {error}") from error

    def _session_for(self, extra: tuple[str, ...]) -> Any:
        """A session that also gives the tensors `extra` out."""
        from netdefs.engine import modelfile  # imports onnx

        if not extra:
            return self._session
        with self._extra_lock:
            if self._extra[0] != extra:
                self._extra = ((), None)  # freed before the next one is made
                known = {value.name: value for value in self.model.graph.value_info}
                model = modelfile.copy(self.model)
                model.graph.output.extend(known[name] for name in extra)
                self._extra = (extra, self._make_session(model))
            return self._extra[1]

    def _matching(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """The layers' outputs that match and are not outputs of the network, in execution order."""
        if not patterns:
            return ()
        known = {value.name for value in self.model.graph.value_info}
        tensors = [name for node in self.model.graph.node for name in node.output if name in known]
        names = dict.fromkeys((*tensors, *self.outputs))
        found = {name for pattern in patterns for name in matching(names, pattern, EngineError)}
        return tuple(name for name in tensors if name in found and name not in self.outputs)

    def _halves(self) -> set[str]:
        """The tensors whose values are float16; sessions of such networks give them out as float32."""
        import onnx

        values = (*self.model.graph.output, *self.model.graph.value_info)
        return {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}


def load(model: "onnx.ModelProto") -> CpuEngine:
    """The engine of a model that `CpuEngine.save` or `netdefs.to_onnx` wrote, or of any other ONNX model.

    Raises:
        EngineError: its metadata is damaged, or ONNX Runtime can't load it.
    """
    metadata: dict[str, Any] = {}
    for entry in model.metadata_props:
        if entry.key == METADATA:
            try:
                metadata = json.loads(entry.value)
                return CpuEngine(model, metadata["info"], metadata["profile"])
            except (ValueError, KeyError, TypeError) as error:
                raise EngineError(
                    f"The entry {METADATA!r} in this ONNX model's metadata is damaged ({error!r}). "
                    "Build and save the engine again."
                ) from error
    return CpuEngine(model, {})


def _write_metadata(model: "onnx.ModelProto", content: Mapping[str, Any]) -> None:
    kept = [entry for entry in model.metadata_props if entry.key != METADATA]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA, value=json.dumps(content))


def _tensor_info(value: "onnx.ValueInfoProto") -> TensorInfo:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim)
    if tensor.elem_type == onnx.TensorProto.BFLOAT16:
        return TensorInfo(shape, BFLOAT16)
    return TensorInfo(shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))


def _feed(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    """An input as the session takes it: half-precision networks compute in float32."""
    if info.dtype == BFLOAT16:
        return bfloat16_to_float32(float32_to_bfloat16(array))
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _usable_threads() -> int:
    """How many CPU threads this process may use; 0, one on each core to ONNX Runtime, if that is all of them."""
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return 0
    return 0 if usable == os.cpu_count() else usable
