"""The `netdefs` command, called in-process; tests/test_readme.py runs it as a reader does."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from skimage import data

import netdefs
from examples.lenet_torch import lenet5
from netdefs.cli import main
from netdefs.commands.options import assignment
from netdefs.core.errors import NetworkError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with LeNet-5's weights, its checkpoint, a picture and an array; the current one while a test runs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    module = lenet5()
    torch.save(module.state_dict(), "lenet5.pth")
    (tmp_path / "weights").mkdir()
    netdefs.save_wts("weights/lenet5.wts", {key: value.numpy() for key, value in module.state_dict().items()})
    cv2.imwrite("photo.png", cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
    np.save("array.npy", np.random.default_rng(0).random((1, 1, 32, 32), dtype=np.float32))
    return tmp_path


@pytest.fixture
def engine(folder, capsys):
    assert main(["build", "lenet5", "--target", "cpu", "-o", "lenet5.engine"]) == 0
    capsys.readouterr()
    return folder / "lenet5.engine"


def fails(capsys, arguments, *words):
    """The command exits with 2, and says why in one message without a traceback."""
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"netdefs {arguments[0]}: ") and "Traceback" not in said
    for word in words:
        assert word in said, said


def test_list(capsys):
    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == netdefs.models()
    assert main(["list"]) == 0
    assert "netdefs.lenet" in capsys.readouterr().out


@pytest.mark.parametrize("shape", ["1,3,224", "1x3x-2x4", "1x3x1:2x4", "x"])
def test_a_shape_that_is_none(shape, capsys):
    with pytest.raises(SystemExit):
        main(["build", "lenet5", f"--input-shape={shape}"])
    assert f"{shape!r} is no shape: sizes joined by x, such as 1x3x224x224" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "build", "run", "diff", "onnx"])
def test_help_shows_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0 and f"example:\n  netdefs {command}" in capsys.readouterr().out


def test_build_says_what_it_made(folder, capsys):
    assert main(["build", "lenet5", "--target", "cpu", "--json", "--mark", "conv?"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "cpu" and list(found["outputs"]) == ["logits", "prob", "conv1", "conv2"]
    assert (folder / found["engine"]).stat().st_size == found["bytes"]


def test_build_for_gpus_that_are_not_here(folder, capsys):
    arguments = [
        "build",
        "lenet5",
        "--target",
        "tensorrt_rtx",
        "--compute-capability",
        "8.6",
        "8.9",
        "-o",
        "rtx.engine",
    ]
    assert main(arguments) == 0
    assert json.loads((folder / "rtx.engine.json").read_text())["target"] == "tensorrt_rtx"
    fails(
        capsys,
        ["build", "lenet5", "--target", "tensorrt_rtx", "--compute-capability", "9.0", "-o", "b.engine"],
        "9.0",
        "8.9",
    )
    fails(capsys, ["onnx", "rtx.engine"], "plan, which holds no layers")


def test_dynamic_input_shape(folder, capsys):
    assert main(["build", "lenet5", "--target", "cpu", "--input-shape", "1:2:8x1x32x32", "-o", "d.engine"]) == 0
    assert main(["diff", "d.engine", "examples.lenet_torch:lenet5", "--checkpoint", "lenet5.pth"]) == 0
    capsys.readouterr()
    assert main(["run", "d.engine", "--image", "photo.png", "photo.png", "--json"]) == 0
    text = capsys.readouterr().out
    assert [len(picture["top"]) for picture in json.loads(text[text.index("{") :])["pictures"]] == [5, 5]
    for wrong in ("1x1x32xa", "1:2x1x32x32", ""):
        with pytest.raises(SystemExit) as stop:
            main(["build", "lenet5", "--input-shape", wrong])
        assert stop.value.code == 2


def test_an_existing_file_is_left_alone(engine, capsys):
    before = engine.read_bytes()
    fails(capsys, ["build", "lenet5", "-o", str(engine)], "already exists", "--force")
    fails(capsys, ["onnx", "lenet5", "-o", str(engine)], "already exists", "--force")
    fails(capsys, ["run", str(engine), "--input", "array.npy", "-o", str(engine)], "already exists", "--force")
    assert engine.read_bytes() == before
    assert main(["build", "lenet5", "--target", "cpu", "-o", str(engine), "--force"]) == 0


def test_run_on_a_picture(engine, folder, capsys):
    (folder / "names.txt").write_text("\n".join(f"digit {i}" for i in range(10)))
    assert main(["run", str(engine), "--image", "photo.png", "--labels", "names.txt", "--top", "3"]) == 0
    said = capsys.readouterr().out
    assert said.count("digit") == 3 and "prob" in said
    (folder / "names.txt").write_text("one\ntwo\n")
    fails(capsys, ["run", str(engine), "--image", "photo.png", "--labels", "names.txt"], "2 names", "10 classes")
    fails(capsys, ["run", str(engine), "--image", "photo.png", "--labels", "nothing.txt"], "nothing.txt")
    (folder / "names.txt").write_text("")
    fails(capsys, ["run", str(engine), "--image", "photo.png", "--labels", "names.txt"], "0 names", "10 classes")
    with pytest.raises(SystemExit):
        main(["run", str(engine), "--image", "photo.png", "--top", "-3"])
    assert "'-3' is no positive whole number." in capsys.readouterr().err


def test_values_that_json_lacks(engine, folder, capsys):
    np.save("nan.npy", np.full((1, 1, 32, 32), np.nan, np.float32))
    assert main(["run", str(engine), "--input", "nan.npy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["prob"]["max"] is None
    assert main(["run", str(engine), "--input", "nan.npy"]) == 0
    assert "not finite" in capsys.readouterr().out


@pytest.mark.parametrize(("sink", "code"), [("/dev/full", 2), ("head", 0)])
def test_standard_output_that_is_full_or_closed(sink, code):
    redirect = "| head -c 0" if sink == "head" else f"> {sink}"
    command = f"set -o pipefail; {sys.executable} -m netdefs.cli list --json {redirect}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert ("standard output" in done.stderr) == (code == 2)


def test_run_on_an_array(engine, folder, capsys):
    assert main(["run", str(engine), "--input", "array.npy", "-o", "out.npz", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["prob"]["shape"] == [1, 10]
    with np.load("out.npz") as outputs, torch.no_grad():
        module = lenet5()
        module.load_state_dict(torch.load("lenet5.pth"))
        expected = module(torch.from_numpy(np.load("array.npy")))
        np.testing.assert_allclose(outputs["prob"], expected["prob"].numpy(), rtol=1e-5)


def test_run_on_what_it_cannot_use(engine, folder, capsys):
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.jpg").write_text("")
    np.save("wide.npy", np.zeros((1, 1, 32, 33), np.float32))
    np.save("double.npy", np.zeros((1, 1, 32, 32)))
    fails(capsys, ["run", str(engine), "--image", "text.jpg"], "text.jpg is not a picture")
    fails(capsys, ["run", str(engine), "--image", "empty.jpg"], "empty.jpg is not a picture")
    fails(capsys, ["run", str(engine), "--image", "none.jpg"], "no picture, video or folder none.jpg")
    fails(capsys, ["run", str(engine), "--input", "photo.png"], "photo.png is not an array")
    fails(capsys, ["run", str(engine), "--input", "none.npy"], "no file none.npy")
    fails(capsys, ["run", str(engine), "--input", "wide.npy"], "'input'", "33")
    fails(capsys, ["run", str(engine), "--input", "double.npy"], "float64")
    fails(capsys, ["run", str(engine)], "--image PICTURE or --input")
    fails(capsys, ["run", "photo.png", "--image", "photo.png"], "photo.png")
    fails(capsys, ["run", "none.engine", "--image", "photo.png"], "none.engine")


def test_run_on_a_variant(folder, capsys):
    fails(capsys, ["run", "lenet5", "--image", "photo.png"], "lenet5 is a variant", "`netdefs build lenet5` first")


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["num_classes=ten"], ["num_classes='ten': it must be a whole number or None"]),
        (["num_classes=10.0"], ["whole number"]),
        (["num_classes=True"], ["whole number"]),
        (["num_class=10"], ["no argument 'num_class'", "num_classes"]),
        (["variant=resnet18"], ["no argument 'variant'", "num_classes"]),
        (["package=tensorrt"], ["no argument 'package'"]),
        (["num_classes=10", "num_classes=11"], ["num_classes is given twice"]),
    ],
)
def test_arguments_that_cannot_be(assignments, words, folder, capsys):
    config = [word for each in assignments for word in ("--config", each)]
    fails(capsys, ["build", "lenet5", "--target", "cpu", *config], *words)
    assert not list(folder.glob("*.engine"))


def test_text_is_not_true():
    model = netdefs.higherhrnet.model
    for text, value in (("false", False), ("True", True), ("FALSE", False)):
        assert assignment(f"aggregate={text}") == ("aggregate", value)
    with pytest.raises(NetworkError, match="aggregate='yes': it must be True or False"):
        model.check_arguments(dict([assignment("aggregate=yes")]))
    for fits in ("aggregate=true", "decode=in_network", "num_joints=none", "num_joints=14", "eps=1", "eps=1e-3"):
        model.check_arguments(dict([assignment(fits)]))
    netdefs.hrnet_seg.model.check_arguments({"align_corners": None})
    netdefs.yolov2.model.check_arguments({"anchors": [[(1, 2)]]})


def test_diff_agrees(engine, folder, capsys):
    spec = ["examples.lenet_torch:lenet5", "--checkpoint", "lenet5.pth"]
    assert main(["diff", str(engine), *spec, "--input", "array.npy", "--report", "report.json"]) == 0
    assert "layers agree" in capsys.readouterr().out
    assert json.loads((folder / "report.json").read_text())["ok"] is True
    assert main(["diff", "lenet5", *spec, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_diff_finds_other_weights(folder, capsys):
    assert main(["diff", "lenet5", "examples.lenet_torch:lenet5"]) == 1
    assert "weight" in capsys.readouterr().out.lower()


def test_diff_of_what_an_engine_computes(folder, capsys):
    spec = ["diff", "lenet5", "examples.lenet_torch:lenet5", "--checkpoint", "lenet5.pth", "--input", "array.npy"]
    assert main([*spec, "--target", "cpu", "--precision", "fp16", "--yardstick", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["observer"]["target"] == "cpu"
    assert all(row["yardstick"] is not None for row in report["rows"])
    fails(capsys, [*spec, "--observe", "unfused"], "observe='unfused' says how to look into an engine")
    fails(capsys, [*spec, "--yardstick"], "yardstick=True: PyTorch in the network's own precision")


def test_diff_on_what_it_cannot_use(engine, capsys):
    fails(capsys, ["diff", str(engine), "examples.lenet_torch:lenet6"], "lenet6")
    inside = ["diff", "lenet5", "examples.lenet_torch:lenet5", "--preprocess", "in_network"]
    fails(capsys, inside, "lenet5 takes pictures and normalizes them itself", "give --image")
    fails(
        capsys, ["diff", "lenet7", "examples.lenet_torch:lenet5"], "'lenet7' is neither a file nor a variant", "lenet5"
    )


def test_onnx(engine, folder, capsys):
    import onnx

    assert main(["onnx", str(engine), "-o", "a.onnx"]) == 0
    assert main(["onnx", "lenet5", "-o", "b.onnx", "--mark", "conv1"]) == 0
    for name, outputs in (("a.onnx", ["logits", "prob"]), ("b.onnx", ["logits", "prob", "conv1"])):
        model = onnx.load(name)
        onnx.checker.check_model(model, full_check=True)
        assert [output.name for output in model.graph.output] == outputs
    fails(capsys, ["onnx", str(engine), "-o", "c.onnx", "--mark", "conv1"], "--mark needs a variant")
    fails(capsys, ["onnx", str(engine), "-o", "c.onnx", "--precision", "fp16"], "--precision is for defining a variant")
    capsys.readouterr()
    assert main(["onnx", "lenet5", "-o", "d.onnx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == (folder / "d.onnx").stat().st_size


def test_onnx_through_nvidias_parser(folder, capsys):
    assert main(["onnx", "lenet5", "-o", "a.onnx"]) == 0
    assert main(["onnx", "--from-onnx", "a.onnx", "-o", "b.onnx", "--mark", "conv1"]) == 0
    outputs = []
    for name in ("a.onnx", "b.onnx"):
        with netdefs.load_engine(name) as engine:
            outputs.append(engine.run({"input": np.load("array.npy")}))
    assert list(outputs[1]) == ["logits", "prob", "conv1"]
    np.testing.assert_allclose(outputs[1]["prob"], outputs[0]["prob"], rtol=1e-6)
    again = ["onnx", "--from-onnx", "a.onnx", "-o", "c.onnx"]
    fails(capsys, [*again, "--precision", "fp16"], "--precision is for defining a variant; a.onnx is a file")
    fails(capsys, [*again, "--input-shape", "2x1x32x32"], "the model has (1, 1, 32, 32)")
    fails(capsys, ["onnx", "--from-onnx", "photo.png", "-o", "c.onnx"], "photo.png is not an ONNX model", "PNG")
    fails(capsys, ["onnx", "--from-onnx", "lenet5", "-o", "c.onnx"], "no file lenet5")
    fails(capsys, ["onnx", "--from-onnx", "a.onnx"], "a.onnx already exists")
    assert not (folder / "c.onnx").exists()


def test_wrong_weights(folder, capsys):
    fails(
        capsys,
        ["build", "resnet18", "--weights", "weights/lenet5.wts"],
        "These weights don't fit resnet18: weights/lenet5.wts",
        "conv1.weight",
    )
    fails(capsys, ["build", "resnet18"], "No weights for resnet18", "gen_wts.py")
    fails(capsys, ["build", "lenet5", "--weights", "lenet5.pth"], "gen_wts.py lenet5.pth")
    fails(capsys, ["build", "lenet5", "--num-classes", "0"], "num_classes=0")
    fails(capsys, ["build", "lenet5", "-o", "x" * 300], "can't be a file")
    (folder / "mine.engine.json").write_text("mine")
    fails(
        capsys, ["build", "lenet5", "--target", "tensorrt_rtx", "-o", "mine.engine"], "mine.engine.json already exists"
    )
    (folder / "mine.engine.json").unlink()
    assert not list(folder.glob("*.engine"))


def test_a_folder_that_is_not_there(folder, capsys):
    for command in ("build", "onnx"):
        fails(capsys, [command, "lenet5", "-o", "none/lenet5"], "Can't write none/lenet5: there is no folder none.")
