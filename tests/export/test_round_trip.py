"""Networks of the zoo, through ONNX and NVIDIA's parser and back."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import netdefs
from netdefs.export import to_onnx
from tests.export.nets import check, run, tensorrt, trt
from tests.export.round_trip import RoundTrip, define, representatives
from tests.export.suite import parse


@pytest.fixture
def folder():
    """One that does not stay: pytest keeps its own, and these models are large."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.parametrize(("module", "variant"), representatives())
def test_nothing_is_lost(module, variant, folder):
    assert not RoundTrip(define(module, variant), folder).lost()


@pytest.mark.parametrize("module", netdefs.models())
def test_there_and_back_gives_the_same_outputs_and_compiles(module, folder):
    """`python -m tests.export.round_trip` runs and compiles every variant."""
    trip = RoundTrip(define(module, netdefs.models()[module][0]), folder)
    assert trip.same_model() or trip.difference() < 1e-5
    for path, model in zip(trip.paths, (trip.first, trip.second), strict=True):
        onnx.checker.check_model(path, full_check=True)
        assert {entry.domain for entry in model.opset_import} == {""}
    trip.compile()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_compiles_with_rtx(precision):
    model = to_onnx(define("resnet", "resnet18", precision=precision))
    back, _parser = parse(model)
    assert back is not None
    back.compile()


def test_a_dynamic_network_keeps_its_dynamic_sizes():
    network = define("resnet", "resnet18", input_shape=((1, 2, 4), 3, (32, 64, 96), (32, 64, 96)))
    model = to_onnx(network)
    check(model)
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert batch
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == batch
    for shape in ((1, 3, 64, 64), (3, 3, 32, 96)):
        out = run(model, {"input": np.ones(shape, np.float32)})
        assert len(next(iter(out.values()))) == shape[0]


def test_every_convolution_is_one_node_of_its_name():
    network = define("resnet", "resnet18")
    nodes = {node.name: node for node in to_onnx(network).graph.node}
    assert nodes["layer1.0.conv1"].op_type == "Conv"
    assert nodes["layer1.0.bn1"].op_type == "BatchNormalization"
    assert all(node.output[0] == name for name, node in nodes.items())
    assert not [name for name in nodes if "/" in name]  # no helpers


def test_exporting_leaves_nothing_in_tensorrts_log(caplog):
    """Some of TensorRT's getters log errors, which would then show up in the message of a later error."""
    network = define("hrnet", "hrnet_w18_small_v2")
    log = tensorrt.logger_of(trt)
    log.take()
    with caplog.at_level(logging.WARNING, "netdefs.tensorrt"):
        to_onnx(network)
    assert not caplog.records
    assert log.take() == ""


def test_metadata_says_where_a_layer_was_added():
    model = to_onnx(define("resnet", "resnet18"))
    doc = next(node.doc_string for node in model.graph.node if node.name == "layer1.0.conv1")
    assert doc.startswith("layer1.0.conv1 (netdefs.")
