"""TensorRT's INT8 calibration caches, which tensorrtx's calibrators write too: text, a line for every tensor."""

import re
import struct
from collections.abc import Mapping

from netdefs.core.errors import CalibrationError
from netdefs.core.quantize import LARGEST

# TRT-<version>-<calibrator>; the version is one number, or 8XXX in those that other tools write
FIRST_LINE = re.compile(r"TRT-(\w+)-(\w+)\s*")
LINE = re.compile(r"(.+): ([0-9a-fA-F]{1,8})\s*")
METHODS = {
    "EntropyCalibration": "entropy",
    "EntropyCalibration2": "entropy",
    "LegacyCalibration": "percentile",
    "MinMaxCalibration": "max",
}
STEPS = LARGEST["int8"]  # a cache holds int8 scales


def is_cache(text: str) -> bool:
    """Whether a file's text begins as TensorRT's caches do."""
    return FIRST_LINE.fullmatch(text.partition("\n")[0]) is not None


def read(text: str, where: str) -> tuple[str, dict[str, float]]:
    """The calibrator's name, and each tensor's largest magnitude: 127 times the scale in the cache.

    Raises:
        CalibrationError: a line is no name with the hexadecimal digits of a positive float32, or comes twice.
    """
    first, *lines = text.splitlines()
    found = FIRST_LINE.fullmatch(first)
    assert found is not None  # is_cache
    amax: dict[str, float] = {}
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        parts = LINE.fullmatch(line)
        if parts is None:
            raise CalibrationError(
                f"{where}, line {number}: {line[:60]!r} is no 'name: scale', a float32 in hexadecimal."
            )
        name, (scale,) = parts[1], struct.unpack("!f", bytes.fromhex(parts[2].zfill(8)))
        if name in amax:
            raise CalibrationError(f"{where}, line {number}: the tensor {name!r} is there twice.")
        if not 0 < scale < float("inf"):
            raise CalibrationError(f"{where}, line {number}: the scale of {name!r} is {scale:g}; it must be positive.")
        amax[name] = scale * STEPS
    if not amax:
        raise CalibrationError(f"{where} holds no scale: after its first line there is nothing.")
    return found[2], amax


def write(amax: Mapping[str, float], method: str, version: int) -> str:
    """The text of a cache: what TensorRT's calibrator of that method would write."""
    names = {known: name for name, known in METHODS.items()}
    lines = [f"TRT-{version}-{names.get(method, 'EntropyCalibration2')}"]
    lines += [f"{name}: {struct.pack('!f', value / STEPS).hex()}" for name, value in amax.items()]
    return "\n".join(lines) + "\n"
