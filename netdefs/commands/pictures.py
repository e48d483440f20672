"""`netdefs run --image`: pictures, folders and videos in; tables, JSON and drawings out."""

import argparse
import collections
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from rich.table import Table

from netdefs.commands.show import console, finite, number, print_json
from netdefs.core.errors import InputError
from netdefs.core.files import refuse_existing, save_npz
from netdefs.vision import Found, predict_many
from netdefs.vision.names import Skeleton
from netdefs.vision.source import Picture, Writer, count, pictures

TOP = 5  # classes of a classifier that are shown
LISTED = 3  # with more pictures than this, each gets a line instead of a table
SMALLEST_SHARE = 0.001  # of a picture, for a class to be listed


def run_on_pictures(arguments: argparse.Namespace, engine: Any) -> None:
    """Runs an engine on pictures, draws and writes what it is asked to, and prints what was found.

    Raises:
        InputError: a picture can't be read; of a folder only after all others are done.
    """
    names = read_labels(arguments.labels) if arguments.labels is not None else None
    method = engine.info.get("decode", {}).get("method")
    if arguments.top is not None and method not in (None, "classes"):
        raise InputError(f"--top is for classifiers; this network's outputs are decoded as {method!r}.")
    waiting: collections.deque[Picture] = collections.deque()
    unreadable: list[str] = []

    def inputs() -> Iterator[tuple[np.ndarray, list[list[float]] | None]]:
        for picture in pictures(arguments.image, unreadable):
            waiting.append(picture)
            yield picture.image, arguments.box

    rows: list[dict[str, Any]] = []
    outputs: list[dict[str, np.ndarray]] = []
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(Writer(arguments.draw, arguments.image)) if arguments.draw else None
        for target in writer.targets.values() if writer else ():
            refuse_existing(target, arguments.force)
        total = count(arguments.image)
        progress = Progress(console=console, transient=True, disable=arguments.json or total == 1)
        task = stack.enter_context(progress).add_task("pictures", total=total)
        options = {name: getattr(arguments, name) for name in ("flip", "threshold", "iou")}
        for found in predict_many(engine, inputs(), class_names=names, **options):
            picture = waiting.popleft()
            rows.append({"picture": picture.name, **summary(found, arguments.top or TOP)})
            if writer:
                rows[-1]["drawn"] = str(writer.write(picture, found.draw(picture.image)))
            if arguments.output:
                outputs.append(dict(found.outputs))
            progress.advance(task)
    if arguments.output and outputs:
        save_npz(arguments.output, {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]})
    if arguments.json:
        print_json({"pictures": rows})
    elif len(rows) > LISTED:
        table = Table("picture", "found")
        for row in rows:
            table.add_row(Path(row["picture"]).name, in_short(row))
        console.print(table)
    else:
        for row in rows:
            console.print(in_full(row, title=row["picture"] if len(rows) > 1 else None))
    if arguments.draw and not arguments.json:
        console.print(f"Drawn: [bold]{arguments.draw}[/bold]", soft_wrap=True)
    if unreadable:
        raise InputError(
            f"{len(unreadable)} of {len(rows) + len(unreadable)} pictures are left out. " + " ".join(unreadable)
        )


def summary(found: Found, top: int) -> dict[str, Any]:
    """What was found, for JSON."""
    said: dict[str, Any] = {}
    if found.probabilities is not None:
        best = np.argsort(-found.probabilities, kind="stable")[:top]
        said["top"] = [
            {"label": found.name_of(int(i)), "class": int(i), "probability": finite(found.probabilities[i])}
            for i in best
        ]
    elif found.labels is not None:
        labels, pixels = np.unique(found.labels, return_counts=True)
        shares = sorted(zip(pixels / found.labels.size, labels, strict=True), reverse=True)
        said["shares"] = [
            {"label": found.name_of(int(i)), "class": int(i), "share": round(float(share), 4)}
            for share, i in shares
            if share >= SMALLEST_SHARE
        ]
    elif found.picture is not None:
        said["size"] = {"height": found.picture.shape[0], "width": found.picture.shape[1]}
    elif found.points is not None:
        said["points"] = [[finite(value) for value in point] for point in found.points.keypoints]
    else:
        said["instances"] = [instance.to_dict() for instance in found.instances]
        kind = found.names.subject if isinstance(found.names, Skeleton) else None
        for instance, row in zip(found.instances, said["instances"], strict=True):
            row["name"] = kind or (found.name_of(instance.label) if instance.label is not None else instance.text or "")
    return said


def in_full(row: dict[str, Any], title: str | None) -> Table:
    """A picture's table."""
    if "top" in row:
        table = Table("class", "probability", title=title)
        for best in row["top"]:
            table.add_row(best["label"], number(best["probability"]))
    elif "shares" in row:
        table = Table("class", "share of the picture", title=title)
        for each in row["shares"]:
            table.add_row(each["label"], f"{each['share']:.1%}")
    elif "size" in row:
        table = Table("made", title=title)
        table.add_row(in_short(row))
    elif "points" in row:
        table = Table("found", "highest score", title=title)
        table.add_row(in_short(row), number(row["points"][0][2]) if row["points"] else "")
    else:
        table = Table("", "found", "score", "box", "keypoints", title=title)
        for i, each in enumerate(row["instances"]):
            points = each.get("keypoints")
            seen = "" if points is None else f"{sum(point is not None for point in points)} of {len(points)}"
            box = ", ".join(f"{side:.0f}" for side in each.get("box", ()))
            table.add_row(str(i + 1), each["name"], number(each["score"]), box, seen)
        if not row["instances"]:
            table.add_row("", "nothing", "", "", "")
    return table


def in_short(row: dict[str, Any]) -> str:
    """A picture's line."""
    if "top" in row:
        return f"{row['top'][0]['label']} {number(row['top'][0]['probability'])}"
    if "shares" in row:
        return ", ".join(f"{each['label']} {each['share']:.0%}" for each in row["shares"][:LISTED])
    if "size" in row:
        return f"a picture of {row['size']['height']}x{row['size']['width']}"
    if "points" in row:
        return f"{len(row['points'])} points"
    counts = collections.Counter(each["name"] for each in row["instances"])
    return ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "nothing"


def read_labels(path: str) -> list[str]:
    """Class names, one a line."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Can't read class names from {path}: {error}.") from error
