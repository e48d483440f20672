"""Instances: what is missing, and what is written to files."""

import json

import numpy as np
import pytest

from netdefs.vision.instance import Instance


def test_as_json():
    keypoints = np.array([(1.5, 2, 0.25), (np.nan, np.nan, 0)], np.float32)
    one = Instance(np.float32(0.5), 3, np.array([0, 1, 2, 3], np.float32), keypoints)
    expected = {"score": 0.5, "label": 3, "box": [0, 1, 2, 3], "keypoints": [[1.5, 2, 0.25], None]}
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False)) == expected
    assert Instance(1).to_dict() == {"score": 1.0}


def test_what_is_found():
    keypoints = np.array([(1, 2, 0.5), (np.nan, np.nan, 0)], np.float32)
    assert Instance(1, keypoints=keypoints).found.tolist() == [True, False]
    assert Instance(1).found.tolist() == []
    with pytest.raises(ValueError, match="NaN"):
        int(keypoints[1, 0])  # a missing point is never drawn by mistake
