"""`load_engine` on files that are no engine, damaged ones, and ONNX models of other tools."""

import numpy as np
import pytest

import netdefs
from netdefs.core.errors import EngineError, FileError
from tests.engine import raw


def refused(path, error=EngineError):
    with pytest.raises(error) as caught:
        netdefs.load_engine(path)
    return str(caught.value)


def test_no_file(tmp_path):
    assert "There is no file" in refused(tmp_path / "net.engine", FileError)
    assert "Can't read" in refused(tmp_path, FileError)
    assert "Can't read" in refused(f"{tmp_path}/a\0b", FileError)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, this is a text file\n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"\x08\x07",
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
    ],
)
def test_files_that_are_neither(tmp_path, data):
    (tmp_path / "net.engine").write_bytes(data)
    message = refused(tmp_path / "net.engine")
    assert f"({len(data)} bytes) is neither an ONNX model nor a TensorRT plan" in message
    assert "Engine.save" in message


def test_weights_are_called_weights(tmp_path):
    """They have a .json beside them too, which is not a plan's."""
    path = tmp_path / "net.wts"
    netdefs.save_wts(path, {"conv1.weight": np.ones(3), "b": np.ones(1)})
    (tmp_path / "net.wts.json").write_text('{"netdefs": "0.1.0", "weights_sha256": "0"}')
    assert "is neither an ONNX model nor a TensorRT plan, or it is cut short. It looks like weights (.wts)." in refused(
        path
    )
    netdefs.save_wts(path, {"conv1.weight": np.ones(3)}, two_spaces=True)
    assert "It looks like weights (.wts)." in refused(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    assert "It looks like a PNG image." in refused(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_onnx_file(tmp_path, share):
    path = tmp_path / "net.onnx"
    netdefs.build(raw.conv_scale_relu(), target="cpu").save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path)


def test_damaged_metadata(tmp_path):
    import onnx

    path = tmp_path / "net.onnx"
    netdefs.build(raw.conv_scale_relu(), target="cpu").save(path)
    model = onnx.load(path)
    next(entry for entry in model.metadata_props if entry.key == "netdefs.engine").value = "{"
    onnx.save(model, path)
    assert "'netdefs.engine' in this ONNX model's metadata is damaged" in refused(path)


def test_an_onnx_file_of_any_origin(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    shape = ["batch", 3]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "somebody's",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    engine = netdefs.load_engine(tmp_path / "a.onnx")
    assert engine.info == {}
    assert engine.inputs["x"].shape == (-1, 3)
    x = raw.coarse((2, 3), 0)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], np.maximum(x, 0))
