"""Hostile programs, and a runner for them that needs nothing but the sandbox's own files.

Each program prints HELD if the walls held against it, and says ESCAPED if they did not.
"""

import importlib.util
import json
import sys
from pathlib import Path

SLEEPERS = {"sleep_forever", "ignore_signals"}
"""These run into the time limit, so it is short for them."""

_TRY = """
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def must_fail(what, act):
    try:
        result = act()
    except (OSError, MemoryError, ValueError) as error:
        print(what, 'failed as it should:', type(error).__name__, error)
        return
    print('ESCAPED', what, result)
"""

HOSTILE = {
    "fork_bomb": """
while True:
    try:
        os.fork()
    except OSError as error:
        print('HELD no more processes:', error)
        time.sleep(1)
        break
""",
    "thread_bomb": """
import threading
threads = []
try:
    for _ in range(10_000):
        threads.append(threading.Thread(target=time.sleep, args=(5,), daemon=True))
        threads[-1].start()
    print('ESCAPED', len(threads))
except (RuntimeError, MemoryError) as error:
    print('HELD', len(threads), error)
""",
    "endless_output": """
while True:
    print('x' * 1000)
""",
    "memory": """
try:
    block = bytearray(8 << 30)
    print('ESCAPED', len(block))
except MemoryError:
    print('HELD')
""",
    "memory_of_many_processes": """
for _ in range(12):
    if os.fork() == 0:
        break
block = bytearray(150 << 20)
for index in range(0, len(block), 4096):
    block[index] = 1
time.sleep(5)
""",
    "memory_outside_the_address_space": """
must_fail('memfd', lambda: os.memfd_create('x'))
if libc.shmget(0, 1 << 30, 0o1600) == -1:
    print('HELD', os.strerror(ctypes.get_errno()))
else:
    print('ESCAPED shared memory')
""",
    "read_home": """
must_fail('canary', lambda: open(CANARY).read())
for home in ('/root', '/home', '/etc/passwd', '/etc/shadow', '/var', '/tmp', '/opt', '/srv'):
    for folder, _, names in os.walk(home):
        if names and 'python' not in folder and 'pyenv' not in folder:
            print('ESCAPED', folder, names[:3])
must_fail('/etc/shadow', lambda: open('/etc/shadow').read())
print('HELD home is', os.path.expanduser('~'))
""",
    "socket": """
import socket
must_fail('tcp', lambda: socket.create_connection(('127.0.0.1', PORT), timeout=1))
must_fail('outside', lambda: socket.create_connection(('1.1.1.1', 53), timeout=1))
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return s.sendto(b'x', ('1.1.1.1', 53))
must_fail('udp', udp)
def abstract():
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect(ABSTRACT.encode().decode('unicode_escape'))
must_fail('abstract unix socket', abstract)
print('HELD')
""",
    "kill_the_parent": """
import signal
for pid in (os.getppid(), 1, HOST_PID):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        print(error)
print('HELD still here')
""",
    "kill_everything": """
import signal
print('HELD before', flush=True)
os.kill(-1, signal.SIGKILL)
""",
    "write_outside": """
for path in ('/x', '/usr/x', '/tmp/x', '/etc/x', '/dev/x', sys.prefix + '/x',
             os.path.dirname(os.__file__) + '/x.py', CANARY, '/box/../x', '/dev/sda', '/dev/vda'):
    must_fail(path, lambda: open(path, 'w'))
must_fail('rename', lambda: os.rename(os.__file__, '/box/os.py'))
must_fail('chmod', lambda: os.chmod(os.__file__, 0o777))
open('/box/allowed', 'w').write('x')
print('HELD')
""",
    "symlink_escape": """
os.symlink('/', 'root')
os.symlink(CANARY, 'canary')
os.symlink('/proc/1/root', 'one')
must_fail('root', lambda: open('root/usr/x', 'w'))
must_fail('canary', lambda: open('canary').read())
must_fail('write canary', lambda: open('canary', 'w'))
must_fail('one', lambda: os.listdir('one'))
must_fail('hard link', lambda: os.link(os.__file__, 'hard'))
top = os.open('/', os.O_RDONLY)
for _ in range(40):
    os.chdir('..')
print(os.listdir('.'), os.listdir(top))
if 'box' in os.listdir('.') and 'var' not in os.listdir('..'):
    print('HELD')
""",
    "leave_the_root": """
must_fail('chroot', lambda: os.chroot('/box'))
def call(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
must_fail('mount', lambda: call('mount', b'x', b'/box', b'tmpfs', 0, 0))
must_fail('umount', lambda: call('umount2', b'/box', 2))
must_fail('remount', lambda: call('mount', b'', b'/usr', b'', 4096 | 32, 0))
must_fail('user namespace', lambda: call('unshare', 0x10000000))
must_fail('mount namespace', lambda: call('unshare', 0x20000))
must_fail('clone', lambda: call('syscall', 56, 0x10000000 | 17, 0, 0, 0, 0) if
          os.uname().machine == 'x86_64' else os.chroot('/'))
must_fail('mknod', lambda: os.mknod('/box/disk', 0o60666, os.makedev(254, 0)))
must_fail('hostname', lambda: __import__('socket').sethostname('x'))
print('HELD')
""",
    "become_root": """
must_fail('setuid', lambda: os.setuid(0))
must_fail('setgid', lambda: os.setgid(0))
must_fail('setgroups', lambda: os.setgroups([0]))
must_fail('nice', lambda: os.nice(-5))
must_fail('chown', lambda: os.chown('/box', 0, 0))
import resource
must_fail('limits', lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40)))
print('HELD', os.getuid() != 0 or 'ESCAPED as root')
""",
    "sleep_forever": """
print('HELD', flush=True)
while True:
    time.sleep(1000)
""",
    "ignore_signals": """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
print('HELD', flush=True)
while True:
    pass
""",
    "huge_file": """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
written = 0
try:
    with open('/box/huge', 'wb') as file:
        while written < 1 << 30:
            written += file.write(bytes(1 << 20))
    print('ESCAPED', written)
except OSError as error:
    print('HELD', written, error)
""",
    "many_files": """
made = 0
try:
    while made < 1_000_000:
        with open(f'/box/{made}', 'wb') as file:
            file.write(bytes(1 << 16))
        made += 1
    print('ESCAPED', made)
except OSError as error:
    print('HELD', made, error)
""",
    "snoop_on_the_parent": """
must_fail('proc', lambda: open('/proc/1/environ').read())
must_fail('own proc', lambda: os.listdir('/proc'))
print('ESCAPED' if 'SECRET' in repr(os.environ) else 'no secret in the environment')
for pid in (1, os.getppid(), HOST_PID):
    if libc.ptrace(16, pid, 0, 0) == 0:
        print('ESCAPED ptrace', pid)
print('HELD')
""",
    "daemon": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv('/bin/sh', ['sh', '-c', 'sleep 300; : ' + MARKER])
    os._exit(0)
os.wait()
print('HELD the daemon was started')
""",
    "zombies": """
for _ in range(2000):
    try:
        if os.fork() == 0:
            os._exit(0)
    except OSError as error:
        print('HELD', error)
        break
""",
    "inherited_files": """
found = []
for number in range(3, 1024):
    try:
        found.append((number, os.fstat(number)))
    except OSError:
        pass
print('ESCAPED' if found else 'HELD', found)
""",
    "claim_to_have_passed": """
print('HELD passed OK 1 passed', flush=True)
sys.exit(0)
""",
    "exit_at_once": """
print('HELD', flush=True)
os._exit(0)
""",
    "close_the_output": """
print('HELD', flush=True)
os.close(1)
os.close(2)
""",
    "crash": """
print('HELD', flush=True)
ctypes.string_at(0)
""",
}
"""By name. In the programs CANARY, PORT, ABSTRACT, HOST_PID and MARKER are defined."""


def run(sandbox, name, surroundings, *, weak=False, mechanism=None):
    """Run one hostile program with the module `sandbox`; its tests raise nothing."""
    head = "".join(f"{key} = {value!r}\n" for key, value in surroundings.items())
    return sandbox.run_sandboxed(
        head + _TRY + HOSTILE[name],
        "never = 0",
        time_limit_seconds=1 if name in SLEEPERS else 5,
        memory_mebibytes=400,
        allow_weak=weak,
        mechanism=mechanism,
    )


def main(folder, surroundings, names, mechanism):
    """For an ordinary user's Python, which may lack this package's dependencies."""
    spec = importlib.util.spec_from_file_location("sandbox", Path(folder) / "sandbox.py")
    sandbox = importlib.util.module_from_spec(spec)
    sys.modules["sandbox"] = sandbox
    spec.loader.exec_module(sandbox)
    for name in json.loads(names):
        ran = run(sandbox, name, json.loads(surroundings), mechanism=mechanism)
        passed = getattr(ran, "passed", None)
        words = json.dumps([name, passed, ran.why, getattr(ran, "output", "")])
        sys.stdout.write(words + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
