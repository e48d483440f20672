"""Tests marked `gpu` run where a GPU answers; elsewhere they are skipped, with the reason. No test has a time limit."""

import importlib.util

import hypothesis
import pytest

from netdefs.core.trt import compute_capability

hypothesis.settings.register_profile("netdefs", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("netdefs")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    if compute_capability() is None:
        pytest.skip("no NVIDIA GPU answers on this machine")
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("cuda-python is not installed: pip install 'netdefs[gpu]'")
