"""A sample of the planted faults of `benchmarks/faults.py`, which has more of them in more networks."""

import random

import pytest

import netdefs
from tests.faults.catalogue import CATALOGUE
from tests.faults.networks import subject
from tests.faults.scoring import plant, plants, score

SMALL = ("lenet5", "odds", "resnet18", "yolov8n")
COUNT = 32


@pytest.fixture(scope="module")
def scores():
    return [score(found) for found in plants(SMALL, COUNT, seed=1)]


def test_the_first_wrong_layer_is_exactly_right(scores):
    assert len(scores) == COUNT
    assert [f"{s.planted}: {s.first}" for s in scores if not s.first_right] == []


def test_the_cause_is_exactly_right(scores):
    wrong = [f"{s.planted}: {s.cause}, {s.text}" for s in scores if not s.cause_right]
    assert len(wrong) <= COUNT // 10, wrong


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", ["odds", "yolov8n"])
def test_a_correct_network_gets_no_cause(name, precision):
    where = subject(name)
    report = netdefs.compare(where.define(precision), where.module, where.x)
    assert report.ok, report.verdict
    assert report.cause is None


def test_the_catalogue_can_be_planted():
    """Every kind of fault finds a place in one of the networks here, or in one that the benchmark has besides."""
    rng = random.Random(0)
    elsewhere = {"another_pixel_order", "more_than_half_precision_holds"}
    for fault in CATALOGUE.values():
        if fault.name not in elsewhere:
            assert any(plant(fault, subject(name), rng) for name in SMALL), fault.name
    assert len(CATALOGUE) >= 25
