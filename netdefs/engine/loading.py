"""`load_engine`: what `Engine.save` wrote, whichever target it was."""

import os
import re
from pathlib import Path

from netdefs.core import sniff
from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError, FileError
from netdefs.core.optional import require
from netdefs.engine import cpu, sidecar
from netdefs.engine.base import Engine
from netdefs.engine.gpu import Runner
from netdefs.engine.plan import PlanEngine

# The first bytes of plans, and what makes them.
MAGIC = {b"vtrt": "tensorrt_rtx", b"ftrt": "tensorrt", b"ptrt": "tensorrt"}


def load_engine(path: str | os.PathLike[str]) -> Engine:
    """Loads an engine from a file: an ONNX model for the CPU, or a TensorRT plan with its sidecar `<path>.json`.

    A plan loads on a machine without a GPU too, and says at `run` that it needs one. A plan without a sidecar, from
    another tool, loads where a GPU can run it.

    Raises:
        FileError: the file can't be read.
        EngineError: it is neither, is damaged, or does not match its sidecar.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise FileError(f"Can't read {path}: {getattr(error, 'strerror', None) or error}.") from error
    target = MAGIC.get(data[:4])
    if target or sidecar.is_sidecar(sidecar.path_of(path)):  # beside other files, that name may be somebody else's
        content = sidecar.read(path, data)
        if content is not None:
            return PlanEngine(data, content, str(path))
    if target:
        return _load_bare_plan(path, data, target)
    require("onnx", "cpu")
    from netdefs.engine import modelfile  # imports onnx

    model = modelfile.parse(path, data)
    if model is None:
        raise EngineError(
            f"{path} ({len(data)} bytes) is neither an ONNX model nor a TensorRT plan, or it is cut short. "
            f"{_what(data)}Give a file that Engine.save or `netdefs build` wrote."
        )
    return cpu.load(model)


def _what(data: bytes) -> str:
    """What a file looks like that holds no engine, as a sentence; empty if that is not known."""
    head = data[: sniff.HEAD]
    # A .wts begins with the number of tensors, and then the first one's name and size.
    kind = "weights (.wts)" if re.match(rb"\d+\s+\S+ \d+ ", head) else sniff.looks_like(head)
    return f"It looks like {kind}. " if kind else ""


def _load_bare_plan(path: Path, plan: bytes, target: str) -> Engine:
    """The engine of a plan that has no sidecar: the plan itself is asked, which takes a GPU."""
    name = sidecar.path_of(path).name
    found = tensorrt.compute_capability()
    if found is None:
        raise EngineError(
            f"{path} is a {target} plan without its sidecar {name}, and without a GPU it can't be looked into. "
            f"Copy {name} beside it, or build the engine again."
        )
    trt = tensorrt.load(target)
    runner = Runner(trt, plan)
    content = sidecar.Sidecar(
        target=target,
        tensorrt=trt.__version__,
        compute_capabilities=[found],
        inputs=runner.inputs,
        outputs=runner.outputs,
        profile=runner.profile,
        info={},
    )
    return PlanEngine(plan, content, str(path), runner)
