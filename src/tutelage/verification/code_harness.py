"""Script inside the sandbox that runs a program and then its tests; standard library only.

The payload comes as JSON on the standard input. Only when the last test has passed is the token
written that the caller waits for: a program that prints "passed" or exits early does not pass.
"""

import json
import linecache
import os
import resource
import sys
import types
from typing import NoReturn


def main() -> None:
    """Run the program and tests of the payload; write the token if no test raised."""
    payload = json.loads(sys.stdin.buffer.read())
    os.closerange(3, 256)
    _give_up_root(payload["spare_id"])
    _limit(payload["limits"])
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    try:
        tests = compile(payload["tests"], "<tests>", "exec")
    except (SyntaxError, ValueError) as error:
        _finish(f"{payload['token']} broken tests: {error}")
    module = types.ModuleType("program")  # not __main__: its demonstration at the end stays quiet
    sys.modules["program"] = module
    for name, text in (("<program>", payload["program"]), ("<tests>", payload["tests"])):
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(payload["program"], "<program>", "exec"), module.__dict__)  # noqa: S102  (its job)
    exec(tests, module.__dict__)  # noqa: S102  (its job)
    _finish(payload["token"])


def _give_up_root(spare_id: int | None) -> None:
    """Switch to an unused user id if started by root."""
    if spare_id is not None and os.getuid() == 0:
        os.setgroups([])
        os.setresgid(spare_id, spare_id, spare_id)
        os.setresuid(spare_id, spare_id, spare_id)


def _limit(limits: dict[str, int]) -> None:
    """Set all limits that are not set yet; none of them can be raised again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Past the lower limit of processor time comes a signal that says so, then SIGKILL.
        upper = lower + 1 if name == "CPU" and hard != lower else lower
        resource.setrlimit(kind, (lower, upper))


def _finish(words: str) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(1, f"\n{words}".encode())
    os._exit(0)  # threads that are still running must not hold up a verdict


if __name__ == "__main__":
    main()
