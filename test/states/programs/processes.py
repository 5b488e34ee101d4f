import ctypes
import os
import resource
import select
import signal
import struct
import time

from state import call, ended, forked, libc, same, state, until


@state
def tree():
    """Child and grandchild, in groups and sessions of their own, each waiting for the other."""
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()

    def grandchild():
        os.setpgid(0, 0)
        os.write(up_write, struct.pack("iiii", os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)))
        os.read(down_read, 1)
        os.write(up_write, struct.pack("iiii", os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0)))
        return 5

    def child():
        os.setsid()
        return ended_whenever(forked(grandchild)) + 1

    def ended_whenever(pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    pid = forked(child)
    before = os.read(up_read, 16)
    yield
    os.write(down_write, b"g")
    same(struct.unpack("iiii", os.read(up_read, 16)), struct.unpack("iiii", before), "pid, parent, group, session")
    same(ended(pid), 6, "the exit code, handed up")


@state
def zombie():
    pid = forked(lambda: 7)
    killed = forked(lambda: time.sleep(1000))
    os.kill(killed, signal.SIGKILL)
    for one in pid, killed:
        until(lambda: open(f"/proc/{one}/stat").read().split()[2] == "Z", "zombie")
    yield
    same(ended(pid), 7, "a zombie's exit code")
    same(ended(killed), -9, "a killed one's signal")


@state
def orphan():
    """A process whose parent ended belongs to PID 1."""
    read, write = os.pipe()
    go_read, go_write = os.pipe()

    def middle():
        forked(last)

    def last():
        until(lambda: os.getppid() == 1, "adopted")
        os.write(write, b"1")
        os.read(go_read, 1)
        os.write(write, str(os.getppid()).encode())

    ended(forked(middle))
    same(os.read(read, 1), b"1", "ready")
    yield
    os.write(go_write, b"g")
    same(os.read(read, 9), b"1", "its parent")


@state
def pending_signals():
    got = []
    realtime = signal.SIGRTMIN + 3
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, realtime])
    signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
    os.kill(os.getpid(), signal.SIGUSR1)
    for value in 41, 42:
        call(libc.sigqueue(os.getpid(), realtime, ctypes.c_void_p(value)))
    yield
    same(signal.sigpending(), {signal.SIGUSR1, realtime}, "pending signals")
    values = []
    for _ in range(2):
        info = (ctypes.c_char * 128)()
        mask = struct.pack("Q", 1 << (realtime - 1)) + bytes(120)
        same(libc.sigtimedwait(mask, info, struct.pack("qq", 1, 0)), realtime, "a queued signal")
        values.append(struct.unpack_from("q", info, 24)[0])
    same(values, [41, 42], "their values, in order")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    same(got, ["usr1"], "the handler")


@state
def interval_timer():
    ticks = []
    signal.signal(signal.SIGALRM, lambda *_: ticks.append(time.monotonic()))
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    until(lambda: len(ticks) > 2, "ticks")
    yield
    seen = len(ticks)
    until(lambda: len(ticks) > seen + 2, "it goes on ticking")
    signal.setitimer(signal.ITIMER_REAL, 0)


@state
def posix_timer():
    timer = ctypes.c_void_p()
    got = []
    signal.signal(signal.SIGUSR2, lambda *_: got.append(1))
    event = struct.pack("Qii", 0, signal.SIGUSR2, 0) + bytes(48)
    call(libc.timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)))
    call(libc.timer_settime(timer, 0, struct.pack("qqqq", 0, 50_000_000, 0, 50_000_000), None))
    until(lambda: len(got) > 2, "ticks")
    yield
    seen = len(got)
    until(lambda: len(got) > seen + 2, "it goes on ticking")


@state
def pidfd():
    pid = forked(lambda: time.sleep(1000))
    fd = os.pidfd_open(pid)
    yield
    same(select.select([fd], [], [], 0)[0], [], "the process lives")
    signal.pidfd_send_signal(fd, signal.SIGTERM)
    same(select.select([fd], [], [], 5)[0], [fd], "its end shows")
    same(ended(pid), -15, "the signal")


@state
def attributes():
    """What else belongs to a process: mask, limits, priority, name, dumpability, death signal, environment."""
    os.umask(0o027)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
    os.nice(3)
    call(libc.prctl(36, 1, 0, 0, 0))  # PR_SET_CHILD_SUBREAPER
    os.environ["STATE"] = "kept"
    status = {"NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups", "CapEff", "CapBnd", "Umask", "SigIgn", "SigCgt"}

    def seen():
        with open("/proc/self/status") as f:
            return {line.split(":")[0]: line.split(":")[1].strip() for line in f if line.split(":")[0] in status}

    before = seen()
    yield
    same(seen(), before, "its status")
    same(resource.getrlimit(resource.RLIMIT_NOFILE), (200, 300), "limits")
    same(os.nice(0), 3, "priority")
    found = ctypes.c_int()
    call(libc.prctl(37, ctypes.byref(found), 0, 0, 0))
    same(found.value, 1, "subreaper")
    same(os.environ["STATE"], "kept", "environment")
    with open("/proc/self/comm") as f:
        same(f.read().strip(), "attributes", "name")


@state
def stopped_process():
    pid = forked(lambda: time.sleep(1000))
    os.kill(pid, signal.SIGSTOP)
    until(lambda: open(f"/proc/{pid}/stat").read().split()[2] == "T", "stopped")
    yield
    # A thaw wakes whom SIGSTOP stopped too: it stops again, having done nothing, as soon as a processor is free for it.
    until(lambda: open(f"/proc/{pid}/stat").read().split()[2] == "T", "stopped by SIGSTOP")
    os.kill(pid, signal.SIGCONT)
    until(lambda: open(f"/proc/{pid}/stat").read().split()[2] == "S", "it goes on")
    os.kill(pid, signal.SIGKILL)
    ended(pid)


def heard():
    """What handlers hear of being stopped and continued, and of a child that is."""
    got = []
    for number in signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD:
        signal.signal(number, lambda number, _: got.append(signal.Signals(number).name))
    return got


@state
def no_stop_heard():
    """To be frozen and thawed is not to be stopped and continued: no handler is called."""
    got = heard()
    yield
    same(got, [], "signals")
    os.kill(os.getpid(), signal.SIGCONT)
    until(lambda: got == ["SIGCONT"], "what it would hear")


@state
def running_job():
    """Nor has a parent anything to hear of a child that runs."""
    read, write = os.pipe()
    got = heard()

    def child():
        signal.signal(signal.SIGUSR1, lambda *_: os.write(write, repr(got).encode()))
        os.write(write, b"1")
        while True:
            time.sleep(0.02)

    pid = forked(child)
    same(os.read(read, 1), b"1", "ready")

    def change():
        return os.waitpid(pid, os.WUNTRACED | os.WCONTINUED | os.WNOHANG)

    yield
    same(change(), (0, 0), "a change of the child")
    same(got, [], "signals")
    os.kill(pid, signal.SIGUSR1)
    same(os.read(read, 99), b"[]", "signals of the child")
    os.kill(pid, signal.SIGSTOP)
    until(lambda: os.WIFSTOPPED(change()[1]), "what a stop looks like")
    until(lambda: got == ["SIGCHLD"], "what it would hear")
    os.kill(pid, signal.SIGCONT)
    until(lambda: os.WIFCONTINUED(change()[1]), "what going on looks like")
    until(lambda: got == ["SIGCHLD", "SIGCHLD"], "what it would hear")
    os.kill(pid, signal.SIGKILL)
    ended(pid)


@state
def own_seccomp_filter():
    """A filter of the program's own (uname answers ENOSPC) over the sandbox's."""
    import platform

    number = {"x86_64": 63, "aarch64": 160}[platform.machine()]
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 28), (0x06, 0, 0, 0x7FFF0000)]
    filters = b"".join(struct.pack("HBBI", *one) for one in code)
    buffer = ctypes.create_string_buffer(filters)
    program = struct.pack("HxxxxxxQ", len(code), ctypes.addressof(buffer))
    space = ctypes.create_string_buffer(400)

    def uname():
        ctypes.set_errno(0)
        libc.uname(space)
        return ctypes.get_errno()

    same(uname(), 0, "uname before")
    call(libc.prctl(22, 2, program, 0, 0))
    same(uname(), 28, "uname with the filter")
    with open("/proc/self/status") as f:
        filters_before = next(line for line in f if line.startswith("Seccomp_filters"))
    yield
    same(uname(), 28, "uname with the filter")
    with open("/proc/self/status") as f:
        same(next(line for line in f if line.startswith("Seccomp_filters")), filters_before, "number of filters")
    same(libc.syscall(425, 1, 0), -1, "the sandbox's filter")
    same(ctypes.get_errno(), 38, "its answer to io_uring_setup")
