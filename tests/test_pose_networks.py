"""OpenPose, FastPose and pose ResNets: each variant against its PyTorch reference, and what is special to them."""

import functools

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import NetworkError, WeightsError
from tests.reference import MODELS, constant, shapes_of
from tests.reference.simple_baseline import CaffeBottleneck

VARIANTS = {
    "openpose_body": netdefs.openpose,
    "openpose_hand": netdefs.openpose,
    "fastpose_res50": netdefs.fastpose,
    "fastpose_res50_dcn": netdefs.fastpose,
    "pose_resnet50": netdefs.simple_baseline,
}
WITHOUT_VALUES = ["openpose_hand", "fastpose_res50_dcn", "pose_resnet50"]  # of which upstream's are not in tests/data
SMALL = (2, 3, 64, 96)


@functools.cache
def seeded(name):
    with torch.device("meta"):
        module = MODELS[name]()
    return seed_weights(module.to_empty(device="cpu"), input_shape=SMALL)


def like_seeded(name, **options):
    """The same weights in a module with other options."""
    with torch.device("meta"):
        module = MODELS[name](**options)
    module.load_state_dict(seeded(name).state_dict(), assign=True)
    return module.eval()


def expected(module, x):
    with torch.no_grad():
        return {key: value.numpy() for key, value in module(torch.from_numpy(x)).items()}


def pictures(shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def ones(name, **options):
    """Weights of a module's shapes, which no memory is spent on before they are taken."""
    return constant(shapes_of(name, **options))


def assert_same(got, wanted, tolerance=2e-5):
    assert list(got) == list(wanted)
    for key in wanted:
        assert got[key].shape == wanted[key].shape
        assert np.linalg.norm(got[key] - wanted[key]) < tolerance * np.linalg.norm(wanted[key]), key


@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_any_batch_and_size(name):
    """Sizes that the strides divide, and sizes that they don't."""
    shape = ((1, 2, 4), 3, (32, 64, 256), (32, 96, 256))
    module = seeded(name)
    with VARIANTS[name].build_engine(module.state_dict(), name, input_shape=shape, target="cpu") as engine:
        for size in (SMALL, (1, 3, 75, 50)):
            x = pictures(size)
            assert_same(engine.run({"input": x}), expected(module, x))


@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_every_module_has_a_layer(name):
    module, shape = seeded(name), (1, *SMALL[1:])
    network = VARIANTS[name].define_network(module.state_dict(), name, input_shape=shape)
    report = netdefs.compare(network, module, torch.from_numpy(pictures(shape)))
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    assert all("more than once" in reason and key.endswith(".relu") for key, reason in left.items()), left


@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_half_precision(name):
    x = pictures(SMALL)
    wanted = expected(seeded(name), x)
    build = VARIANTS[name].build_engine
    with build(
        seeded(name).state_dict(), name, input_shape=SMALL, precision="fp16", fold_bn=True, target="cpu"
    ) as engine:
        assert_same(engine.run({"input": x}), wanted, tolerance=0.03)


@pytest.mark.parametrize("name", VARIANTS)
def test_rtx_compiles(name):
    with VARIANTS[name].build_engine(
        ones(name), name, input_shape=((1, 2, 4), *SMALL[1:]), precision="fp16", target="tensorrt_rtx"
    ) as engine:
        assert all(sizes[0] == -1 and dtype == np.float32 for sizes, dtype in engine.outputs.values())


@pytest.mark.parametrize(("name", "stray_relu"), [("openpose_body", False), ("openpose_hand", True)])
def test_the_stray_relu_is_not_as_upstream(name, stray_relu):
    module, x = like_seeded(name, stray_relu=stray_relu), pictures((1, 3, 48, 64))
    wanted = expected(module, x)
    *_, heatmap = wanted.values()
    assert (heatmap.min() < 0) != stray_relu
    build = netdefs.openpose.build_engine
    with build(module.state_dict(), name, input_shape=x.shape, stray_relu=stray_relu, target="cpu") as engine:
        assert_same(engine.run({"input": x}), wanted)


def released(state_dict):
    """As upstream's checkpoints have it: without the modules that the layers are in."""
    return {key.partition(".")[2]: value for key, value in state_dict.items()}


@pytest.mark.parametrize("name", ["openpose_body", "openpose_hand"])
def test_released_checkpoints_have_other_names(name):
    weights = ones(name)
    network = netdefs.openpose.define_network(released(weights), name, input_shape=(1, 3, 48, 64))
    assert network.weights.taken == {key: value.shape for key, value in weights.items()}
    assert set(network.names) > {key.rpartition(".")[0] for key in weights}


def test_an_engine_of_a_released_checkpoint_is_the_modules():
    module, x = seeded("openpose_hand"), pictures((1, 3, 48, 64))
    flat = {key: value.numpy().reshape(-1) for key, value in released(module.state_dict()).items()}  # as of a .wts
    network = netdefs.openpose.define_network(flat, "openpose_hand", input_shape=x.shape)
    assert network.info["weights_sha256"] == netdefs.Weights(module.state_dict()).sha256
    assert all(np.array_equal(network.weights[key], value.view(-1)) for key, value in module.state_dict().items())
    with netdefs.build(network, target="cpu") as engine:
        assert_same(engine.run({"input": x}), expected(module, x))


def error_of(weights, name="openpose_body"):
    with pytest.raises(WeightsError) as error:
        netdefs.openpose.define_network(weights, name, input_shape=(1, 3, 64, 64))
    return str(error.value)


def test_errors_name_weights_as_the_file_does():
    weights = released(ones("openpose_body"))
    del weights["conv1_2.weight"]
    weights["Mconv7_stage6_L2.bias"] = np.zeros(20)
    weights["head.bias"] = np.zeros(3)
    text = error_of(weights)
    assert "missing, 1 of 184 keys:\n  conv1_2.weight\n" in text
    assert "\n  Mconv7_stage6_L2.bias: the network has (19,), the file (20,)" in text
    assert "not used by the network, 1 key:\n  head.bias\n" in text
    assert "model" not in text.partition("\n")[2]

    weights = ones("openpose_body")
    del weights["model0.conv1_2.weight"]
    assert "missing, 1 of 184 keys:\n  model0.conv1_2.weight\n" in error_of(weights)


def test_weights_under_both_names_are_left_over():
    weights = ones("openpose_body")
    assert "not used by the network, 1 key:\n  conv1_1.bias\n" in error_of({**weights, "conv1_1.bias": np.zeros(64)})


def test_released_weights_of_the_other_variant_are_known():
    text = error_of(released(ones("openpose_hand")))
    assert "These are weights of variant='openpose_hand': they fit it." in text


def test_both_names_below_a_path():
    for weights in (ones("openpose_hand"), released(ones("openpose_hand"))):
        net = netdefs.Network({f"left.{key}": value for key, value in weights.items()})
        net.finish(netdefs.openpose.define(net / "left", net.input("picture", (1, 3, 64, 64)), "openpose_hand"))
        assert "left.model1_0.conv1_1" in net.names


@pytest.mark.parametrize(("size", "layer"), [((7, 64), "pool3_stage1"), ((64, 3), "pool2_stage1")])
def test_a_picture_too_small_for_openpose_is_an_error(size, layer):
    with pytest.raises(NetworkError, match=f"The layer 'model0.{layer}', added at .*, would have an empty output"):
        netdefs.openpose.define_network(ones("openpose_body"), input_shape=(1, 3, *size))


@pytest.mark.parametrize("name", ["fastpose_res50", "pose_resnet50"])
def test_joints_are_read_off_the_weights(name):
    weights = ones(name, num_joints=26)
    network = VARIANTS[name].define_network(weights, name)
    assert tuple(network.definition.get_output(0).shape) == (1, 26, 64, 48)
    with pytest.raises(WeightsError, match="they fit it without num_joints=17"):
        VARIANTS[name].define_network(weights, name, num_joints=17)
    with pytest.raises(NetworkError, match="num_joints=0: it must be positive"):
        VARIANTS[name].define_network(weights, name, num_joints=0)


def test_the_width_of_fastpose_is_read_off_the_weights():
    """As of AlphaPose's models of whole bodies."""
    network = netdefs.fastpose.define_network(ones("fastpose_res50", conv_dim=256))
    assert network.weights.taken["conv_out.weight"] == (17, 256, 3, 3)


def test_the_style_of_pose_resnet():
    module, x = like_seeded("pose_resnet50", block=CaffeBottleneck), pictures(SMALL)
    build = netdefs.simple_baseline.build_engine
    with build(module.state_dict(), input_shape=SMALL, style="caffe", target="cpu") as engine:
        assert_same(engine.run({"input": x}), expected(module, x))
    with pytest.raises(NetworkError, match="style is one of pytorch, caffe, not 'tensorflow'"):
        netdefs.simple_baseline.define_network({}, style="tensorflow")


@pytest.mark.parametrize(
    ("name", "upstreams"),
    [
        ("openpose_body", lambda bgr: bgr / 256 - 0.5),
        ("openpose_hand", lambda bgr: bgr / 256 - 0.5),
        ("fastpose_res50_dcn", lambda bgr: bgr[::-1] / 255 - [0.406, 0.457, 0.48]),
        ("pose_resnet50", lambda bgr: (bgr / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]),
    ],
)
def test_pixels_become_upstreams(name, upstreams):
    pixel = np.array([10, 100, 200])
    recipe = VARIANTS[name].model.preprocess[name]
    values = pixel if recipe.color == "BGR" else pixel[::-1]
    np.testing.assert_allclose((values / 255 - recipe.mean) / recipe.std, upstreams(pixel), atol=1e-12)
