"""Hostile programs, and a runner for them that needs nothing but the sandbox's own files.

Each program prints HELD if the walls held against it, and says ESCAPED if they did not.
"""

import importlib
import json
import sys

SLEEPERS = {"sleep_forever", "ignore_signals"}
"""These run into the time limit, so it is short for them."""

PATIENCE_SECONDS = 60
"""For all others: they end by themselves or by another limit, however slow the machine is."""

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
time.sleep(1000)
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

MORE_HOSTILE = {
    "pretend_to_be_the_jail": """
print('jail: nothing to see HELD', flush=True)
sys.stderr.write('jail: cannot\\n')
raise SystemExit(126)
""",
    "pretend_to_be_bubblewrap": """
print('bwrap: setting up failed: HELD', flush=True)
print('{"exit-code": 0}', flush=True)
os._exit(1)
""",
    "pretend_to_report": """
import json
for number in range(3, 300):
    try:
        os.write(number, (json.dumps({'exit': 0, 'refused': 'no'}) + '\\n').encode())
        print('ESCAPED', number)
    except OSError:
        pass
print('{"refused": "HELD"}', flush=True)
os._exit(7)
""",
    "vsock": """
import socket
must_fail('vsock', lambda: socket.socket(40, socket.SOCK_STREAM))
must_fail('vsock datagrams', lambda: socket.socket(40, socket.SOCK_DGRAM))
print('HELD')
""",
    "netlink": """
import socket
must_fail('netlink', lambda: socket.socket(16, socket.SOCK_RAW, 0))
print('HELD')
""",
    "packet_socket": """
import socket
must_fail('packet', lambda: socket.socket(17, socket.SOCK_RAW, 0))
must_fail('raw', lambda: socket.socket(2, socket.SOCK_RAW, 1))
print('HELD')
""",
    "kernel_crypto": """
import socket
must_fail('crypto', lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0))
print('HELD')
""",
    "bluetooth": """
import socket
must_fail('bluetooth', lambda: socket.socket(31, socket.SOCK_STREAM, 3))
must_fail('can', lambda: socket.socket(29, socket.SOCK_RAW, 1))
print('HELD')
""",
    "listen_for_others": """
import socket
with socket.socket() as server:
    server.bind(('127.0.0.1', 0))
print('HELD a loopback of its own is no way out')
""",
    "shared_memory_kept_without_looking_at_it": """
import mmap
maps = []
for _ in range(8):
    if os.fork() == 0:
        block = mmap.mmap(-1, 120 << 20)
        for at in range(0, len(block), 4096):
            block[at] = 1
        block.madvise(4)
        time.sleep(1000)
        os._exit(0)
time.sleep(1000)
""",
    "shared_memory_of_many": """
import mmap
for _ in range(10):
    block = mmap.mmap(-1, 60 << 20)
    block.write(bytes(60 << 20))
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)
    block.close()
time.sleep(1000)
""",
    "shared_memory_in_dev_shm": """
must_fail('shm', lambda: open('/dev/shm/x', 'w'))
print('HELD', os.path.exists('/dev/shm') and 'ESCAPED')
""",
    "fill_the_box_with_one_sparse_file": """
try:
    os.truncate(os.open('/box/x', os.O_RDWR | os.O_CREAT), 1 << 40)
    print('ESCAPED')
except OSError as error:
    print('HELD', error)
""",
    "exceed_with_fallocate": """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = os.open('/box/y', os.O_RDWR | os.O_CREAT)
must_fail('fallocate', lambda: os.posix_fallocate(file, 0, 1 << 30))
print('HELD')
""",
    "ptrace_a_child": """
child = os.fork()
if not child:
    time.sleep(1)
    os._exit(0)
print('ESCAPED' if libc.ptrace(16, child, 0, 0) == 0 else 'HELD')
""",
    "read_another_process": """
child = os.fork()
if not child:
    time.sleep(1)
    os._exit(0)
number = 310 if os.uname().machine == 'x86_64' else 270
print('HELD' if libc.syscall(number, child, 0, 0, 0, 0, 0) == -1 else 'ESCAPED')
""",
    "io_uring": """
print('HELD' if libc.syscall(425, 8, ctypes.create_string_buffer(200)) == -1 else 'ESCAPED')
""",
    "bpf": """
number = 321 if os.uname().machine == 'x86_64' else 280
print('HELD' if libc.syscall(number, 0, ctypes.create_string_buffer(200), 120) == -1 else 'ESCAPED')
""",
    "user_faults": """
number = 323 if os.uname().machine == 'x86_64' else 282
print('HELD' if libc.syscall(number, 0) == -1 else 'ESCAPED')
""",
    "keyring": """
number = 248 if os.uname().machine == 'x86_64' else 217
print('HELD' if libc.syscall(number, b'user', b'x', b'y', 1, -3) == -1 else 'ESCAPED')
""",
    "open_by_handle": """
number = 304 if os.uname().machine == 'x86_64' else 265
handle = ctypes.create_string_buffer(200)
print('HELD' if libc.syscall(number, -100, handle, 0) == -1 else 'ESCAPED')
""",
    "new_mount_calls": """
numbers = (428, 429, 430, 431, 432, 433, 442)
print('HELD' if all(libc.syscall(n, 0, 0, 0, 0, 0) == -1 for n in numbers) else 'ESCAPED')
""",
    "clone_with_namespaces": """
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x4000000, 0x8000000):
    number = 56 if os.uname().machine == 'x86_64' else 220
    if libc.syscall(number, flag | 17, 0, 0, 0, 0) != -1:
        print('ESCAPED', flag)
        os._exit(0)
print('HELD')
""",
    "clone3": """
print('HELD' if libc.syscall(435, ctypes.create_string_buffer(88), 88) == -1 else 'ESCAPED')
""",
    "setuid_program": """
import subprocess
for path in ('/bin/su', '/usr/bin/sudo', '/bin/mount', '/usr/bin/passwd'):
    if os.path.exists(path) and os.access(path, os.X_OK):
        done = subprocess.run([path, '--help'], capture_output=True)
        print(path, done.returncode)
os.chmod('/box', 0o700) if os.stat('/box').st_uid == os.getuid() else None
print('HELD' if os.geteuid() != 0 or os.getuid() == os.geteuid() else 'ESCAPED')
""",
    "raise_limits": """
import resource
for name in ('RLIMIT_CPU', 'RLIMIT_NPROC', 'RLIMIT_NOFILE', 'RLIMIT_FSIZE', 'RLIMIT_AS'):
    must_fail(name, lambda: resource.setrlimit(getattr(resource, name), (-1, -1)))
print('HELD')
""",
    "many_open_files": """
held = []
try:
    while len(held) < 5000:
        held.append(open('/dev/null'))
    print('ESCAPED', len(held))
except OSError as error:
    count = len(held)
    held.clear()
    print('HELD', count, error)
""",
    "device_files": """
for name in ('mem', 'kmsg', 'sda', 'fuse', 'kvm', 'tty', 'ptmx', 'vsock'):
    must_fail(name, lambda: open('/dev/' + name, 'rb'))
print('HELD')
""",
    "system_information": """
for name in ('/proc/meminfo', '/sys/kernel', '/run', '/etc/hostname', '/etc/passwd', '/var/log'):
    must_fail(name, lambda: os.listdir(name) if os.path.isdir(name) else open(name).read())
print('HELD', os.uname().nodename)
""",
    "type_into_the_terminal": """
import fcntl, termios
for number in (0, 1, 2):
    try:
        fcntl.ioctl(number, termios.TIOCSTI, b'x')
        print('ESCAPED', number)
    except OSError:
        pass
must_fail('tty', lambda: os.open('/dev/tty', os.O_RDWR))
print('HELD')
""",
    "fork_in_threads": """
import threading
def spawn():
    while True:
        try:
            if os.fork() == 0:
                time.sleep(3)
                os._exit(0)
        except (OSError, RuntimeError):
            return
for _ in range(4):
    try:
        threading.Thread(target=spawn, daemon=True).start()
    except RuntimeError:
        break
time.sleep(0.5)
print('HELD', flush=True)
os._exit(0)
""",
    "endless_errors": """
while True:
    os.write(2, b'x' * 4096)
""",
    "output_without_an_end_of_line": """
os.write(1, b'HELD' + b'\\0' * 200000)
""",
    "not_text": """
os.write(1, bytes(range(256)) * 10 + b' HELD ')
""",
    "abort": """
print('HELD', flush=True)
os.abort()
""",
    "stop_itself": """
import signal
print('HELD', flush=True)
os.kill(os.getpid(), signal.SIGKILL)
""",
    "replace_itself": """
print('HELD', flush=True)
os.execv('/bin/true', ['true'])
""",
    "patch_the_harness": """
import builtins
builtins.exec = builtins.compile = lambda *a, **k: None
os._exit = lambda code: None
sys.exit = lambda code=0: None
print('HELD')
raise ValueError('wrong')
""",
    "exit_handlers": """
import atexit
atexit.register(lambda: os._exit(0))
print('HELD', flush=True)
raise ValueError('wrong')
""",
    "raise_system_exit": """
print('HELD', flush=True)
raise SystemExit(0)
""",
    "swallow_the_end": """
sys.excepthook = lambda *a: os._exit(0)
print('HELD', flush=True)
raise ValueError('wrong')
""",
}
HOSTILE |= MORE_HOSTILE
QUICK = (
    "pretend_to_be_the_jail",
    "pretend_to_be_bubblewrap",
    "pretend_to_report",
    "vsock",
    "shared_memory_kept_without_looking_at_it",
    "clone_with_namespaces",
    "raise_limits",
    "exit_handlers",
    "device_files",
    "replace_itself",
)
"""Of the second table, what is tried with every mechanism on every run of the tests."""


def run(sandbox, name, surroundings, *, weak=False, mechanism=None):
    """Run one hostile program with the module `sandbox`; its tests raise nothing."""
    head = "".join(f"{key} = {value!r}\n" for key, value in surroundings.items())
    return sandbox.run_sandboxed(
        head + _TRY + HOSTILE[name],
        "never = 0",
        time_limit_seconds=1 if name in SLEEPERS else PATIENCE_SECONDS,
        memory_mebibytes=400,
        allow_weak=weak,
        mechanism=mechanism,
    )


def main(folder, surroundings, names, mechanism):
    """For an ordinary user's Python, which may lack this package's dependencies."""
    sys.path.insert(0, folder)
    sandbox = importlib.import_module("tutelage.verification.sandbox")
    for name in json.loads(names):
        ran = run(sandbox, name, json.loads(surroundings), mechanism=mechanism)
        passed = getattr(ran, "passed", None)
        words = json.dumps([name, passed, ran.why, getattr(ran, "output", "")])
        sys.stdout.write(words + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
