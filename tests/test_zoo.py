"""The zoo against upstream's values: outputs and every module's output, under the weights of tests/data."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import NetworkError, WeightsError
from tests import golden
from tests.reference import MODELS, constant, shapes_of

DATA = Path(__file__).parent / "data"
GOLDEN = [
    ("resnet", "resnet50", 0.001),
    ("hrnet", "hrnet_w18_small_v2", 0.002),
    ("hrnet_seg", "hrnet_seg_w48", 0.005),
    ("hrnet_pose", "hrnet_pose_w32", 0.004),
    ("higherhrnet", "higherhrnet_w32", 0.006),
    ("openpose", "openpose_body", 0.003),
    ("fastpose", "fastpose_res50", 0.011),
    ("lenet", "lenet5", 0.001),
    ("inception", "inception_v3", 0.002),
    ("arcface", "iresnet50", 0.003),
    ("reid", "deepsort_reid", 0.002),
    ("retinaface", "retinaface_mnet025", 0.06),
    ("centernet", "centernet_res18", 0.004),
    ("centernet", "centernet_resdcn18", 0.004),
]

YOLO26 = (".proto.semseg.", ".flow_model.", "cv4_sigma.")
CENTERNET = ("centernet.base.level3.project.", "centernet.base.level4.project.")
DBNET = ("dbnet.backbone.fc.", "dbnet.backbone.smooth.", "dbnet.decoder.thresh.")
TRAINING_ONLY = (
    "num_batches_tracked",
    "inception.AuxLogits.",
    "googlenet.aux",
    "reid.classifier.",
    "relative_position_index",
    *CENTERNET,
    *DBNET,
    *YOLO26,
)


@pytest.fixture(scope="module")
def load():
    """Stored values by name. Two are kept, since the weights of one take up to 260 MB."""
    return functools.lru_cache(maxsize=2)(lambda name: golden.load(name, DATA))


@pytest.mark.parametrize("fold_bn", [False, True], ids=["", "folded"])
@pytest.mark.parametrize(("module", "name"), [row[:2] for row in GOLDEN])
def test_outputs_and_modules_are_upstreams(load, module, name, fold_bn):
    g = load(name)
    network = getattr(netdefs, module).define_network(g.state_dict, name, fold_bn=fold_bn)
    comparable = [key for key in g.modules if key in network.names]
    layers_with_weights = {key.rpartition(".")[0] for key in g.state_dict}
    assert layers_with_weights & set(g.modules) <= set(comparable) | set(network.folded)
    with netdefs.build(network, target="cpu") as engine:
        assert list(engine.outputs) == list(g.outputs)
        outputs = engine.run({"input": g.input}, outputs=comparable)
    for key in g.outputs:
        assert g.check(key, outputs[key]) < 1e-5, key
    for key in comparable:
        assert g.check_module(key, outputs[key]) < 1e-4, key


@pytest.mark.parametrize(("module", "name", "fp16_error"), GOLDEN)
def test_half_precision_stays_near(load, module, name, fp16_error):
    g = load(name)
    for precision, limit in (("fp16", 2 * fp16_error), ("bf16", 16 * fp16_error)):
        with getattr(netdefs, module).build_engine(g.state_dict, name, precision=precision, target="cpu") as engine:
            out = engine.run({"input": g.input})
        for key in g.outputs:
            assert out[key].dtype == np.float32
            assert g.check(key, out[key]) < limit, (precision, key)


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, names in netdefs.models().items() for name in names])
def test_every_variant_takes_exactly_the_keys_of_pytorch(module, name):
    """Shapes are checked key by key; that the layers compute the right thing is checked on one variant of each size."""
    classes = {"num_classes": 7} if "num_classes" in getattr(netdefs, module).model.arguments else {}
    expected = shapes_of(name, **classes)
    network = getattr(netdefs, module).define_network(constant(expected), name)
    used = {key for key in expected if not any(part in f"{module}.{key}" for part in TRAINING_ONLY)}
    taken = network.weights.taken
    assert set(taken) == used
    assert all(taken[key] == expected[key] for key in used)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("resnet", "resnet18"),
        ("resnet", "resnext50_32x4d"),
        ("resnet", "wide_resnet50_2"),
        ("hrnet", "hrnet_w18_small"),
    ],
)
def test_other_variants_non_square_with_dynamic_batch(module, name):
    torch_module = seed_weights(MODELS[name]())
    shape = ((1, 2, 4), 3, 96, 160)
    x = np.random.default_rng(0).standard_normal((2, 3, 96, 160), dtype=np.float32)
    with torch.no_grad():
        expected = torch_module(torch.from_numpy(x)).numpy()
    build = getattr(netdefs, module).build_engine
    with build(torch_module.state_dict(), name, input_shape=shape, target="cpu") as engine:
        got = engine.run({"input": x})["logits"]
    assert np.linalg.norm(got - expected) < 1e-5 * np.linalg.norm(expected)


def test_dynamic_height_and_width(load):
    g = load("resnet50")
    shape = (1, 3, (64, 224, 320), (64, 224, 320))
    torch_module = MODELS["resnet50"]()
    torch_module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in g.state_dict.items()})
    with netdefs.resnet.build_engine(g.state_dict, "resnet50", input_shape=shape, target="cpu") as engine:
        for size in ((224, 224), (97, 250)):
            x = np.ascontiguousarray(np.resize(g.input, (1, 3, *size)))
            with torch.no_grad():
                expected = torch_module.eval()(torch.from_numpy(x)).numpy()
            got = engine.run({"input": x})["logits"]
            assert np.linalg.norm(got - expected) < 1e-5 * np.linalg.norm(expected)


def test_the_wrong_variant_is_named():
    with pytest.raises(WeightsError, match="These are weights of variant='resnet34': they fit it"):
        netdefs.resnet.define_network(constant(shapes_of("resnet34")), "resnet18")


def test_a_wrong_class_count_is_explained():
    with pytest.raises(WeightsError) as error:
        netdefs.resnet.define_network(constant(shapes_of("resnet18", num_classes=10)), "resnet18", num_classes=1000)
    assert "fits if the first dimension is 10" in str(error.value)
    assert "they fit it without num_classes=1000" in str(error.value)


def test_a_missing_and_an_extra_key_are_named_together():
    weights = constant(shapes_of("resnet18"))
    del weights["layer1.0.conv1.weight"]
    weights["head.weight"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"(?s)layer1\.0\.conv1\.weight.*head\.weight"):
        netdefs.resnet.define_network(weights, "resnet18")


def test_a_size_that_hrnet_cannot_fuse_is_an_error():
    with pytest.raises(NetworkError, match="multiples of 32, such as 224, not 200"):
        netdefs.hrnet.define_network(
            constant(shapes_of("hrnet_w18_small")), "hrnet_w18_small", input_shape=(1, 3, 200, 200)
        )


def test_an_input_of_another_rank_is_an_error():
    with pytest.raises(NetworkError, match=r"takes 4 dimensions, such as \(1, 3, 224, 224\)"):
        netdefs.resnet.define_network({}, "resnet18", input_shape=(3, 224, 224))


def test_an_unknown_argument_lists_the_known():
    with pytest.raises(NetworkError, match=r"no argument 'num_class'; it has num_classes, eps. Near: num_classes"):
        netdefs.resnet.define_network({}, "resnet18", num_class=10)


def test_an_unknown_variant_lists_the_known():
    with pytest.raises(netdefs.NetdefsError, match=r"no variant 'resnet51'.*resnet18.*Near: resnet50"):
        netdefs.resnet.define_network({}, "resnet51")


def test_default_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NETDEFS_WEIGHTS", raising=False)
    with pytest.raises(
        WeightsError, match=r"looked for weights/lenet5\.wts.*\n.*gen_wts\.py CHECKPOINT -o weights/lenet5"
    ):
        netdefs.lenet.build_engine()
    g = golden.load("lenet5", DATA)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    netdefs.save_wts(elsewhere / "lenet5.wts", g.state_dict)
    monkeypatch.setenv("NETDEFS_WEIGHTS", str(elsewhere))
    with netdefs.lenet.build_engine(target="cpu") as engine:
        assert g.check("prob", engine.run({"input": g.input})["prob"]) < 1e-5


def test_define_in_a_larger_network(load):
    """A definition is a function: it can be a part of another network, under a path of its own."""
    g = load("lenet5")
    net = netdefs.Network({f"reader.{key}": value for key, value in g.state_dict.items()})
    out = netdefs.lenet.define(net / "reader", net.input("picture", (1, 1, 32, 32)))
    net.finish(net.mul(out["prob"], 100.0, "percent"))
    with netdefs.build(net, target="cpu") as engine:
        assert list(engine.outputs) == ["percent"]
        assert g.check("prob", engine.run({"picture": g.input})["percent"] / 100) < 1e-5


def test_info_says_what_it_is(load):
    g = load("lenet5")
    info = netdefs.lenet.define_network(g.state_dict).info
    assert (info["model"], info["variant"], info["precision"]) == ("lenet", "lenet5", "fp32")
    assert info["decode"] == {"method": "classes", "names": ""}
    assert info["weights_sha256"] == netdefs.Weights(g.state_dict).sha256
