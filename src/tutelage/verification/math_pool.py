"""Worker processes that compare formulas, each with a limit of time and memory.

Workers are started as programs of their own, not forked and not through `multiprocessing`, so
they may be used from any thread, from a notebook, and from a script without a main guard.
"""

import dataclasses
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import Self

from tutelage.errors import MissingExtraError
from tutelage.verification.math_equivalence import HardClaim
from tutelage.verification.math_worker import EXTRA_MISSING, READY, STEPS_A_CLAIM
from tutelage.verification.verdict import Ruling, Verdict, cannot_check

START_SECONDS = 120.0
"""Seconds in which a worker loads its libraries on a busy machine."""
PATIENCE = 10
"""Seconds to wait for a verdict for each second of processor time that the worker may take: one
that computes meets its own limit first, on a busy machine too; this ends one that does nothing.
"""
END_SECONDS = 5.0
"""Seconds in which a worker that gave no verdict has ended, if it is dying."""
ATTEMPTS = 2
"""Attempts at a claim whose worker dies: the cause may have been another process."""


class MathsWorkers:
    """Pool of up to N processes that decide hard claims. Thread-safe; one claim per process.

    Args:
        processes: At least 1; started when they are needed.
        seconds: Processor time of each step of a comparison, at least 1.
        mebibytes: Limit of each process's address space.
    """

    def __init__(self, *, processes: int, seconds: int, mebibytes: int) -> None:
        self._command = [
            sys.executable,
            "-P",  # a file of the user's that is called json.py must not be imported
            "-m",
            "tutelage.verification.math_worker",
            str(seconds),
            str(mebibytes),
        ]
        self._claim_seconds = float(seconds * STEPS_A_CLAIM * PATIENCE)
        self._seats: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(processes):
            self._seats.put(None)
        self._living: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers at once; pending claims get `cannot_check`."""
        with self._lock:
            self._closed = True
            living, self._living = self._living, set()
        for worker in living:
            worker.end()

    def decide(self, claim: HardClaim) -> Verdict:
        """Decide one claim with a worker; waits for a free one.

        Returns:
            The verdict; `cannot_check` where the worker ran out of time, or died twice.

        Raises:
            MissingExtraError: math-verify is not installed.
        """
        worker = self._seats.get()
        try:
            why = "the workers were closed"
            for _ in range(ATTEMPTS):
                worker = worker or self._start()
                if worker is None:
                    break
                answer = worker.ask(claim, self._claim_seconds)
                if isinstance(answer, Verdict):
                    return answer
                why = answer.why
                self._bury(worker)
                worker = None
                if answer.in_time is False:
                    break
            return cannot_check(f"{why}: answer {claim.answer!r}, reference {claim.reference!r}")
        finally:
            self._seats.put(worker)

    def _start(self) -> "_Worker | None":
        with self._lock:
            if self._closed:
                return None
            worker = _Worker(self._command)
            self._living.add(worker)
            return worker

    def _bury(self, worker: "_Worker") -> None:
        worker.end()
        with self._lock:
            self._living.discard(worker)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Silence:
    """Reason why a worker gave no verdict."""

    why: str
    in_time: bool


class _Worker:
    """A worker process with its two pipes."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  (our own interpreter and module)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the parent, which ends the workers itself
        )
        self._is_ready = False
        self._pending = b""

    def ask(self, claim: HardClaim, seconds: float) -> Verdict | _Silence:
        if not self._is_ready:
            first = self._line(START_SECONDS)
            if first is None or first.decode() != READY:
                return self._silence("the worker did not start", START_SECONDS)
            self._is_ready = True
        stdin = self._process.stdin
        line = json.dumps(dataclasses.asdict(claim)).encode() + b"\n"
        if stdin is None:
            raise RuntimeError("the worker has no input")  # Popen was told to make one
        try:
            stdin.write(line)
            stdin.flush()
        except BrokenPipeError:
            return self._silence("the worker died", seconds)
        reply = self._line(seconds)
        if reply is None:
            return self._silence("the worker gave no verdict", seconds)
        ruling: Ruling
        ruling, evidence = json.loads(reply)
        return Verdict(verdict=ruling, evidence=evidence)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what was still to be written has no reader any more

    def _line(self, seconds: float) -> bytes | None:
        """Next line without its end, or None at a time limit or the end of the output."""
        stdout = self._process.stdout
        if stdout is None:
            raise RuntimeError("the worker has no output")  # Popen was told to make one
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                chunk = os.read(stdout.fileno(), 65536)
                if not chunk:
                    return None
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _silence(self, what: str, seconds: float) -> _Silence:
        try:
            status = self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            return _Silence(why=f"{what} within {seconds:g} s", in_time=False)
        if status == EXTRA_MISSING:
            raise MissingExtraError(
                "comparing formulas needs math-verify", hint="pip install 'tutelage[maths]'"
            )
        if status == -getattr(signal, "SIGXCPU", 0):
            limit = f"{seconds / PATIENCE:g} s of processor time"
            return _Silence(why=f"{what} within {limit}", in_time=False)
        ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return _Silence(why=f"{what}: it {ended}", in_time=True)
