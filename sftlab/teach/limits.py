"""A time limit for code that somebody else wrote, in the same process: the call ends, whatever the code does.

On the main thread of Linux and macOS an alarm raises in the frame that is running. Elsewhere (Windows, a kernel that
runs cells on another thread) the code runs on a helper thread, in which Python is asked to raise. What the alarm cannot
end is one call into C that never comes back, such as ``sum(range(10**12))``, and two loops inside each other that both
swallow every exception of a call that waits: only restarting the kernel helps there.
"""

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import contextmanager

_AGAIN = 0.05  # seconds until the next attempt, when the code has caught the exception and goes on


class TimeUp(BaseException):
    """The time is up. Not an ``Exception``, so that ``except Exception: pass`` does not swallow it."""


def limited(function: Callable, seconds: float):
    """Return ``function()``, unless it takes longer than so many seconds.

    Handlers, timers and tracing are afterwards what they were before.

    Raises:
        TimeUp: it took longer. Whatever ``function`` itself raises comes through.
        KeyboardInterrupt: the person pressed stop, even if the code swallowed it.

    >>> limited(lambda: 2 + 2, seconds=5)
    4
    >>> def endless():
    ...     while True:
    ...         try:
    ...             pass
    ...         except:
    ...             pass
    >>> limited(endless, seconds=0.1)
    Traceback (most recent call last):
    sftlab.teach.limits.TimeUp
    """
    if threading.current_thread() is not threading.main_thread():
        return _on_a_thread(function, seconds)
    with _interrupts() as pressed:
        try:
            return (_with_alarm if hasattr(signal, "setitimer") else _on_a_thread)(function, seconds)
        finally:
            if pressed:
                raise KeyboardInterrupt from None


@contextmanager
def _interrupts():
    """A list that becomes true when the person presses stop; code that raises KeyboardInterrupt itself does not."""
    pressed = []
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(signum, frame):
        pressed.append(True)
        raise KeyboardInterrupt

    if before is None:  # set by C code: it could not be put back
        yield pressed
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _with_alarm(function: Callable, seconds: float):
    here, tracing = sys._getframe(), sys.gettrace()
    armed, rung = True, 0

    def at_every_line(frame, event, argument):
        if event == "line":  # not at "exception", which comes first and is still inside the `try`
            raise TimeUp
        return at_every_line

    def ring(signum, frame):
        nonlocal rung
        if not armed:
            return
        rung += 1
        if rung > 1:
            # The code has caught the first alarm and goes on. An exception raised inside its `try` would be caught
            # again; one raised at the next line, which is that of its `except`, is not.
            sys.settrace(lambda *_: None)
            while frame is not None and frame is not here:
                frame.f_trace = at_every_line
                frame = frame.f_back
        raise TimeUp

    handler = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        return function()
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
        if rung > 1:
            sys.settrace(tracing)


def _on_a_thread(function: Callable, seconds: float):
    outcome: list = []

    def run():
        try:
            outcome.append((function(), None))
        except BaseException as error:  # handed to the caller below
            outcome.append((None, error))

    helper = threading.Thread(target=run, daemon=True, name="sftlab-check")
    helper.start()
    try:
        helper.join(seconds)
    except KeyboardInterrupt:
        _raise_in(helper)
        raise
    for _ in range(40):  # code that swallows it 40 times, or sleeps, is left behind: a daemon thread, not waited for
        if outcome or not helper.is_alive():
            break
        _raise_in(helper)
        helper.join(_AGAIN)
    if not outcome:
        raise TimeUp
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _raise_in(thread: threading.Thread) -> None:
    """Ask Python to raise TimeUp in a thread, at its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeUp))
