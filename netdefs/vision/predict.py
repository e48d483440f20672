"""From a picture to what is in it: crops in batches through an engine, and outputs decoded as the model declares."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from netdefs.core.errors import InputError
from netdefs.core.preprocess import BOXED
from netdefs.vision.found import Crop, Found, decode
from netdefs.vision.image import check_image, placement, preprocess, size_of

Boxes = Sequence[Sequence[float]] | np.ndarray


def predict(
    engine: Any,
    image: np.ndarray,
    *,
    boxes: Boxes | None = None,
    flip: bool = False,
    class_names: Sequence[str] | None = None,
    threshold: float | None = None,
    iou: float | None = None,
) -> Found:
    """Runs an engine of the zoo on one picture.

        found = predict(netdefs.hrnet_pose.build_engine(), read_image("photo.jpg"), boxes=[(40, 20, 200, 400)])
        cv2.imwrite("out.jpg", found.draw(image))

    Args:
        engine: an Engine made of a zoo model; its `info` says how it wants pictures and what its outputs mean.
        image: (H, W, 3) uint8, BGR, as `read_image` gives it.
        boxes: for models that look at one person, hand or object at a time: (x1, y1, x2, y2) each, in pixels; by
            default the whole picture.
        flip: run on the mirrored picture too and average, as upstream's pose tests do.
        class_names: the classes' names, if they are not the model's usual ones.
        threshold: for detectors, text and points, the score above which one counts; by default what the network's own
            code has.
        iou: for detectors, how far two boxes of one class may overlap; likewise.

    Raises:
        InputError: the picture or a box can't be used, or it is no engine or one that does not say what it wants.
    """
    pictures = [(image, boxes)]
    return next(predict_many(engine, pictures, flip=flip, class_names=class_names, threshold=threshold, iou=iou))


def predict_many(
    engine: Any,
    pictures: Iterable[tuple[np.ndarray, Boxes | None]],
    *,
    flip: bool = False,
    class_names: Sequence[str] | None = None,
    threshold: float | None = None,
    iou: float | None = None,
) -> Iterator[Found]:
    """`predict` for many pictures and their boxes: in order, in batches of the engine's usual size.

    Args:
        pictures: (image, boxes) each; boxes is None for the whole picture. They are read when it is their turn.

    Yields:
        A Found for each picture.

    Raises:
        InputError: as `predict`.
    """
    if not (hasattr(engine, "run") and hasattr(engine, "profile")):
        raise InputError(
            f"Pictures go through an engine, not a {type(engine).__name__}: netdefs.load_engine reads one from a file, "
            "netdefs.build makes one of a network."
        )
    info = engine.info
    if "preprocess" not in info or "decode" not in info:
        raise InputError("This engine does not say how it wants pictures and what its outputs mean: use Engine.run.")
    (name, shape), *others = ((name, tensor.shape) for name, tensor in engine.inputs.items())
    if others or len(shape) != 4:
        raise InputError(f"Pictures are for engines with one (N, C, H, W) input; this one is {engine!r}.")
    low, usual, _ = engine.profile.get(name, (shape,) * 3)
    if min(*usual) < 1:
        raise InputError(f"The size of input {name!r} is open, {shape}, and this engine has no profile for it.")
    size = size_of(usual, info["preprocess"])
    counts: list[int] = []  # how many crops each picture has that was read so far

    def crops() -> Iterator[tuple[np.ndarray, Crop]]:
        for pair in pictures:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise InputError(
                    f"predict_many takes pairs (image, boxes), where boxes may be None, not a {type(pair).__name__}."
                )
            image, boxes = pair
            check_image(image)
            wanted = _boxes(boxes, info["preprocess"])
            counts.append(len(wanted))
            for box in wanted:
                matrix = placement(image.shape, info["preprocess"], size, box)
                yield preprocess(image, info["preprocess"], size, box), Crop(matrix, image.shape[:2], size, box)

    waiting: list[tuple[Crop, dict[str, np.ndarray]]] = []
    done = 0

    def finished() -> Iterator[Found]:
        nonlocal done
        while done < len(counts) and len(waiting) >= counts[done]:
            mine = waiting[: counts[done]]
            del waiting[: counts[done]]
            done += 1
            outputs = {key: np.concatenate([each[key] for _, each in mine]) for key in (mine[0][1] if mine else ())}
            shown = [crop for crop, _ in mine]
            how = info["decode"]
            yield decode(outputs, shown, how, class_names, threshold=threshold, iou=iou) if mine else Found()

    for crop, outputs in _runs(engine, name, crops(), batch=usual[0], least=low[0], flip=flip):
        waiting.append((crop, outputs))
        yield from finished()
    yield from finished()


def _runs(
    engine: Any, name: str, crops: Iterator[tuple[np.ndarray, Crop]], batch: int, least: int, flip: bool
) -> Iterator[tuple[Crop, dict[str, np.ndarray]]]:
    """Every crop with its outputs, (1, ...) each; those of the mirrored crop are called `<output>/flipped`.

    Up to `batch` crops run at once. Where there are less than the engine's `least`, the last one fills the batch.
    """
    while taken := list(itertools.islice(crops, batch)):
        x = np.concatenate([x for x, _ in taken])
        x = np.concatenate([x, np.repeat(x[-1:], max(least - len(taken), 0), 0)])
        outputs = engine.run({name: x})
        if flip:
            mirrored = engine.run({name: np.ascontiguousarray(np.flip(x, 2 if x.dtype == np.uint8 else 3))})
            outputs |= {f"{key}/flipped": value for key, value in mirrored.items()}
        for i, (_, crop) in enumerate(taken):
            yield crop, {key: value[i : i + 1] for key, value in outputs.items()}


def _boxes(boxes: Boxes | None, recipe: Mapping[str, Any]) -> list[tuple[float, ...] | None]:
    if boxes is None:
        return [None]
    if recipe["fit"] not in BOXED:
        raise InputError("This model looks at whole pictures: it takes no boxes.")
    try:
        return [tuple(float(number) for number in box) for box in boxes]
    except (TypeError, ValueError) as error:
        raise InputError(f"Boxes are a list of (x1, y1, x2, y2), even if there is only one, not {boxes!r}.") from error
