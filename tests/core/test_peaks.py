"""Peaks of heat maps found inside a network, on maps whose peaks are known."""

import numpy as np
import pytest

import netdefs
from netdefs.core.peaks import find_peaks, flat, in_pixels

HEIGHT, WIDTH = 9, 14

# row, column and height of peaks, the highest first
LONE = [(4, 7, 0.9), (0, 0, 0.8), (8, 13, 0.7), (0, 13, 0.6), (8, 0, 0.5), (1, 5, 0.4)]


def maps(*peaks: tuple[int, int, float], slope: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """(HEIGHT, WIDTH) with these peaks on a plane that rises by `slope` from row to row and column to column."""
    down, across = slope
    rows, columns = np.indices((HEIGHT, WIDTH))
    heat = (0.01 + down * rows + across * columns).astype(np.float32)
    for row, column, height in peaks:
        heat[row, column] = height
    return heat


def run(heat: np.ndarray, count: int, radius: int = 2, dynamic: bool = False) -> dict[str, np.ndarray]:
    """Peaks of maps (N, K, H, W), and their values in the maps' negative."""
    net = netdefs.Network()
    shape = [(1, size, 2 * size) if dynamic and axis != 1 else size for axis, size in enumerate(heat.shape)]
    x = net.input("heat", shape)
    found = find_peaks(net / "peaks", x, count, radius)
    xs, ys = in_pixels(net / "peaks", x, found)
    negative = net.gather(flat(net, net.mul(x, -1.0, "inverted"), "flat"), "gathered", 2, found.index)
    values = {
        "scores": found.scores,
        "rows": found.rows,
        "columns": found.columns,
        "x": xs,
        "y": ys,
        "negative": negative,
    }
    net.finish([net.output(value, name) for name, value in values.items()])
    with netdefs.build(net, target="cpu") as engine:
        return engine.run({"heat": heat})


@pytest.mark.parametrize("dynamic", [False, True], ids=["", "dynamic"])
def test_peaks_come_best_first_with_places_and_values(dynamic):
    heat = np.stack([maps(*LONE), maps(*LONE[::-1]), maps(LONE[2])])
    out = run(np.stack([heat, heat[::-1]]), count=6, dynamic=dynamic)
    for image, kinds in ((0, (0, 1)), (1, (1, 2))):
        for k in kinds:
            found = list(zip(out["rows"][image, k], out["columns"][image, k], out["scores"][image, k], strict=True))
            assert found == [(row, column, np.float32(height)) for row, column, height in LONE]
    np.testing.assert_array_equal(out["negative"], -out["scores"])
    assert out["x"].dtype == out["y"].dtype == np.float32


@pytest.mark.parametrize(
    ("slope", "part"), [((0.001, 0.001), (0.75, 0.75)), ((-0.001, 0.001), (0.25, 0.75)), ((0.0, 0.0), (0.25, 0.25))]
)
def test_a_quarter_towards_the_higher_neighbour(slope, part):
    out = run(maps(LONE[0], slope=slope)[None, None] + np.float32(0.1), count=1)
    assert (out["y"].item(), out["x"].item()) == (LONE[0][0] + part[0], LONE[0][1] + part[1])


def test_at_a_border_the_peak_stands_for_the_missing_neighbour():
    out = run(maps(*LONE[1:5])[None, None], count=4)
    # The peak itself is higher than its only neighbour: towards the border it is, if that lies behind it.
    assert out["x"].ravel().tolist() == [0.25, 13.75, 13.75, 0.25]
    assert out["y"].ravel().tolist() == [0.25, 8.75, 0.25, 8.75]


def test_only_the_highest_within_the_radius_is_a_peak():
    heat = maps((4, 4, 0.9), (4, 6, 0.8), (6, 10, 0.7), (3, 10, 0.6))[None, None]
    assert run(heat, count=3, radius=2)["scores"].ravel()[:3].tolist() == [np.float32(s) for s in (0.9, 0.7, 0.6)]
    assert run(heat, count=3, radius=3)["scores"].ravel()[:2].tolist() == [np.float32(s) for s in (0.9, 0.7)]


def test_of_equal_neighbours_both_are_peaks():
    out = run(maps((4, 4, 0.9), (4, 5, 0.9))[None, None], count=2)
    assert sorted(out["columns"].ravel().tolist()) == [4, 5]
    assert out["scores"].ravel().tolist() == [np.float32(0.9)] * 2


def test_where_peaks_lack_the_score_is_zero_and_below_zero_there_are_none():
    heat = np.where(maps(LONE[0]) > 0.5, np.float32(0.9), np.float32(-0.5))[None, None]
    assert run(heat, count=5)["scores"].ravel().tolist() == [np.float32(0.9), 0, 0, 0, 0]


def test_more_peaks_than_pixels_are_an_error():
    net = netdefs.Network()
    with pytest.raises(netdefs.NetdefsError, match=r"p: there can't be 30 peaks in maps as small as 'x' .*4, 7"):
        find_peaks(net / "p", net.input("x", (1, 17, 4, 7)), 30, 2)
