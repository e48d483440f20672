"""The .wts format: against a writer in tensorrtx's manner, in all its spellings, and with every kind of damage."""

import errno
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import netdefs
from netdefs.core import wts
from netdefs.core.errors import FileError, NetdefsError, WeightsError

RNG = np.random.default_rng(0)
ARRAYS = {
    "conv1.weight": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "bn1.num_batches_tracked": np.array(7),
    "bn1.running_var": np.array([1, 0.5, 1e-30, -0.0, np.inf, -np.inf, np.nan], np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "größe\ufffd": np.array([3.4028235e38], np.float64),
}


def plain(arrays, separator=""):
    """A .wts as an exporter writes it, value by value."""
    lines = [f"{len(arrays)}\n"]
    for name, array in arrays.items():
        values = np.asarray(array).reshape(-1)
        lines.append(f"{name} {len(values)}{separator}")
        for value in values:
            lines.append(" " + struct.pack(">f", float(value)).hex())
        lines.append("\n")
    return "".join(lines).encode()


def bits(array):
    return np.asarray(array, np.float32).reshape(-1).view(np.uint32).tolist()


def load(tmp_path, content):
    path = tmp_path / "x.wts"
    path.write_bytes(content)
    return netdefs.load_wts(path)


def same(found, arrays):
    assert list(found) == list(arrays)
    for name, array in found.items():
        assert array.dtype == np.float32 and array.ndim == 1 and bits(array) == bits(arrays[name]), name


@pytest.mark.parametrize("two_spaces", [False, True])
def test_written_as_tensorrtx_writes_and_read_back(tmp_path, two_spaces):
    path = tmp_path / "x.wts"
    netdefs.save_wts(path, ARRAYS, two_spaces=two_spaces)
    assert path.read_bytes() == plain(ARRAYS, " " if two_spaces else "")
    same(netdefs.load_wts(path), ARRAYS)


def test_tensors_longer_than_a_block_and_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(wts, "BLOCK", 64)
    monkeypatch.setattr(wts, "PARALLEL", 100)
    arrays = {f"w{size}": RNG.standard_normal(size).astype(np.float32) for size in (1, 63, 64, 65, 1000)}
    path = tmp_path / "x.wts"
    written = []
    netdefs.save_wts(path, arrays, progress=written.append)
    assert path.read_bytes() == plain(arrays) and sum(written) == sum(array.size for array in arrays.values())
    same(netdefs.load_wts(path), arrays)
    same(wts._read_strict(path), arrays)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int64", "uint64", "bool", ">f4", ">i2"])
def test_other_types_are_converted_as_float_would(tmp_path, dtype):
    floats = np.dtype(dtype).kind == "f"
    values = (RNG.standard_normal(300) if floats else RNG.integers(0, 2**62, 300)).astype(dtype)
    path = tmp_path / "x.wts"
    netdefs.save_wts(path, {"x": values.reshape(3, 100)[:, ::2]})
    assert path.read_bytes() == plain({"x": values.reshape(3, 100)[:, ::2]})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_torch_tensors(tmp_path, dtype):
    tensor = torch.nn.Parameter(torch.arange(6).to(dtype).reshape(2, 3).t(), requires_grad=dtype.is_floating_point)
    netdefs.save_wts(tmp_path / "x.wts", {"x": tensor})
    same(netdefs.load_wts(tmp_path / "x.wts"), {"x": [0, 3, 1, 4, 2, 5]})


TWO = {"a": [1.0, -2.0], "b.c": [0.5]}


@pytest.mark.parametrize(
    "text",
    [
        "2\na 2 3f800000 c0000000\nb.c 1 3f000000\n",
        "2\na 2  3f800000 c0000000\nb.c 1  3f000000\n",
        "2\r\na 2 3f800000 c0000000\r\nb.c 1 3f000000\r\n",
        "2\r\na 2  3f800000 c0000000\r\nb.c 1  3f000000\r\n",
        "2\na 2 3F800000 C0000000\nb.c 1 3F000000\n",
        "2\na 2 0x3f800000 0Xc0000000\nb.c 1 0x3f000000\n",
        "2\na 2 3f800000 c0000000 \nb.c 1 3f000000 \n",
        "2\na 2 3f800000 0xC0000000\nb.c 1  3f000000\r\n",
    ],
)
def test_every_spelling(tmp_path, text):
    same(load(tmp_path, text.encode()), TWO)


def test_unpadded_values(tmp_path):
    same(load(tmp_path, b"1\nx 4 0 1 3f8 0x7f\n"), {"x": np.array([0, 1, 0x3F8, 0x7F], np.uint32).view(np.float32)})


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", ["", " "])
def test_exporters_files_take_the_fast_way(tmp_path, line_end, separator):
    path = tmp_path / "x.wts"
    path.write_bytes(plain(ARRAYS, separator).replace(b"\n", line_end.encode()))
    found = wts._read_regular(path)
    assert found is not None
    same(found, ARRAYS)


def test_the_fast_way_takes_lower_case_hex_digits_only():
    out, scratch = np.empty(3, np.float32), np.empty((3, 3), np.uint64)
    for place in range(9):
        for byte in range(256):
            text = bytearray(b" 00000000 0fa9a0f5 ffffffff")
            text[9 + place] = byte
            good = b" " if place == 0 else b"0123456789abcdef"
            assert wts._decode(text, out, scratch) == (byte in good), (place, byte)
            if byte in good:
                assert bits(out) == [int(value, 16) for value in text.split()]


GOOD = "3\na.weight 2 3f800000 c0000000\nb.weight 3 3f000000 00000000 3f000000\nc 1 3f800000\n"
BAD = {
    "empty": ("", r"x\.wts is empty"),
    "no count": (GOOD[2:], r"must begin with its number of tensors, but the file looks like text"),
    "only a count": ("3", r"line 1: the file ends after '3'"),
    "negative count": ("-3" + GOOD[1:], "number of tensors"),
    "underscore in count": ("0_3" + GOOD[1:], "number of tensors"),
    "count too large": ("4" + GOOD[1:], r"announces 4 tensors but ends after 3"),
    "count too small": (
        "2" + GOOD[1:],
        r"line 4, after tensor 'b\.weight': line 1 announces 2 tensors, but more follows",
    ),
    "a blank line more": (GOOD + "\n", r"line 5, after tensor 'c': .*more follows"),
    "a line more": (GOOD + "d 1 3f800000\n", r"line 5, after tensor 'c': .*more follows"),
    "a value more": (GOOD.replace("3f000000\nc", "3f000000 0\nc"), r"line 3, tensor 'b\.weight': .*3 values, but more"),
    "a value less": (
        GOOD.replace(" 00000000", ""),
        r"line 3, tensor 'b\.weight': .*3 values, but the line ends after 2",
    ),
    "name only": (
        GOOD.replace("c 1 3f800000", "c"),
        r"line 4, tensor 'c': its number of values must follow, not the line",
    ),
    "bad size": (GOOD.replace("c 1", "c 1.0"), r"line 4, tensor 'c': its number of values must follow, not '1\.0'"),
    "huge size": (
        GOOD.replace("c 1", "c 999999999999"),
        r"tensor 'c': it announces 999999999999 values, which the rest",
    ),
    "blank line": (GOOD.replace("c 1 3f800000", ""), r"line 4: a tensor's name must come first, not the line's end"),
    "duplicate": (GOOD.replace("c 1", "a.weight 1"), r"line 4: tensor 'a\.weight' is there already, on line 2"),
    "not hex": (GOOD.replace("c0000000", "g0000000"), r"line 2, tensor 'a\.weight': value 2 is 'g0000000'"),
    "decimal": (GOOD.replace("c0000000", "-2.0"), r"value 2 is '-2\.0'"),
    "underscore": (GOOD.replace("c0000000", "c00_0000"), r"value 2 is 'c00_0000'"),
    "plus": (GOOD.replace("c0000000", "+c000000"), r"value 2 is '\+c000000'"),
    "minus": (GOOD.replace("c0000000", "-c000000"), r"value 2 is '-c000000'"),
    "prefix alone": (GOOD.replace("c0000000", "0x"), r"value 2 is '0x'"),
    "nine digits": (GOOD.replace("c0000000", "0c0000000"), r"value 2 is '0c0000000'"),
    "nine digits, prefixed": (GOOD.replace("c0000000", "0x0c0000000"), r"value 2 is '0x0c0000000'"),
    "tab": (GOOD.replace(" c0000000", "\tc0000000"), r"value 1 is '3f800000\\tc0000000'"),
    "full-width digits": (GOOD.replace("c0000000", "４０000000"), "value 2 is"),
    "control character in a name": (
        GOOD.replace("c 1", "c\x07 1"),
        r"line 4: a tensor's name must come first, not 'c\\x07'",
    ),
    "lone carriage return": (GOOD.replace("\nc", "\rc"), r"line 3, tensor 'b\.weight'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_malformed(tmp_path, kind):
    text, message = BAD[kind]
    with pytest.raises(WeightsError, match=message) as raised:
        load(tmp_path, text.encode())
    assert "x.wts" in str(raised.value) and "gen_wts.py" in str(raised.value)


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"PK\x03\x04" + bytes(100), "a PyTorch checkpoint"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (bytes(1000), "a file of zeros"),
        (bytes(range(1, 256)), "a binary file"),
    ],
)
def test_files_of_another_kind(tmp_path, content, kind):
    with pytest.raises(WeightsError, match=f"x.wts is not a .wts file: .*{kind}"):
        load(tmp_path, content)


def test_cut_off_anywhere(tmp_path):
    for spelling in (GOOD, GOOD.replace("\n", "\r\n"), GOOD.replace("c0000000", "0xC0")):
        for length in range(len(spelling)):
            with pytest.raises(WeightsError, match=r"x\.wts"):
                load(tmp_path, spelling[:length].encode())


def test_cut_off_in_a_line_names_line_and_tensor(tmp_path):
    with pytest.raises(WeightsError, match=r"line 3, tensor 'b\.weight': the file ends in the middle of the line"):
        load(tmp_path, GOOD[: GOOD.index("00000000 3f")].encode())


def test_no_end_of_line_in_sight(tmp_path, monkeypatch):
    monkeypatch.setattr(wts, "BLOCK", 1024)
    with pytest.raises(WeightsError, match=r"line 2, tensor 'x': value 1 is '0000.*\.\.\."):
        load(tmp_path, b"1\nx 9000 " + b"0" * 50000)
    with pytest.raises(WeightsError, match=r"line 2, tensor 'x': value 1 is '0000.*\.\.\."):
        load(tmp_path, b"1\nx 9000 " + b"0" * 50000 + b"\n")
    with pytest.raises(WeightsError, match="line 2"):
        load(tmp_path, b"1\n" + b"n" * 50000)
    same(load(tmp_path, b"1\n" + b"n" * 2000 + b" 2 3F800000 0\n"), {"n" * 2000: [1, 0]})


def test_values_across_blocks_in_the_strict_way(tmp_path, monkeypatch):
    monkeypatch.setattr(wts, "BLOCK", 50)
    values = RNG.standard_normal(100).astype(np.float32)
    same(
        load(tmp_path, plain({"x": values, "y": values}).upper().lower().replace(b"a", b"A")),
        {"x": values, "y": values},
    )


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(
        FileError, match=r"nothing\.wts does not exist.*python tools/gen_wts\.py CHECKPOINT -o .*nothing"
    ):
        netdefs.load_wts(tmp_path / "nothing.wts")
    with pytest.raises(FileError, match="Can't read"):
        netdefs.load_wts(tmp_path)


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "a\nb", "a\u00a0b", "a\x00b", "\ud800", 1])
def test_names_that_cant_be_written(tmp_path, name):
    with pytest.raises(WeightsError, match="can't be written"):
        netdefs.save_wts(tmp_path / "x.wts", {"good": [1.0], name: [1.0]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value, message",
    [
        (np.array([1.0, 1e39]), r"'x' holds 1e\+39, which is too large for float32"),
        (np.array([1j]), "'x' is not an array of real numbers: it holds complex128"),
        (np.array(["a"]), "'x' is not an array of real numbers"),
        ([[1], [2, 3]], "'x' can't be read as an array"),
        (torch.eye(2).to_sparse(), "'x' can't be read as an array"),
    ],
)
def test_values_that_cant_be_written(tmp_path, value, message):
    path = tmp_path / "x.wts"
    path.write_text("before")
    with pytest.raises(WeightsError, match=message):
        netdefs.save_wts(path, {"good": [1.0], "x": value})
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_destroys_nothing(tmp_path, monkeypatch):
    path = tmp_path / "x.wts"
    path.write_text("before")
    opened = os.fdopen

    def full(handle, mode):
        os.close(handle)
        return opened(os.open("/dev/full", os.O_WRONLY), mode)

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(FileError, match=r"Can't write .*x\.wts: No space left on device"):
        netdefs.save_wts(path, {"x": np.zeros(100_000)})
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_no_permission_and_no_folder(tmp_path, monkeypatch):
    with pytest.raises(FileError, match=r"Can't write .*x\.wts: No such file or directory"):
        netdefs.save_wts(tmp_path / "missing" / "x.wts", {})

    def refuse(*arguments, **keywords):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match=r"Can't write .*x\.wts: Permission denied"):
        netdefs.save_wts(tmp_path / "x.wts", {})


def test_memory_while_reading_is_a_fraction_of_the_file(tmp_path):
    path = tmp_path / "x.wts"
    netdefs.save_wts(path, {f"w{i}": RNG.standard_normal(1_000_000).astype(np.float32) for i in range(8)})
    code = (
        "import resource, sys\nfrom netdefs import load_wts\n"
        "usage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = usage(); arrays = load_wts(sys.argv[1]); print((usage() - before) * 1024)"
    )
    used = int(subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stdout)
    assert used < 0.75 * path.stat().st_size


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(wts._is_name)
arrays = st.dictionaries(names, hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)), max_size=4)


@given(arrays)
def test_round_trip(tmp_path_factory, arrays):
    path = tmp_path_factory.getbasetemp() / "round_trip.wts"
    netdefs.save_wts(path, arrays)
    same(netdefs.load_wts(path), arrays)
    same(wts._read_strict(path), arrays)


def outcome(path, read):
    try:
        return {name: bits(array) for name, array in read(path).items()}
    except NetdefsError:
        return None


def both_ways_agree(path):
    """No exception but NetdefsError, and the fast way reads nothing otherwise than the strict way."""
    loaded = outcome(path, netdefs.load_wts)
    assert loaded == outcome(path, wts._read_strict)
    return loaded


pieces = st.sampled_from(
    [b"1", b"2", b"\n", b"\r\n", b" ", b"  ", b"w", b"3f800000", b"0x1f", b"G", b"\t", b"\xff", b"\0"]
)


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=200), st.lists(pieces, max_size=30).map(b"".join)))
def test_any_bytes_load_or_raise_our_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "fuzz.wts"
    path.write_bytes(content)
    both_ways_agree(path)


@settings(max_examples=300)
@given(arrays, st.data())
def test_a_changed_file_loads_exactly_or_raises_our_error(tmp_path_factory, arrays, data):
    content = bytearray(plain(arrays))
    kind = data.draw(st.sampled_from(["change", "insert", "delete", "cut"]))
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(list(b"0aF x\n\r"))))
    if kind == "change":
        content[at] = byte
    elif kind == "insert":
        content.insert(at, byte)
    else:
        del content[at : at + 1 if kind == "delete" else None]
    path = tmp_path_factory.getbasetemp() / "changed.wts"
    path.write_bytes(content)
    loaded = both_ways_agree(path)
    assert kind != "cut" or loaded is None
    if loaded is not None:  # then it says what it says: as many tensors and values as it announces
        tokens = [line.split() for line in content.decode().replace("\r\n", "\n").split("\n")[1:-1]]
        assert {t[0]: [int(value, 16) for value in t[2:]] for t in tokens} == loaded
        assert all(int(t[1]) == len(t) - 2 for t in tokens) and int(content.split()[0]) == len(tokens)
