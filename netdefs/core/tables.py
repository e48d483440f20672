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


def standardized(x: np.ndarray, axes: tuple[int, ...], eps: float = 1e-5) -> np.ndarray:
    """An array less its mean over some axes, by its standard deviation there: as weights are that are standardized."""
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps)


def antialias_matrix(
    n: int, count: int, mode: str = "bilinear", align_corners: bool = False, scale_factor: float | None = None
) -> np.ndarray:
    """What `F.interpolate` with antialias multiplies n values by to make `count` of them: (count, n), float32.

    Each row is a triangle ("bilinear") or a piece of cubics ("bicubic"), wider by the step between results where that
    is more than one value, and of sum 1. It is computed in single precision where PyTorch does so: in large pictures
    the rounding of where rows lie can be seen.

    Args:
        n: how many values there are.
        count: how many are asked for.
        mode: "bilinear" or "bicubic".
        align_corners: changes only the step between results: with antialias PyTorch does not move the first one.
        scale_factor: what PyTorch was given instead of a size; the step is its inverse.

    Raises:
        ValueError: it is another mode.
    """
    if mode not in ("bilinear", "bicubic"):
        raise ValueError(f"mode={mode!r}: with antialias it is 'bilinear' or 'bicubic'.")
    single = np.float32
    if align_corners:
        step = single(n - 1) / single(count - 1) if count > 1 else single(0)
    else:
        step = single(1 / scale_factor) if scale_factor else single(n) / single(count)
    wide = max(step, single(1))
    reach = single((1 if mode == "bilinear" else 2) * wide)
    centre = ((np.arange(count)[:, None] + 0.5) * float(step)).astype(single)
    places = np.arange(n, dtype=single)
    first, end = ((each.astype(float) + 0.5).astype(int) for each in (centre - reach, centre + reach))
    away = ((places - centre).astype(float) + 0.5) * float(single(1) / wide)
    found = np.where((places >= first) & (places < end), _bump(np.abs(away).astype(single), mode), single(0))
    total = found.sum(axis=1, keepdims=True)
    return found / np.where(total == 0, single(1), total)


def antialiased(
    x: np.ndarray,
    size: tuple[int, int],
    mode: str = "bilinear",
    align_corners: bool = False,
    scale_factor: tuple[float, float] | None = None,
) -> np.ndarray:
    """`F.interpolate` with antialias, of an array (..., H, W): (..., *size). Arguments as of `antialias_matrix`."""
    for axis, count in ((-1, size[1]), (-2, size[0])):
        if count != x.shape[axis]:  # PyTorch does nothing to an axis that keeps its size, whatever the factor
            factor = scale_factor[axis] if scale_factor else None
            matrix = antialias_matrix(x.shape[axis], count, mode, align_corners, factor)
            x = x @ matrix.T if axis == -1 else matrix @ x
    return x


def _bump(away: np.ndarray, mode: str) -> np.ndarray:
    """The weight of values that lie so many steps, 0 or more, from the centre: a triangle, or cubics with a = -0.5."""
    if mode == "bilinear":
        return np.maximum(1 - away, 0)
    a = np.float32(-0.5)
    inner = ((a + 2) * away - (a + 3)) * away * away + 1
    outer = ((away - 5) * away + 8) * away * a - 4 * a
    return np.where(away < 1, inner, np.where(away < 2, outer, 0)).astype(np.float32)


def _differences(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How far each place of a window lies below, and to the right of, each other one."""
    rows, columns = (each.reshape(-1) for each in np.indices((height, width)))
    return rows[:, None] - rows, columns[:, None] - columns
