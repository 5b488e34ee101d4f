"""Leaves an event of a watch unread, and tells later whether it is still there."""
import ctypes
import os
import time

libc = ctypes.CDLL(None)
os.mkdir("seen")
fd = libc.inotify_init1(os.O_NONBLOCK)
libc.inotify_add_watch(fd, b"seen", 0x100)
with open("seen/early", "w"):
    pass
print("ready", flush=True)
while not os.path.exists("ask"):
    time.sleep(0.02)
try:
    print("there" if b"early" in os.read(fd, 4096) else "another", flush=True)
except BlockingIOError:
    print("gone", flush=True)
