"""HRNet for segmentation and pose, HigherHRNet: sizes, options, decoding. Upstream's values are in test_zoo.py."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from examples.seeded import pictures, seed_weights
from netdefs.core.errors import NetworkError, WeightsError
from tests.reference import MODELS, constant, shapes_of
from tests.reference.higherhrnet import aggregate


@functools.cache
def seeded(name: str, **options: bool) -> nn.Module:
    return seed_weights(MODELS[name](**options), input_shape=(2, 3, 64, 64))


def run(
    name: str, shape: tuple[int, ...], seed: int = 1, **options: bool
) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """A picture and what PyTorch makes of it."""
    x = pictures(shape, seed)
    with torch.no_grad():
        return x.numpy(), seeded(name, **options)(x)


def error(got: np.ndarray, expected: torch.Tensor) -> float:
    assert got.shape == tuple(expected.shape)
    return float(np.linalg.norm(got - expected.numpy()) / expected.norm())


SIZES = [(1, 3, 64, 96), (2, 3, 75, 90), (1, 3, 33, 47), (1, 3, 130, 17), (1, 3, 1, 1)]


@pytest.mark.parametrize("align_corners", [False, True])
def test_segmentation_takes_any_size_at_run_time(align_corners):
    name = "hrnet_seg_w18_small_v1"
    weights = seeded(name, align_corners=align_corners).state_dict()
    options = {"align_corners": align_corners, "target": "cpu"}
    shape = ((1, 1, 2), 3, (1, 64, 192), (1, 96, 192))
    with netdefs.hrnet_seg.build_engine(weights, name, input_shape=shape, **options) as engine:
        assert engine.outputs["logits_stride4"].shape == (-1, 19, -1, -1)
        for size in SIZES:
            x, expected = run(name, size, align_corners=align_corners)
            got = engine.run({"input": x})["logits_stride4"]
            assert error(got, expected["logits_stride4"]) < 1e-5, size
    x, expected = run(name, SIZES[1], align_corners=align_corners)
    with netdefs.hrnet_seg.build_engine(weights, name, input_shape=SIZES[1], **options) as engine:
        assert error(engine.run({"input": x})["logits_stride4"], expected["logits_stride4"]) < 1e-5


def test_align_corners_is_upstreams_and_matters():
    """False for the plain networks of Cityscapes, True for OCR; the weights don't tell."""
    name = "hrnet_seg_w18_small_v1"
    x, expected = run(name, SIZES[0])
    for options, right in (({}, True), ({"align_corners": False}, True), ({"align_corners": True}, False)):
        with netdefs.hrnet_seg.build_engine(
            seeded(name).state_dict(), name, input_shape=SIZES[0], target="cpu", **options
        ) as engine:
            off = error(engine.run({"input": x})["logits_stride4"], expected["logits_stride4"])
        assert (off < 1e-5) == right and (right or off > 0.05), options


def test_ocr_takes_any_size_at_run_time():
    name = "hrnet_ocr_w48"
    shape = ((1, 1, 2), 3, (32, 64, 96), (32, 64, 96))
    with netdefs.hrnet_seg.build_engine(seeded(name).state_dict(), name, input_shape=shape, target="cpu") as engine:
        for size in SIZES[:3]:
            x, expected = run(name, size)
            out = engine.run({"input": x})
            assert list(out) == list(expected) == ["aux_logits_stride4", "logits_stride4"]
            assert all(error(out[key], expected[key]) < 2e-5 for key in expected), size


@pytest.mark.parametrize(
    ("module", "name", "options"),
    [
        ("hrnet_seg", "hrnet_seg_w18_small_v1", {}),
        ("hrnet_seg", "hrnet_ocr_w48", {"fold_bn": True}),
        ("hrnet_pose", "hrnet_pose_w48", {}),
        ("higherhrnet", "higherhrnet_w32", {}),
    ],
)
def test_compare_finds_a_layer_for_every_module_that_can_have_one(module, name, options):
    reference = seeded(name)
    net = getattr(netdefs, module).define_network(reference.state_dict(), name, input_shape=(1, 3, 64, 96), **options)
    report = netdefs.compare(net, reference, pictures((1, 3, 64, 96)).numpy(), mode="chained")
    assert report.ok, report.verdict
    assert max(row.chained.relative for row in report.rows) < 1e-5
    without = [each for each in report.unmatched if each.side == "module" and each.reason == "has no layer"]
    assert not without


def test_higherhrnet_aggregates_inside():
    """In float32 also in half precision: else neighbours round to the same number, and both are peaks."""
    name, shape = "higherhrnet_w32", (1, 3, 64, 96)
    x, _ = run(name, shape)
    options = {"input_shape": shape, "precision": "fp16", "target": "cpu"}
    with netdefs.higherhrnet.build_engine(seeded(name).state_dict(), name, **options) as engine:
        stages = {key: torch.from_numpy(value) for key, value in engine.run({"input": x}).items()}
    expected = aggregate(stages, shape[2:])
    with netdefs.higherhrnet.build_engine(seeded(name).state_dict(), name, aggregate=True, **options) as engine:
        out = engine.run({"input": x})
    assert list(out) == ["heatmaps", "tags"]
    assert all(error(out[key], value) < 1e-6 for key, value in zip(out, expected, strict=True))


def top_peaks(heatmap: np.ndarray, tags: np.ndarray) -> dict[tuple[float, float], tuple[float, float]]:
    """Plainly: where the 30 best peaks above 0 of a map are, x and y, and their scores and tags."""
    height, width = heatmap.shape
    found = []
    for y, x in np.ndindex(height, width):
        around = heatmap[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        if heatmap[y, x] == around.max() > 0:
            found.append((heatmap[y, x], y, x))
    peaks = {}
    for score, y, x in sorted(found, reverse=True)[:30]:
        right = heatmap[y, min(x + 1, width - 1)] > heatmap[y, max(x - 1, 0)]
        down = heatmap[min(y + 1, height - 1), x] > heatmap[max(y - 1, 0), x]
        place = x + 0.5 + (0.25 if right else -0.25), y + 0.5 + (0.25 if down else -0.25)
        peaks[place] = score, tags[y, x]
    return peaks


def test_higherhrnet_finds_peaks_inside_at_any_size():
    name = "higherhrnet_w32"
    maps = ["aggregate.heatmaps", "aggregate.tags"]
    options = {"input_shape": ((1, 2, 4), 3, (64, 128, 256), (64, 128, 256)), "target": "cpu", "outputs": maps}
    x, stages = run(name, (2, 3, 64, 96))
    with netdefs.higherhrnet.build_engine(seeded(name).state_dict(), name, decode="in_network", **options) as engine:
        out = engine.run({"input": x})
    heatmaps, tags = (out.pop(key) for key in maps)
    assert all(
        error(got, value) < 1e-5 for got, value in zip((heatmaps, tags), aggregate(stages, (64, 96)), strict=True)
    )
    assert list(out) == ["scores", "x", "y", "tags"]
    assert {(value.shape, value.dtype.name) for value in out.values()} == {((2, 17, 30), "float32")}
    total = 0
    for i, k in np.ndindex(2, 17):
        scores, xs, ys, labels = (out[key][i, k] for key in out)
        assert (np.diff(scores) <= 0).all()
        found = dict(zip(zip(xs, ys, strict=True), zip(scores, labels, strict=True), strict=True))
        expected = top_peaks(heatmaps[i, k], tags[i, k])
        assert {place: value for place, value in found.items() if value[0] > 0} == expected
        total += len(expected)
    assert total > 200


@pytest.mark.parametrize(
    ("module", "name", "options"),
    [
        ("hrnet_seg", "hrnet_seg_w18_small_v1", {}),
        ("hrnet_seg", "hrnet_ocr_w48", {"input_shape": (1, 3, (64, 75, 96), (64, 90, 96))}),
        ("hrnet_pose", "hrnet_pose_w48", {}),
        (
            "higherhrnet",
            "higherhrnet_w32",
            {"decode": "in_network", "input_shape": (1, 3, (64, 64, 96), (64, 64, 96)), "precision": "fp16"},
        ),
    ],
)
def test_compiles_without_a_gpu(module, name, options):
    options = {"input_shape": (1, 3, 64, 64), **options}
    weights = seeded(name).state_dict()
    with getattr(netdefs, module).build_engine(weights, name, target="tensorrt_rtx", **options) as engine:
        assert engine.target == "tensorrt_rtx"


@pytest.mark.parametrize("module", ["hrnet_pose", "higherhrnet"])
def test_sizes_that_cannot_be_fused_are_errors(module):
    with pytest.raises(NetworkError, match="height and width must be multiples of 32, such as 288, not 260"):
        getattr(netdefs, module).define_network({}, input_shape=(1, 3, 260, 192))


def test_options_that_cannot_be_are_errors():
    with pytest.raises(NetworkError, match="decode is one of on_host, in_network, not 'gpu'"):
        netdefs.higherhrnet.define_network({}, decode="gpu")
    for module in (netdefs.hrnet_pose, netdefs.higherhrnet):
        with pytest.raises(NetworkError, match="num_joints=0: it must be positive; None reads it off the weights"):
            module.define_network({}, num_joints=0)


@pytest.mark.parametrize(("module", "name"), [("hrnet_pose", "hrnet_pose_w32"), ("higherhrnet", "higherhrnet_w32")])
def test_the_number_of_joints_is_read_off_the_weights(module, name):
    weights = constant(shapes_of(name, num_joints=14))
    define_network = getattr(netdefs, module).define_network
    outputs = define_network(weights).definition
    assert outputs.get_output(outputs.num_outputs - 1).shape[1] == 14
    with pytest.raises(WeightsError, match="they fit it without num_joints=17"):
        define_network(weights, num_joints=17)


@pytest.mark.parametrize(
    ("variant", "given", "expected"),
    [("hrnet_seg_w18_small_v1", None, False), ("hrnet_seg_w18_small_v1", True, True), ("hrnet_ocr_w48", None, True)],
)
def test_the_last_resize_has_the_align_corners_of_the_others(variant, given, expected):
    net = netdefs.Network(name="logits")
    outputs = netdefs.hrnet_seg.define(net, net.input("input", (1, 3, 64, 64)), variant, align_corners=given)
    assert outputs and net.info["decode"] == {"align_corners": expected}


def test_what_pictures_they_want():
    def info(module, variant):
        model = getattr(netdefs, module).model
        return model.input_shape[variant][2:], model.preprocess[variant].fit, model.decode[variant].method

    assert info("hrnet_pose", "hrnet_pose_w48") == ((256, 192), "box", "heatmap")
    assert netdefs.hrnet_pose.model.preprocess["hrnet_pose_w32"].margin == 1.25
    assert info("higherhrnet", "higherhrnet_w32") == ((512, 512), "letterbox", "grouping")
    assert info("higherhrnet", "higherhrnet_w48") == ((640, 640), "letterbox", "grouping")
    assert info("hrnet_seg", "hrnet_ocr_w48") == ((256, 512), "squeeze", "mask")
