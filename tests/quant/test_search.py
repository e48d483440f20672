"""Two versions of a network in one model, what the one costs against the other, and what to keep."""

import itertools
import math

import numpy as np
import pytest

import netdefs
from netdefs import NetdefsError
from netdefs.engine.tensorrt import definition_inputs
from netdefs.quant.cost import measure
from netdefs.quant.feeds import Takes
from netdefs.quant.mixture import Mixture
from netdefs.quant.pairing import pair
from netdefs.quant.search import confirmed_fewest, fewest, neighbours, rank, search, spread
from tests.quant import nets

X = nets.pictures(3)


@pytest.fixture(scope="module")
def networks():
    state = nets.module().state_dict()
    return nets.network(state), nets.network(state, "fp16")


@pytest.fixture(scope="module")
def paired(networks):
    return pair(*networks)


@pytest.fixture(scope="module")
def feeds(networks):
    return list(Takes(definition_inputs(networks[0].definition), {}).feeds(X))


def tensors(network, names, x):
    with netdefs.build(network, outputs=names, target="cpu") as engine:
        return engine.run({"input": x})


def sqnr(expected, found):
    e, f = (np.concatenate([each.astype(np.float64).reshape(-1) for each in side]) for side in (expected, found))
    return 10 * math.log10(np.sum(e**2) / np.sum((f - e) ** 2))


def test_chained_noise_is_that_of_the_two_networks(networks, paired, feeds):
    cost = measure(paired, feeds)
    names = ["stem", "dw1_bn", "pw2", "fc"]
    runs = [[tensors(network, names, x[None]) for x in X] for network in networks]
    noise = {each.name: each for each in cost.layers}
    for name in names:
        expected = sqnr([run[name] for run in runs[0]], [run[name] for run in runs[1]])
        assert noise[name].chained == pytest.approx(expected, abs=0.01)
    (output,) = cost.outputs
    assert (output.name, cost.sqnr, cost.pictures) == ("logits", output.chained, 3)
    assert output.alone is None


def test_noise_alone_is_that_of_a_layer_fed_with_float_values(networks, paired, feeds):
    """Of a ReLU there is none, whatever it is fed with; and of a layer there is less than of all before it together."""
    noise = {each.name: each for each in measure(paired, feeds).layers}
    assert noise["pw2.relu"].alone == math.inf
    assert noise["pw2"].alone > noise["pw2"].chained
    assert noise["stem"].alone == pytest.approx(noise["stem"].chained)  # it has the same input


def test_a_mixture_is_one_network_or_the_other_or_both(networks, paired):
    with Mixture(paired, networks[0]) as mixture:
        whole = tensors(networks[1], [], X[:1])["logits"]
        np.testing.assert_array_equal(mixture.run({"input": X[:1]})["logits"], whole)
        mixture.kept = paired.layers
        alone = mixture.run({"input": X[:1]})["logits"]
        np.testing.assert_allclose(alone, tensors(networks[0], [], X[:1])["logits"], rtol=1e-5)
        mixture.kept = [name for name in paired.layers if name != "pw2"]
        mixed = mixture.run({"input": X[:1]})["logits"]
        assert not np.array_equal(mixed, alone)
        assert not np.array_equal(mixed, whole)
        with pytest.raises(NetdefsError, match="for measuring"):
            mixture.save("x.engine")
        with pytest.raises(NetdefsError, match="There is no input"):
            mixture.run({"x": X})


def test_a_search_reaches_its_target_with_no_layer_too_many(networks, paired, feeds):
    def confirm(keep):  # the mixture itself: nothing to correct
        mixture.kept = keep
        found = [mixture.run(feed.arrays)["logits"] for feed in feeds]
        return sqnr([tensors(networks[0], [], x[None])["logits"] for x in X], found)

    with Mixture(paired, networks[0]) as mixture:
        nothing = search(paired, mixture, feeds, 0, confirm)
        assert nothing.keep == []
        start = nothing.score
        found = search(paired, mixture, feeds, start + 6, confirm)
        assert found.score >= start + 6
        assert 0 < len(found.keep) < len(paired.layers)
        mixture.kept = found.keep
        runs = [[run["logits"] for run in (mixture.run(feed.arrays) for feed in feeds)]]
        runs.append([tensors(networks[0], [], x[None])["logits"] for x in X])
        assert sqnr(runs[1], runs[0]) == pytest.approx(found.score, abs=0.1)
        mixture.kept = found.keep[:-1]
        assert sqnr(runs[1], [mixture.run(feed.arrays)["logits"] for feed in feeds]) < start + 6
    assert found.curve[0].kept == 0
    assert found.curve[-1].score == math.inf
    assert found.keep == found.order[: len(found.keep)]
    assert min(found.sensitivity, key=found.sensitivity.get) == found.order[0]


def test_a_metric_of_ones_own(networks, paired, feeds):
    """One that counts the layers that are kept: the search must then keep as many as it asks for."""

    def metric(engine):
        assert set(engine.run({"input": X[:1]})) == {"logits"}
        return len(engine.kept)

    with Mixture(paired, networks[0]) as mixture:
        found = search(paired, mixture, feeds, len(paired.layers) - 5, len, metric)
        assert (len(found.keep), found.score, found.confirmed, found.target, found.unit) == (5, 5, 5, 5, "")
        with pytest.raises(NetdefsError, match="The metric gave None"):
            search(paired, mixture, feeds, 1, len, lambda engine: None)


def test_pairs_that_are_none(networks):
    with pytest.raises(NetdefsError, match="Nothing in depthwise is in lower precision"):
        pair(networks[0], networks[0])
    other = netdefs.Network({}, "other")
    other.finish(other.output(other.relu(other.input("x", (1, 2)), "relu"), "y"))
    with pytest.raises(NetdefsError, match="other inputs"):
        pair(networks[0], other)


def test_the_ranking_keeps_what_hurts_the_worst_output():
    shares = np.array([[1e-3, 0], [0, 4e-3], [0, 1e-3], [2e-3, 0]])
    order, expected = rank(shares)
    assert order[0] == 1  # the second output is the worst, and this most of it
    assert order[1] == 3  # then the first one
    for count, found in enumerate(expected):
        left = shares[[i for i in range(4) if i not in order[:count]]].sum(0).max()
        assert found == pytest.approx(-10 * math.log10(left) if left else math.inf)


def test_layers_that_are_not_finite_are_kept_first():
    order, expected = rank(np.array([[1.0], [math.nan], [5.0], [math.inf]]))
    assert set(order[:2]) == {1, 3}
    assert expected[2] == pytest.approx(-10 * math.log10(6))


@pytest.mark.parametrize(("layers", "needed"), [*itertools.product([9], range(10)), (1, 0), (1, 1)])
def test_bisection(layers, needed):
    asked = []

    def score(count):
        asked.append(count)
        return float(count)

    assert fewest(score, layers, needed) == needed
    assert len(set(asked)) <= 6
    assert needed in asked


@pytest.mark.parametrize(("needed", "less"), [*itertools.product([0, 3, 7, 19, 20], [-2, 0, 1, 5, 30, math.inf])])
def test_more_is_kept_until_the_target_is_confirmed(needed, less):
    """A network that reaches `less` than its mixture does, in any number of layers kept but all."""
    asked = []

    def confirm(count):
        assert count < 20, "of what keeps all layers there is nothing to confirm"
        asked.append(count)
        return count - less

    found = confirmed_fewest(float, confirm, 20, needed)
    assert found == min(needed + max(less, 0), 20)
    assert len(asked) == len(set(asked)) <= 6


def test_what_lies_between_a_miss_and_a_hit_is_bisected():
    """The deficit at 2 asks for 12 layers, where 6 will do."""
    assert confirmed_fewest(float, lambda count: count if count >= 6 else count - 10, 20, 2) == 6


@pytest.mark.parametrize(("layers", "most", "sizes"), [(5, 8, [1] * 5), (8, 8, [1] * 8), (9, 8, [2, 2, 2, 2, 1])])
def test_large_networks_are_searched_in_groups(layers, most, sizes):
    names = [f"layer {i}" for i in range(layers)]
    groups = neighbours(names, most)
    assert [len(group) for group in groups] == sizes
    assert [name for group in groups for name in group] == names


def test_layers_of_a_group_share_its_noise(networks, paired, feeds, monkeypatch):
    monkeypatch.setattr("netdefs.quant.search.RUNS", 5)
    with Mixture(paired, networks[0]) as mixture:
        found = search(paired, mixture, feeds, 75, lambda keep: 100.0 if keep else 0.0)
    size = math.ceil(len(paired.layers) / 5)
    shares = [found.sensitivity[name] for name in paired.layers]
    assert all(len(set(shares[i : i + size])) == 1 for i in range(0, len(shares), size))
    assert sorted(found.order) == sorted(paired.layers)
    assert len(set(shares)) > 1


def test_the_curve_is_closer_where_few_are_kept():
    assert spread(100, 5) == [0, 6, 25, 56, 100]
    assert spread(1, 9) == [0, 1]
