"""docs/models.md is what the zoo and the measurements say."""

import json

import pytest

import netdefs
from benchmarks import zoo


def test_the_page_is_up_to_date():
    """`python benchmarks/zoo.py` makes it again, and measures what is new."""
    found = json.loads(zoo.MEASURED.read_text())
    known = [variant for variants in netdefs.models().values() for variant in variants]
    assert sorted(found) == sorted(known)
    assert zoo.PAGE.read_text() == zoo.page(found)


@pytest.mark.parametrize("module", netdefs.models())
def test_facts_are_the_definitions(module):
    model = getattr(netdefs, module).model
    variant = next(iter(model.variants))
    found = json.loads(zoo.MEASURED.read_text())[variant]
    for name, value in zoo.facts_of(model, variant).items():
        assert found[name] == value, name


def test_errors_are_small():
    """The deepest attention networks amplify rounding most."""
    for variant, found in json.loads(zoo.MEASURED.read_text()).items():
        assert found.get("error", 0) < 3e-4, variant


def test_operations_are_counted_twice_per_multiply_add():
    net = netdefs.Network({"conv.weight": [1.0] * 8 * 3 * 9, "up.weight": [1.0] * 8 * 2 * 4, "fc.weight": [1.0] * 50})
    x = net.conv(net.input("x", (1, 3, 8, 10)), "conv", 8, kernel=3, groups=1, bias=False)  # 8 x 6 x 8
    assert zoo.operations(net) == 2 * 8 * 6 * 8 * 3 * 9
    x = net.deconv(x, "up", 4, kernel=2, stride=2, groups=2, bias=False)  # 4 x 12 x 16
    assert zoo.operations(net) - 2 * 8 * 6 * 8 * 3 * 9 == 2 * 8 * 6 * 8 * 2 * 4
