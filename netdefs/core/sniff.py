"""What a file looks like from its first bytes, for messages about files that are not what was asked for."""

HEAD = 512  # bytes that are enough to tell

SIGNATURES = (
    (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint"),
    (b"version https://git-lfs", "a git-LFS pointer: the file itself was not downloaded (run: git lfs pull)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF"),
    (b"\x89HDF\r\n", "an HDF5 (Keras) file"),
    (b"\x93NUMPY", "a numpy .npy array"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7-zip archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\x08", "an ONNX or other protobuf file"),
)


def looks_like(head: bytes) -> str | None:
    """What a file that begins with `head` looks like, in words, or None if it looks like nothing known."""
    for signature, kind in SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(b"\x80") and len(head) > 1 and head[1] in range(2, 6):
        return "a Python pickle or an old PyTorch checkpoint"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if is_safetensors(head):
        return "a safetensors file"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page: the download link led to a page, not to the file"
    if head and not head.strip(b"\0"):
        return "a file of zeros: a download that did not finish"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character cut in two at the end is no sign
            return "a binary file of an unknown kind"
    if b"\0" in head:
        return "a binary file of an unknown kind"
    return "text" if head else None


def is_safetensors(head: bytes) -> bool:
    """True if a file that begins with `head` looks like safetensors: the length of its header, then JSON."""
    return head[:8].endswith(b"\0\0\0") and head[8:9] == b"{"
