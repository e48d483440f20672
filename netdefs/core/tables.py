"""Tables that networks with windows and positions are made with, as numpy arrays."""

import numpy as np


def relative_position_index(height: int, width: int, class_token: bool = False) -> np.ndarray:
    """Of all pairs of places in a window, which row of a table of position biases is theirs.

    The row of a pair follows from how far its first place lies below and to the right of its second: the table has
    (2 * height - 1) * (2 * width - 1) rows. Shape (height * width, height * width), as in Swin
    (https://arxiv.org/abs/2103.14030).

    Args:
        height: of the window.
        width: of the window.
        class_token: there is one more place, in front; the last three rows of the table are for pairs of it with the
            places, of the places with it, and of it with itself, as in BEiT (https://arxiv.org/abs/2106.08254).
    """
    down, right = _differences(height, width)
    index = (down + height - 1) * (2 * width - 1) + right + width - 1
    if not class_token:
        return index
    rows = (2 * height - 1) * (2 * width - 1)
    index = np.pad(index, ((1, 0), (1, 0)))
    index[0], index[:, 0], index[0, 0] = rows, rows + 1, rows + 2
    return index


def relative_distance_index(height: int, width: int, stride: int = 1) -> np.ndarray:
    """As `relative_position_index`, but the row follows from how far two places lie apart, whichever is first.

    The table has height * width rows. Only every `stride`-th row and column of places are first ones: shape
    (ceil(height / stride) * ceil(width / stride), height * width), as in LeViT (https://arxiv.org/abs/2104.01136).
    """
    down, right = (np.abs(each) for each in _differences(height, width))
    taken = np.arange(height * width).reshape(height, width)[::stride, ::stride].reshape(-1)
    return (down * width + right)[taken]


def relative_places(height: int, width: int) -> np.ndarray:
    """How far two places in a window can lie apart, down and to the right: (1, 2 * height - 1, 2 * width - 1, 2).

    From -1 to 1 on a scale of logarithms, of which Swin V2 (https://arxiv.org/abs/2111.09883) computes its position
    biases.
    """
    sides = [np.arange(1 - n, n, dtype=np.float32) * 8 / max(n - 1, 1) for n in (height, width)]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1)[None]
    return np.sign(grid) * np.log2(np.abs(grid) + 1) / np.log2(np.float32(8))


def shifted_window_mask(
    height: int, width: int, window: tuple[int, int], shift: tuple[int, int], value: float = -100.0
) -> np.ndarray:
    """What is added to the attention scores in windows of a picture that was rolled by -shift.

    0 for two places that were in one window's reach before, `value` for those that the roll put beside each other.
    Shape (windows, places, places), with places = window[0] * window[1], as in Swin (https://arxiv.org/abs/2103.14030).
    """
    regions = np.zeros((height, width), int)
    for axis, (size, side, step) in enumerate(zip((height, width), window, shift, strict=True)):
        bounds = (0, size - side, size - step) if step else (0,)
        place = np.searchsorted(bounds, np.arange(size), side="right")
        regions = regions * 3 + np.expand_dims(place, 1 - axis)
    split = regions.reshape(height // window[0], window[0], width // window[1], window[1])
    places = split.swapaxes(1, 2).reshape(-1, window[0] * window[1])
    return np.where(places[:, :, None] == places[:, None], 0.0, value).astype(np.float32)


def _differences(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How far each place of a window lies below, and to the right of, each other one."""
    rows, columns = (each.reshape(-1) for each in np.indices((height, width)))
    return rows[:, None] - rows, columns[:, None] - columns
