"""DBNet against its PyTorch reference, and pictures in, lines of text out."""

import functools
import json
import re

import cv2
import numpy as np
import pytest
import torch

import netdefs
from examples import read_page
from examples.seeded import pictures, seed_weights
from netdefs.core.errors import InputError, NetworkError
from netdefs.vision import predict, straighten
from tests.reference import MODELS, constant, shapes_of
from tests.reference.dbnet import ModulatedDeformConv

VARIANTS = ["dbnet_resnet18", "dbnet_resnet50", "dbnet_deformable_resnet18", "dbnet_deformable_resnet50"]
SMALL = (2, 3, 64, 96)
DYNAMIC = ((1, 2, 4), 3, (32, 64, 256), (32, 96, 256))
UNUSED = ("backbone.avgpool", "backbone.fc", "backbone.smooth", "decoder.thresh")


@functools.cache
def seeded(name):
    return seed_weights(MODELS[name](), input_shape=SMALL)


def expected(name, x):
    with torch.no_grad():
        return seeded(name)(torch.from_numpy(x))["binary"].numpy()


def assert_near(engine, name, size, tolerance):
    x = pictures(size, seed=1).numpy()
    got, wanted = engine.run({"input": x})["binary"], expected(name, x)
    assert got.shape == wanted.shape == (size[0], 1, *size[2:])
    assert np.linalg.norm(got - wanted) < tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize("name", VARIANTS)
def test_any_batch_and_size(name):
    build = functools.partial(netdefs.dbnet.build_engine, seeded(name).state_dict(), target="cpu")
    with build(input_shape=DYNAMIC) as engine:  # the variant is seen from the weights
        assert engine.info["variant"] == name
        for size in (SMALL, (1, 3, 96, 32)):
            assert_near(engine, name, size, 5e-5)
    with build(input_shape=SMALL, fold_bn=True, precision="fp16") as engine:
        assert_near(engine, name, SMALL, 0.04)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_module_has_a_layer(name):
    network = netdefs.dbnet.define_network(seeded(name).state_dict(), name, input_shape=SMALL)
    report = netdefs.compare(network, seeded(name), pictures(SMALL, seed=1), tolerance=1e-4)
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    unexpected = {key: why for key, why in left.items() if not key.startswith(UNUSED) and "more than once" not in why}
    assert unexpected.keys() == {"backbone"}  # which gives four pictures


def test_a_strided_convolution_reads_offsets_as_upstreams_code_does():
    """Value by value, at the places that its CUDA kernel computes from the output's size alone."""
    torch.manual_seed(0)
    conv = ModulatedDeformConv(2, stride=2)
    torch.nn.init.normal_(conv.weight)
    x, offset, mask = torch.randn(1, 2, 6, 8), 0.4 * torch.randn(1, 18, 6, 8), torch.rand(1, 9, 6, 8)
    with torch.no_grad():
        got = conv(x, offset, mask)
    height, width = 3, 4
    where, factor = offset.flatten().tolist(), mask.flatten().tolist()
    for h in range(height):
        for w in range(width):
            total = torch.zeros(2)
            for tap in range(9):
                place = [((2 * tap + axis) * height + h) * width + w for axis in (0, 1)]
                y, z = 2 * h - 1 + tap // 3 + where[place[0]], 2 * w - 1 + tap % 3 + where[place[1]]
                read = torch.zeros(2)
                for row in range(6):
                    for column in range(8):
                        share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(z - column))
                        read += share * x[0, :, row, column]
                total += conv.weight[:, :, tap // 3, tap % 3] @ read * factor[(tap * height + h) * width + w]
            torch.testing.assert_close(got[0, :, h, w], total.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", ["dbnet_resnet18", "dbnet_deformable_resnet50"])
def test_rtx_compiles(name, precision):
    build = functools.partial(netdefs.dbnet.build_engine, constant(shapes_of(name)), target="tensorrt_rtx")
    with build(input_shape=DYNAMIC, precision=precision) as engine:
        assert engine.outputs["binary"].shape == (-1, 1, -1, -1)


@torch.no_grad()
def marker_finder():
    """Weights under which a DBNet finds what is brighter than 200: one value of each four pixels goes through it."""
    module = MODELS["dbnet_resnet18"]().eval()
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            for parameter in layer.parameters():
                parameter.zero_()
    decoder = module.decoder
    module.backbone.conv1.weight[0, :, 3, 3] = 1 / 3
    decoder.in2.weight[0, 0] = 1
    decoder.out2.weight[0, 0, 1, 1] = 1
    decoder.binarize[0].weight[0, 3 * 64, 1, 1] = 1  # of the last of the four that are joined
    decoder.binarize[3].weight[0, 0] = 1
    decoder.binarize[6].weight[0, 0] = 100
    decoder.binarize[6].bias[:] = -100 * (200 - (122.67891434 + 116.66876762 + 104.00698793) / 3) / 255
    return module


LINES = [((40, 24), (160, 0), (0, 20)), ((120, 160), (112, -64), (12, 21)), ((16, 80), (96, 72), (-15, 20))]


def page():
    """Three white lines on gray: where they begin, and their sides."""
    image = np.full((256, 320, 3), 150, np.uint8)
    for start, along, across in np.array(LINES):
        cv2.fillPoly(image, [np.array([start, start + along, start + along + across, start + across])], (255,) * 3)
    return image


def test_lines_of_a_page():
    """Each is as large as it is drawn, by up to 8 pixels, since the map has cells of 4 x 4; and then unclipped."""
    with netdefs.dbnet.build_engine(marker_finder().state_dict(), input_shape=(1, 3, 256, 320), target="cpu") as engine:
        found = predict(engine, page())
        twice = predict(engine, cv2.resize(page(), None, fx=2, fy=3, interpolation=cv2.INTER_NEAREST))
        with pytest.raises(InputError, match="A threshold and an iou are for detectors"):
            predict(engine, page(), iou=0.5)
    assert len(found.instances) == 3
    for start, along, across in np.array(LINES):
        wide, tall = np.hypot(*along) + 6, np.hypot(*across) + 6
        by = 3 + 1.5 * wide * tall / (2 * (wide + tall))
        x, y = by * along / np.hypot(*along), by * across / np.hypot(*across)
        corners = start + np.stack([-x - y, along + x - y, along + across + x + y, across - x + y])
        line = min(found.instances, key=lambda each: np.abs(each.corners - corners).max())
        np.testing.assert_allclose(line.corners, corners.clip(0, (320, 256)), atol=8)
        cut = straighten(page(), line.corners)
        rows, columns = cut.shape[0] // 2, cut.shape[1] // 4
        assert cut[rows - 5 : rows + 5, columns:-columns].min() == 255
    for line, larger in zip(found.instances, twice.instances, strict=True):
        np.testing.assert_allclose(larger.corners, line.corners * (2, 3), atol=6)
    assert found.instances[0].to_dict().keys() == {"score", "box", "corners"}
    assert (found.draw(page()) != page()).any()


def test_the_example_prints_lines(tmp_path, capsys):
    """From the top of the page to its bottom, with whatever a reader that has learnt nothing makes of them."""
    cv2.imwrite(str(tmp_path / "page.png"), page())
    cv2.imwrite(str(tmp_path / "empty.png"), np.full_like(page(), 150))
    build = netdefs.dbnet.build_engine
    with build(marker_finder().state_dict(), input_shape=(1, 3, 256, 320), target="cpu") as engine:
        engine.save(tmp_path / "dbnet.engine")
        tops = sorted(line.box[1] for line in predict(engine, page()).instances)
    reader = seed_weights(MODELS["crnn"](), input_shape=(4, 1, 32, 100))
    with netdefs.crnn.build_engine(reader.state_dict(), target="cpu") as engine:
        engine.save(tmp_path / "crnn.engine")
    engines = ["--finder", str(tmp_path / "dbnet.engine"), "--reader", str(tmp_path / "crnn.engine")]
    assert read_page.main([str(tmp_path / "page.png"), *engines, "--draw", str(tmp_path / "out.png")]) == 0
    said = [re.fullmatch(r"'\w*' +found \d+% at (\[\[.*\]\])", line) for line in capsys.readouterr().out.splitlines()]
    assert [min(y for _, y in json.loads(line[1])) for line in said] == [round(float(top)) for top in tops]
    assert (cv2.imread(str(tmp_path / "out.png")) != page()).any()
    assert read_page.main([str(tmp_path / "empty.png"), *engines]) == 1


def test_what_can_not_be():
    weights = constant(shapes_of("dbnet_resnet18"))
    with pytest.raises(NetworkError, match="a multiple of 32, such as 704 or 736, not 720"):
        netdefs.dbnet.define_network(weights, input_shape=(1, 3, 720, 1280))
    with pytest.raises(netdefs.NetdefsError, match="weights of variant='dbnet_resnet18'"):
        netdefs.dbnet.define_network(weights, "dbnet_deformable_resnet18")


def test_released_files_lack_or_have_the_threshold_map():
    weights = {key: value for key, value in constant(shapes_of("dbnet_resnet18")).items() if ".thresh." not in key}
    network = netdefs.dbnet.define_network(weights)
    assert not [key for key in network.weights.taken if key.startswith(UNUSED)]
