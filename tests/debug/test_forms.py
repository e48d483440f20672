"""A report as a file: CSV, node data for Model Explorer, annotated ONNX; and which of them a name stands for."""

import csv
import io
import json
import math
import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import netdefs
from examples.lenet_torch import lenet5
from netdefs.cli import main
from netdefs.core.errors import CompareError, FileError
from netdefs.debug.details import look_closer
from netdefs.debug.explorer import node_data
from netdefs.debug.metrics import measure
from netdefs.debug.report import FORMS
from netdefs.debug.tabular import COLUMNS, as_csv
from tests.debug.nets import Net, network, picture, seeded


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def net(module):
    return network(module, "upsample")


@pytest.fixture(scope="module")
def wrong(net, module):
    return netdefs.compare(net, module, picture())


def test_csv_holds_every_number(wrong):
    lines = list(csv.DictReader(io.StringIO(as_csv(wrong))))
    assert tuple(lines[0]) == COLUMNS
    assert [line["name"] for line in lines] == [row.name for row in wrong.rows]
    for line, row in zip(lines, wrong.rows, strict=True):
        assert line["verdict"] == row.verdict
        assert line["first_bad"] == str(row is wrong.first_bad)
        for way in ("chained", "isolated"):
            metrics = getattr(row, way)
            for name in ("relative", "cosine", "max_abs", "needed", "outside"):
                assert float(line[f"{way}_{name}"]) == getattr(metrics, name)
            assert line[f"{way}_index"] == "x".join(map(str, metrics.index))
        assert line["shape"] == "x".join(map(str, row.shape))
    first = next(line for line in lines if line["first_bad"] == "True")
    assert (first["cause_kind"], float(first["cause_before"])) == ("resize_mode", wrong.cause.before)


def test_csv_of_what_was_not_measured(net, module):
    report = netdefs.compare(net, module, picture(), mode="chained", layers="up")
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))
    assert lines[0]["isolated_relative"] == lines[0]["cause_kind"] == lines[0]["chained_shape"] == ""
    assert float(lines[0]["chained_tolerance"]) == report.tolerance.chained


def test_node_data_has_the_ids_of_the_onnx_file(wrong, net):
    model = netdefs.to_onnx(net)
    data = node_data(wrong)
    ids = {node.name for node in model.graph.node} | {f"[value] {value.name}" for value in model.graph.output}
    assert set(data["results"]) <= ids
    assert {row.name for row in wrong.rows if row.kind == "layer"} <= set(data["results"])
    up = next(row for row in wrong.rows if row.name == "up")
    assert data["results"]["up"] == {"value": up.isolated.relative}
    values = [step["value"] for step in data["thresholds"]]
    assert values == sorted(values)
    assert wrong.tolerance.isolated in values
    assert "[value] logits" in data["results"]


def test_node_data_of_other_metrics(wrong):
    assert node_data(wrong, "verdict")["results"]["up"]["value"] == "own error"
    assert node_data(wrong, "chained.cosine")["gradient"][0]["stop"] == 0
    equal = node_data(wrong, "isolated.sqnr_db")["results"]["layer1.0"]
    assert equal["value"] == "inf"
    json.dumps(node_data(wrong, "isolated.sqnr_db"), allow_nan=False)
    with pytest.raises(CompareError, match=r"this report has verdict and isolated\.relative.*chained\.outside"):
        node_data(wrong, "chained.outsid")


def test_onnx_with_errors_computes_the_same(wrong, net, tmp_path):
    path = tmp_path / "net.onnx"
    wrong.to_onnx(path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    feeds = {"input": picture()}
    found, plain = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, feeds)
        for each in (model, netdefs.to_onnx(net))
    )
    assert all(np.array_equal(a, b) for a, b in zip(found, plain, strict=True))
    entries = {node.name: {entry.key: entry.value for entry in node.metadata_props} for node in model.graph.node}
    up = next(row for row in wrong.rows if row.name == "up")
    assert entries["up"]["verdict"] == "own error (the first wrong layer)"
    assert float(entries["up"]["isolated"]) == up.isolated.relative
    assert "resizes bilinear" in entries["up"]["cause"]
    assert entries["layer1.0.conv1"]["namespace"] == "layer1/0"
    assert max(len(key) for found in entries.values() for key in found) <= 13  # Netron cuts longer ones
    about = {entry.key: entry.value for entry in model.metadata_props}
    assert about["netdefs.first_wrong_layer"] == wrong.answers["first wrong layer"]


def test_of_an_engine_on_the_cpu(module, net, tmp_path):
    with netdefs.build(net, target="cpu") as engine:
        before = engine.model.SerializeToString()
        report = netdefs.compare(engine, module, picture())
        report.save(tmp_path / "engine.onnx")
        report.save(tmp_path / "engine.model-explorer.json")
        report.save(tmp_path / "engine.html")
        assert engine.model.SerializeToString() == before
    assert 'id="drawing"' in (tmp_path / "engine.html").read_text()
    assert "up" in json.loads((tmp_path / "engine.model-explorer.json").read_text())["results"]
    netdefs.load_engine(tmp_path / "engine.onnx").close()


def test_of_a_parsed_network(module, net, tmp_path):
    netdefs.to_onnx(net, tmp_path / "net.onnx")
    parsed = netdefs.from_onnx(tmp_path / "net.onnx")
    report = netdefs.compare(parsed, module, picture())
    ids = {node.name for node in netdefs.to_onnx(parsed).graph.node}
    assert report.first_bad.name == "up"
    found = node_data(report)["results"]
    assert {name for name in found if not name.startswith("[value] ")} <= ids
    assert sum(result["value"] == report.first_bad.isolated.relative for result in found.values()) == 1


def test_the_name_says_which_form(wrong, tmp_path):
    for ending in FORMS:
        wrong.save(tmp_path / f"report{ending}")
        assert (tmp_path / f"report{ending}").stat().st_size > 500
    assert json.loads((tmp_path / "report.json").read_text())["ok"] is False
    with pytest.raises(FileError, match=r"report.txt: a report is written as one of .model-explorer.json, .json, "):
        wrong.save(tmp_path / "report.txt")


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    module = lenet5()
    netdefs.save_wts("lenet5.wts", {key: value.numpy() for key, value in module.state_dict().items()})
    torch.save(module.state_dict(), "lenet5.pth")
    given = ["lenet5", "examples.lenet_torch:lenet5", "--checkpoint", "lenet5.pth", "-w", "lenet5.wts"]
    wanted = [word for ending in FORMS for word in ("--report", f"out{ending}")]
    assert main(["diff", *given, *wanted]) == 0
    assert all((tmp_path / f"out{ending}").exists() for ending in FORMS)
    assert '"plane":' in (tmp_path / "out.html").read_text()  # details were asked for
    assert main(["diff", *given, "--report", "out.csv"]) == 2
    assert "out.csv already exists" in capsys.readouterr().err
    assert main(["diff", *given, "--report", "out.pdf"]) == 2
    assert "out.pdf: a report is written as one of" in capsys.readouterr().err


def test_without_the_network(wrong, tmp_path):
    report = pickle.loads(pickle.dumps(wrong))
    for ending in (".onnx", ".model-explorer.json"):
        with pytest.raises(CompareError, match="unpickled"):
            report.save(tmp_path / f"report{ending}")
        assert not list(tmp_path.iterdir())
    report.save(tmp_path / "report.csv")


def test_the_smallest_tolerance_that_agrees():
    rng = np.random.default_rng(0)
    expected = rng.standard_normal(70_000).astype(np.float32)
    for floor in (0.0, 1e-4):
        for actual in (expected * 1.001, expected + 1e-4 * rng.standard_normal(70_000), np.r_[expected[:-1], 9.0]):
            actual = actual.astype(np.float32)
            needed = measure(expected, actual, 1e-4, floor).needed
            assert measure(expected, actual, needed, floor).ok
            assert measure(expected, actual, needed, floor).outside == 0
            if needed:
                assert not measure(expected, actual, needed * (1 - 1e-9), floor).ok
            assert measure(expected, actual, 10.0, floor).needed == needed  # whatever the tolerance
    one_sided = measure(np.float32([1, np.nan]), np.float32([1, 1]), 1e3)
    assert one_sided.needed == math.inf
    assert measure(np.zeros(3, np.float32), np.float32([0, 0, 1]), 1.0).needed == math.inf
    assert measure(np.zeros(3, np.float32), np.float32([0, 0, 1]), 1.0, floor=2.0).needed == 0


def details(expected, actual):
    return look_closer(expected, actual, measure(expected, actual, 1e-4))


def decoded(shown):
    import base64

    return np.frombuffer(base64.b64decode(shown.data), np.uint8).reshape(shown.rows, shown.columns)


def test_details_show_where_it_differs():
    expected = np.random.default_rng(0).standard_normal((2, 5, 70, 90)).astype(np.float32)
    actual = expected.copy()
    actual[1, 3, :, 0] += 2
    found = details(expected, actual)
    assert found.plane == (1, 3)
    shown = decoded(found.map)
    assert shown.shape == (32, 32)
    assert (shown[:, 0] >= 253).all()
    assert (shown[:, 1:] == 0).all()
    assert np.argmax(found.channels) == 3
    assert found.channels[0] == 0
    assert found.channels[3] == pytest.approx(np.sqrt(70 * 4 * 5) / np.linalg.norm(expected), rel=1e-5)
    assert found.expected_range == (expected.min(), expected.max())
    assert found.actual_range == (actual.min(), actual.max())
    assert found.counted == expected.size
    assert sum(found.difference.counts[0]) == found.counted
    assert found.difference.counts[0][-1] == 70
    assert [picture.rows for picture in found.pictures] == [32, 32]


def test_details_of_nan_and_odd_shapes():
    expected = np.ones((1, 2, 3, 4), np.float32)
    actual = expected.copy()
    actual[0, 1, 2, 3] = np.nan
    found = details(expected, actual)
    assert decoded(found.map)[2, 3] == 255
    assert found.actual_range == (1, 1)
    for shape in [(), (1,), (7,), (2, 300), (1, 1, 1), (3, 1, 5), (0, 4), (2, 3, 4, 5, 6)]:
        array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
        found = details(array, np.asarray(array + np.float32(1)))
        assert len(found.channels) <= 64
        json.dumps(str(found))
    same = details(expected, expected)
    assert (same.pictures, same.map.high, same.difference.counts[0][0]) == ((), 0.0, 24)


def test_details_of_large_tensors_count_a_sample():
    expected = np.random.default_rng(0).standard_normal((1, 8, 300, 300)).astype(np.float32)
    found = details(expected, expected * 1.5)
    assert found.counted == 2**16 < expected.size
    assert sum(found.values.counts[1]) == found.counted
    spread = np.sqrt(
        np.average(np.linspace(found.values.low, found.values.high, 40) ** 2, weights=found.values.counts[0])
    )
    assert spread == pytest.approx(1, rel=0.05)


def test_half_and_whole_numbers_have_details():
    for dtype in (np.float16, np.float64, np.int64, np.bool_):
        expected = (np.arange(48).reshape(1, 3, 4, 4) % 5).astype(dtype)
        found = details(expected, np.roll(expected, 1, 3))
        assert found.map is not None
