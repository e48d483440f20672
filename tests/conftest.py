"""Tests marked `gpu` run where a GPU answers; elsewhere they are skipped, with the reason."""

import importlib.util

import pytest

from netdefs.core.trt import compute_capability


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    if compute_capability() is None:
        pytest.skip("no NVIDIA GPU answers on this machine")
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("cuda-python is not installed: pip install 'netdefs[gpu]'")
