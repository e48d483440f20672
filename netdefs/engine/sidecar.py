"""The file beside a plan, `<plan>.json`: what one must know of a plan without loading it."""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from netdefs.core.errors import EngineError, FileError
from netdefs.core.files import atomic_write
from netdefs.core.version import __version__
from netdefs.engine.base import BFLOAT16, Profile, TensorInfo

FORMAT = 1


@dataclasses.dataclass
class Sidecar:
    """What is known of a plan.

    Attributes:
        target: "tensorrt" or "tensorrt_rtx".
        tensorrt: the version of that package which made the plan, the only one that reads it.
        compute_capabilities: the GPUs it was compiled for, as "8.6"; None for all that TensorRT-RTX takes by default.
        netdefs: the version of netdefs that wrote it.
    """

    target: str
    tensorrt: str
    compute_capabilities: list[str] | None
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    profile: Profile
    info: dict[str, Any]
    netdefs: str = __version__


def path_of(plan: Path) -> Path:
    """Where the sidecar of a plan is."""
    return plan.with_name(f"{plan.name}.json")


def write(path: Path, plan: bytes, content: Sidecar) -> None:
    """Writes a plan and its sidecar.

    Both are complete under temporary names before either replaces what was there; the plan does so first. Should the
    second rename fail, the old sidecar does not match the new plan, and `read` says so.

    Raises:
        FileError: one can't be written, or a file that is no sidecar has the sidecar's name.
    """
    file = path_of(path)
    if file.is_file() and not is_sidecar(file):
        raise FileError(
            f"{file} is not from netdefs, and what must be known of the plan {path.name} belongs there. "
            "Save the plan under another name, or move that file away."
        )
    text = json.dumps(to_json(plan, content), indent=2) + "\n"
    with atomic_write(file) as sidecar:
        sidecar.write(text.encode())
        sidecar.flush()
        with atomic_write(path) as target:
            target.write(plan)


def to_json(plan: bytes, content: Sidecar) -> dict[str, Any]:
    """The sidecar of a plan, as JSON holds it."""
    return {
        "format": FORMAT,
        "netdefs": content.netdefs,
        "target": content.target,
        "tensorrt": content.tensorrt,
        "compute_capabilities": content.compute_capabilities,
        "inputs": {name: _tensor_to_json(info) for name, info in content.inputs.items()},
        "outputs": {name: _tensor_to_json(info) for name, info in content.outputs.items()},
        "profile": content.profile,
        "weights_sha256": content.info.get("weights_sha256"),
        "info": content.info,
        "plan_bytes": len(plan),
        "plan_sha256": hashlib.sha256(plan).hexdigest(),
    }


def read(path: Path, plan: bytes) -> Sidecar | None:
    """The sidecar of the plan at `path`; None if there is none.

    Raises:
        EngineError: it is damaged, belongs to another plan, or was written by a newer netdefs.
    """
    file = path_of(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"Can't read {file}: {error}.") from error
    try:
        data = json.loads(text)
        version = int(data["format"])
        if version > FORMAT:
            raise EngineError(
                f"{file} has format {version}, from netdefs {data['netdefs']}. This netdefs, {__version__}, reads "
                f"format {FORMAT}: update it, or build the engine again."
            )
        if version < FORMAT:
            raise ValueError(f"format {version}")
        size, digest = int(data["plan_bytes"]), str(data["plan_sha256"])
        content = _from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            f"{file} is not what netdefs writes beside a plan ({type(error).__name__}: {error}). "
            f"Build the engine again, or copy {path.name} and {file.name} together once more."
        ) from error
    if size != len(plan) or digest != hashlib.sha256(plan).hexdigest():
        raise EngineError(
            f"{file.name} describes a plan of {size} bytes, and {path} is another one, of {len(plan)} bytes. "
            "The two belong together: copy both once more, or build the engine again."
        )
    return content


def is_sidecar(file: Path) -> bool:
    """True if a file says of itself that it describes a plan; it may be damaged beyond that."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "plan_sha256" in content


def remove_stale(path: Path) -> None:
    """Removes the sidecar of a plan that was at `path` until something else was written there."""
    file = path_of(path)
    if is_sidecar(file):
        with contextlib.suppress(OSError):
            file.unlink()


def _tensor_to_json(info: TensorInfo) -> dict[str, Any]:
    return {"shape": list(info.shape), "dtype": str(info.dtype)}


def _from_json(data: Mapping[str, Any]) -> Sidecar:
    def tensor(value: Mapping[str, Any]) -> TensorInfo:
        dtype = value["dtype"]
        return TensorInfo(shape(value["shape"]), BFLOAT16 if dtype == BFLOAT16 else np.dtype(dtype))

    def shape(sizes: list[int]) -> tuple[int, ...]:
        return tuple(int(size) for size in sizes)

    if data["target"] not in ("tensorrt", "tensorrt_rtx"):
        raise ValueError(f"target {data['target']!r}")
    if not (isinstance(data["tensorrt"], str) and re.fullmatch(r"\d+(\.\w+)+", data["tensorrt"])):
        raise ValueError(f"tensorrt {data['tensorrt']!r}")
    if not data["outputs"]:
        raise ValueError("no outputs")
    if data["weights_sha256"] != data["info"].get("weights_sha256"):
        raise ValueError(f"weights_sha256 {data['weights_sha256']!r} is not that of info")
    capabilities = data["compute_capabilities"]
    return Sidecar(
        target=data["target"],
        tensorrt=data["tensorrt"],
        compute_capabilities=None if capabilities is None else [str(each) for each in capabilities],
        inputs={name: tensor(value) for name, value in data["inputs"].items()},
        outputs={name: tensor(value) for name, value in data["outputs"].items()},
        profile={name: (shape(a), shape(b), shape(c)) for name, (a, b, c) in data["profile"].items()},
        info=dict(data["info"]),
        netdefs=str(data["netdefs"]),
    )
