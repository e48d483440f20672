"""`netdefs quantize`, and `netdefs build` with what it wrote."""

import json

import cv2
import numpy as np
import pytest

import netdefs
from examples.lenet_torch import LeNet5
from examples.seeded import seed_weights
from netdefs.cli import main
from netdefs.quant import Calibration

METRIC = """
import numpy as np
import netdefs

X = np.random.default_rng(1).uniform(0, 1, (1, 1, 32, 32)).astype(np.float32)
EXPECTED = netdefs.lenet.build_engine({weights!r}, target="cpu").run({{"input": X}})["logits"]

def closeness(engine):
    return 1 - np.linalg.norm(engine.run({{"input": X}})["logits"] - EXPECTED) / np.linalg.norm(EXPECTED)

def nothing(engine):
    pass

def wrong(engine):
    return engine.run({{"picture": X}})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("quantize")
    state = seed_weights(LeNet5()).state_dict()
    netdefs.save_wts(path / "lenet5.wts", {key: value.numpy() for key, value in state.items()})
    (path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(9):
        cv2.imwrite(str(path / "photos" / f"{i}.png"), rng.integers(0, 255, (40, 50, 3), dtype=np.uint8))
    (path / "metric.py").write_text(METRIC.format(weights=str(path / "lenet5.wts")))
    return path


@pytest.fixture
def quantize(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def command(*words):
        return main(
            [
                "quantize",
                "lenet5",
                "-w",
                str(folder / "lenet5.wts"),
                "--images",
                str(folder / "photos"),
                *map(str, words),
            ]
        )

    return command


def test_from_pictures_to_an_engine(quantize, folder, tmp_path, capsys):
    assert quantize("--target-sqnr", 60, "-o", "c.json", "--write-precision", "p.json", "--report", "r.html") == 0
    said = capsys.readouterr().out
    assert "int8 against float32, 9 pictures" in said
    assert "c.json: 5 ranges by mse, 9 pictures." in said
    kept = json.loads((tmp_path / "p.json").read_text())
    assert kept.pop("*") == "int8"
    assert kept
    assert set(kept.values()) == {"fp16"}
    assert "<svg" in (tmp_path / "r.html").read_text()
    assert Calibration.load("c.json").network == "lenet5"
    words = ["build", "lenet5", "-w", str(folder / "lenet5.wts"), "--target", "cpu", "-o", "l.engine", "--json"]
    assert main([*words, "--precision", "p.json", "--calibration", "c.json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "int8"


def test_json_and_a_metric(quantize, folder, capsys):
    metric = f"{folder / 'metric.py'}:closeness"
    assert quantize("--json", "--metric", metric, "--max-drop", 0.02, "--method", "max") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proposal"]["target"] == pytest.approx(0.98)
    assert found["proposal"]["curve"][0]["score"] < 0.98 <= found["proposal"]["confirmed"] < 1
    assert 0 < len(found["proposal"]["keep"]) < len(found["costs"]["int8"]["layers"])
    assert found["network"] == "lenet5"


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("{}:nothing", "The metric gave None"),
        ("{}:wrong", "There is no input 'picture'"),
        ("{}:other", "other"),
        ("nowhere.py:f", "nowhere.py"),
    ],
)
def test_wrong_metrics(quantize, folder, capsys, metric, said):
    assert quantize("--metric", metric.format(folder / "metric.py"), "--max-drop", 0.02) == 2
    assert said in capsys.readouterr().err


def test_a_calibration_that_is_there_is_measured(quantize, capsys):
    assert quantize("-o", "c.json", "--json") == 0
    before = json.loads(capsys.readouterr().out)
    assert quantize("--calibration", "c.json", "--json") == 0
    assert json.loads(capsys.readouterr().out) == before
    assert quantize("--calibration", "c.json", "--equalize") == 2
    assert "other weights need another one" in capsys.readouterr().err
    assert quantize("--calibration", "c.json", "--precision", "fp16") == 2
    assert "fp16 needs none" in capsys.readouterr().err


def test_half_precision(quantize, capsys):
    assert quantize("--precision", "fp16", "--report", "r.json") == 0
    assert "fp16 against float32" in capsys.readouterr().out


def test_changed_weights_fit_their_calibration(quantize, tmp_path, capsys):
    assert quantize("--equalize", "--correct-bias", "--write-weights", "w.wts", "-o", "c.json", "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["costs"]) == ["int8", "equalized", "biases corrected"]
    netdefs.lenet.define_network(tmp_path / "w.wts", precision="int8", calibration=tmp_path / "c.json")


def test_what_gen_wts_knows_goes_with_changed_weights(tmp_path, folder):
    from netdefs.commands.quantize import save_weights
    from netdefs.core.weights import Weights, weights_sha256

    arrays = netdefs.load_wts(folder / "lenet5.wts")
    netdefs.save_wts(tmp_path / "a.wts", arrays)
    known = {"shapes": {key: [value.size] for key, value in arrays.items()}, "eps": {"bn": 1e-3}}
    (tmp_path / "a.wts.json").write_text(json.dumps({**known, "weights_sha256": weights_sha256(arrays)}))
    changed = Weights(tmp_path / "a.wts")
    changed.take("fc3.bias", (10,))
    save_weights(changed.replaced({"fc3.bias": np.arange(10)}), str(tmp_path / "b.wts"))
    again = Weights(tmp_path / "b.wts")
    assert again["fc3.bias"].tolist() == list(range(10))
    assert again.eps("bn") == 1e-3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--write-weights", "w.wts"], "--write-weights goes with"),
        (["--equalize", "-o", "c.json"], "give --write-weights"),
        (["--write-precision", "p.json"], "--write-precision goes with"),
        (["--report", "r.pdf"], "r.pdf is none of these"),
        (["--report", "no/r.html"], "there is no folder no"),
        (["--report", "r.svg"], "A curve as .svg goes with"),
        (["--precision", "fp16", "-o", "c.json"], "fp16 needs no calibration"),
        (["--precision", "int7"], "int7"),
        (["--method", "kl"], "no calibration method 'kl'"),
        (["--least", 10], "9 pictures can't say"),
        (["--metric", "nothing"], "names no function"),
        (["--metric", "json:dumps"], "go together"),
        (["--keep", "int9", "--target-sqnr", "60"], "int9"),
    ],
)
def test_wrong_use(quantize, capsys, words, said):
    assert quantize(*words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "can't read p.json"), ("[1]", "no object"), ('{"*": 8}', "no object"), ("{", "can't read")],
)
def test_wrong_files_of_precisions(tmp_path, monkeypatch, capsys, content, said):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "p.json").write_text(content)
    with pytest.raises(SystemExit):
        main(["build", "lenet5", "--precision", "p.json"])
    assert said in capsys.readouterr().err
