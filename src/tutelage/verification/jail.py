# ruff: noqa: PTH103, PTH112, PTH114, PTH115, PTH120, PTH123, PTH211  (pathlib would double the time it takes to start)
"""Jail process that isolates a program; run as a script, with the standard library only.

Where the order names `bwrap`, bubblewrap builds the walls, with the filter for system calls from
here; otherwise this file builds them itself:

    caller --- jail (this file, outside)
                 └── keeper (process 1 inside: mounts, waits, reports)
                       └── program (no rights, no network, nothing writable but /box)

When the jail dies the kernel kills the keeper, and with the keeper everything inside: no fork
bomb, daemon or program that ignores signals outlives it. It works for root (which gives up its
user id before the program starts) and, through a user namespace, for ordinary users.

The order is read as JSON from the standard input; what happened is written as JSON lines to the
file descriptor that the order names: `{"ready": ...}`, then `{"exit": status}`, or `{"refused":
reason}`.
"""

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any, NoReturn

_NEWNS, _NEWUTS, _NEWIPC = 0x00020000, 0x04000000, 0x08000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_PR_CAPBSET_DROP, _PR_SET_SECCOMP, _SECCOMP_FILTER = 24, 22, 2
_PR_SET_CHILD_SUBREAPER = 36
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION_3 = 0x20080522
_SYS_MOUNT_SETATTR = 442  # the same number on every machine, as for all calls since 5.1
_DEVICES = ("null", "zero", "urandom", "random")
_BOX_INODES = 4_096
_FIRST_SPARE_ID, _SPARE_IDS = 1_900_000_000, 100_000_000
_NOBODY = 65534
_EXEC_FAILED = 126
_SIGNALLED = 128
_LAST_SIGNAL = 64

_DENIED = {
    # What a program under test never needs and an escape or a memory bomb might: namespaces,
    # mounts, other processes' memory, keys, kernel machinery, memory outside its address space.
    "x86_64": (
        0xC000003E,
        56,
        (
            *(272, 308, 165, 166, 155, 428, 429, 430, 431, 432, 433, 442),  # unshare, setns, mount
            *(101, 310, 311, 312, 434, 438),  # ptrace, process_vm, kcmp, pidfd
            *(321, 323, 298, 248, 249, 250, 425, 426, 427, 303, 304),  # bpf, faults, perf, keys
            *(319, 447, 29, 64, 68, 240),  # memfd, System V and POSIX memory and queues
            *(440, 443, 448, 300, 161, 154, 103),  # other processes, quotas, fanotify, chroot, log
            *(246, 320, 175, 313, 176, 169, 167, 168),  # kernels, modules, reboot, swap
        ),
    ),
    "aarch64": (
        0xC00000B7,
        220,
        (
            *(97, 268, 40, 39, 41, 428, 429, 430, 431, 432, 433, 442),
            *(117, 270, 271, 272, 434, 438),
            *(280, 282, 241, 217, 218, 219, 425, 426, 427, 264, 265),
            *(279, 447, 194, 190, 186, 180),
            *(440, 443, 448, 262, 51, 116),
            *(104, 294, 105, 273, 106, 142, 224, 225),
        ),
    ),
}
_SYS_CLONE3 = 435
_SOCKET_CALLS = {"x86_64": (41, 53), "aarch64": (198, 199)}
_SOCKET_FAMILIES = (1, 2, 10)
"""Address families with namespaces (Unix, IPv4, IPv6); not vsock, netlink, packet, Bluetooth,
crypto, ...
"""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class _RefusedError(Exception):
    """The requested isolation is not available here."""


def main() -> None:
    """Read the order, build the jail, run the program in it and report."""
    order = json.loads(sys.stdin.buffer.read())
    report = int(order["report"])
    os.set_inheritable(report, False)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        group = _opened_group(order)
    except OSError as error:
        _say(report, refused=f"its control group cannot be opened: {error}")
        return
    if order["bwrap"] is not None:
        _run_bubblewrap(order, report, group)
        return
    if order["weak"]:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _wait(_start_program(order, report=report, ids=None, group=group), report)
        while True:  # the caller ends us after our descendants, which it finds through us
            signal.pause()
    try:
        _unshare(_NEWPID | _NEWNET | _NEWIPC | _NEWUTS)
    except _RefusedError as refusal:
        _say(report, refused=str(refusal))
        return
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper:
        os.close(reading)
        os.write(writing, b"!")
        os.waitpid(keeper, 0)
        return
    os.close(writing)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not os.read(reading, 1):  # the jail died before the kernel was told to take us with it
        os._exit(1)
    os.close(reading)
    _prctl(_PR_SET_DUMPABLE, 0)
    _keep(order, report, group)


def _opened_group(order: dict[str, Any]) -> int | None:
    """The file through which a process joins the control group; the jail itself has no /sys."""
    return None if order["group"] is None else os.open(order["group"], os.O_WRONLY | os.O_CLOEXEC)


def _join(group: int | None) -> None:
    """Move this process into the control group, with everything that will come from it."""
    if group is not None:
        os.write(group, b"0")
        os.close(group)


def _keep(order: dict[str, Any], report: int, group: int | None) -> NoReturn:
    try:
        _move_in(order)
        ids = _spare_ids() if os.geteuid() == 0 else (os.getuid(), os.getgid())
        os.chown("/box", *ids)
        program = _start_program(order, report=report, ids=ids, group=group)
    except (OSError, _RefusedError) as error:
        _say(report, refused=f"the jail could not be built: {error}")
        os._exit(1)
    _wait(program, report)
    os._exit(0)


def _wait(program: int, report: int) -> None:
    while True:
        pid, status, usage = os.wait4(-1, 0)  # the keeper also reaps what the program orphaned
        if pid == program:
            seconds = usage.ru_utime + usage.ru_stime
            _say(report, exit=os.waitstatus_to_exitcode(status), cpu_seconds=round(seconds, 3))
            return


def _run_bubblewrap(order: dict[str, Any], report: int, group: int | None) -> None:
    """Have bubblewrap build the walls and run the program; it says itself how that went."""
    filtered = platform.machine() in _DENIED
    status_out, status_in = os.pipe()
    reading, writing = os.pipe()
    given = [status_in]
    arguments = [order["bwrap"], *order["bwrap_arguments"], "--json-status-fd", str(status_in)]
    if filtered:
        rules = os.memfd_create("rules", 0)
        os.write(rules, _filter_code(*_DENIED[platform.machine()]))
        os.lseek(rules, 0, os.SEEK_SET)
        arguments += ["--seccomp", str(rules)]
        given.append(rules)
    bubblewrap = os.fork()
    if not bubblewrap:
        try:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            _join(group)
            os.dup2(reading, 0)
            for number in given:
                os.set_inheritable(number, True)
            os.execve(arguments[0], [*arguments, "--", *order["command"]], order["environment"])  # noqa: S606
        except (OSError, _RefusedError) as error:
            _say(report, refused=f"bubblewrap cannot be started: {error}")
        os._exit(_EXEC_FAILED)
    for number in (*given, reading):
        os.close(number)
    walls = "bubblewrap and a call filter" if filtered else "bubblewrap"
    _say(report, ready=True, walls=walls)
    with contextlib.suppress(BrokenPipeError):  # it died at once; its status will say so
        os.write(writing, order["payload"].encode())
    os.close(writing)
    _, _, usage = os.wait4(bubblewrap, 0)
    with open(status_out, encoding="utf-8") as file:
        said = [json.loads(line) for line in file if line.strip()]
    status = next((line["exit-code"] for line in said if "exit-code" in line), None)
    if status is None:
        _say(report, refused="bubblewrap could not build its walls")
        return
    # As a shell does, it says 128 and the number of the signal that ended the program.
    is_signal = _SIGNALLED < status <= _SIGNALLED + _LAST_SIGNAL
    code = _SIGNALLED - status if is_signal else status
    _say(report, exit=code, cpu_seconds=round(usage.ru_utime + usage.ru_stime, 3))


def _unshare(flags: int) -> None:
    """Leave the caller's namespaces; as an ordinary user, enter a user namespace first."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        flags |= _NEWUSER
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        raise _RefusedError(f"no namespaces here (unshare: {os.strerror(ctypes.get_errno())})")
    if uid != 0:
        try:
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{uid} {uid} 1"),
                ("gid_map", f"{gid} {gid} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        except OSError as error:
            raise _RefusedError(f"no user namespace here ({error})") from error


def _move_in(order: dict[str, Any]) -> None:
    """Create a root directory from read-only parts of the system and an empty /box."""
    root = order["root"]
    _check(_libc.unshare(ctypes.c_int(_NEWNS)), "unshare mounts")
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in order["parts"]:
        target = root + path
        if os.path.islink(path):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(os.readlink(path), target)
        else:
            _bind(path, target, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", _ATTR_RDONLY | _ATTR_NOSUID)
    os.makedirs(f"{root}/box")
    size = f"size={order['box_mebibytes']}m,nr_inodes={_BOX_INODES},mode=700"
    _mount("tmpfs", f"{root}/box", "tmpfs", _MS_NOSUID | _MS_NODEV, size)
    _set_attributes(root, _ATTR_RDONLY, recursive=False)
    os.chdir(root)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", ctypes.c_int(_MNT_DETACH)), "umount the old root")
    os.chdir("/box")


def _bind(path: str, target: str, attributes: int) -> None:
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w", encoding="ascii"):
            pass
    _mount(path, target, None, _MS_BIND | _MS_REC)
    _set_attributes(target, attributes, recursive=True)


def _spare_ids() -> tuple[int, int]:
    """Unused user id, so that limits count only this program's processes."""
    spare = _FIRST_SPARE_ID + int.from_bytes(os.urandom(4), "big") % _SPARE_IDS
    try:
        os.chown("/box", spare, spare)
    except OSError:
        return _NOBODY, _NOBODY  # a container that maps only some ids
    return spare, spare


def _start_program(
    order: dict[str, Any], *, report: int, ids: tuple[int, int] | None, group: int | None
) -> int:
    """Fork, give up all rights, and become the Python that runs the program; returns its id."""
    reading, writing = os.pipe()
    program = os.fork()
    if program:
        os.close(reading)
        filtered = "namespaces and a call filter" if platform.machine() in _DENIED else "namespaces"
        _say(report, ready=True, walls="limits only" if ids is None else filtered)
        with contextlib.suppress(BrokenPipeError):  # it died at once; its status will say so
            os.write(writing, order["payload"].encode())
        os.close(writing)
        return program
    try:
        _join(group)
        os.setsid()
        os.dup2(reading, 0)
        os.closerange(3, report)
        os.closerange(report + 1, 256)  # the report itself is closed by becoming the program
        _limit(order["limits"])
        if ids is not None:
            _give_up_rights(*ids)
        command = order["command"]
        os.execve(command[0], command, order["environment"])  # noqa: S606  (no shell, on purpose)
    except (OSError, _RefusedError) as error:
        _say(report, refused=f"the jail could not be closed: {error}")
        os._exit(_EXEC_FAILED)


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Past the lower limit of processor time comes a signal that says so, then SIGKILL.
        upper = lower + 1 if name == "CPU" and hard != lower else lower
        resource.setrlimit(kind, (lower, upper))


def _give_up_rights(uid: int, gid: int) -> None:
    for capability in range(_LAST_CAPABILITY):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails past the last one there is
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    machine = platform.machine()
    if machine in _DENIED:
        _filter_calls(*_DENIED[machine])


def _filter_calls(architecture: int, clone: int, denied: tuple[int, ...]) -> None:
    """Install a seccomp filter."""
    instructions = _filter_code(architecture, clone, denied)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    count = len(instructions) // struct.calcsize("HBBI")
    program = struct.pack("HxxxxxxQ", count, ctypes.addressof(buffer))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, program, 0, 0), "seccomp")


def _filter_code(architecture: int, clone: int, denied: tuple[int, ...]) -> bytes:
    """Seccomp program: denied calls fail; calls of another architecture kill the process."""
    allow, kill, fail = 0x7FFF0000, 0x80000000, 0x00050000
    load, equal, set_in, greater, give = 0x20, 0x15, 0x45, 0x25, 0x06
    code = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, architecture),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # the number of the call
        (greater, 0, 1, 0x3FFFFFFF),  # the x32 twins of the calls below
        (give, 0, 0, kill),
        (equal, 0, 1, _SYS_CLONE3),
        (give, 0, 0, fail | errno.ENOSYS),  # its flags cannot be seen; libc falls back to clone
        (equal, 0, 4, clone),
        (load, 0, 0, 16),  # its flags
        (set_in, 0, 1, _NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS),
        (give, 0, 0, fail | errno.EPERM),
        (give, 0, 0, allow),
    ]
    for number in _SOCKET_CALLS[platform.machine()]:
        families = len(_SOCKET_FAMILIES)
        code += [
            (equal, 0, families + 3, number),
            (load, 0, 0, 16),  # the family
            *((equal, families - at, 0, family) for at, family in enumerate(_SOCKET_FAMILIES)),
            (give, 0, 0, fail | errno.EAFNOSUPPORT),
            (give, 0, 0, allow),
        ]
    for number in denied:
        code += [(equal, 0, 1, number), (give, 0, 0, fail | errno.EPERM)]
    code.append((give, 0, 0, allow))
    return b"".join(struct.pack("HBBI", *line) for line in code)


def _mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    texts = [t.encode() if t is not None else None for t in (source, target, kind, options)]
    result = _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3])
    _check(result, f"mount {target}")


def _set_attributes(path: str, attributes: int, *, recursive: bool) -> None:
    packed = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        path.encode(),
        ctypes.c_uint(flags),
        packed,
        ctypes.c_size_t(len(packed)),
    )
    _check(result, f"make {path} read-only")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), f"prctl {option}")


def _check(result: int, what: str) -> None:
    if result != 0:
        raise _RefusedError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _say(report: int, **words: object) -> None:
    os.write(report, (json.dumps(words) + "\n").encode())


if __name__ == "__main__":
    main()
