"""ONNX's backend tests through NVIDIA's parser and back. suite.py says how, exceptions.py what does not pass."""

import fnmatch
from collections import Counter

import onnx
import pytest
from onnx import TensorProto

from tests.export.exceptions import EXCEPTIONS
from tests.export.suite import Case, file_cases, light_case, light_cases, node_cases, outcome

# Whole shards, so that pytest-xdist can share the work.
SHARDS = 8
COMMON = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.BOOL,
    TensorProto.INT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
}


def excepted(name: str) -> str:
    """The reason why a case may fail, or nothing."""
    found = [why for why, patterns in EXCEPTIONS.items() for p in patterns if fnmatch.fnmatchcase(name, p)]
    return found[0] if found else ""


def judge(results: dict[str, str]) -> None:
    """Fails on new failures and on exceptions that are none any more."""
    wrong = {name: result for name, result in results.items() if result not in ("passed", "refused")}
    new = [f"{name}: {result}" for name, result in wrong.items() if not excepted(name)]
    assert not new, "\n".join(["new failures:", *new])
    gone = [name for name, result in results.items() if result == "passed" and excepted(name)]
    assert not gone, f"these pass now; take them off the list: {gone}"


@pytest.fixture(scope="module")
def nodes() -> list[Case]:
    return node_cases()


@pytest.fixture(scope="module")
def tally() -> dict[str, str]:
    return {}


@pytest.mark.parametrize("shard", range(SHARDS))
def test_nodes(nodes, tally, shard):
    results = {case.name: outcome(case) for case in nodes[shard::SHARDS]}
    tally.update(results)
    judge(results)


def types(case: Case) -> set[int]:
    return {info.type.tensor_type.elem_type for info in (*case.model.graph.input, *case.model.graph.output)}


def common_types(case: Case) -> bool:
    return types(case) <= COMMON


def test_at_least_97_percent_of_the_nodes_pass(nodes, tally):
    if len(tally) < len(nodes):
        pytest.skip("pytest-xdist gave the shards to other workers, or only some were asked for")
    taken = [case for case in nodes if tally[case.name] != "refused"]
    common = Counter(tally[case.name] == "passed" for case in taken if common_types(case))
    passed = sum(tally[case.name] == "passed" for case in taken)
    print(f"\n{passed} of {len(taken)} pass; of common types {common[True]} of {common.total()}")
    assert len(taken) > 900
    assert common[True] >= 0.97 * common.total()


def test_the_cpu_engine_is_close_in_bfloat16(nodes):
    """It sums in float32, as GPU kernels do; the expected values come from sums that bfloat16 rounds at every step."""
    results = {case.name: outcome(case, emulated=True) for case in nodes if TensorProto.BFLOAT16 in types(case)}
    assert list(results.values()).count("passed") >= 18
    judge(results)


@pytest.mark.parametrize("kind", ["simple", "pytorch-operator", "pytorch-converted"])
def test_files(kind):
    results = {case.name: outcome(case) for case in file_cases(kind)}
    assert "passed" in results.values()
    judge(results)


@pytest.mark.parametrize("name", light_cases())
def test_light_networks(name):
    judge({name: outcome(light_case(name))})


def test_every_exception_has_a_case(nodes):
    names = [case.name for case in nodes] + light_cases()
    idle = [p for patterns in EXCEPTIONS.values() for p in patterns if not fnmatch.filter(names, p)]
    assert not idle, f"{idle} match no case of onnx {onnx.__version__}"
