"""YOLOv2, v3, v4 and YOLOX: against upstream's values, against the PyTorch references, and what is refused."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import pictures, seed_weights
from netdefs.core.errors import NetworkError, WeightsError
from netdefs.core.yolo.darknet import max_pool
from netdefs.core.yolo.darknet_layers import Conv
from tests import golden
from tests.reference import MODELS
from tests.reference.yolov2 import Darknet
from tests.reference.yolov3 import TINY_ANCHORS
from tests.reference.yolov4 import yolov4_csp_wongkinyiu, yolov4_tiny_wongkinyiu
from tests.test_reference import run
from tests.test_zoo import constant, shapes_of

WHOLE = {"yolov2": netdefs.yolov2.LAYERS, "yolov3": netdefs.yolov3.YOLOV3}
DATA = Path(__file__).parent / "data"


def relative(got, expected):
    return np.linalg.norm(got.astype(np.float64) - expected.astype(np.float64)) / np.linalg.norm(expected)


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """Darknet's networks with an eighth of the filters: the layers are the same, and the tests quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Darknet, "divisor", 8)
        for module in (netdefs.yolov2, netdefs.yolov3, netdefs.yolov4):
            for variant, config in module.VARIANTS.items():
                if config["layers"] and variant != "yolov4":  # whose reference is no list of layers
                    patch.setitem(config, "layers", [eighth(layer) for layer in config["layers"]])
        yield


def eighth(layer):
    has_filters = isinstance(layer, Conv) and layer.filters
    return replace(layer, filters=layer.filters // 8) if has_filters else layer


@pytest.fixture(scope="module")
def seeded(narrow):
    """A variant's PyTorch reference with weights, a batch of two pictures, and what it makes of them, by name."""
    cache = {}

    def made(name, build=None):
        if name not in cache:
            module = seed_weights((build or MODELS[name])(), input_shape=(2, 3, 64, 96))
            x = pictures((2, 3, 64, 96), seed=1)
            outputs, modules = run(module, x)
            arrays = ({key: value.numpy() for key, value in found.items()} for found in (outputs, modules))
            cache[name] = (module.state_dict(), x.numpy(), *arrays)
        return cache[name]

    return made


@pytest.mark.parametrize(
    ("module", "name", "fold_bn"),
    [
        ("yolov2", "yolov2", False),
        ("yolov3", "yolov3", False),
        ("yolov4", "yolov4", False),
        ("yolox", "yolox_s", False),
        ("yolox", "yolox_s", True),
    ],
)
def test_outputs_and_modules_are_upstreams(monkeypatch, module, name, fold_bn):
    g = golden.load(name, DATA)
    if name in WHOLE:
        monkeypatch.setitem(getattr(netdefs, module).VARIANTS[name], "layers", WHOLE[name])
    network = getattr(netdefs, module).define_network(g.state_dict, fold_bn=fold_bn)
    assert set(g.modules) <= set(network.names) | set(network.folded)
    comparable = [key for key in g.modules if key in network.names]
    with netdefs.build(network, target="cpu") as engine:
        assert set(g.outputs) <= set(engine.outputs)
        outputs = engine.run({"input": g.input}, outputs=comparable)
    assert {key: g.check(key, outputs[key]) for key in g.outputs if g.check(key, outputs[key]) > 1e-4} == {}
    wrong = {key: g.check_module(key, outputs[key]) for key in comparable}
    assert {key: error for key, error in wrong.items() if error > 1e-3} == {}


OTHERS = [
    ("yolov2", "yolov2", None),
    ("yolov3", "yolov3-spp", None),
    ("yolov3", "yolov3-tiny", None),
    ("yolov3", "yolov3-ultralytics", None),
    ("yolov4", "yolov4-darknet", None),
    ("yolov4", "yolov4-wongkinyiu", None),
    ("yolov4", "yolov4-tiny", None),
    ("yolov4", "yolov4-tiny", yolov4_tiny_wongkinyiu),
    ("yolov4", "yolov4-csp", None),
    ("yolov4", "yolov4-csp", yolov4_csp_wongkinyiu),
    ("yolox", "yolox_nano", None),
    ("yolox", "yolox_darknet53", None),
]


@pytest.mark.parametrize(("module", "variant", "build"), OTHERS)
def test_a_batch_is_what_pytorch_makes_of_it(seeded, module, variant, build):
    """Not square, with a dynamic batch, the variant read off the weights; every module, and each picture alone."""
    weights, x, outputs, modules = seeded(build.__name__ if build else variant, build)
    network = getattr(netdefs, module).define_network(weights, input_shape=((1, 2, 4), 3, 64, 96))
    assert network.info["variant"] == variant
    assert set(modules) <= set(network.names)
    with netdefs.build(network, target="cpu") as engine:
        assert list(engine.outputs) == list(outputs)
        got = engine.run({"input": x}, outputs=list(modules))
        alone = [engine.run({"input": picture[None]}) for picture in x]
    wrong = {key: relative(got[key], value) for key, value in {**outputs, **modules}.items()}
    assert {key: error for key, error in wrong.items() if not error < 1e-4} == {}
    for key in outputs:
        assert relative(np.concatenate([each[key] for each in alone]), got[key]) < 1e-4


@pytest.mark.parametrize("variant", ["yolox_tiny", "yolox_s", "yolox_m", "yolox_l", "yolox_x", "yolov4"])
def test_the_variant_is_read_off_the_weights(variant):
    module = netdefs.yolox if variant.startswith("yolox") else netdefs.yolov4
    network = module.define_network(constant(shapes_of(variant, num_classes=3)))
    assert network.info["variant"] == variant
    rows = network.tensor("undecoded" if module is netdefs.yolox else "confs")
    assert rows.shape[2] == (8 if module is netdefs.yolox else 3)


def test_the_form_of_boxes_follows_the_names(seeded):
    darknet = netdefs.yolov4.define_network(seeded("yolov4-tiny")[0])
    assert darknet.info["decode"]["method"] == "boxes_darknet"
    assert darknet.info["preprocess"]["fit"] == "squeeze"
    other = netdefs.yolov4.define_network(seeded("yolov4_tiny_wongkinyiu", yolov4_tiny_wongkinyiu)[0])
    assert other.info["decode"]["method"] == "boxes_wongkinyiu"
    assert (other.info["preprocess"]["fit"], other.info["preprocess"]["pad"]) == ("letterbox", 114)


@pytest.mark.parametrize(
    ("module", "variant", "raw", "decoded"),
    [
        ("yolov3", "yolov3-tiny", ["raw_0", "raw_1"], ["boxes", "confs"]),
        ("yolov4", "yolov4-wongkinyiu", ["raw_p3", "raw_p4", "raw_p5"], ["pred"]),
        ("yolov3", "yolov3-ultralytics", ["raw_p3", "raw_p4", "raw_p5"], ["pred"]),
        ("yolox", "yolox_nano", ["undecoded"], ["decoded"]),
    ],
)
def test_decode_chooses_the_outputs(module, variant, raw, decoded):
    define_network = partial(getattr(netdefs, module).define_network, constant(shapes_of(variant)), variant)
    for decode, names in (("raw", raw), ("decoded", decoded)):
        network = define_network(decode=decode)
        assert [network.definition.get_output(i).name for i in range(network.definition.num_outputs)] == names
    with pytest.raises(NetworkError, match=r"decode='boxes': it is one of 'both', 'raw', 'decoded'"):
        define_network(decode="boxes")


def test_half_precision_decodes_in_float32(seeded):
    weights, x, outputs, _ = seeded("yolov4-tiny")
    with netdefs.yolov4.build_engine(
        weights, "yolov4-tiny", input_shape=x.shape, precision="fp16", target="cpu"
    ) as engine:
        got = engine.run({"input": x})
    assert {value.dtype for value in got.values()} == {np.dtype(np.float32)}
    assert relative(got["raw_0"], outputs["raw_0"]) < 0.02
    # Centres are within their cells: their error in half precision would be that of the picture's right edge.
    centre = (got["boxes"][:, :, 0, :2] + got["boxes"][:, :, 0, 2:]) / 2
    expected = (outputs["boxes"][:, :, 0, :2] + outputs["boxes"][:, :, 0, 2:]) / 2
    assert np.abs(centre - expected).mean() < 1e-3


def test_a_dynamic_height_and_width_give_raw_outputs_only(seeded):
    shape = (1, 3, (32, 64, 96), (32, 64, 96))
    for module, name, x in (
        (netdefs.yolov3, "yolov3-tiny", None),
        (netdefs.yolov4, "yolov4_tiny_wongkinyiu", yolov4_tiny_wongkinyiu),
        (netdefs.yolox, "yolox_nano", None),
    ):
        weights, x, outputs, _ = seeded(name, x)
        with pytest.raises(NetworkError, match=r"needs a fixed height and width.*or take decode='raw'"):
            module.define_network(weights, input_shape=shape)
        with module.build_engine(weights, input_shape=shape, decode="raw", target="cpu") as engine:
            got = engine.run({"input": x[:1]})
        for key, value in got.items():
            assert relative(value, outputs[key][:1]) < 1e-4


@pytest.mark.parametrize("name", ["yolov3-tiny", "yolov2"])
def test_anchors_can_be_given(seeded, name):
    """Twice as large anchors make boxes twice as large around the same centres."""
    weights, x, outputs, _ = seeded(name)
    module = netdefs.yolov2 if name == "yolov2" else netdefs.yolov3
    cells = [(0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778), (9.77052, 9.16828)]
    usual = [[(32 * w, 32 * h) for w, h in cells]] if name == "yolov2" else [TINY_ANCHORS[3:], TINY_ANCHORS[1:4]]
    doubled = [[(2 * w, 2 * h) for w, h in head] for head in usual]
    with module.build_engine(weights, name, input_shape=x.shape, anchors=doubled, target="cpu") as engine:
        got = engine.run({"input": x})["boxes"].astype(np.float64)
    low, high = outputs["boxes"][..., :2].astype(np.float64), outputs["boxes"][..., 2:].astype(np.float64)
    centre, side = (low + high) / 2, high - low
    np.testing.assert_allclose(got[..., 2:] - got[..., :2], 2 * side, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose((got[..., :2] + got[..., 2:]) / 2, centre, rtol=1e-3, atol=1e-4)


def test_another_number_of_anchors_is_part_of_the_class_count():
    shapes = shapes_of("yolov3-tiny")
    for key in ("models.15.conv10", "models.22.conv13"):
        shapes[f"{key}.bias"] = (2 * (5 + 4),)
        shapes[f"{key}.weight"] = (2 * (5 + 4), *shapes[f"{key}.weight"][1:])
    network = netdefs.yolov3.define_network(constant(shapes), anchors=[[(80, 90), (200, 210)], [(10, 20), (30, 40)]])
    assert network.tensor("confs").shape[2] == 4
    with pytest.raises(
        NetworkError, match=r"conv10.bias has 20 values, which is not 5 \+ classes, for each of 3 anchors"
    ):
        shapes["models.15.conv10.bias"] = (20,)
        netdefs.yolov3.define_network(constant(shapes), "yolov3-tiny")


@pytest.mark.parametrize("anchors", [[[(1, 2)]], [[(1, 2)], []], [[(1, 2)], [(0, 2)]], [(1, 2), (3, 4)], 7])
def test_anchors_that_are_none(anchors):
    with pytest.raises(NetworkError, match="this network has 2 heads, and each takes a list of"):
        netdefs.yolov3.define_network(constant(shapes_of("yolov3-tiny")), anchors=anchors)


def test_anchors_that_the_weights_hold_are_not_an_argument():
    with pytest.raises(NetworkError, match="yolov3-ultralytics has its anchors in the weights"):
        netdefs.yolov3.define_network(constant(shapes_of("yolov3-ultralytics")), anchors=[[(1, 2)]] * 3)


@pytest.mark.parametrize("module", ["yolov2", "yolov3", "yolov4", "yolox"])
@pytest.mark.parametrize("shape", [(1, 3, 420, 416), (1, 3, 416, (32, 420, 640))])
def test_a_size_that_the_strides_do_not_divide_is_refused(module, shape):
    side = "height" if shape[2] == 420 else "width"
    with pytest.raises(NetworkError, match=f"takes a {side} that is a multiple of 32, such as 416 or 448, not 420"):
        getattr(netdefs, module).define_network({}, input_shape=shape)


@pytest.mark.parametrize(
    ("module", "variant"),
    [("yolov2", "yolov2"), ("yolov3", "yolov3-tiny"), ("yolov4", "yolov4-tiny"), ("yolox", "yolox_nano")],
)
def test_a_wrong_class_count_is_explained(module, variant):
    weights = constant(shapes_of(variant, num_classes=80))
    with pytest.raises(WeightsError) as error:
        getattr(netdefs, module).define_network(weights, variant, num_classes=20)
    rows = {"yolov2": 425, "yolox": 80}.get(module, 255)
    assert f"which fits if the first dimension is {rows}" in str(error.value)
    assert "they fit it without num_classes=20" in str(error.value)


@pytest.mark.parametrize(
    ("module", "asked", "given"),
    [
        ("yolov3", "yolov3", "yolov3-spp"),
        ("yolov3", "yolov3", "yolov3-ultralytics"),
        ("yolov4", "yolov4", "yolov4-darknet"),
        ("yolov4", "yolov4-darknet", "yolov4-wongkinyiu"),
        ("yolox", "yolox_m", "yolox_s"),
    ],
)
def test_weights_of_another_variant_are_recognized(module, asked, given):
    with pytest.raises(WeightsError, match=f"These are weights of variant='{given}': they fit it"):
        getattr(netdefs, module).define_network(constant(shapes_of(given)), asked)


def test_max_pools_see_what_is_inside_only():
    """yolov3-tiny's has a window of 2 and a stride of 1; zeros around it would be larger than negative values."""
    net = netdefs.Network()
    x = net.input("input", (1, 1, 3, 4))
    net.finish(net.output(max_pool(net, x, "pool", size=2, stride=1), "out"))
    values = -np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4)
    with netdefs.build(net, target="cpu") as engine:
        got = engine.run({"input": values})["out"]
    expected = torch.nn.functional.pad(torch.from_numpy(values), (0, 1, 0, 1), mode="replicate")
    np.testing.assert_array_equal(got, torch.nn.functional.max_pool2d(expected, 2, stride=1).numpy())


@pytest.mark.parametrize("variant", ["yolov3-tiny", "yolov4-tiny", "yolox_nano", "yolox_s", "yolox_m"])
def test_compiles_ahead_of_time(variant, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    module = getattr(netdefs, variant.partition("-")[0].partition("_")[0])
    network = module.define_network(constant(shapes_of(variant)), variant, package="tensorrt_rtx")
    netdefs.build(network, target="tensorrt_rtx").save(tmp_path / "x.engine")
    assert (tmp_path / "x.engine").stat().st_size > 1e6
