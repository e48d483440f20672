"""INT8 and FP8: the ranges of tensors, measured on pictures, and what quantization costs."""

from netdefs.quant.calibrate import calibrate, record
from netdefs.quant.calibration import Calibration
from netdefs.quant.equalize import equalize
from netdefs.quant.recording import Recording
from netdefs.quant.study import Options, Study, study

__all__ = ["Calibration", "Options", "Recording", "Study", "calibrate", "equalize", "record", "study"]
