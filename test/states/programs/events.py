import ctypes
import os
import select
import signal
import socket
import struct
import time

from state import call, libc, same, state

LOWER = "../../lower"


@state
def epoll():
    a, b = socket.socketpair()
    read, write = os.pipe()
    poll = select.epoll()
    poll.register(a, select.EPOLLIN | select.EPOLLET)
    poll.register(read, select.EPOLLIN)
    nested = select.epoll()
    nested.register(poll.fileno(), select.EPOLLIN)
    b.send(b"x")
    yield
    same(poll.poll(1), [(a.fileno(), select.EPOLLIN)], "an event from before")
    os.write(write, b"y")
    same([fd for fd, _ in nested.poll(1)], [poll.fileno()], "an epoll in an epoll")
    same((read, select.EPOLLIN) in poll.poll(1), True, "an event from after")


@state
def epoll_of_closed_number():
    """The registered descriptor's number is another file's now."""
    read, write = os.pipe()
    poll = select.epoll()
    poll.register(read, select.EPOLLIN)
    kept = os.dup(read)
    os.close(read)
    reused = os.open("/dev/null", os.O_RDONLY)
    same(reused, read, "the number, used again")
    yield
    os.write(write, b"y")
    same([fd for fd, _ in poll.poll(1)], [read], "an event under the old number")
    os.close(kept)


@state
def eventfd():
    fd = os.eventfd(5, os.EFD_NONBLOCK)
    semaphore = os.eventfd(2, os.EFD_SEMAPHORE)
    yield
    same(os.eventfd_read(fd), 5, "its value")
    same(os.eventfd_read(semaphore), 1, "a semaphore's")


@state
def signalfd():
    mask = struct.pack("Q", 1 << (signal.SIGUSR1 - 1))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    fd = call(libc.signalfd(-1, mask + bytes(120), 0))
    os.kill(os.getpid(), signal.SIGUSR1)
    yield
    same(select.select([fd], [], [], 1)[0], [fd], "readable")
    same(struct.unpack_from("I", os.read(fd, 128))[0], signal.SIGUSR1, "the signal")


@state
def timerfd():
    interval = call(libc.timerfd_create(time.CLOCK_MONOTONIC, 0))
    once = call(libc.timerfd_create(time.CLOCK_REALTIME, 0))
    call(libc.timerfd_settime(interval, 0, struct.pack("qqqq", 0, 50_000_000, 0, 50_000_000), None))
    call(libc.timerfd_settime(once, 0, struct.pack("qqqq", 0, 0, 3600, 0), None))
    yield
    os.read(interval, 8)
    for _ in range(3):
        same(struct.unpack("Q", os.read(interval, 8))[0] > 0, True, "it goes on ticking")
    left = (ctypes.c_int64 * 4)()
    call(libc.timerfd_gettime(once, left))
    same(0 < left[2] <= 3600, True, "time that is left")


def watch(fd, path, mask=0x100 | 0x2 | 0x200):  # create, modify, delete
    return call(libc.inotify_add_watch(fd, path.encode(), mask))


def events(fd):
    found, data = [], os.read(fd, 65536)
    while data:
        wd, mask, _, size = struct.unpack_from("iIII", data)
        found.append((wd, mask, data[16 : 16 + size].rstrip(b"\0").decode()))
        data = data[16 + size :]
    return found


@state
def inotify():
    """Watches on folders and files, of the sandbox's own layer and of a lower one."""
    os.mkdir("folder")
    with open("file", "w"):
        pass
    fd = call(libc.inotify_init1(os.O_NONBLOCK))
    own, file = watch(fd, "folder"), watch(fd, "file")
    lower, lower_file = watch(fd, f"{LOWER}/watched"), watch(fd, f"{LOWER}/watched/file")
    yield
    with open("folder/new", "w"):
        pass
    with open(f"{LOWER}/watched/new", "w"):
        pass
    with open("file", "w") as f:
        f.write("x")
    same(
        [e for e in events(fd) if e[1] & 0x100 or e[0] == file],
        [(own, 0x100, "new"), (lower, 0x100, "new"), (file, 2, "")],
        "events",
    )
    with open(f"{LOWER}/watched/file", "a") as f:
        f.write("x")
    same([e[0] for e in events(fd) if e[0] in (lower, lower_file)] != [], True, "a lower file's event")
    call(libc.inotify_rm_watch(fd, own))


@state
def inotify_of_deleted():
    os.mkdir("folder")
    fd = call(libc.inotify_init1(os.O_NONBLOCK))
    watch(fd, "folder")
    os.rmdir("folder")
    same([e[1] for e in events(fd)], [0x8000], "the watch ended")
    yield
    os.mkdir("folder")
    same(watch(fd, "folder") > 0, True, "it can watch again")


@state
def aio_context():
    """Linux's older asynchronous input and output, as databases use it."""
    machine = os.uname().machine
    setup, submit, getevents = (206, 209, 208) if machine == "x86_64" else (0, 2, 4)
    context = ctypes.c_ulong()
    call(libc.syscall(setup, 8, ctypes.byref(context)))
    with open("file", "w") as f:
        f.write("asynchronous")
    fd = os.open("file", os.O_RDONLY)
    yield
    space = ctypes.create_string_buffer(64)
    request = struct.pack("QIiHhIQQqQII", 77, 0, 0, 0, 0, fd, ctypes.addressof(space), 64, 0, 0, 0, 0)
    buffer = ctypes.create_string_buffer(request)
    pointers = struct.pack("Q", ctypes.addressof(buffer))
    same(call(libc.syscall(submit, context, 1, pointers)), 1, "submitted")
    events = ctypes.create_string_buffer(32)
    same(call(libc.syscall(getevents, context, 1, 1, events, struct.pack("qq", 5, 0))), 1, "completed")
    same(space.value, b"asynchronous", "what it read")
