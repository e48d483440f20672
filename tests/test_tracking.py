"""The example that tracks people: what they look like is what keeps them apart."""

import cv2
import pytest
from skimage import data

import netdefs
from examples import track_people
from examples.seeded import seed_weights
from tests.reference import MODELS


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking")
    assert cv2.imwrite(str(folder / "photo.png"), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
    module = seed_weights(MODELS["deepsort_reid"](), input_shape=(4, 3, 128, 64))
    shape = ((1, 3, 8), 3, 128, 64)
    with netdefs.reid.build_engine(module.state_dict(), "deepsort_reid", input_shape=shape, target="cpu") as engine:
        engine.save(folder / "reid.engine")
    return [str(folder / "photo.png"), "--describer", str(folder / "reid.engine")]


def test_nobody_is_taken_for_somebody_else(arguments, capsys):
    # Under made-up weights everything looks much alike: people are a tenth of the usual distance apart.
    assert track_people.main([*arguments, "--looks", "0.005"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"track {i + 1}: person {i}" for i in range(3)]


def test_by_their_motion_alone_they_are(arguments, capsys):
    assert track_people.main([*arguments, "--looks", "1e9"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said == ["track 1: person 0 and 1", "track 2: person 0 and 1", "track 3: person 2"]
