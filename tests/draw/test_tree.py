"""What is drawn of a network: blocks, layers, parameters and the tensors between them."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from examples.lenet_torch import lenet5
from netdefs.core.errors import InputError, NetworkError
from netdefs.draw import drawing
from netdefs.draw.graph import network_tree
from netdefs.draw.module_graph import module_tree
from netdefs.draw.ranks import layout
from netdefs.draw.tree import OUTSIDE, Block, Layer, Value, grow
from tests.draw.nets import PICTURE, Small, of_zoo, small
from tests.reference import constant


def found(block, name):
    """The child that is called so, by the labels of the blocks that it is in."""
    for label in name.split("/"):
        block = next(child for child in block.children if child.label == label)
    return block


def labels(block):
    return [child.label for child in block.children]


def test_blocks_are_the_modules():
    root = network_tree(of_zoo("resnet", "resnet50"))
    assert labels(root) == ["input", "conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4",
                            "avgpool", "flatten", "fc", "logits", "logits"]  # fmt: skip
    assert labels(found(root, "layer1")) == ["0", "1", "2"]
    # bn1.relu continues bn1, which is no block; the last ReLU has the name of its block.
    assert labels(found(root, "layer2/1")) == ["conv1", "bn1", "bn1.relu", "conv2", "bn2", "bn2.relu", "conv3", "bn3",
                                               "add", "layer2.1"]  # fmt: skip
    assert root.parameters == 25_557_032  # torchvision's resnet50
    assert (
        len(root.layers) == of_zoo("resnet", "resnet50").definition.num_layers - 2
    )  # fc's two constants are not drawn


def test_a_layer_in_words():
    conv = found(network_tree(of_zoo("resnet", "resnet50")), "layer2/0/conv2")
    assert conv.type == "Convolution"
    assert conv.params == ["3×3", "128 → 128", "stride 2", "padding 1"]
    assert conv.inputs == [Value("layer2.0.bn1.relu", (1, 128, 56, 56), "float32")]
    assert conv.outputs == [Value("layer2.0.conv2", (1, 128, 28, 28), "float32")]
    assert conv.weights == [("layer2.0.conv2.weight", (128, 128, 3, 3))]
    assert conv.source.startswith("netdefs.resnet, line ")


def test_weights_are_counted_once_and_buffers_not():
    root = network_tree(of_zoo("hrnet", "hrnet_w18_small"))
    keys = [key for layer in root.layers for key, _ in layer.weights]
    assert sorted(keys) == sorted(of_zoo("hrnet", "hrnet_w18_small").weights.taken)
    folded = network_tree(of_zoo("resnet", "resnet18", fold_bn=True))
    assert [key for key, _ in found(folded, "bn1").weights] == [
        "conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"]  # fmt: skip
    assert folded.parameters == network_tree(of_zoo("resnet", "resnet18")).parameters


def test_constants_are_parameters_of_what_takes_them():
    linear = found(network_tree(small()), "fc")
    assert labels(linear) == ["matmul", "fc"]
    assert [layer.weights for layer in linear.layers] == [[("fc.weight", (5, 16))], [("fc.bias", (5,))]]
    net = netdefs.Network(name="table")
    x = net.input("input", (1, 8))
    x = net.mul(x, net.constant(np.full((1, 1), 0.25, np.float32), "quarter"), "scaled")
    x = net.layer(net.definition.add_elementwise(x, net.constant(np.ones((1, 8), np.float32), "ones"),
                                                 net.trt.ElementWiseOperation.POW), "power", x)  # fmt: skip
    net.finish(x)
    assert found(network_tree(net), "power").params == ["constant ones (1, 8)"]
    assert found(network_tree(net), "scaled").params == ["constant quarter = 0.25"]


def test_tensors_enter_and_leave_blocks():
    root = network_tree(small())
    blocks = found(root, "blocks")
    assert list(blocks.inputs) == ["stem"] and list(blocks.outputs) == ["blocks.1"]
    stem = root.nets["stem"]
    assert [root.children[i].label for i in (stem.source, *stem.targets)] == ["stem", "blocks", "concat"]
    inner = blocks.nets["blocks.0"]
    assert (labels(blocks)[inner.source], [labels(blocks)[i] for i in inner.targets]) == ("0", ["1"])
    assert blocks.nets["stem"].source == OUTSIDE and blocks.nets["blocks.1"].targets == [OUTSIDE]


def test_sizes_that_are_open_have_names():
    network = netdefs.lenet.define_network(constant_lenet(), input_shape=((1, 2, 4), 1, 32, 32))
    conv = network_tree(network).layers[0]
    assert conv.outputs[0].shape == ("batch", 6, 28, 28)
    assert network_tree(network).children[0].outputs[0].shape == ("batch", 1, 32, 32)


def constant_lenet():
    return constant({key: tuple(value.shape) for key, value in lenet5().state_dict().items()})


def test_types_are_named_where_they_change():
    data = drawing(of_zoo("resnet", "resnet18", precision="fp16"))
    by_label = {child["label"]: child for child in data["root"]["children"] if child["kind"] == "layer"}
    assert by_label["input.cast"]["dtype"] == "fp32 → fp16"
    assert by_label["conv1"]["dtype"] == "fp16"
    assert data["root"]["dims"]["conv1"] == "1×64×112×112 fp16"


def test_an_output_in_the_middle_is_in_its_block():
    root = network_tree(of_zoo("yolov8", "yolov8n"))
    assert "box_logits" in labels(found(root, "model/22"))
    assert labels(root) == ["input", "model", "pred", "pred", "box_logits", "cls_logits"]  # the last three: outputs


def test_a_raw_definition_and_an_engine():
    network = small()
    raw = network_tree(network.definition)
    assert [layer.path for layer in raw.layers] == [layer.path for layer in network_tree(network).layers]
    assert dict(found(raw, "stem").weights) == {"stem.kernel": (8 * 3 * 9,), "stem.bias": (8,)}
    with netdefs.build(network, target="cpu") as engine:
        data = drawing(engine)
    names = [child["label"] for child in data["root"]["children"]]
    assert names == ["input", "stem", "blocks", "concat", "pool", "flatten", "fc", "logits", "logits"]


def test_an_onnx_model_of_torchs(tmp_path):
    pytest.importorskip("onnxscript")
    path = tmp_path / "small.onnx"
    torch.onnx.export(Small().eval(), (torch.zeros(1, 3, 16, 16),), path, dynamo=False)
    root = network_tree(netdefs.from_onnx(path))
    assert [child.label for child in root.children if isinstance(child, Block)] == ["blocks"]
    assert "conv1" in labels(found(root, "blocks/0"))


def test_a_module():
    data = drawing(Small(), PICTURE)
    root = data["root"]
    assert [child["label"] for child in root["children"]] == [
        "input",
        "stem",
        "blocks",
        "concat",
        "mean",
        "fc",
        "output",
    ]
    blocks = root["children"][2]
    assert blocks["type"] == "Sequential" and [child["type"] for child in blocks["children"]] == ["Residual"] * 2
    inside = blocks["children"][0]["children"]
    assert [child["label"] for child in inside] == ["conv1", "relu", "conv2", "add", "relu (call 2)"]
    assert inside[2]["params"] == ["3×3", "8 → 8", "padding 1", "groups 2", "bias"]
    assert [value["name"] for value in inside[3]["in"]] == ["blocks.0.conv2", "stem"]
    assert data["title"] == "14 layers, 2.05 k parameters"


def test_a_module_stays_as_it_was():
    module = Small().train()
    drawing(module, PICTURE)
    assert module.training and module.fc.training
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_a_modules_parameters_are_counted():
    assert module_tree(Small(), PICTURE).parameters == sum(p.numel() for p in Small().parameters())


class Views(nn.Module):
    """What makes tracing hard: views, in-place functions, properties, a value-dependent branch, two outputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x.detach())
        nn.functional.relu(y, inplace=True)
        if y.sum() < -1:
            y = y * 2
        a, b = y.flatten(2).mT.chunk(2, dim=1)
        return {"a": a + 1, "b": b.softmax(-1)}


def test_functions_of_pytorch():
    root = drawing(Views(), PICTURE)["root"]
    names = [child["label"] for child in root["children"]]
    assert names == ["input", "conv", "relu", "sum", "lt", "flatten", "chunk", "add", "softmax", "output.0", "output.1"]
    givers = {value["name"]: child["label"] for child in root["children"] for value in child["out"]}
    takes = {child["label"]: [givers[value["name"]] for value in child["in"]] for child in root["children"]}
    assert takes["relu"] == ["conv"] and takes["flatten"] == ["relu"] and takes["softmax"] == ["chunk"]


def test_wrong_use():
    with pytest.raises(NetworkError, match="takes a netdefs Network or an INetworkDefinition, not int"):
        drawing(3)
    with pytest.raises(InputError, match="inputs are needed"):
        drawing(Small())
    with pytest.raises(NetworkError, match=r"Small can't run on inputs of the shape \(1, 4, 16, 16\)"):
        drawing(Small(), np.zeros((1, 4, 16, 16), np.float32))


def test_rings_of_blocks_are_drawn():
    def layer(name, *inputs):
        return Layer(name, name, "Add", [], [Value(x, (1,), "float32") for x in inputs], [Value(name, (1,), "float32")],
                     weights=[(f"{name}.weight", (1,))])  # fmt: skip

    root = grow([layer("a.x"), layer("b.x", "a.x"), layer("a.y", "b.x"), layer("b.y", "a.y")])
    assert labels(root) == ["a", "b"]
    plan = layout(root)
    assert [spot.row for spot in plan.spots] == [1, 2]
    loop = grow([layer("c.x", "c.y"), layer("c.y", "c.x")])  # a loop takes what is made further down
    assert {name: net.source for name, net in loop.blocks[0].nets.items()} == {"c.y": 1, "c.x": 0}
    assert {(wire.tensor, wire.back) for wire in plan.wires} == {("a.x", False), ("a.y", False), ("b.x", True)}


def test_a_module_in_half_precision():
    root = module_tree(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).half(), PICTURE)
    assert found(root, "0").outputs[0].dtype == "float16"
