import os
import signal
import threading

import pytest

import netdefs
from netdefs.core import trt as tensorrt
from netdefs.core.errors import EngineError
from netdefs.engine import progress
from tests.engine import raw

trt = tensorrt.load("tensorrt_rtx")


def build(**options):
    return netdefs.build(raw.conv_scale_relu(), target="tensorrt_rtx", **options)


def test_progress_does_not_change_the_plan_and_is_silent_where_no_terminal_is(capfd):
    assert build(progress=True).plan == build(progress=False).plan
    assert capfd.readouterr() == ("", "")


def on_terminal(monkeypatch):
    """Makes the console one on a terminal, and returns what is drawn."""
    import io

    drawn = io.StringIO()
    real = progress.Console
    monkeypatch.setattr(progress, "Console", lambda stderr: real(file=drawn, force_terminal=True, width=100))
    return drawn


def test_progress_is_drawn_on_a_terminal(monkeypatch):
    drawn = on_terminal(monkeypatch)
    with progress.monitor(trt, "resnet", visible=True) as monitor:
        monitor.phase_start("Building engine", None, 2)
        monitor.phase_start("Optimizing graph", "Building engine", 30)
        assert monitor.step_complete("Optimizing graph", 6)
    assert "resnet: Building engine" in drawn.getvalue()
    assert "  Optimizing graph" in drawn.getvalue()
    assert "7/30" in drawn.getvalue()


def test_progress_can_be_drawn_while_something_else_is(monkeypatch):
    from rich.progress import Progress

    on_terminal(monkeypatch)
    with Progress():
        assert build(progress=True).plan


def test_nothing_is_drawn_unless_asked_for(monkeypatch):
    drawn = on_terminal(monkeypatch)
    build(progress=False)
    assert drawn.getvalue() == ""


def test_an_error_in_drawing_does_not_cancel_the_build(monkeypatch):
    def fail(*args, **kwargs):
        raise ValueError("no room on the screen")

    for name in ("add_task", "update", "remove_task"):
        monkeypatch.setattr(progress.Progress, name, fail)
    assert build(progress=True).plan == build().plan


def test_the_monitor_may_be_called_from_many_threads():
    failures = []
    with progress.monitor(trt, "net", visible=False) as monitor:

        def phase(number):
            name = f"phase {number}"
            monitor.phase_start(name, None, 200)
            failures.extend(step for step in range(200) if monitor.step_complete(name, step) is not True)
            monitor.phase_finish(name)

        threads = [threading.Thread(target=phase, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def interrupt_at(monkeypatch, step):
    """Sends this process SIGINT, as Ctrl-C does, when TensorRT reports its n-th step. Returns a list of the steps."""
    real, steps = progress._make, []

    def make(trt, bars, title, interrupted):
        monitor = real(trt, bars, title, interrupted)
        complete = monitor.step_complete

        def counting(phase_name, number):
            steps.append(phase_name)
            if len(steps) == step:
                os.kill(os.getpid(), signal.SIGINT)
            return complete(phase_name, number)

        monitor.step_complete = counting
        return monitor

    monkeypatch.setattr(progress, "_make", make)
    return steps


@pytest.fixture
def listening():
    """Python's own handler of Ctrl-C: a shell starts what runs in the background without one."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_cancels_the_build_and_leaves_no_trace(monkeypatch, listening):
    handler = signal.getsignal(signal.SIGINT)
    definition = raw.conv_scale_relu()
    with monkeypatch.context() as patch:
        steps = interrupt_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            netdefs.build(definition, outputs="conv", target="tensorrt_rtx")
    assert len(steps) == 3  # and no more: TensorRT has stopped
    assert signal.getsignal(signal.SIGINT) is handler
    assert definition.num_outputs == 1
    assert tensorrt.logger_of(trt).take() == ""
    assert netdefs.build(definition, target="tensorrt_rtx").plan  # and it can be built after all


def test_a_handler_of_the_users_own_is_left_in_place():
    def mine(number, frame):
        pass

    previous = signal.signal(signal.SIGINT, mine)
    try:
        with progress.monitor(trt, "net", visible=False):
            assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, previous)


def test_builds_in_other_threads():
    plans = []
    thread = threading.Thread(target=lambda: plans.append(build().plan))
    thread.start()
    thread.join()
    assert plans == [build().plan]


def test_cancelling_from_the_monitor_is_an_error_not_an_engine(monkeypatch):
    real = progress._make

    def make(*args):
        monitor = real(*args)
        monitor.step_complete = lambda phase_name, step: False
        return monitor

    monkeypatch.setattr(progress, "_make", make)
    with pytest.raises(EngineError, match=r"[Cc]ancel"):
        build()
