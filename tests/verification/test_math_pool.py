"""Processes that compare formulas: limited, replaced when they die, one row at a time."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("math_verify")

from tutelage.verification.math_equivalence import HardClaim
from tutelage.verification.math_pool import MathsWorkers
from tutelage.verification.math_worker import _limited, _TooSlowError, decide

BOMB = "9^{9^{9^{9}}}"


def claim(answer, reference):
    return HardClaim(answer=answer, reference=reference, how="boxed")


@pytest.fixture(scope="module")
def workers():
    with MathsWorkers(processes=1, seconds=1, mebibytes=1024) as opened:
        yield opened


@pytest.mark.parametrize(
    ("answer", "reference", "verdict"),
    [
        ("x + 1", "1 + x", "right"),
        ("x + 2", "x + 1", "wrong"),
        ("x", "x + 0", "right"),
        ("2x - x", "x", "right"),
        ("x", "y", "wrong"),
        ("2, -2", r"\pm 2", "right"),
        (r"2\sqrt{2}", r"\sqrt{8}", "right"),
        ("(x+1)^2", "x^2+2x+1", "right"),
        (r"3\pi", "9.42477796", "right"),
        (r"(-\infty, 5)", "x < 5", "right"),
        (r"3, \frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}, 3", "right"),
        ("(3, \\sqrt{4})", "(3, 2)", "right"),
        ("(\\sqrt{4}, 3)", "(3, 2)", "wrong"),
        ("12x", "12", "wrong"),
        ("2^{10}", "1024", "right"),
        ("\\sqrt", "4", "cannot_check"),
        ("blah_{", "x", "cannot_check"),
        (BOMB, "5", "cannot_check"),
    ],
)
def test_formulas_are_compared_by_algebra(workers, answer, reference, verdict):
    found = workers.decide(claim(answer, reference))
    assert found.verdict == verdict, found
    assert reference in found.evidence.replace("\\\\", "\\")


def test_a_bare_call_in_the_main_thread_decides_too():
    assert decide(claim("x + 1", "1 + x")).verdict == "right"


def compute_for_ever():
    with _limited(1):
        while True:
            pass


def test_the_limit_is_of_processor_time_not_of_waiting():
    with _limited(1):
        time.sleep(1.2)  # as where other programs have the processor
    with pytest.raises(_TooSlowError):
        compute_for_ever()


def test_claims_from_many_threads_are_all_decided(workers):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(workers.decide, [claim(f"x + {i}", "x + 3") for i in range(8)]))
    assert [v.verdict for v in found] == ["right" if i == 3 else "wrong" for i in range(8)]


def children():
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread of another test has ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def test_a_killed_worker_is_replaced_and_its_claim_is_tried_again():
    before = children()
    with MathsWorkers(processes=1, seconds=2, mebibytes=1024) as workers:
        assert workers.decide(claim("x", "x + 0")).verdict == "right"
        (worker,) = children() - before
        os.kill(worker, signal.SIGKILL)
        assert workers.decide(claim("x", "x + 0")).verdict == "right"
        (other,) = children() - before
        assert other != worker
    assert not children() - before


def test_a_claim_whose_worker_dies_every_time_cannot_be_checked():
    before = children()
    stop = threading.Event()

    def kill_every_worker():
        while not stop.is_set():
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_every_worker)
    with MathsWorkers(processes=1, seconds=2, mebibytes=1024) as workers:
        killer.start()
        found = workers.decide(claim("x", "x + 0"))
        stop.set()
        killer.join()
        assert found.verdict == "cannot_check"
        assert "killed by signal 9" in found.evidence
        assert workers.decide(claim("x", "x + 0")).verdict == "right"


def test_memory_is_limited():
    before = children()
    with MathsWorkers(processes=1, seconds=1, mebibytes=1500) as workers:
        workers.decide(claim("x", "x + 0"))
        (worker,) = children() - before
        limits = Path(f"/proc/{worker}/limits").read_text()
    (line,) = [line for line in limits.splitlines() if line.startswith("Max address space")]
    assert line.split()[3:5] == [str(1500 << 20)] * 2


def test_a_worker_that_cannot_load_its_library_checks_nothing():
    with MathsWorkers(processes=1, seconds=1, mebibytes=100) as workers:
        found = workers.decide(claim("x", "x + 0"))
    assert found.verdict == "cannot_check"
    assert "the worker did not start" in found.evidence


def test_closed_workers_decide_nothing_more():
    workers = MathsWorkers(processes=1, seconds=1, mebibytes=1024)
    workers.close()
    assert workers.decide(claim("x", "x + 0")).verdict == "cannot_check"
