"""Calibrating networks and modules on pictures, and everything that can be wrong with these."""

import cv2
import numpy as np
import pytest
import torch

import netdefs
from examples.lenet_torch import LeNet5
from examples.seeded import seed_weights
from netdefs import NetdefsError, quant
from netdefs.quant.walk import Walk

RNG = np.random.default_rng(3)
ARRAYS = RNG.standard_normal((10, 1, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def module():
    return seed_weights(LeNet5())


@pytest.fixture(scope="module")
def network(module):
    return netdefs.lenet.define_network(module.state_dict())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for i in range(10):
        cv2.imwrite(str(path / f"{i}.png"), RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8))
    return path


def test_ranges_are_those_of_the_tensors_values(module, network):
    found = quant.calibrate(network, ARRAYS, "max", tensors="*")
    with torch.no_grad():
        conv1 = module.conv1(torch.from_numpy(ARRAYS))
        fc1 = module.fc1(
            torch.max_pool2d(module.conv2(torch.max_pool2d(conv1.relu(), 2)).relu(), 2).flatten(1),
        )
    for name, values in {"input": torch.from_numpy(ARRAYS), "conv1": conv1, "fc1": fc1, "fc1.relu": fc1.relu()}.items():
        assert found.amax[name] == pytest.approx(float(values.abs().max()), rel=1e-5), name
        assert found.measured[name].low == pytest.approx(float(values.min()), abs=1e-5)
    assert found.measured["input"].picture == f"the array[{np.abs(ARRAYS).max((1, 2, 3)).argmax()}]"
    assert (found.pictures, found.network, found.inputs) == (10, "lenet5", {"input": (1, 1, 32, 32)})
    found.check(network)


def test_an_engine_and_a_definition_give_the_same(network):
    expected = quant.calibrate(network, ARRAYS, "mse", tensors="conv*")
    with netdefs.build(network, target="cpu") as engine:
        assert quant.calibrate(engine, ARRAYS, "mse", tensors="conv*") == expected
    raw = quant.calibrate(network.definition, ARRAYS, "mse", tensors="conv*")
    assert raw.amax == expected.amax
    assert raw.weights_sha256 is None


def test_a_module_gives_the_same_under_its_names(module, network):
    """Modules have no value for what the network's relu and add layers give, but what they have agrees."""
    ours = quant.record(network, ARRAYS, tensors="*")
    theirs = quant.record(module, ARRAYS, like=network, tensors="*")
    assert theirs.histograms.keys() == {"input", "conv1", "conv2", "fc1", "fc2", "fc3"}
    assert theirs.weights_sha256 == ours.weights_sha256
    for name, histogram in theirs.histograms.items():
        assert histogram.amax == pytest.approx(ours.histograms[name].amax, rel=1e-5)
        assert np.abs(np.cumsum(histogram.counts) - np.cumsum(ours.histograms[name].counts)).max() <= 3
    alone = quant.record(module, ARRAYS, tensors="*")
    assert alone.histograms["fc3"].amax == pytest.approx(theirs.histograms["fc3"].amax)
    assert not module.training


def test_a_module_called_twice_counts_twice_and_stays_as_it_was():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = torch.nn.ReLU(inplace=True)
            self.norm = torch.nn.BatchNorm1d(4)

        def forward(self, x):
            return self.relu(self.norm(self.relu(x + 1)))

    module = Twice().train()
    x = RNG.standard_normal((8, 4)).astype(np.float32)
    found = quant.record(module, x)
    assert found.histograms["relu"].total == 2 * x.size
    assert found.histograms["norm"].low == pytest.approx(0)  # not what the in-place relu made of it
    assert module.training
    assert not module._forward_hooks
    assert module.norm.num_batches_tracked == 0


def test_pictures_are_preprocessed_as_the_network_declares(network, folder):
    from netdefs.vision import preprocess, read_image

    files = sorted(folder.iterdir())
    arrays = np.concatenate([preprocess(read_image(file), network.info["preprocess"], (32, 32)) for file in files])
    expected = quant.calibrate(network, arrays)
    for pictures in (folder, files, [read_image(file) for file in files], (x[None] for x in arrays), iter(arrays)):
        found = quant.calibrate(network, pictures)
        assert found.amax == expected.amax
        assert {k: v.histogram for k, v in found.measured.items()} == {
            k: v.histogram for k, v in expected.measured.items()
        }
    assert quant.calibrate(network, [{"input": x[None]} for x in arrays]).amax == expected.amax
    assert found.preprocess["color"] == "GRAY"


@pytest.mark.parametrize("shape", [(4, 1, 32, 32), ((1, 3, 8), 1, 32, 32)])
def test_batches(module, network, shape):
    """Ten pictures through a batch of 4, whose last one is filled up, or of 1 to 8, usually 3."""
    batched = netdefs.lenet.define_network(module.state_dict(), input_shape=shape)
    found = quant.record(batched, ARRAYS, tensors=["input", "conv1.relu"])
    expected = quant.record(network, ARRAYS, tensors=["input", "conv1.relu"])
    assert found.pictures == 10
    assert found.histograms["input"].total == (12 if shape[0] == 4 else 10) * 32 * 32
    assert found.histograms["conv1.relu"].amax == pytest.approx(expected.histograms["conv1.relu"].amax, rel=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), ((1, 3, 8), 1, 32, 32)])
def test_pieces_of_any_size_give_the_same(module, shape):
    network = netdefs.lenet.define_network(module.state_dict(), input_shape=shape)
    model = netdefs.to_onnx(network)
    wanted = ["input", "conv1", "pool1", "conv2.relu", "fc1", "fc3"]
    whole = dict(Walk(model, wanted).run({"input": ARRAYS[:1]}))
    small = Walk(model, wanted, budget=1)
    for _ in range(2):
        found = dict(small.run({"input": ARRAYS[:1]}))
        assert list(found) == wanted
        for name in wanted:
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-4, atol=1e-5)


def constant(picture):
    return [*ARRAYS, np.full((1, 32, 32), picture, np.float32)]


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ([], "There are no pictures"),
        (np.zeros((0, 1, 32, 32), np.float32), "There are no pictures"),
        (ARRAYS[:3], "3 pictures can't say .* at least 8 are needed.* least=3 takes them"),
        (ARRAYS[:1], "1 picture can't"),
        (np.repeat(ARRAYS[:1], 9, 0), "All 9 pictures are the same"),
        (constant(2), "item 10 has the value 2 everywhere"),
        (ARRAYS[:, :, :16], r"must be \(1, 1, 32, 32\)"),
        (ARRAYS.astype(np.float64), "must be float32, and this is float64"),
        (5, "Pictures can't be of type int"),
        (None, "Pictures can't be of type NoneType"),
        ([None], "item 0 is of type NoneType"),
        ({"inputs": ARRAYS}, "There is no input 'inputs'. Near: input"),
        ("no such folder", "There is no picture, video or folder"),
        ([np.zeros((40, 40, 3), np.uint8)], "item 0 has the value"),
    ],
)
def test_wrong_pictures(network, pictures, said):
    with pytest.raises(NetdefsError, match=said):
        quant.calibrate(network, pictures)


def test_unreadable_files(network, tmp_path, folder):
    with pytest.raises(NetdefsError, match="no picture"):
        quant.calibrate(network, tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture at all")
    with pytest.raises(NetdefsError, match=r"a\.png is not a picture"):
        quant.calibrate(network, [*sorted(folder.iterdir()), tmp_path / "a.png"])
    cv2.imwrite(str(tmp_path / "a.png"), np.full((40, 40, 3), 7, np.uint8))
    with pytest.raises(NetdefsError, match=r"a\.png has the value .* Leave it out"):
        quant.calibrate(network, [*sorted(folder.iterdir()), tmp_path / "a.png"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named_with_their_picture(module, bad):
    state = {key: value.clone() for key, value in module.state_dict().items()}
    state["conv2.bias"][3] = bad
    with pytest.raises(
        NetdefsError, match=rf"'conv2' holds {bad} at \(0, 3, 0, 0\) on the array\[0\] \(100 of its 1600"
    ):
        quant.calibrate(netdefs.lenet.define_network(state), ARRAYS, tensors="*")
    broken = LeNet5().eval()
    broken.load_state_dict(state)
    with pytest.raises(NetdefsError, match=f"'conv2' holds {bad}"):
        quant.calibrate(broken, ARRAYS)


def test_wrong_networks(module, network):
    with pytest.raises(NetdefsError, match="not dict"):
        quant.calibrate({}, ARRAYS)
    with pytest.raises(NetdefsError, match="This network is fp16 already"):
        quant.calibrate(netdefs.lenet.define_network(module.state_dict(), precision="fp16"), ARRAYS)
    with pytest.raises(NetdefsError, match="like= is for a torch module"):
        quant.calibrate(network, ARRAYS, like=network)
    with pytest.raises(NetdefsError, match=r"like= is the Network .* not LeNet5"):
        quant.calibrate(module, ARRAYS, like=module)
    with pytest.raises(NetdefsError, match="a torch module does not say how it wants pictures"):
        quant.calibrate(module, [np.zeros((40, 40, 3), np.uint8)])
    with pytest.raises(NetdefsError, match="can't run on the array: RuntimeError"):
        quant.calibrate(module, ARRAYS[:, :, :9])
    with pytest.raises(NetdefsError, match="No layer's output matches 'conv9'"):
        quant.calibrate(network, ARRAYS, tensors="conv9")
    with pytest.raises(NetdefsError, match="There is no calibration method 'kl'"):
        quant.calibrate(network, [], "kl")
