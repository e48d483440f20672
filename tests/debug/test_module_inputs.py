"""`compare(module_inputs=)`: each side with what its own preprocessing made, and how the two differ in words."""

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from netdefs.core.errors import InputError
from netdefs.debug.likeness import liken
from tests.debug.nets import Net, network, picture, seeded

BYTES = np.random.default_rng(0).integers(0, 256, (1, 3, 32, 40)).astype(np.uint8)
PICTURE = BYTES.astype(np.float32)
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1)
STD = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1)
IMAGENET = (PICTURE / 255 - MEAN) / STD
CAFFE = np.array([103.53, 116.28, 123.675], np.float32).reshape(1, 3, 1, 1)
REVERSED = "with its channels reversed (BGR for RGB, or the other way)"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (PICTURE / 255, PICTURE[:, ::-1] / 255, REVERSED),
        (PICTURE / 255, PICTURE, "times 255"),
        (PICTURE, PICTURE / 255, "divided by 255"),
        (PICTURE / 255, IMAGENET, "normalized with ImageNet's mean and std"),
        (PICTURE, IMAGENET, "divided by 255 and normalized with ImageNet's mean and std"),
        (IMAGENET, PICTURE / 255, "before it is normalized with ImageNet's mean and std"),
        (PICTURE / 255, PICTURE / 127.5 - 1, "normalized with mean 0.5 and std 0.5, to -1 to 1"),
        (PICTURE, PICTURE[:, ::-1] - CAFFE, f"{REVERSED} and plus -103.5, -116.3, -123.7"),
        (PICTURE, 3 * PICTURE, "times 3"),
        (PICTURE / 255, (PICTURE / 255 - 0.25) / 0.1, "minus 0.25 and divided by 0.1"),
        (
            BYTES.transpose(0, 2, 3, 1),
            (PICTURE[:, ::-1] / 255 - MEAN) / STD,
            f"in another layout, (N, C, H, W) for (N, H, W, C), {REVERSED}, divided by 255 and normalized with",
        ),
        (PICTURE, PICTURE.transpose(0, 2, 3, 1), "in another layout, (N, H, W, C) for (N, C, H, W)"),
        (PICTURE, PICTURE.swapaxes(2, 3), "with height and width exchanged"),
        (PICTURE, PICTURE[..., ::-1], "mirrored left to right"),
        (PICTURE, PICTURE[:, :, ::-1], "upside down"),
        (PICTURE[0], PICTURE, "with a batch axis"),
        (PICTURE, PICTURE[0], "without a batch axis"),
        (np.arange(5.0), 2 * np.arange(5.0), "times 2"),
    ],
)
def test_what_was_done_is_said(ours, theirs, words):
    likeness = liken(ours, theirs)
    assert not likeness.agrees
    assert f"is the network's {words}" in likeness.text, likeness.text
    assert "unexplained" not in likeness.text


def test_large_pictures():
    """Only the middle of them is looked at."""
    large = np.random.default_rng(0).random((6, 3, 720, 1281), np.float32)
    assert "is the network's turned by 180 degrees and times 255" in liken(large, 255 * large[..., ::-1, ::-1]).text
    moved = np.ascontiguousarray((255 * large).transpose(0, 2, 3, 1))
    assert "another layout, (N, C, H, W) for (N, H, W, C) and divided by 255" in liken(moved, large).text


def test_equal_and_rounded_inputs():
    assert liken(IMAGENET, IMAGENET.copy()) == liken(np.full(3, np.nan), np.full(3, np.nan))
    assert liken(IMAGENET, IMAGENET).text == ""
    rounded = liken(IMAGENET, IMAGENET.astype(np.float16))
    assert rounded.agrees
    assert "the same but for rounding" in rounded.text


def test_what_is_not_made_of_it():
    noise = np.random.default_rng(1).standard_normal(IMAGENET.shape, np.float32)
    assert "is another: no other layout, order of colors or scale" in liken(IMAGENET, noise).text
    assert "its shape is not the network's, (1, 3, 32, 40)" in liken(IMAGENET, IMAGENET[:, :, :16]).text
    assert "NaN" in liken(IMAGENET, IMAGENET * np.nan).text
    smoothed = IMAGENET + 0.05 * noise
    text = liken(IMAGENET, smoothed).text
    assert "is nearly the network's; " in text
    assert "resized or cut out otherwise" in text


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


def test_the_answer_says_how_they_differ_and_the_layers_go_on_with_pytorchs(module):
    net, x = network(module), picture()
    report = netdefs.compare(net, module, x, module_inputs=x[:, ::-1] / 255)
    assert not report.ok  # it would be deployed with the other input
    assert report.bad == []
    assert report.inputs[0].differs
    assert f"is the network's {REVERSED} and divided by 255" in report.answers["inputs"]
    assert "From here on the network was fed PyTorch's." in report.answers["inputs"]
    assert report.verdict.startswith("The inputs differ: input: PyTorch's")
    assert "layers agree with PyTorch" in report.verdict
    assert "once both are fed PyTorch's input" in report.verdict
    assert REVERSED in str(report).replace("\n", " ").replace("  ", " ") or "channels reversed" in str(report)
    assert netdefs.compare(net, module, x[:, ::-1] / 255).rows == report.rows


def test_a_wrong_layer_is_found_in_spite_of_the_input(module):
    x = picture()
    report = netdefs.compare(network(module, "order"), module, x, module_inputs=2 * x)
    assert report.cause.kind == "concat_order"
    assert report.verdict.startswith("The inputs differ: input: PyTorch's")


def test_the_same_input_for_both(module):
    report = netdefs.compare(network(module), module, picture(), module_inputs=torch.from_numpy(picture()))
    assert report.ok
    assert report.answers["inputs"].endswith("the same for both.")


class Pictures(nn.Module):
    """What the network normalizes itself is normalized before it comes to this."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def pictures(module, scale=1 / 255):
    def define(net, x):
        x = net.raw_input("picture", (1, 32, 40, 3), net.trt.uint8, ("n", "h", "w", "c"))
        x = net.permute(net.cast(x, "float", net.trt.float32), "nchw", (0, 3, 1, 2))
        return net.output(net.conv(net.mul(x, scale, "scaled"), "conv", 4, 3), "out")

    net = netdefs.Network(module.state_dict(), "net")
    net.finish(define(net, None))
    return net


def test_a_network_that_normalizes_itself_is_fed_its_own(module):
    module = seeded(Pictures())
    report = netdefs.compare(
        pictures(module), module, BYTES.transpose(0, 2, 3, 1), module_inputs=(PICTURE / 255).astype(np.float32)
    )
    assert report.ok
    assert "(1, 32, 40, 3) uint8 from 0 to 255" in report.answers["inputs"]
    assert "in another layout, (N, C, H, W) for (N, H, W, C) and divided by 255" in report.answers["inputs"]
    assert "The network was fed its own." in report.answers["inputs"]
    wrong = netdefs.compare(
        pictures(module, 1 / 127.5), module, BYTES.transpose(0, 2, 3, 1), module_inputs=PICTURE / np.float32(255)
    )
    assert wrong.first_bad.name == "conv"


def test_several_inputs_of_both(module):
    x = [picture(seed=0), picture(seed=1)]
    report = netdefs.compare(network(module), module, x, module_inputs=[x[0], 2 * x[1]])
    assert report.inputs[0].differs
    assert "times 2" in report.answers["inputs"]
    assert "input 2 of 2" in report.answers["inputs"]


def test_what_is_refused(module):
    net = network(module)
    with pytest.raises(InputError, match=r"An input is an array, and .a.jpg. a name"):
        netdefs.compare(net, module, picture(), module_inputs="a.jpg")
    with pytest.raises(InputError, match="module_inputs has the names x, the network's inputs are input"):
        netdefs.compare(net, module, picture(), module_inputs={"x": picture()})
    with pytest.raises(netdefs.NetdefsError, match="can't run on these inputs"):
        netdefs.compare(net, module, picture(), module_inputs=(picture(), picture()))
