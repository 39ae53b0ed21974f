"""The sandbox against programs that want out, as the current user and as an ordinary one."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import hostile
import pytest

from tutelage.verification import sandbox
from tutelage.verification.sandbox import Ran, run_sandboxed

ROOM = Path(sandbox.__file__).parent
MARKER = f"tutelage-daemon-that-must-die-{os.getpid()}"  # several workers test at once
MUST_END_EARLY = {
    "endless_output": "it printed more than",
    "memory_of_many_processes": "MiB together",
    "kill_everything": "",
    "sleep_forever": "it ran for more than 3 s",
    "ignore_signals": "",
    "claim_to_have_passed": "it exited before the end of its tests",
    "exit_at_once": "it exited before the end of its tests",
    "close_the_output": "",
    "crash": "it was killed by SIGSEGV",
    "pretend_to_be_the_jail": "it exited with status 126",
    "pretend_to_be_bubblewrap": "it exited with status 1",
    "pretend_to_report": "it exited with status 7",
    "shared_memory_kept_without_looking_at_it": "MiB together",
    "shared_memory_of_many": "MiB together",
    "endless_errors": "it printed more than",
    "fork_in_threads": "",
    "abort": "it was killed by SIGABRT",
    "stop_itself": "it was killed by SIGKILL",
    "replace_itself": "it exited before the end of its tests",
    "patch_the_harness": "it exited with status 1",
    "exit_handlers": "it exited before the end of its tests",
    "raise_system_exit": "it exited before the end of its tests",
    "swallow_the_end": "it exited before the end of its tests",
}
SILENT = {
    "sleep_forever",  # on a slow machine these two are ended before they can print
    "ignore_signals",
    "endless_output",
    "endless_errors",
    "memory_of_many_processes",
    "output_without_an_end_of_line",
    "shared_memory_kept_without_looking_at_it",
    "shared_memory_of_many",
}

needs_walls = pytest.mark.skipif(
    sandbox.why_no_sandbox() is not None, reason=f"no isolation here: {sandbox.why_no_sandbox()}"
)
WALLS = {"bubblewrap": "bubblewrap", "jail": "namespaces"}
AVAILABLE = [name for name in sandbox.MECHANISMS if sandbox.why_not(name) is None]
ALL_PAIRS = "TUTELAGE_HOSTILE_ALL" in os.environ
every_mechanism = pytest.mark.parametrize(
    "mechanism",
    [
        pytest.param(
            name, marks=pytest.mark.skipif(sandbox.why_not(name) is not None, reason="not here")
        )
        for name in sandbox.MECHANISMS
    ],
)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """Things outside that a program must not reach; each is checked afterwards."""
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    monkeypatch.setenv("SECRET", "SECRET")
    abstract = f"\0tutelage-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(abstract)
        unix.listen()
        server.setblocking(False)
        unix.setblocking(False)
        yield {
            "CANARY": str(canary),
            "PORT": server.getsockname()[1],
            "ABSTRACT": abstract.replace("\0", "\\0"),
            "HOST_PID": os.getpid(),
            "MARKER": MARKER,
        }
        for listener in (server, unix):
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert canary.read_text() == "untouched"
    assert not survivors()


@pytest.fixture
def everybodys_folder():
    """Not under pytest's own folder, which every run of pytest closes to other users."""
    with tempfile.TemporaryDirectory(prefix="tutelage-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def survivors(patience_seconds=60.0):
    """Processes of ours that are still there; one that was killed may need a moment to go."""
    deadline = time.monotonic() + patience_seconds
    while (found := _marked()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _marked():
    return [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if MARKER.encode() in read_or_nothing(path)
    ]


def read_or_nothing(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def check(name, *, passed, why, output):
    assert "ESCAPED" not in output, output
    if name in MUST_END_EARLY:
        assert passed is False, (why, output)
        assert MUST_END_EARLY[name] in why
    else:
        assert passed is True, (why, output)
    if name not in SILENT:
        assert "HELD" in output, (why, output)


def _tried():
    """All programs with the first mechanism; with the others the quick ones, or all if asked."""
    for position, mechanism in enumerate(AVAILABLE):
        for name in hostile.HOSTILE:
            often = not position or name in hostile.QUICK
            marks = (
                () if often else pytest.mark.skipif(not ALL_PAIRS, reason="TUTELAGE_HOSTILE_ALL")
            )
            yield pytest.param(name, mechanism, marks=marks)


@pytest.mark.parametrize(("name", "mechanism"), list(_tried()))
def test_a_hostile_program_is_held(name, mechanism, surroundings):
    ran = hostile.run(sandbox, name, surroundings, mechanism=mechanism)
    assert isinstance(ran, Ran), ran
    assert ran.walls == f"{WALLS[mechanism]} and a call filter"
    check(name, passed=ran.passed, why=ran.why, output=ran.output)


def test_at_least_sixty_hostile_programs_are_tried():
    assert len(hostile.HOSTILE) >= 60


@pytest.mark.parametrize("words", ["jail: no", '{"refused": "no"}'])
@every_mechanism
def test_what_a_program_prints_is_never_the_sandboxs_own_word(words, mechanism):
    for stream in ("stdout", "stderr"):
        ran = run_sandboxed(
            f"import sys\nsys.{stream}.write({words!r} + chr(10))\ndef f(x):\n    return x + 2",
            "assert f(1) == 2",
            time_limit_seconds=5,
            memory_mebibytes=256,
            mechanism=mechanism,
        )
        assert isinstance(ran, Ran)
        assert not ran.passed
        assert ran.why == "it exited with status 1"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit(-1)", "it exited with status 255"),
        ("import os; os._exit(193)", "it exited with status 193"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 3)", "it was killed by signal"),
    ],
)
def test_any_exit_status_is_one_that_did_not_pass(program, why):
    ran = run_sandboxed(program, "", time_limit_seconds=5, memory_mebibytes=256)
    assert (ran.passed, ran.why[: len(why)]) == (False, why)


def test_bubblewrap_that_does_not_work_leaves_the_jail(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: no' >&2\nexit 1\n")
    broken.chmod(0o755)
    sandbox.why_not.cache_clear()
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: str(broken))
    try:
        assert "bwrap: no" in (sandbox.why_not("bubblewrap") or "")
        assert sandbox.sandbox_mechanism() in ("jail", None)
    finally:
        sandbox.why_not.cache_clear()


@every_mechanism
@pytest.mark.skipif(os.geteuid() != 0, reason="the test above ran as an ordinary user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no Python everybody may run")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_an_ordinary_user_has_the_same_walls(mechanism, surroundings, everybodys_folder):
    canary = everybodys_folder / "canary"
    canary.write_text("untouched")
    canary.chmod(0o666)  # so that only the walls protect it
    room = everybodys_folder / "tutelage" / "verification"
    room.mkdir(parents=True)
    for empty in (room.parent / "__init__.py", room / "__init__.py"):
        empty.touch()
    for name in ("sandbox", "jail", "code_harness"):
        shutil.copy(ROOM / f"{name}.py", room)
    shutil.copy(hostile.__file__, everybodys_folder)
    given = json.dumps({**surroundings, "CANARY": str(canary)})
    user = ["setpriv", "--reuid", "4321", "--regid", "4321", "--clear-groups"]
    wanted = set(hostile.HOSTILE) - hostile.SLEEPERS
    if not ALL_PAIRS:
        wanted &= set(hostile.QUICK) if mechanism != AVAILABLE[0] else wanted
        wanted -= set(hostile.MORE_HOSTILE) - set(hostile.QUICK)
    names = json.dumps(sorted(wanted))
    done = subprocess.run(
        [
            *(*user, "/usr/bin/python3", everybodys_folder / "hostile.py"),
            *(everybodys_folder, given, names, mechanism),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert not done.returncode, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(wanted)
    for name, passed, why, output in results:
        check(name, passed=passed, why=why, output=output)
    assert canary.read_text() == "untouched"


@needs_walls
def test_the_program_runs_under_an_id_that_is_not_the_users():
    ran = run_sandboxed(
        "import os; ids = os.getuid(), os.geteuid()",
        "assert 0 not in ids",
        time_limit_seconds=5,
        memory_mebibytes=256,
    )
    assert isinstance(ran, Ran)
    assert ran.passed


@needs_walls
def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_sandboxed("open('x', 'w')", "", time_limit_seconds=5, memory_mebibytes=256)
    assert not list(tmp_path.iterdir())


@needs_walls
@pytest.mark.parametrize(
    ("program", "tests", "passed"),
    [
        ("def double(x):\n    return 2 * x", "assert double(4) == 8", True),
        ("def double(x):\n    return x", "assert double(4) == 8", False),
        ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int", "P(x=1)", True),
        ("if __name__ == '__main__':\n    raise SystemExit('demonstration')", "pass", True),
        ("x = input()", "pass", False),
        ("x = 1\x00", "pass", False),
    ],
)
def test_a_program_passes_exactly_when_its_tests_do(program, tests, passed):
    ran = run_sandboxed(program, tests, time_limit_seconds=5, memory_mebibytes=256)
    assert isinstance(ran, Ran)
    assert ran.passed is passed, ran


@needs_walls
def test_processor_time_is_a_limit_of_its_own():
    ran = run_sandboxed("while True: pass", "", time_limit_seconds=1, memory_mebibytes=256)
    assert isinstance(ran, Ran)
    assert not ran.passed
    assert ran.why in {"it used up its processor time", "it ran for more than 3 s"}


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups as folders of ordinary files: a user's session in which memory is enabled."""
    monkeypatch.setattr(sandbox, "_GONE_SECONDS", 0.0)  # they are not empty, so they stay
    session = tmp_path / "user.slice" / "session"
    (session / "terminal").mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    for folder, enabled in ((tmp_path, "cpu memory"), (session, "memory"), (session.parent, "cpu")):
        (folder / "cgroup.subtree_control").write_text(enabled)
    (session / "terminal" / "cgroup.subtree_control").write_text("")
    make = sandbox.MemoryGroup.make

    def made(above, *, mebibytes):
        group = make(above, mebibytes=mebibytes)
        group.processes.touch()  # as the kernel does
        return group

    monkeypatch.setattr(sandbox.MemoryGroup, "make", made)
    return tmp_path


OWN_GROUP = "4:memory:/old\n0::/user.slice/session/terminal\n"


def test_the_nearest_control_group_that_limits_memory_is_used(groups):
    found = sandbox.find_memory_groups(OWN_GROUP, groups)
    assert found == (groups / "user.slice" / "session", "")


@pytest.mark.parametrize(
    ("own", "enabled", "why"),
    [
        ("4:memory:/old\n", "memory", "version 2 of control groups is not mounted"),
        (OWN_GROUP, "cpu", "the memory controller is not enabled for children of any group above"),
    ],
)
def test_why_memory_is_counted_instead_is_said(groups, own, enabled, why):
    for folder in (groups, groups / "user.slice" / "session"):
        (folder / "cgroup.subtree_control").write_text(enabled)
    assert sandbox.find_memory_groups(own, groups) == (None, why)


def test_a_group_into_which_no_process_can_be_moved_is_not_used(groups, monkeypatch):
    monkeypatch.setattr(sandbox.MemoryGroup, "takes_processes", lambda _: False)
    above, why = sandbox.find_memory_groups(OWN_GROUP, groups)
    assert above is None
    assert why.startswith("the memory controller may not be used under ")


@every_mechanism
@pytest.mark.parametrize("killed", [False, True])
def test_a_program_joins_its_group_and_is_wrong_where_the_kernel_ends_it(
    groups, monkeypatch, mechanism, killed
):
    monkeypatch.setattr(sandbox, "memory_groups", lambda: (groups, ""))
    monkeypatch.setattr(sandbox.MemoryGroup, "passed", lambda _: killed)
    ran = run_sandboxed(
        "x = 1", "assert x", time_limit_seconds=20, memory_mebibytes=256, mechanism=mechanism
    )
    assert isinstance(ran, Ran)
    assert ran.passed is not killed
    assert not killed or ran.why == "its processes used more than 256 MiB together"
    (group,) = groups.glob("tutelage-*")
    assert (group / "cgroup.procs").read_text() == "0"
    assert (group / "memory.max").read_text() == str((256 + 64) * 2**20)
    assert (group / "memory.oom.group").read_text() == "1"


@pytest.mark.skipif(sandbox.memory_groups()[0] is None, reason=sandbox.memory_groups()[1])
def test_the_kernel_limits_the_memory_of_a_group():
    ran = run_sandboxed(
        "import os\nfor _ in range(9):\n    os.fork() or exec('b = bytes([1]) * 10**8')",
        "import time; time.sleep(1000)",
        time_limit_seconds=60,
        memory_mebibytes=256,
    )
    assert isinstance(ran, Ran)
    assert ran.why == "its processes used more than 256 MiB together"


_WITHOUT_NAMESPACES = """
import sys
import tempfile
from tutelage.verification.sandbox import run_sandboxed
limits = dict(time_limit_seconds=1, memory_mebibytes=256)
print(run_sandboxed("x = 1", "assert x", **limits))
print(run_sandboxed("x = 1", "assert x", allow_weak=True, **limits))
print(run_sandboxed("x = bytearray(1 << 30)", "assert x", allow_weak=True, **limits))
daemon = "import os\\nif not os.fork():\\n os.setsid()\\n os.execv('/bin/sh', ['sh', '-c', CMD])"
command = "CMD = 'sleep 300; : %s'\\n" % sys.argv[1]
print(run_sandboxed(command + daemon, "", allow_weak=True, **limits))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
def test_without_namespaces_it_refuses_unless_weak_limits_are_allowed():
    deny = "echo 0 > /proc/sys/user/max_pid_namespaces && exec "
    done = subprocess.run(
        [
            *("unshare", "-Ur", "sh", "-c", f'{deny} "$0" -c "$1" "$2"'),
            *(sys.executable, _WITHOUT_NAMESPACES, MARKER),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("no user namespaces to take the others away in")
    refused, weak, hog, daemon = done.stdout.splitlines()
    assert refused.startswith("Refused(why=")
    assert "no namespaces here (unshare:" in refused
    assert weak.startswith("Ran(passed=True")
    assert "walls='limits only'" in weak
    assert "MemoryError" in hog
    assert daemon.startswith("Ran(passed=True")
    assert not survivors()
