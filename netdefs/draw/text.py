"""How wide text is, and the lines on a card."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

LINE = 15.0  # pixels from one line to the next
WIDEST = 228.0  # of a line with parameters

# Thousandths of the font's size: Roboto's, which are near those of Helvetica and Arial.
WIDTHS = {
    200: "',;'",
    250: " !.:I[]ijl|·",
    300: '"-`',
    350: "()frt{}",
    400: "/\\^",
    450: "*?_y",
    500: "<>cksvxz",
    600: "#&BRSTYZ",
    650: "ACDKPUVX",
    700: "GHNOQ~",
    750: "%w",
    880: "@Wm→M",
}
OTHERS = 565  # digits and most letters
WIDE = 1000  # what is not Latin
BOLD = 1.05
OF = {character: size for size, characters in WIDTHS.items() for character in characters}


@dataclasses.dataclass(frozen=True)
class Text:
    """A line: its text, its style ("name", "type", "faint" or "note"), and what stands at the right end of it."""

    text: str
    style: str
    right: str = ""

    @property
    def width(self) -> float:
        """In pixels."""
        size = {"faint": 11.0}.get(self.style, 12.0)
        return width(self.text, size, self.style in ("name", "note")) + (
            width(self.right, 10.5) + 10 if self.right else 0
        )


def width(text: str, size: float = 12.0, bold: bool = False) -> float:
    """How wide a text is, in pixels."""
    total = sum(OF.get(character, OTHERS if ord(character) < 0x250 else WIDE) for character in text)
    return total * size / 1000 * (BOLD if bold else 1.0)


def card_lines(node: Mapping[str, Any]) -> list[Text]:
    """The lines on the card of a layer or a closed block."""
    lines = [Text(node["label"] or node["path"], "name")]
    if node["kind"] == "block":
        lines += [Text(node["type"], "type")] if node["type"] else []
        lines += [Text(line, "type") for line in wrapped(node["flow"])]
        lines += [Text(line, "faint") for line in wrapped(node["summary"])]
        lines.append(Text(node["size"], "faint"))
    elif node["kind"] == "layer":
        lines.append(Text(node["type"], "type", node["dtype"]))
        lines += [Text(line, "faint") for line in wrapped(" · ".join(node["params"]))]
    else:
        lines += [Text(node["kind"], "type", node["dtype"]), Text(node["flow"], "type")]
    return lines + ([Text(node["alone"], "note")] if node["alone"] else [])


def wrapped(text: str) -> Iterator[str]:
    """A text in lines that are not wider than `WIDEST`, where it has spaces."""
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and width(longer, 11.5) > WIDEST:
            yield line
            line = word
        else:
            line = longer
    if line:
        yield line
