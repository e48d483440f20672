"""Writing the folder: a script, the part of the network with its weights, PyTorch's values, and a README."""

import io
import os
from pathlib import Path

import numpy as np

from netdefs.core.dtypes import as_numpy
from netdefs.core.errors import FileError
from netdefs.core.files import atomic_write, exists
from netdefs.core.version import __version__
from netdefs.debug.report import Report
from netdefs.debug.repro.piece import Piece, cut_piece
from netdefs.debug.repro.rebuild import expression_of, rebuilds
from netdefs.debug.session import Session

TEMPLATE = Path(__file__).with_name("template.py")
STORED = '''    """PyTorch's result, as it was when the report was made."""
    return values["expected"]
'''
REBUILT = '''    """PyTorch's result: computed anew where torch is installed, else as it was when compared."""
    try:
        import torch
        from torch import nn
    except ImportError:
        print("PyTorch is not installed: its result is the stored one.")
        return values["expected"]
    module = {expression}
    module.load_state_dict({{key: torch.from_numpy(value) for key, value in np.load(HERE / "weights.npz").items()}})
    with torch.no_grad():
        return module.eval()({arguments}).numpy()
'''


def write_repro(report: Report, session: Session, name: str, path: str | os.PathLike[str], force: bool) -> Path:
    """Writes a layer or block of a report into a folder: `Report.repro` describes it."""
    folder = check_folder(path, force)
    piece = cut_piece(report, session, name)
    files = {
        "network.onnx": piece.model.SerializeToString(),
        "values.npz": _npz(_values(piece)),
    }
    expression = "" if piece.module is None or not piece.given else expression_of(piece.module)
    if expression and not rebuilds(expression, piece.module, piece.given, piece.expected):
        expression = ""
    if expression:
        state = {key: as_numpy(value, key) for key, value in piece.module.state_dict().items()}
        files["weights.npz"] = _npz({key: _single(array) for key, array in state.items()})
    files["repro.py"] = _script(piece, report, expression).encode()
    files["README.md"] = _readme(piece, report, expression).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
    for file, content in files.items():
        with atomic_write(folder / file) as target:
            target.write(content)
    return folder


def check_folder(path: str | os.PathLike[str], force: bool) -> Path:
    """The folder to write to.

    Raises:
        FileError: it is a file, or holds something and `force` is not given.
    """
    folder = Path(path)
    if exists(folder) and not folder.is_dir():
        raise FileError(f"{folder} is a file: a repro is a folder. Give another name.")
    if exists(folder) and any(folder.iterdir()) and not force:
        raise FileError(
            f"The folder {folder} is not empty. Give another name, or force=True (--force) to write into it."
        )
    return folder


def _values(piece: Piece) -> dict[str, np.ndarray]:
    arrays = {key: piece.fed[tensor] for tensor, key in _keys(piece).items()}
    arrays |= {f"given{i}": _single(array) for i, array in enumerate(piece.given)}
    return {**arrays, "expected": piece.expected}


def _single(array: np.ndarray) -> np.ndarray:
    """Floating-point numbers as float32, in which the script computes."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _keys(piece: Piece) -> dict[str, str]:
    """What each tensor is called in values.npz: a name may hold what a file name can't."""
    return {tensor: f"fed{i}" for i, tensor in enumerate(piece.fed)}


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    target = io.BytesIO()
    np.savez(target, allow_pickle=False, **arrays)
    return target.getvalue()


def _script(piece: Piece, report: Report, expression: str) -> str:
    text = TEMPLATE.read_text(encoding="utf-8")
    arguments = ", ".join(f'torch.from_numpy(values["given{i}"])' for i in range(len(piece.given)))
    module = f"With torch installed, PyTorch's {piece.module_type} runs as well." if expression else ""
    changes = {
        "TITLE": f"{piece.name} of {report.name}: {'the block' if piece.whole else 'the layer'} on its own.",
        "LAYER": "block" if piece.whole else "layer",
        " MODULE": f"\n{module}" if module else "",
        "FED: dict[str, str] = {}": f"FED: dict[str, str] = {_keys(piece)!r}",
        "TOLERANCE = 0.0": f"TOLERANCE = {report.tolerance.isolated!r}",
        "FLOOR = 0.0": f"FLOOR = {float(piece.floor)!r}",
    }
    if expression:
        changes[STORED] = REBUILT.format(expression=expression, arguments=arguments)
    for old, new in changes.items():
        if old not in text:
            raise AssertionError(f"the script's template lacks {old!r}")
        text = text.replace(old, new, 1)
    return text


def _readme(piece: Piece, report: Report, expression: str) -> str:
    what = "block" if piece.whole else "layer"
    kind = ", ".join(part for part in (piece.module_type, piece.layer_type) if part)
    result = piece.problem
    gives = "gives" if piece.found is not None and piece.found.ok else "does not give"
    if piece.found is not None:
        m = piece.found
        result = (
            f"Relative error {m.relative:.3g} (tolerance {report.tolerance.isolated:g}), {m.outside:.2%} of the "
            f"values out of tolerance. The largest difference is at {list(m.index)}: PyTorch has {m.expected:.6g}, the "
            f"network {m.actual:.6g}."
        )
    fed = ", ".join(f"`{tensor}` {tuple(array.shape)}" for tensor, array in piece.fed.items())
    source = f" With {piece.label}." if piece.label else ""
    theirs = (
        f"PyTorch's module is `{expression}`, with the weights in weights.npz."
        if expression
        else "PyTorch's result is the stored one: this module can't be made from torch.nn alone."
    )
    return "\n".join(
        [
            f"# {piece.name} of {report.name} ({kind})",
            "",
            f"One {what} of a network of netdefs {__version__}, in {report.precision}. It {gives} what PyTorch's does.",
            f"It is fed PyTorch's values of {fed}.{source} {result}",
            "",
            "    pip install numpy onnxruntime",
            "    python repro.py    # exits with 1 if it differs",
            "",
            "- network.onnx: the network's part, with its weights. Netron shows it.",
            "- values.npz: what it is fed, and `expected`: PyTorch's result.",
            f"- {theirs}",
            "",
        ]
    )
