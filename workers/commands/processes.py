"""Run the parts of cpdfeed in one terminal, Honcho's way; `up` and `demo` stand on this.

Nothing of it may outlive us. Asked to stop, we stop every part and the embedded server last. Killed
ourselves, the kernel kills the parts and a waiting shell ends the server.
"""

import contextlib
import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message, Printer
from honcho.process import Popen, Process

PARTS: Final = {
    "web": (
        "uvicorn --factory service.app:create_app --host ${HOST:-0.0.0.0} --port ${PORT:-8000}"
        " --no-access-log --no-server-header --timeout-graceful-shutdown 5"
    ),
    "refresh": (
        "celery -A workers.celery worker -Q refresh -n refresh@%h --pool threads --concurrency 16"
        " --without-gossip --without-mingle --without-heartbeat"
    ),
    "dispatch": (
        "celery -A workers.celery worker -Q dispatch -n dispatch@%h --pool threads --concurrency 4"
        " --without-gossip --without-mingle --without-heartbeat"
    ),
    "beat": "celery -A workers.celery beat",
}
"""What `Procfile` says, which is not installed with us; a test compares the two."""

KILL_AFTER_S: Final = 15.0
"""A refresh or a graceful end of web takes longer than the 5 s that Honcho waits."""

_SIGNALS: Final = {signal.SIGINT, signal.SIGTERM}
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LIBC: Final = ctypes.CDLL(None)


def command(name: str, *, quiet: bool = False) -> str:
    """Give the shell command of a part, for this interpreter and without a shell left waiting.

    Args:
        name: Of ``PARTS``.
        quiet: Leave out what uvicorn says when all is well. Celery's banners always are.
    """
    program, _, arguments = PARTS[name].partition(" ")
    if program == "celery":
        arguments = f"--quiet {arguments}"
    elif quiet:
        arguments += " --log-level warning"
    return module_command(f"{program} {arguments}")


def module_command(text: str) -> str:
    """Give the shell command that runs a module of this interpreter, `module arguments…`."""
    return f"exec {shlex.quote(sys.executable)} -m {text}"


class Ended(NamedTuple):
    """What ended unasked and so ended the rest, and its exit code (negative: a signal)."""

    name: str
    code: int


class Output(Printer):  # type: ignore[misc]  # honcho has no types
    """Honcho's lines, time and part before each, but not its remarks on pids and signals."""

    ending = False
    """The parts have been asked to end."""

    def write(self, message: Message) -> None:
        """Print the lines of one message."""
        if message.name != SYSTEM_PRINTER_NAME:
            super().write(message)


class Parts(Manager):  # type: ignore[misc]  # honcho has no types
    """Honcho's manager, made to leave nothing behind.

    ``ended`` tells what ended unasked; it is None when we were asked to stop, by SIGINT or SIGTERM.
    """

    def __init__(self, output: Output, server: "subprocess.Popen[bytes] | None" = None) -> None:
        super().__init__(output)
        self._process_ctor = _Tethered
        self._server = server
        self._stopping_since_s: float | None = None
        self.ended: Ended | None = None
        self._output = output

    def terminate(self) -> None:
        """Ask every part to end; the first time, remember why."""
        if self._stopping_since_s is None:
            self._stopping_since_s = time.monotonic()
            self._output.ending = True
            gone = (
                Ended(name, part["returncode"])
                for name, part in self._processes.items()
                if "returncode" in part
            )
            self.ended = self.ended or next(gone, None)
        super().terminate()

    def kill(self) -> None:
        """Kill what is left, once it had its time; Honcho asks again and again."""
        since_s = self._stopping_since_s
        if since_s is not None and time.monotonic() - since_s > KILL_AFTER_S:
            super().kill()

    def _start(self) -> None:
        """Start every part, and let signals in (see ``run``) once each has its process.

        Honcho 2.0 would stumble over a part that is still without one when it is to be stopped.
        """
        super()._start()
        early = []
        while not self._all_started():
            message = self.events.get()
            if message.type == "start":
                self._processes[message.name]["pid"] = message.data["pid"]
            else:
                early.append(message)
        for message in early:
            self.events.put(message)
        signal.signal(signal.SIGCHLD, self._look_after_children)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._look_after_children()

    def _look_after_children(self, *_: object) -> None:
        """Notice the end of what Honcho does not watch: the server, and its own processes."""
        for part in self._processes.values():
            if part["process"].exitcode:
                part.setdefault("returncode", part["process"].exitcode)
        if self._server is not None and self._server.poll() is not None:
            if self._stopping_since_s is None:
                self.ended = Ended("the embedded server", self._server.returncode)
            self.terminate()


class _Tethered(Process):  # type: ignore[misc]  # honcho has no types
    """One part, which ends when we do, however we end.

    Honcho has two processes a part: one of Python that reads the output, and the part itself in a
    session of its own, where neither Ctrl-C nor a closed terminal reaches it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - honcho's own
        super().__init__(*args, **kwargs)
        self._launcher = os.getpid()

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: ANN401 - honcho's own
        """Run the part to its end; called in the process that reads its output."""
        _end_with(self._launcher)
        self._child_ctor = partial(Popen, preexec_fn=partial(_begin, os.getpid()))
        super().run(events, ignore_signals)


def _begin(parent: int) -> None:
    """Prepare a part's process, between fork and exec."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _end_with(parent)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends: no handler of ours runs on SIGKILL.

    Source: prctl(2), PR_SET_PDEATHSIG; it survives exec. Elsewhere than on Linux a killed `up`
    leaves its parts to be ended by hand.
    """
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it ended before we asked
            os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def ending_with_us(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End a process that we started even if we are killed: a shell waits for our pipe to close."""
    with subprocess.Popen(  # noqa: S603 - our own command
        ["/bin/sh", "-c", 'read -r _; kill "$0"', str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watcher:
        try:
            yield
        finally:
            watcher.kill()


def note_signals() -> list[int]:
    """From now on note SIGINT and SIGTERM, in the list given, instead of ending at once."""
    noted: list[int] = []
    for number in _SIGNALS:
        signal.signal(number, lambda number, _: noted.append(number))
    return noted


def run(
    commands: Mapping[str, str],
    env: Mapping[str, str],
    output: Output,
    noted: Sequence[int],
    *,
    server: "subprocess.Popen[bytes] | None" = None,
    folder: Path | None = None,
) -> Ended | None:
    """Run parts until one of them, or the server, ends, or until we are asked to stop.

    Every part has ended when this returns. It gives what ended unasked, None if nothing did.

    Args:
        commands: Part → shell command.
        env: Their whole environment.
        output: What prints their lines.
        noted: Signals that came before this, see ``note_signals``.
        server: The embedded server, which the parts need and the caller stops.
        folder: Where they run; here when not given.
    """
    # From here on a signal waits until there is something to stop.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    if noted:
        return None
    parts = Parts(output, server)
    for name, text in commands.items():
        parts.add_process(name, text, env=dict(env), cwd=folder)
    parts.loop()
    return parts.ended
