"""Greedy CTC against one that goes step by step."""

import numpy as np
import pytest

from netdefs.core.errors import InputError
from netdefs.vision.text import decode_text


def plain(logits, alphabet):
    text, before, sure = "", None, []
    for step in logits.astype(np.float64):
        best = max(range(len(step)), key=step.__getitem__)
        sure.append(np.exp(step[best]) / np.exp(step).sum())
        if best not in (0, before):
            text += alphabet[best - 1]
        before = best
    return text, np.mean(sure)


@pytest.mark.parametrize("seed", range(5))
def test_as_step_by_step(seed):
    logits = 3 * np.random.default_rng(seed).standard_normal((40, 4), dtype=np.float32)
    text, score = decode_text(logits, "abc")
    assert (text, pytest.approx(score)) == plain(logits, "abc")


def test_a_blank_parts_equal_characters():
    classes = np.array([1, 1, 0, 1, 3, 3, 2, 0])
    assert decode_text(9 * np.eye(4)[classes], "abc")[0] == "aacb"
    assert decode_text(9 * np.eye(4)[classes * 0], "abc")[0] == ""


def test_what_can_not_be():
    with pytest.raises(InputError, match="alphabet of 3 characters does not fit to 5 classes"):
        decode_text(np.zeros((2, 5)), "abc")
    with pytest.raises(InputError, match=r"\(steps, classes\) of numbers"):
        decode_text(np.zeros((1, 2, 5)), "abcd")
