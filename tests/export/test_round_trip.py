"""Networks of the zoo, through ONNX and NVIDIA's parser and back."""

import logging

import numpy as np
import pytest
import torch

import netdefs
from netdefs.export import to_onnx
from tests.export.nets import check, run, tensorrt, trt
from tests.export.suite import parse
from tests.reference import MODELS


def weights(variant):
    """Weights of the right shapes that keep the signal alive."""
    with torch.device("meta"):
        shapes = {key: tuple(t.shape) for key, t in MODELS[variant]().state_dict().items()}
    rng = np.random.default_rng(0)
    values = {}
    for key, shape in shapes.items():
        if key.endswith("running_var"):
            values[key] = rng.uniform(0.5, 2, shape)
        elif len(shape) > 1:
            values[key] = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            values[key] = rng.uniform(-0.1, 0.1, shape) + (0.5 if key.endswith("weight") else 0)
    return {key: np.asarray(value, np.float32) for key, value in values.items()}


def first_variants():
    return [(module, variants[0]) for module, variants in netdefs.models().items() if variants[0] in MODELS]


def define(module, variant, **options):
    if module != "lenet":
        options.setdefault("input_shape", (1, 3, 64, 96))
    return getattr(netdefs, module).define_network(weights(variant), variant, **options)


@pytest.mark.parametrize(("module", "variant"), first_variants())
def test_there_and_back_gives_the_same_outputs(module, variant):
    network = define(module, variant)
    first = to_onnx(network)
    check(first)
    back, _parser = parse(first)
    assert back is not None, tensorrt.logger_of(trt).take()
    second = to_onnx(back.definition)
    check(second)
    shape = [dim.dim_value for dim in first.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"input": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    expected, found = run(first, feeds), run(second, feeds)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert np.abs(value).max() > 1e-3
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_the_model_compiles_with_rtx(precision):
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
