"""Lines of text, from the classes of steps along the line."""

from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.vision.maps import checked

BLANK = 0


def decode_text(logits: Any, alphabet: str) -> tuple[str, float]:
    """Greedy CTC: the best class of each step, repetitions as one, without blanks; and how sure it is.

    Args:
        logits: (T, classes), of which class 0 is the blank.
        alphabet: the characters of the classes from 1 on.

    Returns:
        The text, and the mean over the steps of the best class's probability.

    Raises:
        InputError: the logits are of another shape or hold NaN or infinity, or the alphabet does not fit to them.

    Source: strLabelConverter.decode in utils.py of meijieru/crnn.pytorch (MIT).
    """
    steps = checked("Logits of a line of text", logits, ("steps", "classes")).astype(np.float64)
    if len(alphabet) != steps.shape[1] - 1:
        raise InputError(
            f"An alphabet of {len(alphabet)} characters does not fit to {steps.shape[1]} classes: one is the blank."
        )
    best = steps.argmax(1)
    exponents = np.exp(steps - steps.max(1, keepdims=True))
    score = float((1 / exponents.sum(1)).mean())  # the best class has the exponent 1
    begins = np.diff(best, prepend=BLANK) != 0
    return "".join(alphabet[i - 1] for i in best[begins & (best != BLANK)]), score
