"""Importing netdefs is cheap, and brings in nothing that an extra installs."""

import json
import subprocess
import sys

import pytest

import netdefs

HEAVY = ("torch", "tensorrt", "tensorrt_rtx", "onnx", "onnxruntime", "cv2", "rich", "safetensors", "cuda")


def fresh(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_import_brings_in_nothing_heavy():
    code = "import json, sys, netdefs; netdefs.models(); print(json.dumps([m for m in sys.modules]))"
    assert not set(fresh(code)) & set(HEAVY)


def test_public_names():
    for name in netdefs.__all__:
        assert getattr(netdefs, name) is not None
    for name in netdefs.models():
        module = getattr(netdefs, name)
        for member in ("VARIANTS", "define", "define_network", "build_engine"):
            assert hasattr(module, member), f"netdefs.{name}.{member}"
    assert set(netdefs.__all__) <= set(dir(netdefs))
    with pytest.raises(AttributeError, match="netdefs has no 'resnett'"):
        netdefs.resnett  # noqa: B018


def test_a_missing_package_names_the_extra(monkeypatch):
    from netdefs.core.errors import MissingPackageError
    from netdefs.core.optional import require

    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingPackageError, match=r"'cv2': pip install 'netdefs\[vision\]'"):
        require("cv2", "vision")


def test_the_environment_can_force_a_tensorrt(monkeypatch):
    from netdefs.core import trt

    monkeypatch.setenv("NETDEFS_TENSORRT", "tensorrt_rtx")
    assert trt.choose() == "tensorrt_rtx"
    monkeypatch.setenv("NETDEFS_TENSORRT", "onnx")
    with pytest.raises(netdefs.NetdefsError, match="must be one of tensorrt, tensorrt_rtx"):
        trt.choose()
    monkeypatch.setenv("NETDEFS_TENSORRT", "tensorrt")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(netdefs.NetdefsError, match=r"pip install 'netdefs\[tensorrt\]'"):
        netdefs.Network()
