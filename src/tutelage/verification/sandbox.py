"""Sandbox for untrusted programs.

What a program meets, as root and as an ordinary user alike: namespaces of its own for processes,
network, mounts, IPC and host name; a root of read-only system folders and the Python that runs
it; one writable folder, in memory and limited; no home, no /proc, no network device, no
environment, no inherited files; no rights, and a filter for system calls it never needs. Limits
hold for processor time, time, memory (each process's, and that of all together, shared memory
included: by a control group where one can be made, counted otherwise), files, processes and output.

Bubblewrap builds these walls where it is installed and works, otherwise `jail.py` does; where
neither can, the sandbox does not start. It reports about a program through a pipe that the program
does not have.
"""

import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

# The processes that come from one, and the memory that all of them use together.


_PAGE_BYTES = 4096 if not hasattr(os, "sysconf") else os.sysconf("SC_PAGE_SIZE")


def descendants(ancestor: int) -> list[int]:
    """Process ids of all visible descendants of a process, without itself."""
    found, todo = [], [ancestor]
    while todo:
        children = _children(todo.pop())
        found += children
        todo += children
    return found


def _children(parent: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{parent}/task").iterdir())
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except OSError:
        return []  # it ended meanwhile


def used_bytes(ancestor: int) -> int:
    """Memory of all descendants; shared memory counts once.

    Each shared mapping counts as a whole, since pages that are not mapped are there
    all the same.
    """
    own, shared = 0, {}
    for pid in descendants(ancestor):
        try:
            pages = [int(n) for n in Path(f"/proc/{pid}/statm").read_text().split()]
        except OSError:
            continue  # it ended meanwhile
        mappings = _shared_mappings(pid)
        own += (pages[1] if mappings is None else max(pages[1] - pages[2], 0)) * _PAGE_BYTES
        shared.update(mappings or {})
    return own + sum(shared.values())


def _shared_mappings(pid: int) -> dict[tuple[str, str, int], int] | None:
    """Bytes of each writable shared mapping, by file and offset; None if not visible."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return None
    found = {}
    for line in lines:
        span, rights, offset, device, inode, *_ = line.split(maxsplit=5)
        if rights[3] == "s":
            start, _, end = span.partition("-")
            found[device, inode, int(offset, 16)] = int(end, 16) - int(start, 16)
    return found


# A control group, in which the kernel itself counts and limits memory.


_GROUPS = Path("/sys/fs/cgroup")
_GONE_SECONDS = 5.0


@cache
def memory_groups() -> tuple[Path | None, str]:
    """The control group under which one can be made for each program, and why there is none.

    The memory controller has to be enabled for the children of a group above this process, and
    this process has to be allowed to make a child there and to move processes into it: as root of
    a machine, or as a user to whom systemd delegated the group, as it does in user sessions.
    """
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return None, "this system has no control groups"
    return find_memory_groups(own, _GROUPS)


def find_memory_groups(own: str, root: Path) -> tuple[Path | None, str]:
    """Memory groups by /proc/self/cgroup and the place where control groups are mounted."""
    names = [line[3:] for line in own.splitlines() if line.startswith("0::/")]
    if not names or not (root / "cgroup.controllers").is_file():
        return None, "version 2 of control groups is not mounted"
    folder, above = root / names[0].lstrip("/"), "is not enabled for children of any group above"
    for group in (folder, *folder.parents):
        if not group.is_relative_to(root):
            break
        try:
            enabled = (group / "cgroup.subtree_control").read_text(encoding="ascii").split()
        except OSError:
            continue  # the group of another namespace
        if "memory" not in enabled:
            continue
        above = f"may not be used under {group}"
        with suppress(OSError):
            trial = MemoryGroup.make(group, mebibytes=64)
            try:
                if trial.takes_processes():
                    return group, ""
            finally:
                trial.remove()
    return None, f"the memory controller {above}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGroup:
    """A control group for the processes of one program.

    Attributes:
        folder: Of the group.
    """

    folder: Path

    @classmethod
    def make(cls, above: Path, *, mebibytes: int) -> "MemoryGroup":
        """Make a group whose processes may use so much together, swap and shared memory included.

        Raises:
            OSError: It cannot be made here.
        """
        group = cls(folder=above / f"tutelage-{os.getpid()}-{secrets.token_hex(4)}")
        group.folder.mkdir()
        try:
            (group.folder / "memory.max").write_text(str(mebibytes * 2**20))
            with suppress(OSError):  # a kernel without swap
                (group.folder / "memory.swap.max").write_text("0")
            (group.folder / "memory.oom.group").write_text("1")
        except OSError:
            group.remove()
            raise
        return group

    @property
    def processes(self) -> Path:
        """The file into which a process that moves here writes 0."""
        return self.folder / "cgroup.procs"

    def takes_processes(self) -> bool:
        """Whether a process of ours may move here, by moving one."""
        command = ["/bin/sh", "-c", 'echo 0 > "$0"', str(self.processes)]
        moved = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
        return moved.returncode == 0

    def passed(self) -> bool:
        """Whether the kernel ended processes because they used too much."""
        try:
            events = (self.folder / "memory.events").read_text(encoding="ascii")
        except OSError:
            return False
        counts = dict(line.split() for line in events.splitlines())
        return int(counts.get("oom_kill", 0)) > 0

    def remove(self) -> None:
        """End what is left in the group, and remove it."""
        with suppress(OSError):  # kernels before 5.14; the caller has ended everything by then
            (self.folder / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + _GONE_SECONDS
        while True:
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    return  # an empty group costs nothing, and its name is never used again
                time.sleep(_POLL_SECONDS)
            else:
                return


_HERE = Path(__file__).parent
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
_SYSTEM_FILES = ("/etc/ld.so.cache",)
START_SECONDS = 60.0
"""Seconds in which a jail is built on a busy machine."""
WALL_FACTOR = 3
"""Wall-clock limit as a multiple of the processor time: a busy machine is not the program's fault.
"""
OUTPUT_BYTES = 256 * 1024
BOX_MEBIBYTES = 64
FILE_MEBIBYTES = 32
PROCESSES = 24
OPEN_FILES = 64
LIMITS_ONLY = "limits only"
Mechanism: TypeAlias = Literal["bubblewrap", "jail"]
"""Isolation mechanism: bubblewrap, or the built-in jail."""
MECHANISMS: tuple[Mechanism, ...] = ("bubblewrap", "jail")
_FIRST_SPARE_ID, _SPARE_IDS = 1_900_000_000, 100_000_000
_DEVICES = ("null", "zero", "urandom", "random")
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Result of a program that ran.

    Attributes:
        passed: Whether it reached the end of its tests.
        why: Why it did not: an exit status, a limit; or that it did.
        output: The end of what it printed, standard output and errors together.
        broken_tests: Whether the tests themselves do not compile, so that nothing was run.
        seconds: Wall-clock time.
        walls: What shut it in: `bubblewrap and a call filter`, `namespaces and a call filter`,
            the same without the filter (on processors whose system calls are not listed here),
            or `limits only`.
    """

    passed: bool
    why: str
    output: str
    broken_tests: bool
    seconds: float
    walls: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Reason why a program was not run."""

    why: str


def run_sandboxed(
    program: str,
    tests: str,
    *,
    time_limit_seconds: int,
    memory_mebibytes: int,
    allow_weak: bool = False,
    mechanism: Mechanism | None = None,
) -> Ran | Refused:
    """Run a program and then its tests in a new, isolated Python.

    Args:
        program: Python source.
        tests: Python statements that see what the program defined and raise if it is wrong.
        time_limit_seconds: Processor time of each process, at least 1; three times that by the
            clock for all.
        memory_mebibytes: Address space of each process and resident memory of all together.
        allow_weak: Where isolation cannot be had, run with the limits only: the program can then
            read and write what the user can, and use the network.
        mechanism: What is to build the walls; by default the first that works here.

    Returns:
        What happened. A limit that was passed is a program that ran and did not pass.
    """
    if mechanism is None:
        mechanism = sandbox_mechanism()
    if mechanism is None and not allow_weak:
        return Refused(why=why_no_sandbox() or "no sandbox")
    return _run(
        program,
        tests,
        seconds=time_limit_seconds,
        mebibytes=memory_mebibytes,
        mechanism=mechanism,
    )


def sandbox_mechanism() -> Mechanism | None:
    """Isolation mechanism of this machine, or None; each is tried once."""
    return next((m for m in MECHANISMS if why_not(m) is None), None)


def why_no_sandbox() -> str | None:
    """Reason why programs cannot be isolated on this machine, or None if they can."""
    if sandbox_mechanism() is not None:
        return None
    return "; ".join(f"{why_not(m)}" for m in reversed(MECHANISMS))


@cache
def why_not(mechanism: Mechanism) -> str | None:
    """Reason why one mechanism does not work here, or None if it does; tried once."""
    if not sys.platform.startswith("linux"):
        return f"no sandbox on {sys.platform}: isolation uses Linux namespaces"
    if mechanism == "bubblewrap" and _bubblewrap() is None:
        return "bubblewrap is not installed"
    tried = _run("", "", seconds=10, mebibytes=512, mechanism=mechanism)
    if isinstance(tried, Refused):
        return tried.why
    return None if tried.passed else f"a trial program failed: {tried.why} {tried.output}".strip()


@cache
def _bubblewrap() -> str | None:
    return shutil.which("bwrap")


def _run(
    program: str, tests: str, *, seconds: int, mebibytes: int, mechanism: Mechanism | None
) -> Ran | Refused:
    token = secrets.token_hex(16)
    reading, writing = os.pipe()
    with (
        _memory_group(mebibytes) as group,
        tempfile.TemporaryDirectory(prefix="tutelage-jail-") as folder,
    ):
        order = {
            "weak": mechanism is None,
            "bwrap": _bubblewrap() if mechanism == "bubblewrap" else None,
            "bwrap_arguments": _bubblewrap_arguments(),
            "report": writing,
            "group": None if group is None else str(group.processes),
            "root": folder,
            "parts": _parts(),
            "box_mebibytes": BOX_MEBIBYTES,
            "limits": _limits(seconds, mebibytes),
            "command": [_python(), "-I", "-B", "-S", "-u", "-c", _source("code_harness.py")],
            "environment": {
                "PATH": "/usr/bin:/bin",
                "HOME": "/box",
                "LANG": "C.UTF-8",
                "MALLOC_ARENA_MAX": "2",  # a thread would take 128 MiB of address space for one
            },
            "payload": json.dumps(
                {
                    "program": program,
                    "tests": tests,
                    "token": token,
                    "limits": _limits(seconds, mebibytes),
                    "spare_id": _FIRST_SPARE_ID + secrets.randbelow(_SPARE_IDS)
                    if mechanism == "bubblewrap"
                    else None,
                }
            ),
        }
        process = subprocess.Popen(  # noqa: S603  (our own interpreter and script)
            [_python(), "-I", "-S", "-B", str(_HERE / "jail.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            cwd=folder,
            env={},
            start_new_session=True,
        )
        os.close(writing)
        watch = _Watch(process, reading, seconds=seconds, mebibytes=mebibytes, group=group)
        try:
            watch.order(json.dumps(order).encode())
            return watch.result(token)
        finally:
            watch.end()
            os.close(reading)


@contextmanager
def _memory_group(mebibytes: int) -> Iterator[MemoryGroup | None]:
    """A control group for one program, or None where there can be none: then memory is counted."""
    above, _ = memory_groups()
    group = None
    if above is not None:
        with suppress(OSError):  # the group above is gone
            # The kernel counts the files in /box too, which have a limit of their own.
            group = MemoryGroup.make(above, mebibytes=mebibytes + BOX_MEBIBYTES)
    try:
        yield group
    finally:
        if group is not None:
            group.remove()


class _Watch:
    """Watchdog that enforces the limits of one jail from outside."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        report: int,
        *,
        seconds: int,
        mebibytes: int,
        group: MemoryGroup | None,
    ) -> None:
        self._process = process
        self._group = group
        self._report_fd = report
        self._processor_seconds = seconds
        self._seconds = seconds * WALL_FACTOR
        self._bytes = mebibytes * 2**20
        self._output = b""
        self._report = b""

    def order(self, text: bytes) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            try:
                stdin.write(text)
                stdin.close()
            except BrokenPipeError:
                return  # it died; the result will say so

    def result(self, token: str) -> Ran | Refused:
        """Wait for the end or for a limit."""
        started = time.monotonic()
        deadline, broken_limit = started + START_SECONDS, ""
        is_running = False
        stdout = self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self._report_fd, selectors.EVENT_READ)
            if stdout is not None:
                selector.register(stdout, selectors.EVENT_READ)
            while selector.get_map() and not broken_limit:
                for key, _ in selector.select(_POLL_SECONDS):
                    if not self._take(key.fd):
                        selector.unregister(key.fd)
                if not is_running and b'"ready"' in self._report:
                    is_running, started = True, time.monotonic()
                    deadline = started + self._seconds
                if b'"exit"' in self._report or b'"refused"' in self._report:
                    break
                broken_limit = self._broken_limit(deadline)
        seconds = time.monotonic() - started
        self.end()
        if is_running and self._group is not None and self._group.passed():
            broken_limit = self._too_much_memory()
        return self._judge(token, broken_limit, seconds=seconds, is_running=is_running)

    def end(self) -> None:
        """Kill all remaining processes and collect their output."""
        if self._process.returncode is None:
            for pid in [*descendants(self._process.pid), self._process.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue  # it was faster
            self._process.wait()
        stdout = self._process.stdout
        if stdout is not None and not stdout.closed:
            os.set_blocking(stdout.fileno(), False)
            while len(self._output) <= OUTPUT_BYTES and self._take(stdout.fileno()):
                pass
            stdout.close()

    def _take(self, fd: int) -> bool:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            return False
        if fd == self._report_fd:
            self._report += chunk
        else:
            self._output += chunk
        return bool(chunk)

    def _broken_limit(self, deadline: float) -> str:
        if len(self._output) > OUTPUT_BYTES:
            return f"it printed more than {OUTPUT_BYTES} bytes"
        if time.monotonic() > deadline:
            return f"it ran for more than {self._seconds:g} s"
        if self._group is None and used_bytes(self._process.pid) > self._bytes:
            return self._too_much_memory()
        return ""

    def _too_much_memory(self) -> str:
        return f"its processes used more than {self._bytes >> 20} MiB together"

    def _judge(
        self, token: str, broken_limit: str, *, seconds: float, is_running: bool
    ) -> Ran | Refused:
        said: dict[str, object] = {}
        for line in self._report.splitlines():
            said |= json.loads(line)
        text = self._output.decode("utf-8", "replace")
        # Where the kernel ends a group for its memory, bubblewrap goes with it and cannot report.
        if "refused" in said and not broken_limit:
            return Refused(why=f"{said['refused']} {text[-300:].strip()}".strip())
        if not is_running:
            return Refused(why=f"the jail did not start: {text[-300:].strip() or broken_limit}")
        body, found, tail = text.rpartition(token)
        reached_end = bool(found) and said.get("exit") == 0 and not broken_limit
        broken_tests = reached_end and tail.startswith(" broken tests: ")
        used_up = float(str(said.get("cpu_seconds", 0))) >= self._processor_seconds
        why = "it used up its processor time" if used_up else _named(said.get("exit"))
        return Ran(
            passed=reached_end and not broken_tests,
            why="it reached the end of its tests" if reached_end else broken_limit or why,
            output=(tail if broken_tests else body if reached_end else text)[-2000:].strip(),
            broken_tests=broken_tests,
            seconds=round(seconds, 3),
            walls=str(said.get("walls", LIMITS_ONLY)),
        )


def _named(status: object) -> str:
    if not isinstance(status, int):
        return "it ended without a status"
    if status == -signal.SIGXCPU:
        return "it used up its processor time"
    if status < 0:
        known = {member.value: member.name for member in signal.Signals}
        return f"it was killed by {known.get(-status, f'signal {-status}')}"
    if status == 0:
        return "it exited before the end of its tests"
    return f"it exited with status {status}"


def _limits(seconds: int, mebibytes: int) -> dict[str, int]:
    return {
        "AS": mebibytes * 2**20,
        "CPU": seconds,
        "FSIZE": FILE_MEBIBYTES * 2**20,
        "NPROC": PROCESSES,
        "NOFILE": OPEN_FILES,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }


@cache
def _python() -> str:
    """Interpreter behind a virtual environment: the program gets the standard library only."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


@cache
def _parts() -> list[str]:
    """System folders that a program may read, outermost only."""
    wanted = [p for p in (*_SYSTEM, *_SYSTEM_FILES) if Path(p).exists()]
    for prefix in {sys.base_prefix, sys.base_exec_prefix, str(Path(_python()).parent)}:
        real = os.path.realpath(prefix)
        if not any(Path(real).is_relative_to(p) for p in wanted):
            wanted.append(real)
    return [p for p in wanted if not any(p != q and Path(p).is_relative_to(q) for q in wanted)]


@cache
def _bubblewrap_arguments() -> list[str]:
    """Arguments of bubblewrap for the same isolation that `jail.py` builds."""
    arguments = ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if os.geteuid() == 0:
        # No user namespace: the harness gives up root for an unused id.
        apart = ("pid", "net", "ipc", "uts", "cgroup-try")
        arguments += [f"--unshare-{name}" for name in apart]
        arguments += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments.append("--unshare-all")
    parts = [Path(path) for path in _parts()]
    above = {folder for path in (*parts, Path("/dev/null")) for folder in path.parents[:-1]}
    for folder in sorted(above):  # bubblewrap would make them for root alone
        arguments += ["--perms", "0755", "--dir", str(folder)]
    for real in parts:
        path = str(real)
        if real.is_symlink():
            arguments += ["--symlink", str(real.readlink()), path]
        else:
            arguments += ["--ro-bind", path, path]
    for name in _DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    size = str(BOX_MEBIBYTES * 2**20)
    arguments += ["--perms", "0777", "--size", size, "--tmpfs", "/box"]
    return [*arguments, "--remount-ro", "/", "--chdir", "/box", "--hostname", "box"]
