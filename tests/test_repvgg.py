"""RepVGG's two forms, and timm's names of them."""

import numpy as np
import pytest
import torch

import netdefs
from examples.seeded import seed_weights
from netdefs.core.errors import NetworkError
from netdefs.repvgg import timm_name
from tests.reference import MODELS, constant, shapes_of

SIZE = (64, 75)
OPTIONS = {"input_shape": ((1, 2, 4), 3, *SIZE), "target": "cpu"}


def seeded(name, **options):
    return seed_weights(MODELS[name](num_classes=20, **options), input_shape=(2, 3, *SIZE))


def error(engine, module):
    x = np.random.default_rng(0).standard_normal((2, 3, *SIZE), dtype=np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    return np.linalg.norm(engine.run({"input": x})["logits"] - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["repvgg_a0", "repvgg_b1g4"])  # b1g4: kernels in groups
def test_reparametrized_does_the_same(name):
    module = seeded(name)
    weights = module.state_dict()
    network = netdefs.repvgg.define_network(weights, name, reparametrize=True, input_shape=OPTIONS["input_shape"])
    assert "stage1.1.rbr_reparam" in network.names and "stage1.1.rbr_dense.conv" not in network.names
    with netdefs.build(network, target="cpu") as engine:
        assert error(engine, module) < 2e-5


def test_deployed_weights():
    module = seeded("repvgg_a0", deploy=True)
    with netdefs.repvgg.build_engine(module.state_dict(), "repvgg_a0", **OPTIONS) as engine:
        assert error(engine, module) < 2e-5
    shapes = shapes_of("repvgg_a0", deploy=True)
    assert netdefs.repvgg.define_network(constant(shapes), "repvgg_a0").weights.taken == shapes
    with pytest.raises(NetworkError, match="in the deployed form already"):
        netdefs.repvgg.define_network(constant(shapes), "repvgg_a0", reparametrize=True)


@pytest.mark.parametrize("deploy", [False, True])
def test_timms_names(deploy):
    module = seeded("repvgg_a0", deploy=deploy)
    weights = {timm_name(key): value for key, value in module.state_dict().items()}
    some = ["stem.reparam_conv.bias"] if deploy else ["stem.conv_kxk.conv.weight", "stages.0.1.identity.running_mean"]
    assert {*some, "head.fc.bias"} <= weights.keys()  # as timm 1.0.31 has them
    with netdefs.repvgg.build_engine(weights, "repvgg_a0", **OPTIONS) as engine:
        assert error(engine, module) < 2e-5


def test_reparametrized_compiles():
    options = {"reparametrize": True, "input_shape": OPTIONS["input_shape"], "target": "tensorrt_rtx"}
    for precision in ("fp32", "fp16"):
        weights = constant(shapes_of("repvgg_a0"))
        with netdefs.repvgg.build_engine(weights, "repvgg_a0", precision=precision, **options) as engine:
            assert engine.outputs["logits"].shape == (-1, 1000)
