"""What no checkpoint can carry: it says so, and the processes go on unharmed, which is what is checked here."""
import ctypes
import os
import signal
import socket
import struct
import time

from state import call, ended, forked, libc, same, state, until


@state
def traced():
    pid = forked(lambda: libc.ptrace(0, 0, 0, 0) or time.sleep(1000))
    until(lambda: "TracerPid:\t0\n" not in open(f"/proc/{pid}/status").read(), "traced")
    yield
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)
    same(ended(pid), -9, "its end")


@state
def packet_pipe():
    read, write = os.pipe2(os.O_DIRECT)
    os.write(write, b"one")
    os.write(write, b"two")
    yield
    same([os.read(read, 99), os.read(read, 99)], [b"one", b"two"], "packets")


@state
def early_message():
    """Sent over a unix socket to somebody who has not accepted the connection yet."""
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("socket")
    client.send(b"early")
    yield
    accepted, _ = server.accept()
    same(accepted.recv(9), b"early", "the message")


@state
def watch_of_deleted():
    """A watch on a folder that was deleted and that somebody still has open."""
    os.mkdir("folder")
    fd = call(libc.inotify_init1(0))
    call(libc.inotify_add_watch(fd, b"folder", 0x100))
    kept = os.open("folder", os.O_RDONLY)
    os.rmdir("folder")
    yield
    same(os.listdir(kept), [], "the folder")


@state
def message_queue():
    rt = ctypes.CDLL("librt.so.1", use_errno=True)
    fd = call(rt.mq_open(b"/state", os.O_CREAT | os.O_RDWR, 0o600, None))
    call(rt.mq_send(fd, b"queued", 6, 0))
    yield
    space = ctypes.create_string_buffer(8192)
    same(call(rt.mq_receive(fd, space, 8192, None)), 6, "a message")
    rt.mq_unlink(b"/state")


@state
def seccomp_notifier():
    """The descriptor by which one process decides on another one's system calls."""
    code = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(buffer))
    fd = call(libc.syscall(317 if os.uname().machine == "x86_64" else 277, 1, 8, program))
    yield
    same(os.readlink(f"/proc/self/fd/{fd}"), "anon_inode:seccomp notify", "the descriptor")
