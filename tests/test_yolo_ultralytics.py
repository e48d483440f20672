"""YOLOv5, YOLOv8, YOLO11, YOLO12 and YOLO26: upstream's values, every task and head, and what users ask most about."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import netdefs
from examples.seeded import pictures, seed_weights
from netdefs.core.checkpoint import read_module
from netdefs.core.convert import write_weights
from netdefs.core.errors import NetworkError, WeightsError
from tests import golden
from tests.reference import MODELS
from tests.test_reference import run
from tests.test_zoo import constant, shapes_of

DATA = Path(__file__).parent / "data"
GOLDEN = ["yolov5n", "yolov8n", "yolo11n", "yolo26n"]
# The tasks, and what sizes have of their own: P6, heads without anchors, C3k everywhere (m), scaled blocks (l).
OTHERS = ["yolov5n6", "yolov5n-seg", "yolov5n-cls", "yolov5nu", "yolov8n-seg", "yolov8n-pose", "yolov8n-obb"]
OTHERS += ["yolov8n-cls", "yolo11m", "yolo11n-cls", "yolo12n", "yolo12l", "yolo12n-cls"]
OTHERS += ["yolo26n-seg", "yolo26n-pose", "yolo26n-obb", "yolo26n-cls", "yolo26m"]


def family(name):
    return next(module for variants in [netdefs.models()] for module in variants if name in variants[module])


def zoo(name):
    return getattr(netdefs, family(name))


@functools.cache
def seeded(name: str, **options: int) -> nn.Module:
    return seed_weights(MODELS[name](**options), input_shape=(2, 3, 128, 128))


@functools.cache
def weights(name: str, **options: int) -> dict[str, torch.Tensor]:
    return seeded(name, **options).state_dict()


def expected(network: nn.Module, x: torch.Tensor) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: value.numpy() for name, value in network(x).items()}


def size_of(name: str) -> tuple[int, int]:
    return (128, 192) if name.endswith(("6", "6u")) else (64, 96)


def error(got: np.ndarray, want: np.ndarray) -> float:
    assert got.shape == want.shape
    return float(np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want))


def split_pred(outputs: dict[str, np.ndarray], anchors: bool) -> dict[str, np.ndarray]:
    """`pred` with its probabilities on their own as well: beside pixels, an error in them would not show."""
    outputs = dict(outputs)
    for name in [name for name in outputs if name.endswith("pred")]:
        outputs[f"{name}, scores"] = outputs[name][..., 4:] if anchors else outputs[name][:, 4:]
    return outputs


def same_rows(got: np.ndarray, want: np.ndarray, tolerance: float) -> bool:
    """Whether two (rows, values) have the same rows, in any order: each has a near one among the others."""
    distance = np.abs(got[:, None].astype(np.float64) - want[None]).max(2)
    return got.shape == want.shape and max(distance.min(0).max(), distance.min(1).max()) < tolerance


@functools.cache
def loaded(name):
    return golden.load(name, DATA)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_references_are_upstreams(name):
    g = loaded(name)
    network = MODELS[name]().eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in g.state_dict.items()}, strict=True)
    outputs, modules = run(network, torch.from_numpy(g.input))
    assert outputs.keys() == g.outputs.keys()
    assert modules.keys() == g.modules.keys()
    assert not {key: e for key in g.outputs if key != "dets" and (e := g.check(key, outputs[key])) > 1e-5}
    assert not {key: e for key in g.modules if (e := g.check_module(key, modules[key])) > 1e-4}
    if "dets" in g.outputs:
        assert same_rows(outputs["dets"][0].numpy(), g.outputs["dets"].value.reshape(300, 6), 0.05)


@pytest.mark.parametrize(("name", "fold_bn"), [*((name, False) for name in GOLDEN), ("yolo11n", True)])
def test_outputs_and_modules_are_upstreams(name, fold_bn):
    g = loaded(name)
    network = zoo(name).define_network(g.state_dict, name, fold_bn=fold_bn)
    comparable = [key for key in g.modules if key in network.names]
    lacking = [key for key in g.modules if key not in network.names and key not in network.folded]
    assert all(key.endswith(".act") for key in lacking), "an absent activation is the batch norm's output"
    with netdefs.build(network, target="cpu") as engine:
        assert list(engine.outputs) == list(g.outputs)
        outputs = engine.run({"input": g.input}, outputs=comparable)
    assert not {key: e for key in g.outputs if key != "dets" and (e := g.check(key, outputs[key])) > 2e-5}
    assert not {key: e for key in comparable if (e := g.check_module(key, outputs[key])) > 1e-4}
    if "dets" in g.outputs:
        assert same_rows(outputs["dets"][0], g.outputs["dets"].value.reshape(300, 6), 0.05)


@pytest.mark.parametrize("name", OTHERS)
def test_every_kind_of_network_in_every_module(name):
    """Non-square pictures, batch 2 of a dynamic batch; and each picture alone."""
    size = size_of(name)
    x = pictures((2, 3, *size), seed=1)
    want, modules = run(seeded(name), x)
    shape = ((1, 2, 4), 3, *size)
    network = zoo(name).define_network(weights(name), name, input_shape=shape)
    lacking = [key for key in modules if key not in network.names]
    assert all(key.endswith(".act") for key in lacking)
    comparable = [key for key in modules if key in network.names]
    with netdefs.build(network, target="cpu") as engine:
        assert list(engine.outputs) == list(want)
        got = engine.run({"input": x.numpy()}, outputs=comparable)
        alone = [engine.run({"input": x[i : i + 1].numpy()}) for i in range(2)]

    assert not {key: e for key in comparable if (e := error(got[key], modules[key].numpy())) > 1e-4}
    anchors = family(name) == "yolov5" and not name.endswith("u")
    want = {key: value.numpy() for key, value in want.items()}
    dets = want.pop("dets", None)
    if dets is not None:
        # The last of the rows are a matter of rounding: their scores are next to equal.
        assert all(same_rows(got["dets"][i], dets[i], 0.05) for i in range(2))
        assert (np.diff(got["dets"][:, :, 4]) <= 0).all()
        assert all(same_rows(got["dets"][i], alone[i]["dets"][0], 0.05) for i in range(2))
    got, want, *alone = (split_pred(outputs, anchors) for outputs in (got, want, *alone))
    assert not {key: e for key in want if (e := error(got[key], want[key])) > 2e-5}
    for i, one in enumerate(alone):
        assert not {key: e for key in want if (e := error(one[key], got[key][i : i + 1])) > 1e-5}


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n-pose", "yolo12n", "yolo26n-seg"])
def test_raw_heads_take_any_height_and_width(name):
    shape = (1, 3, (32, 64, 128), (32, 96, 128))
    with zoo(name).build_engine(weights(name), name, input_shape=shape, decode="raw", target="cpu") as engine:
        assert not {"pred", "dets", "one2one_pred"} & set(engine.outputs)
        for size in ((64, 96), (128, 32)):
            x = pictures((1, 3, *size), seed=2)
            want = expected(seeded(name), x)
            got = engine.run({"input": x.numpy()})
            assert not {key: e for key in got if (e := error(got[key], want[key])) > 2e-5}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", ["yolov5n", "yolov8n-obb", "yolo26n-pose"])
def test_half_precision_stays_near(name, precision):
    x = pictures((1, 3, 64, 96), seed=1)
    want = expected(seeded(name), x)
    config = {"input_shape": (1, 3, 64, 96), "precision": precision, "target": "cpu"}
    with zoo(name).build_engine(weights(name), name, **config) as engine:
        got = engine.run({"input": x.numpy()})
    for key in got:
        assert got[key].dtype == np.float32
        if key != "dets":
            assert error(got[key], want[key]) < {"fp16": 0.04, "bf16": 0.3}[precision], key


@pytest.mark.parametrize("name", ["yolov5n-seg", "yolov8n-cls", "yolo26n"])
def test_decode_chooses_the_outputs(name):
    def outputs(decode: str) -> list[str]:
        network = zoo(name).define_network(weights(name), name, input_shape=(1, 3, 64, 64), decode=decode)
        return [network.definition.get_output(i).name for i in range(network.definition.num_outputs)]

    decoded = {"yolov5n-seg": ["pred", "proto"], "yolov8n-cls": ["prob"], "yolo26n": ["dets"]}[name]
    raw = {"yolov5n-seg": ["proto", "raw_p3", "raw_p4", "raw_p5"], "yolov8n-cls": ["logits"]}.get(
        name, ["one2one_boxes", "one2one_cls_logits", "one2many_boxes", "one2many_cls_logits"]
    )
    assert outputs("decoded") == decoded
    assert outputs("raw") == raw
    with pytest.raises(NetworkError, match="decode='boxes': it is one of 'both', 'raw', 'decoded'"):
        outputs("boxes")


# YOLO26's two heads


@pytest.mark.parametrize("name", ["yolo26n", "yolo26n-seg", "yolo26n-pose", "yolo26n-obb"])
def test_the_head_with_many_boxes_alone(name):
    """Its boxes are centre and size, as those of any head with non-maximum suppression behind it."""
    x = pictures((1, 3, 64, 96), seed=1)
    reference = seeded(name)
    with torch.no_grad():
        maps = {}
        hook = reference.model[-1].register_forward_pre_hook(lambda module, inputs: maps.update(seen=inputs[0]))
        reference(x)
        hook.remove()
        boxes, *parts = reference.model[-1].decoded(reference.model[-1].raw(maps["seen"], ""), maps["seen"])
    if not name.endswith("obb"):
        low, high = boxes.chunk(2, 1)
        boxes = torch.cat([(low + high) / 2, high - low], 1)
    config = {"input_shape": (1, 3, 64, 96), "decode": "decoded", "target": "cpu"}
    with zoo(name).build_engine(weights(name), name, branch="one2many", **config) as engine:
        assert set(engine.outputs) <= {"one2many_pred", "proto"}
        got = engine.run({"input": x.numpy()})["one2many_pred"]
    assert error(got[:, :4], boxes.numpy()) < 2e-5
    assert error(got[:, 4:], torch.cat(parts, 1).numpy()) < 2e-5


def test_a_fused_checkpoint_has_one_head():
    """ultralytics' fuse() drops the other head and what only training needs."""
    dropped = (".cv2.", ".cv3.", ".cv4", "one2one_cv4_sigma", "flow_model")
    name = "yolo26n-pose"
    left = {
        key: value
        for key, value in weights(name).items()
        if not (key.startswith("model.23") and any(part in key for part in dropped))
    }
    network = netdefs.yolo26.define_network(left, name, input_shape=(1, 3, 64, 64))
    names = [network.definition.get_output(i).name for i in range(network.definition.num_outputs)]
    assert names == ["dets", "one2one_pred", "one2one_boxes", "one2one_cls_logits", "one2one_kpts"]
    with pytest.raises(WeightsError, match=r"model\.23\.cv2\.0\.0\.conv\.weight"):
        netdefs.yolo26.define_network(left, name, branch="both")


def test_max_det():
    config = {"input_shape": (1, 3, 64, 64), "decode": "decoded"}
    shapes = []
    for most in (10, None):
        network = netdefs.yolo26.define_network(weights("yolo26n"), "yolo26n", max_det=most, **config)
        shapes.append(tuple(network.definition.get_output(0).shape))
    assert shapes == [(1, 10, 6), (1, 84, 6)]  # a picture this small has 84 cells
    with pytest.raises(NetworkError, match=r"model\.23\.best\.candidates"):
        netdefs.yolo26.define_network(weights("yolo26n"), "yolo26n", max_det=0, **config)
    with pytest.raises(NetworkError, match="max_det=10: only decoded outputs of the head one2one"):
        netdefs.yolo26.define_network(weights("yolo26n"), "yolo26n", max_det=10, branch="one2many")
    with pytest.raises(NetworkError, match="branch='one2two': it is one of 'one2one', 'one2many', 'both', or None"):
        netdefs.yolo26.define_network({}, "yolo26n", branch="one2two")


# What a checkpoint may have or lack


def fused(network: nn.Module) -> dict[str, torch.Tensor]:
    """Its weights as upstream's fuse() leaves them: a convolution has a bias, and its batch norm is gone."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    for path, module in network.named_modules():
        if not isinstance(getattr(module, "bn", None), nn.BatchNorm2d):
            continue
        bn = module.bn
        scale = (bn.weight / (bn.running_var + bn.eps).sqrt()).detach()
        state[f"{path}.conv.weight"] *= scale[:, None, None, None]
        state[f"{path}.conv.bias"] = (bn.bias - bn.running_mean * scale).detach()
        for key in bn.state_dict():
            del state[f"{path}.bn.{key}"]
    return state


@pytest.mark.parametrize("name", ["yolov5n", "yolo12n", "yolo26n-seg"])
def test_fused_weights(name):
    x = pictures((1, 3, 64, 96), seed=1)
    want = expected(seeded(name), x)
    with zoo(name).build_engine(fused(seeded(name)), name, input_shape=(1, 3, 64, 96), target="cpu") as engine:
        got = engine.run({"input": x.numpy()})
    assert not {key: e for key in want if key != "dets" and (e := error(got[key], want[key])) > 2e-5}


@pytest.mark.parametrize("name", ["yolov8n", "yolo26n"])
def test_the_activation_of_sppf_comes_from_the_weights_or_an_argument(name, tmp_path):
    """Upstream's versions differ in it, and a state_dict does not tell."""
    x = pictures((1, 3, 64, 96), seed=1)
    network = seed_weights(MODELS[name](), input_shape=(2, 3, 128, 128))
    usual, other = ("SiLU", "Identity") if name == "yolov8n" else ("Identity", "SiLU")
    network.model[9].cv1.act = getattr(nn, other)()
    raw = [key for key in network(x) if key.endswith(("boxes", "logits"))]
    want = expected(network, x)
    bare = network.state_dict()
    write_weights(read_module(network, "a module"), tmp_path / "told.wts")

    def errors(weights, **config) -> list[float]:
        with zoo(name).build_engine(weights, name, input_shape=(1, 3, 64, 96), target="cpu", **config) as engine:
            got = engine.run({"input": x.numpy()})
        return [error(got[key], want[key]) for key in raw]

    assert max(errors(bare, sppf_act=other)) < 2e-5
    assert max(errors(tmp_path / "told.wts")) < 2e-5
    assert min(errors(bare)) > 0.1
    assert min(errors(tmp_path / "told.wts", sppf_act=usual)) > 0.1


def test_activations_come_from_the_weights(tmp_path):
    """A network trained with another `activation:` in its yaml file, such as yolov5s-LeakyReLU.yaml."""
    network = MODELS["yolov5n"]()
    for module in network.modules():
        if isinstance(getattr(module, "act", None), nn.SiLU):
            module.act = nn.LeakyReLU(0.1)
    x = pictures((1, 3, 64, 96), seed=1)
    want = expected(seed_weights(network, input_shape=(2, 3, 128, 128)), x)
    write_weights(read_module(network, "a module"), tmp_path / "leaky.wts")
    with netdefs.yolov5.build_engine(tmp_path / "leaky.wts", input_shape=(1, 3, 64, 96), target="cpu") as engine:
        got = engine.run({"input": x.numpy()})
    assert not {key: e for key in want if (e := error(got[key], want[key])) > 2e-5}
    with pytest.raises(NetworkError, match=r"model\.9\.cv1: .* activation is Swoosh, which these networks can't have"):
        netdefs.yolov5.define_network(weights("yolov5n"), "yolov5n", sppf_act="Swoosh")


def test_weights_as_tensorrtx_writes_them():
    """Its gen_wts.py adds YOLOv5's anchors in pixels and strides; the fixed weights of DFL may be left out."""
    more = dict(weights("yolov5n"))
    strides = torch.tensor([8.0, 16.0, 32.0])
    more["model.24.strides"] = strides
    more["model.24.anchor_grid"] = more["model.24.anchors"] * strides[:, None, None]
    netdefs.yolov5.define_network(more, "yolov5n")
    more["model.24.strides"] = strides * 2
    with pytest.raises(
        NetworkError, match=r"model\.24\.strides is \[16\.0, 32\.0, 64\.0\], and yolov5n has \[8, 16, 32"
    ):
        netdefs.yolov5.define_network(more, "yolov5n")

    x = pictures((1, 3, 64, 96), seed=1)
    network = seed_weights(MODELS["yolov8n"](), input_shape=(2, 3, 128, 128))
    network.model[-1].dfl.conv.weight.data = torch.arange(16.0).reshape(1, 16, 1, 1)
    less = network.state_dict()
    del less["model.22.dfl.conv.weight"]
    with netdefs.yolov8.build_engine(less, "yolov8n", input_shape=(1, 3, 64, 96), target="cpu") as engine:
        assert error(engine.run({"input": x.numpy()})["pred"], expected(network, x)["pred"]) < 2e-5


def test_own_anchors_and_their_number_come_from_the_weights():
    network = MODELS["yolov5n"]()
    head = network.model[-1]
    head.anchors = torch.rand(3, 2, 2) * 5  # two instead of three
    head.m = nn.ModuleList(nn.Conv2d(m.in_channels, 2 * 85, 1) for m in head.m)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = netdefs.yolov5.define_network(constant(shapes), "yolov5n", input_shape=(1, 3, 64, 64))
    assert tuple(found.definition.get_output(0).shape) == (1, 2 * 84, 85)
    shapes["model.24.m.0.bias"] = (171,)
    with pytest.raises(NetworkError, match=r"171 values, which is not 5 \+ classes, for each of 2 anchors"):
        netdefs.yolov5.define_network(constant(shapes), "yolov5n")


# Variants and class counts


def test_the_variant_is_read_off_the_weights():
    for module in ("yolov5", "yolov8", "yolo11", "yolo12", "yolo26"):
        model = getattr(netdefs, module).model
        for name in list(model.variants)[::3]:
            assert model._recognize(constant(shapes_of(name, num_classes=3)), model.variants) == name
    network = netdefs.yolo11.define_network(constant(shapes_of("yolo11s-seg", num_classes=3)))
    assert network.info["variant"] == "yolo11s-seg"
    assert network.definition.get_output(0).shape[1] == 4 + 3 + 32


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("yolov8s", "yolov8n"), ("yolo11l", "yolo11m"), ("yolo26n-pose", "yolo26n"), ("yolov5nu", "yolov5n")],
)
def test_the_wrong_variant_is_named(name, wrong):
    with pytest.raises(WeightsError, match=f"These are weights of variant='{name}': they fit it"):
        zoo(name).define_network(constant(shapes_of(name)), wrong)


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "yolo26n-seg"])
def test_a_wrong_class_count_is_explained(name):
    with pytest.raises(WeightsError) as caught:
        zoo(name).define_network(constant(shapes_of(name, num_classes=3)), name, num_classes=80)
    assert "which fits if the first dimension is" in str(caught.value)
    assert "they fit it without num_classes=80" in str(caught.value)


def test_a_checkpoint_of_another_version_is_refused():
    with pytest.raises(WeightsError, match=r"(?s)missing, \d+ of \d+ keys.*not used by the network"):
        netdefs.yolov8.define_network(constant(shapes_of("yolo11n")), "yolov8n")


def test_missing_and_extra_keys_are_named_together():
    less = dict(weights("yolo11n"))
    del less["model.23.cv2.0.2.bias"]
    less["model.23.extra"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"(?s)model\.23\.cv2\.0\.2\.bias.*model\.23\.extra"):
        netdefs.yolo11.define_network(less, "yolo11n")


def test_other_keypoints():
    name = "yolov8n-pose"
    network = seed_weights(MODELS[name](kpt_shape=(5, 2)), input_shape=(2, 3, 128, 128))
    x = pictures((1, 3, 64, 96), seed=1)
    config = {"input_shape": (1, 3, 64, 96), "target": "cpu"}
    with netdefs.yolov8.build_engine(network.state_dict(), name, kpt_shape=(5, 2), **config) as engine:
        assert error(engine.run({"input": x.numpy()})["pred"], expected(network, x)["pred"]) < 2e-5
    with pytest.raises(
        WeightsError, match=r"model\.22\.cv4\.0\.0\.conv\.weight: the network has \(51, .* the file \(16,"
    ):
        netdefs.yolov8.define_network(network.state_dict(), name)


# Sizes and arguments


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("yolov8n", (1, 3, 640, 600), r"a width that is a multiple of 32, such as 576 or 608, not 600"),
        ("yolov5n6", (1, 3, 672, 640), r"a height that is a multiple of 64, such as 640 or 704, not 672"),
        ("yolo11n", (1, 3, 16, 64), r"a height that is a multiple of 32, such as 32, not 16"),
        ("yolo12n", (1, 3, (64, 100, 128), 64), r"a height that is a multiple of 32, such as 96 or 128, not 100"),
        ("yolo26n", (1, 3, (64, 96, 128), 64), r"needs a fixed height and width .* or take decode='raw'"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(name, shape, message):
    with pytest.raises(NetworkError, match=message):
        zoo(name).define_network({}, name, input_shape=shape)


def test_a_dynamic_size_is_checked_when_the_picture_is_normalized_inside():
    config = {"decode": "raw", "preprocess": "in_network"}
    shape = ((1, 2, 4), 3, (64, 96, 128), 64)
    netdefs.yolov8.define_network(weights("yolov8n"), "yolov8n", input_shape=shape, **config)
    with pytest.raises(NetworkError, match="a height that is a multiple of 32, such as 96 or 128, not 120"):
        netdefs.yolov8.define_network({}, "yolov8n", input_shape=(1, 3, (64, 96, 120), 64), **config)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("yolov8n", {"kpt_shape": (17, 3)}, r"yolov8n has no use for kpt_shape=\(17, 3\): leave it out"),
        ("yolov8n-cls", {"sppf_act": "SiLU"}, "yolov8n-cls has no use for sppf_act='SiLU'"),
        ("yolo26n-cls", {"max_det": 10}, "yolo26n-cls has no use for max_det=10"),
        ("yolo11n-pose", {"kpt_shape": (17, 4)}, "it is how many keypoints, and 2"),
        ("yolo12n", {"num_classes": 0}, "num_classes=0: it must be positive"),
        ("yolo12n", {"sppf_act": "SiLU"}, "netdefs.yolo12 has no argument 'sppf_act'"),
    ],
)
def test_an_argument_that_cannot_be_is_an_error(name, config, message):
    with pytest.raises(NetworkError, match=message):
        zoo(name).define_network({}, name, **config)


def test_what_a_picture_needs_is_told():
    info = netdefs.yolov5.define_network(weights("yolov5n-cls"), "yolov5n-cls").info
    assert info["preprocess"]["mean"] == (0.485, 0.456, 0.406) and info["preprocess"]["crop_pct"] == 1
    info = netdefs.yolo26.define_network(weights("yolo26n-obb"), "yolo26n-obb").info
    assert (info["preprocess"]["fit"], info["preprocess"]["pad"]) == ("letterbox", 114)
    assert netdefs.yolo26.model.input_shape["yolo26n-obb"] == (1, 3, 1024, 1024)
    assert netdefs.yolov5.model.input_shape["yolov5x6"] == (1, 3, 1280, 1280)
