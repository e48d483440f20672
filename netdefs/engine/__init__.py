"""Engines: networks that are built, saved, loaded and run, with one interface on the CPU and on the GPU."""

from netdefs.engine.base import Engine, TensorInfo
from netdefs.engine.loading import load_engine
from netdefs.engine.targets import build

__all__ = ["Engine", "TensorInfo", "build", "load_engine"]
