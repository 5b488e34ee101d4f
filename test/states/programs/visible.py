"""Tells what a process sees of its world each time it is asked (a file `ask.N` appears): names of files by stat and by an open
descriptor, and random numbers."""
import json
import os
import random
import time

FILES = {"untouched": "lower/read", "changed": "lower/changed", "own": "own", "folder": "folder", "root": "/"}
with open("lower/changed", "a") as f:
    f.write("changed")
with open("own", "w") as f:
    f.write("own")
os.mkdir("folder")
held = {name: os.open(path, os.O_RDONLY) for name, path in FILES.items()}
generator = random.Random(7)


def seen():
    by_name = {name: os.stat(path) for name, path in FILES.items()}
    by_fd = {name: os.fstat(fd) for name, fd in held.items()}
    return {
        "dev": {name: s.st_dev for name, s in by_name.items()},
        "ino": {name: s.st_ino for name, s in by_name.items()},
        "mtime": {name: s.st_mtime_ns for name, s in by_name.items()},
        "ctime": {name: s.st_ctime_ns for name, s in by_name.items()},
        "same": all((s.st_dev, s.st_ino) == (by_fd[name].st_dev, by_fd[name].st_ino) for name, s in by_name.items()),
        "random": generator.random(),
        "urandom": os.urandom(8).hex(),
        "pid": os.getpid(),
        "boot_id": open("/proc/sys/kernel/random/boot_id").read().strip(),
    }


n = 0
while True:
    if os.path.exists(f"ask.{n}"):
        with open(f"told.{n}.new", "w") as f:
            json.dump(seen(), f)
        os.rename(f"told.{n}.new", f"told.{n}")
        n += 1
    time.sleep(0.02)
