import ctypes
import errno
import fcntl
import os
import struct

from state import call, ended, forked, libc, same, state


@state
def pipe():
    read, write = os.pipe()
    fcntl.fcntl(write, 1031, 1 << 17)  # F_SETPIPE_SZ
    os.write(write, b"in the pipe")
    fcntl.fcntl(read, fcntl.F_SETFL, os.O_NONBLOCK)
    yield
    same(os.read(read, 99), b"in the pipe", "data in a pipe")
    same(fcntl.fcntl(read, 1032), 1 << 17, "its size")
    try:
        os.read(read, 1)
        raise AssertionError("O_NONBLOCK was lost")
    except BlockingIOError:
        pass
    os.close(write)
    same(os.read(read, 1), b"", "its end")


@state
def full_pipe():
    """A writer blocked on a full pipe. A checkpoint can make its write() return early, with less, as a signal can."""
    read, write = os.pipe()

    def writer():
        left = 100_000
        while left:
            left -= os.write(write, b"x" * left)

    pid = forked(writer)
    os.close(write)
    yield
    got = b""
    while part := os.read(read, 65536):
        got += part
    same(len(got), 100_000, "all of it")
    same(ended(pid), 0, "the writer")


@state
def fifo():
    os.mkfifo("fifo")
    both = os.open("fifo", os.O_RDWR)
    os.write(both, b"in the fifo")
    reader = os.open("fifo", os.O_RDONLY)
    yield
    same(os.read(reader, 99), b"in the fifo", "data in a fifo")
    writer = os.open("fifo", os.O_WRONLY)
    os.write(writer, b"more")
    same(os.read(both, 99), b"more", "opened anew")


@state
def deleted_fifo():
    os.mkfifo("fifo")
    fd = os.open("fifo", os.O_RDWR)
    os.write(fd, b"data")
    os.unlink("fifo")
    yield
    same(os.read(fd, 9), b"data", "data in a deleted fifo")


IPC_CREAT, IPC_RMID = 0o1000, 0


@state
def sysv_shared_memory():
    libc.shmat.restype = ctypes.c_void_p
    key = 0x7E1E0001
    id = call(libc.shmget(key, 65536, IPC_CREAT | 0o600))
    at = libc.shmat(id, None, 0)
    ctypes.memmove(at, b"sysv", 4)
    yield
    same(call(libc.shmget(key, 0, 0)), id, "its id, by its key")
    again = libc.shmat(id, None, 0)
    same(ctypes.string_at(again, 4), b"sysv", "attached again")
    ctypes.memmove(again, b"SYSV", 4)
    same(ctypes.string_at(at, 4), b"SYSV", "one memory")
    call(libc.shmctl(id, IPC_RMID, None))


@state
def sysv_semaphore():
    id = call(libc.semget(0x7E1E0002, 2, IPC_CREAT | 0o600))
    call(libc.semop(id, struct.pack("Hhh", 0, 3, 0), 1))

    def waits():
        # One of the few calls that a stop interrupts and that the kernel never starts again by itself: see signal(7).
        while libc.semop(id, struct.pack("Hhh", 1, -1, 0), 1) == -1:
            if ctypes.get_errno() != errno.EINTR:
                return ctypes.get_errno()

    pid = forked(waits)
    yield
    same(call(libc.semctl(id, 0, 12)), 3, "its value")  # GETVAL
    call(libc.semop(id, struct.pack("Hhh", 1, 1, 0), 1))
    same(ended(pid), 0, "the one that waited")
    call(libc.semctl(id, 0, IPC_RMID))


@state
def sysv_message_queue():
    id = call(libc.msgget(0x7E1E0003, IPC_CREAT | 0o600))
    for kind, text in (1, b"first"), (2, b"other"):
        call(libc.msgsnd(id, struct.pack("q", kind) + text, 5, 0))
    yield
    space = ctypes.create_string_buffer(64)
    same(call(libc.msgrcv(id, space, 56, 2, 0o4000)), 5, "a message by its type")
    same(space.raw[8:13], b"other", "its text")
    call(libc.msgrcv(id, space, 56, 0, 0o4000))
    same(space.raw[8:13], b"first", "the other")
    call(libc.msgctl(id, IPC_RMID, None))


@state
def posix_semaphore():
    libc.sem_open.restype = ctypes.c_void_p
    name = f"/state-{os.getpid()}".encode()
    sem = libc.sem_open(name, os.O_CREAT, 0o600, 2)
    value = ctypes.c_int()

    def has():
        libc.sem_getvalue(ctypes.c_void_p(sem), ctypes.byref(value))
        return value.value

    def waits():
        for _ in range(3):
            libc.sem_wait(ctypes.c_void_p(sem))

    pid = forked(waits)
    while has() > 0:
        pass
    yield
    again = libc.sem_open(name, 0)
    libc.sem_post(ctypes.c_void_p(again))
    same(ended(pid), 0, "the one that waited")
    same(has(), 0, "its value")
