"""The errors netdefs raises. Each says what was asked, what was found, and what to do."""


class NetdefsError(Exception):
    """Base of every error that netdefs raises on purpose."""


class FileError(NetdefsError):
    """A file can't be read or written: missing, in the way, no permission, disk full."""


class WeightsError(NetdefsError):
    """Weights that are malformed, missing, left over, or of the wrong size."""


class CheckpointError(NetdefsError):
    """A checkpoint that is not one, or whose state_dict can't be found."""


class NetworkError(NetdefsError):
    """A layer that TensorRT refuses, or a name that is taken or unknown."""


class ExportError(NetdefsError):
    """A layer that can't be written as ONNX."""


class EngineError(NetdefsError):
    """An engine that can't be built, loaded or run."""


class InputError(NetdefsError):
    """An input of the wrong name, shape, type or format."""


class CompareError(NetdefsError):
    """Two networks that can't be compared."""


class MissingPackageError(NetdefsError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


class CalibrationError(NetdefsError):
    """A calibration that can't be made, or does not fit."""
