"""TensorRT's build reports its progress here, and is cancelled from here."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

log = logging.getLogger("netdefs.tensorrt")


@contextlib.contextmanager
def monitor(trt: ModuleType, title: str, *, visible: bool) -> Iterator[Any]:
    """An `IProgressMonitor` for one build. Ctrl-C during the block cancels the build, then raises KeyboardInterrupt.

    Args:
        title: what is being built.
        visible: draw a progress bar for every phase on the error output, if that is a terminal.
    """
    console = Console(stderr=True)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not (visible and console.is_terminal),
    )
    with bars, _interruptible() as interrupted:
        yield _make(trt, bars, title, interrupted)
    if interrupted.is_set():
        raise KeyboardInterrupt


def _make(trt: ModuleType, bars: Progress, title: str, interrupted: threading.Event) -> Any:
    """The monitor: a class of `trt`'s, so it can only be made once that is known."""
    lock = threading.Lock()  # TensorRT may call from several threads
    tasks: dict[str, TaskID] = {}
    depths: dict[str, int] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with _guarded(), lock:
                depth = depths.get(parent_phase or "", -1) + 1
                depths[phase_name] = depth
                label = f"{title}: {phase_name}" if depth == 0 else "  " * depth + phase_name
                tasks[phase_name] = bars.add_task(label, total=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with _guarded(), lock:
                bars.update(tasks[phase_name], completed=step + 1)
            return not interrupted.is_set()

        def phase_finish(self, phase_name: str) -> None:
            with _guarded(), lock:
                bars.remove_task(tasks.pop(phase_name))

    return Monitor()


@contextlib.contextmanager
def _guarded() -> Iterator[None]:
    """Keeps an error in drawing from TensorRT, which would take it for a wish to cancel the build."""
    try:
        yield
    except Exception:
        log.debug("The progress display failed; the build goes on.", exc_info=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets during the block, in place of the KeyboardInterrupt.

    Raised inside of a callback, that exception would be lost in TensorRT. Only Python's own handler is replaced, and
    only the main thread can do so; elsewhere the event is never set.
    """
    interrupted = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        interrupted.set()

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupted
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
