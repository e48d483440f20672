"""The weights of examples/seeded.py: reproducible, well scaled, and telling."""

import pytest
import torch
from torch import nn

from examples.seeded import pictures, seed_weights
from tests.reference import MODELS


def small_hrnet(seed: int = 0) -> nn.Module:
    return seed_weights(MODELS["hrnet_w18_small"](num_classes=10), seed, input_shape=(2, 3, 96, 96))


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_weights_follow_from_the_seed():
    first, again, other = (small_hrnet(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if not key.endswith("num_batches_tracked"))


def test_weights_do_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found.append(small_hrnet().state_dict())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_a_network_is_left_as_a_user_expects_it():
    network = small_hrnet()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(module.training for module in network.modules())
    assert {norm.momentum for norm in norms} == {0.1}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", ["hrnet_w18_small_v2", "resnet50"])
def test_activations_are_of_order_1_and_eps_matters(name):
    network = seed_weights(MODELS[name]())
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    sizes = []
    handles = [
        norm.register_forward_hook(lambda module, args, output: sizes.append(float(output.square().mean().sqrt())))
        for norm in norms
    ]
    with torch.no_grad():
        x = pictures((1, 3, 224, 224), seed=5)  # not those that the statistics are from
        expected = network(x)
        for handle in handles:
            handle.remove()
        for norm in norms:
            norm.eps = 1e-3
        wrong = network(x)
    assert len(sizes) == len(norms)
    assert min(sizes) > 0.5 and max(sizes) < 3
    assert relative_error(wrong, expected) > 1e-2


def test_one_wrong_eps_shows_in_the_layer_itself():
    network = small_hrnet()
    with torch.no_grad():
        for name, norm in network.named_modules():
            if isinstance(norm, nn.BatchNorm2d):
                x = norm.running_mean.view(1, -1, 1, 1) + norm.running_var.sqrt().view(1, -1, 1, 1)
                expected = norm(x)
                norm.eps = 1e-3
                assert relative_error(norm(x), expected) > 2e-5, name  # rounding is 1e-7


def test_networks_without_batch_norm_are_not_run():
    outputs = seed_weights(MODELS["lenet5"]())(pictures((3, 1, 32, 32)))
    assert outputs["prob"].max() < 0.99 and outputs["logits"].std() > 0.3


def test_pictures():
    x = pictures((2, 3, 40, 60), seed=1)
    assert x.shape == (2, 3, 40, 60) and x.dtype == torch.float32
    assert abs(x.mean()) < 1e-5 and abs(x.std() - 1) < 1e-4
    assert torch.equal(x, pictures((2, 3, 40, 60), seed=1)) and not torch.equal(x, pictures((2, 3, 40, 60), seed=2))
