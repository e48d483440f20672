"""Classifiers against their PyTorch references: those that tests/data has no values of upstream's for."""

import functools

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import NetworkError
from tests.reference import MODELS, constant, shapes_of

VARIANTS = {  # of each: its module, and a small size that is not square
    "inception_v4": ("inception", (139, 171)),
    "alexnet": ("alexnet", (96, 128)),
    "vgg11_bn": ("vgg", (64, 32)),
    "googlenet": ("googlenet", (96, 75)),
    "shufflenet_v2_x0_5": ("shufflenet", (96, 75)),
    "densenet121": ("densenet", (64, 75)),
    "seresnet50": ("senet", (64, 75)),
    "ghostnet_100": ("ghostnet", (64, 75)),
    "convnext_tiny": ("convnext", (64, 96)),
    "vit_b_32": ("vit", (224, 224)),  # the only size that its weights have positions for
    "vit_b_16_hf": ("vit", (224, 224)),
    "squeezenet1_0": ("squeezenet", (61, 80)),
    "squeezenet1_1": ("squeezenet", (61, 80)),
    "mobilenet_v2": ("mobilenet", (96, 75)),
    "mobilenet_v3_large": ("mobilenet", (96, 75)),
    "mobilenet_v3_small": ("mobilenet", (96, 75)),
    "mnasnet0_5": ("mnasnet", (96, 75)),
    "efficientnet_b0": ("efficientnet", (96, 75)),
    "efficientnet_b5": ("efficientnet", (64, 75)),
    "repvgg_a0": ("repvgg", (64, 75)),
    "swin_t": ("swin", (64, 130)),  # padded on both sides, and shifted along one
}
# These take seconds to compile, and in emulated half precision.
LARGE = ("alexnet", "vgg11_bn", "vit_b_32", "vit_b_16_hf")


@functools.cache
def seeded(name):
    with torch.device("meta"):
        module = MODELS[name](num_classes=20)
    height, width = VARIANTS[name][1]
    return seed_weights(module.to_empty(device="cpu"), input_shape=(2, 3, height, width))


def pictures(name, batch):
    return np.random.default_rng(0).standard_normal((batch, 3, *VARIANTS[name][1]), dtype=np.float32)


def assert_near(engine, name, x, tolerance):
    with torch.no_grad():
        expected = seeded(name)(torch.from_numpy(x)).numpy()
    got = engine.run({"input": x})["logits"]
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) < tolerance * np.linalg.norm(expected)


def build(name, **options):
    return getattr(netdefs, VARIANTS[name][0]).build_engine(seeded(name).state_dict(), name, **options)


@pytest.mark.parametrize("name", VARIANTS)
def test_any_batch_and_not_square(name):
    shape = ((1, 2, 4), 3, *VARIANTS[name][1])
    with build(name, input_shape=shape, target="cpu") as engine:
        assert_near(engine, name, pictures(name, 2), 2e-5)
    if name not in LARGE:
        with build(name, input_shape=shape, target="cpu", fold_bn=True, precision="fp16") as engine:
            assert_near(engine, name, pictures(name, 1), 0.03)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_module_has_a_layer(name):
    """But for dropouts, which do nothing, and what is called more than once."""
    module, x = seeded(name), torch.from_numpy(pictures(name, 1))
    network = getattr(netdefs, VARIANTS[name][0]).define_network(module.state_dict(), name, input_shape=x.shape)
    report = netdefs.compare(network, module, x)
    assert report.ok and report.weights.status == "identical", report.verdict
    left = {item.name: item.reason for item in report.unmatched if item.side == "module"}
    kinds = {path: type(each).__name__ for path, each in module.named_modules()}
    usual = ("more than once", "never called", "several values", "a list of modules")
    left = {key: why for key, why in left.items() if kinds[key] != "Dropout"}
    assert not {key: why for key, why in left.items() if not any(each in why for each in usual)}


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in LARGE])
def test_rtx_compiles(name):
    module = getattr(netdefs, VARIANTS[name][0])
    shape = ((1, 2, 4), 3, *VARIANTS[name][1])
    weights = constant(shapes_of(name))
    with module.build_engine(weights, name, input_shape=shape, precision="fp16", target="tensorrt_rtx") as engine:
        assert engine.outputs["logits"].shape == (-1, 1000)


def test_inception_v3_normalizes_its_input_only_where_that_is_wanted():
    module = MODELS["inception_v3"](transform_input=False)
    seed_weights(module, input_shape=(2, 3, 75, 75))
    x = np.random.default_rng(0).standard_normal((1, 3, 75, 75), dtype=np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    options = {"input_shape": x.shape, "transform_input": False, "target": "cpu"}
    with netdefs.inception.build_engine(module.state_dict(), "inception_v3", **options) as engine:
        got = engine.run({"input": x})["logits"]
    assert np.linalg.norm(got - expected) < 2e-5 * np.linalg.norm(expected)


def test_inception_says_what_is_too_small():
    weights = constant(shapes_of("inception_v4"))
    with pytest.raises(NetworkError, match="75 x 75 at least, not 64 x 80"):
        netdefs.inception.define_network(weights, "inception_v4", input_shape=(1, 3, 64, 80))
    with pytest.raises(NetworkError, match="transform_input is for inception_v3"):
        netdefs.inception.define_network(weights, "inception_v4", transform_input=False)


@pytest.mark.parametrize(
    ("shape", "words"), [((1, 3, 3, 64), "from 4 x 4, not 3 x 64"), ((1, 3, (32, 64, 96), 64), "dynamic")]
)
def test_swin_says_which_sizes_it_takes(shape, words):
    with pytest.raises(NetworkError, match=words):
        netdefs.swin.define_network(constant(shapes_of("swin_t")), "swin_t", input_shape=shape)
