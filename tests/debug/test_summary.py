"""What is printed fits a terminal, whatever a report holds."""

import io

import hypothesis
import pytest
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from netdefs.debug.causes import Cause
from netdefs.debug.inputs import InputFinding
from netdefs.debug.loaded import WeightsFinding
from netdefs.debug.match import Unmatched
from netdefs.debug.metrics import Metrics, Tolerance
from netdefs.debug.report import Report
from netdefs.debug.row import Row

LONG = "a_rather_long_name_of_a_module"
NAMES = st.lists(
    st.sampled_from(["layer1", "0", "conv1", LONG, "[bold]x[/bold]", "名前", "bn.relu"]), min_size=1, max_size=12
).map(".".join)
SENTENCES = st.lists(
    st.sampled_from(["The module", LONG * 3, "is called", "more than once", "(7 times)", "ends."])
).map(" ".join)


@st.composite
def metrics(draw):
    ok, error = draw(st.booleans()), draw(st.sampled_from([0.0, 1.2e-7, 3.4e-2, 123456.0, float("inf")]))
    nan = draw(st.integers(0, 2**31))
    return Metrics(error, 0.5, -3.0, error, (0, 12, 345, 678), -1e30, 1e30, 0.12, nan, 0, 0, nan, ok, error)


@st.composite
def rows(draw, name):
    shape = tuple(draw(st.lists(st.integers(1, 4096), max_size=6)))
    other = st.none() | st.just((1, 2, 3, 4096, 4096))
    return Row(
        name=name,
        kind=draw(st.sampled_from(["layer", "layer", "layer", "output"])),
        module_type=draw(st.sampled_from(["Conv2d", "", LONG])),
        layer_type="convolution",
        shape=shape,
        dtype="float32",
        chained=draw(st.none() | metrics()),
        isolated=draw(st.none() | metrics()),
        chained_shape=draw(other),
        isolated_shape=draw(other),
        isolated_error=draw(st.just("") | SENTENCES),
        fed=tuple(draw(st.lists(NAMES, max_size=5))),
        via=tuple(draw(st.lists(NAMES, max_size=5))),
        given=draw(st.just("") | NAMES),
        cause=draw(
            st.none() | st.builds(Cause, st.just("unknown"), SENTENCES, NAMES, st.just(0.5), st.none() | st.just(1e-7))
        ),
    )


@st.composite
def reports(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=60, unique=True))
    return Report(
        name=draw(NAMES),
        precision="fp32",
        mode=draw(st.sampled_from(["both", "chained", "isolated"])),
        tolerance=Tolerance(1e-4, 2e-5),
        rows=[draw(rows(name)) for name in names],
        unmatched=draw(
            st.lists(st.builds(Unmatched, NAMES, st.sampled_from(["module", "layer"]), SENTENCES), max_size=60)
        ),
        aliases=draw(st.dictionaries(NAMES, NAMES, max_size=20)),
        folded={},
        weights=WeightsFinding("different", draw(SENTENCES)),
        inputs=draw(
            st.lists(st.builds(InputFinding, NAMES, st.just((1, 3, 224, 224)), st.just("float32")), max_size=12)
        ),
        notes=draw(st.lists(SENTENCES, max_size=30)),
    )


def printed(report, width, full=False):
    file = io.StringIO()
    report.print_to(Console(file=file, width=width, color_system=None), full=full)
    return file.getvalue().rstrip("\n").split("\n")


@hypothesis.settings(
    max_examples=30,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],  # to make a report smaller takes minutes
)
@hypothesis.given(report=reports(), width=st.sampled_from([80, 120, 200]))
def test_a_summary_fits(report, width):
    hypothesis.assume(all(r.chained or r.isolated or r.chained_shape or r.isolated_error for r in report.rows))
    lines = printed(report, width)
    assert len(lines) <= 40
    assert max(map(cell_len, lines)) <= width
    if report.first_bad is not None:
        assert any(line.rstrip().endswith(report.first_bad.verdict) for line in lines)


def test_wide_letters_leave_room_for_the_verdict():
    fine = Metrics(0.0, 1.0, 9.0, 0.0, (0,), 0.0, 0.0, 0.0, 0, 0, 0, 0, True, 0.0)
    shape = (1, 2, 3, 4096, 4096)
    names = ("a" * 60, "名前" * 15, "名前" * 14)
    every = [Row(name, "layer", "Conv2d", "", (1,), "float32", None, fine, shape) for name in names]
    every[0].isolated_shape = shape
    report = Report(
        "net", "fp32", "both", Tolerance(1e-4, 2e-5), every, [], {}, {}, WeightsFinding("identical", "Fine."), [], []
    )
    lines = printed(report, 80)
    assert sum(line.endswith("own error") for line in map(str.rstrip, lines)) == 1
    assert sum(line.endswith("inherited") for line in map(str.rstrip, lines)) == 2


@pytest.mark.parametrize("width", [80, 120])
def test_all_of_it_on_request(width):
    fine = Metrics(0.0, 1.0, 9.0, 0.0, (0,), 0.0, 0.0, 0.0, 0, 0, 0, 0, True, 0.0)
    wrong = Metrics(0.5, 1.0, 9.0, 0.0, (0,), 0.0, 0.0, 0.0, 0, 0, 0, 0, False, 0.5)
    every = [Row(f"layer{i}.{LONG}", "layer", "Conv2d", "", (1,), "float32", fine, fine) for i in range(200)]
    for row in every[60:]:
        row.chained = wrong
    every[60].isolated = wrong
    report = Report(
        "net", "fp32", "both", Tolerance(1e-4, 2e-5), every, [], {}, {}, WeightsFinding("identical", "Fine."), [], []
    )
    text = "".join(printed(report, 120, full=True))
    assert all(row.name in text for row in every)
    short = printed(report, width)
    assert len(short) <= 40
    assert "rows are not shown." in short[-1]
    assert sum("inherited" in line for line in short) >= 10
