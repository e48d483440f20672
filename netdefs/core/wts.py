"""The .wts text format of tensorrtx: a count line, then `name count` and big-endian float32 hex for each tensor.

Reading goes two ways. `_read_regular` takes files laid out as exporters write them, close to the speed of memory, and
gives up on anything else. `_read_strict` then reads token by token: it takes the format's other spellings too, and
explains what is wrong with everything else.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from netdefs.core.dtypes import as_numpy, to_float32
from netdefs.core.errors import FileError, WeightsError
from netdefs.core.files import atomic_write
from netdefs.core.sniff import HEAD, looks_like

BLOCK = 65536  # values handled at a time: enough that threads rarely wait for each other, few enough for the cache
CELL = 9  # characters of one value: a space and eight hex digits
PARALLEL = 1 << 20  # values from which threads pay
WINDOW = 512  # bytes in which a name and its count are looked for
LONGEST = 4096  # characters that one name or value may have before the file is taken for something else

COUNT = re.compile(rb"([0-9]{1,9})(?=\r?\n)")
HEADER = re.compile(rb"\r?\n([^ \r\n]+) ([0-9]{1,15})(?= |\r?\n)( (?= |\r?\n))?")
VALUE = re.compile(rb"(?:0[xX])?[0-9a-fA-F]{1,8}")
AGAIN = "Make the file again with tools/gen_wts.py, or copy it again if it was complete where it came from."


def load_wts(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a .wts file as flat float32 arrays by name, in the file's order (the format holds no shapes).

    Two spaces after the count, CRLF line ends, and `0x`-prefixed or unpadded values are read too. The arrays may share
    one block of memory.

    Raises:
        FileError: the file is missing or can't be read.
        WeightsError: the file is malformed; the message names line and tensor.
    """
    path = Path(path)
    try:
        arrays = _read_regular(path)
        return _read_strict(path) if arrays is None else arrays
    except FileNotFoundError as error:
        make = f"python tools/gen_wts.py CHECKPOINT -o {path}"
        raise FileError(f"{path} does not exist. Make it from a PyTorch checkpoint with: {make}") from error
    except OSError as error:
        raise FileError(f"Can't read {path}: {error.strerror or str(error).rstrip('.')}.") from error


def save_wts(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    *,
    two_spaces: bool = False,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Writes arrays, in their order, as a .wts file, replacing what is there once all is written.

    Args:
        path: the file to write.
        arrays: name -> numbers of any shape; converted to float32 as Python's `float` and `struct` would.
        two_spaces: put two spaces after the count, as some of tensorrtx's exporters do.
        progress: called with the number of values just written, again and again.

    Raises:
        FileError: the file can't be written.
        WeightsError: a name or a value can't be written in this format.
    """
    for name in arrays:
        if not _is_name(name):
            raise WeightsError(f"The name {name!r} can't be written to {path}: names are text without white space.")
    extra = " " if two_spaces else ""
    memory = bytearray(b" " * (BLOCK * CELL)), np.empty(BLOCK, np.uint64), np.empty(2 * BLOCK, np.intp)
    with atomic_write(path) as file:
        file.write(f"{len(arrays)}\n".encode())
        for name, value in arrays.items():
            array = as_numpy(value, name).reshape(-1)
            file.write(f"{name} {array.size}{extra}".encode())
            for start in range(0, array.size, BLOCK):
                block = array[start : start + BLOCK]
                file.write(_encode(to_float32(block, name), *memory))
                if progress:
                    progress(block.size)
            file.write(b"\n")


def _is_name(name: Any) -> bool:
    # The space is the only white space that Python counts as printable.
    return isinstance(name, str) and name.isprintable() and name != "" and " " not in name


def _name(text: bytes) -> str | None:
    """The name that the bytes of a file spell, or None if they spell none."""
    try:
        name = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return name if _is_name(name) else None


# Four hex digits for each of the 65536 halves of a float32, as the four bytes of a uint32.
_QUADS = np.frombuffer("".join(f"{half:04x}" for half in range(1 << 16)).encode(), np.uint32)


def _encode(values: np.ndarray, text: bytearray, digits: np.ndarray, index: np.ndarray) -> memoryview:
    """Flat float32 values as the text of their cells: a space and eight digits each.

    Memory used again and again is much faster than new memory, so the caller brings it: `text` with a space where each
    cell begins, `digits` (uint64) with room for all values, `index` (intp) with room for twice as many.
    """
    size = values.size
    digits, index = digits[:size], index[: 2 * size]
    np.copyto(digits.view(">f4")[:size], values)
    np.copyto(index, digits.view(">u2")[: 2 * size])
    _QUADS.take(index, out=digits.view(np.uint32), mode="clip")  # none is clipped: halves are below 65536
    np.copyto(np.ndarray((size,), np.uint64, text, 1, (CELL,)), digits)
    return memoryview(text)[: size * CELL]


def _read_regular(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file in which every value is a space and eight lower-case digits, or None if it isn't one."""
    with path.open("rb", buffering=0) as file:
        index = _index(file, os.fstat(file.fileno()).st_size)
    if index is None:
        return None
    total = sum(count for count, _ in index.values())
    values = np.empty(total, np.float32)  # in one piece: the system hands out large pages for it
    arrays: dict[str, np.ndarray] = {}
    jobs = []
    end = 0
    for name, (count, offset) in index.items():
        array = arrays[name] = values[end : end + count]
        end += count
        jobs += [(offset + CELL * start, array[start : start + BLOCK]) for start in range(0, count, BLOCK)]
    workers = min(4, os.cpu_count() or 1) if total >= PARALLEL else 1
    if workers == 1:
        regular = _decode_jobs(path, jobs)
    else:
        with ThreadPoolExecutor(workers) as pool:
            regular = all(list(pool.map(lambda first: _decode_jobs(path, jobs[first::workers]), range(workers))))
    return arrays if regular else None


def _index(file: Any, size: int) -> dict[str, tuple[int, int]] | None:
    """The count of every tensor and the place of its first cell, found by jumping over the values."""
    match = COUNT.match(file.read(WINDOW))
    if match is None:
        return None
    tensors: dict[str, tuple[int, int]] = {}
    position = match.end()
    for _ in range(int(match[1])):
        file.seek(position)
        match = HEADER.match(file.read(WINDOW))
        if match is None:
            return None
        name, count = _name(match[1]), int(match[2])
        offset = position + match.end()
        position = offset + CELL * count
        if name is None or name in tensors or position >= size:
            return None
        tensors[name] = (count, offset)
    file.seek(position)
    return tensors if file.read(3) in (b"\n", b"\r\n") else None


def _decode_jobs(path: Path, jobs: list[tuple[int, np.ndarray]]) -> bool:
    """Reads and decodes cells (their place in the file, the array for their values); False if any is not regular."""
    longest = max((out.size for _, out in jobs), default=0)
    text = bytearray(longest * CELL)
    scratch = np.empty((3, longest), np.uint64)
    with path.open("rb", buffering=0) as file:
        for offset, out in jobs:
            file.seek(offset)
            wanted = memoryview(text)[: out.size * CELL]
            if file.readinto(wanted) != len(wanted) or not _decode(text, out, scratch[:, : out.size]):
                return False
    return True


def _each_byte(byte: int) -> np.uint64:
    return np.uint64(int.from_bytes(bytes([byte] * 8), "little"))


_TWO, _FOUR, _EIGHT, _NINE = (np.uint64(n) for n in (2, 4, 8, 9))
_PAIR = np.uint64((1 << 12) + 1)  # times this, a byte gets the byte before it as its high half
_LOW_NIBBLE, _BIT_4, _SIX = _each_byte(0x0F), _each_byte(0x10), _each_byte(6)


def _decode(text: bytearray, out: np.ndarray, scratch: np.ndarray) -> bool:
    """Decodes `out.size` cells into `out`; False if one of them is not a space and eight lower-case hex digits.

    The eight digits of a value are the bytes of one uint64, so each step below works on eight digits at once, and none
    carries from one byte into the next.
    """
    size = out.size
    if not (np.ndarray((size,), np.uint8, text, 0, (CELL,)) == ord(" ")).all():
        return False
    digits, letter, nibble = scratch
    np.copyto(digits, np.ndarray((size,), "<u8", text, 1, (CELL,)))
    np.right_shift(digits, _TWO, letter)
    np.bitwise_and(letter, _BIT_4, letter)  # bit 4 set where the digit has bit 6: "a" to "f", and not "0" to "9"
    np.bitwise_and(digits, _LOW_NIBBLE, nibble)
    # The high half of a digit is 3, or 6 for a letter. With bit 4 flipped for letters it has bits 4 and 5, never bit 7.
    np.bitwise_xor(digits, letter, digits)
    always, ever = np.bitwise_and.reduce(digits), np.bitwise_or.reduce(digits)
    np.multiply(letter, _NINE, digits)
    np.right_shift(digits, _FOUR, digits)
    np.add(nibble, digits, nibble)  # "a" is 0x61: 1 + 9 = 10
    too_large = np.bitwise_or.reduce(nibble)
    np.add(nibble, _SIX, digits)
    np.bitwise_xor(digits, letter, digits)  # nibble + 6 reaches bit 4 from ten on, which only a letter may
    wrong_kind = np.bitwise_or.reduce(digits)
    if (always & _each_byte(0x30)) != _each_byte(0x30) or ever & _each_byte(0x80):
        return False
    if (too_large | wrong_kind) & _BIT_4:
        return False
    np.multiply(nibble, _PAIR, nibble)
    np.right_shift(nibble, _EIGHT, nibble)  # every second byte now holds two digits, the first two in the lowest
    pairs = nibble.view(np.uint16).astype(np.uint8)
    np.copyto(out, pairs.view(">f4"))
    return True


def _read_strict(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file in any accepted spelling.

    Raises:
        WeightsError: the file is malformed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        count = _tensor_count(file, path)
        arrays: dict[str, np.ndarray] = {}
        for line in range(2, count + 2):
            if file.tell() == size:
                raise WeightsError(f"{path} announces {count} tensors but ends after {len(arrays)}. {AGAIN}")
            name, array = _read_line(file, f"{path}, line {line}", size)
            if name in arrays:
                first = list(arrays).index(name) + 2
                raise WeightsError(f"{path}, line {line}: tensor {name!r} is there already, on line {first}. {AGAIN}")
            arrays[name] = array
        if file.tell() != size:
            where = f"{path}, line {count + 2}" + (f", after tensor {name!r}" if arrays else "")
            raise WeightsError(f"{where}: line 1 announces {count} tensors, but more follows. {AGAIN}")
    return arrays


def _tensor_count(file: BinaryIO, path: Path) -> int:
    head = file.read(HEAD)
    if not head:
        raise WeightsError(f"{path} is empty. {AGAIN}")
    first, end, _ = head.partition(b"\n")
    digits = first.removesuffix(b"\r").strip(b" ")
    if not re.fullmatch(rb"[0-9]{1,9}", digits):
        kind = looks_like(head)
        found = f"the file looks like {kind}" if kind else f"line 1 is {_shown(first)}"
        raise WeightsError(f"{path} is not a .wts file: it must begin with its number of tensors, but {found}. {AGAIN}")
    if not end:
        raise WeightsError(f"{path}, line 1: the file ends after {_shown(first)}. {AGAIN}")
    file.seek(len(first) + 1)
    return int(digits)


def _read_line(file: BinaryIO, where: str, size: int) -> tuple[str, np.ndarray]:
    """Name and values of the tensor on the next line; `where` names the line in messages."""
    pieces = _tokens(file)
    try:
        name, count, values = _read_header(pieces, where)
        where = f"{where}, tensor {name!r}"
        left = size - file.tell() + sum(len(value) + 1 for value in values) + LONGEST
        if 2 * count > left:  # a value is a space and a digit at least
            raise WeightsError(f"{where}: it announces {count} values, which the rest of the file can't hold. {AGAIN}")
        array = np.empty(count, np.float32)
        done = _store(values, array, 0, where)
        for values in pieces:
            done = _store(values, array, done, where)
    except EOFError:
        raise WeightsError(f"{where}: the file ends in the middle of the line; it was cut short. {AGAIN}") from None
    if done < count:
        raise WeightsError(f"{where}: it announces {count} values, but the line ends after {done}. {AGAIN}")
    return name, array


def _store(values: list[bytes], array: np.ndarray, done: int, where: str) -> int:
    """Puts values into `array` behind the `done` that are there; returns how many are there now."""
    matches = [VALUE.fullmatch(value) for value in values]
    if None in matches:
        at = matches.index(None)
        found = f"value {done + at + 1} is {_shown(values[at])}"
        raise WeightsError(f"{where}: {found}, which is not a float32 in up to 8 hex digits. {AGAIN}")
    if done + len(values) > array.size:
        raise WeightsError(f"{where}: it announces {array.size} values, but more are on the line. {AGAIN}")
    bits = np.array([int(value, 16) for value in values], np.uint32)
    array[done : done + len(values)] = bits.view(np.float32)
    return done + len(values)


def _read_header(pieces: Iterator[list[bytes]], where: str) -> tuple[str, int, list[bytes]]:
    """Name, count and the values that came along with them."""
    tokens = next(pieces)
    if len(tokens) < 2:
        tokens += next(pieces, [])
    name = _name(tokens[0]) if tokens else None
    if name is None:
        found = _shown(tokens[0]) if tokens else "the line's end"
        raise WeightsError(f"{where}: a tensor's name must come first, not {found}. {AGAIN}")
    if len(tokens) < 2 or not re.fullmatch(rb"[0-9]{1,15}", tokens[1]):
        found = _shown(tokens[1]) if len(tokens) > 1 else "the line's end"
        raise WeightsError(f"{where}, tensor {name!r}: its number of values must follow, not {found}. {AGAIN}")
    return name, int(tokens[1]), tokens[2:]


def _tokens(file: BinaryIO) -> Iterator[list[bytes]]:
    """What stands between the spaces of the next line, in pieces: a line may hold most of a file.

    Raises:
        EOFError: the file ends before the line does.
    """
    rest = b""
    while piece := file.readline(BLOCK):
        text = rest + piece
        if piece.endswith(b"\n"):
            yield [token for token in text[:-1].removesuffix(b"\r").split(b" ") if token]
            return
        *tokens, rest = text.split(b" ")
        if len(rest) > LONGEST:
            tokens.append(rest)  # no name and no value: let it be seen before it grows
        yield [token for token in tokens if token]
    raise EOFError


def _shown(text: bytes, most: int = 40) -> str:
    """A piece of a file as a message can show it."""
    return repr(text[:most].decode("utf-8", "backslashreplace")) + ("..." if len(text) > most else "")
