import fcntl
import os
import struct

from state import ended, forked, same, state

LOWER = "../../lower"


def link_remaps(folder="."):
    return [name for name in os.listdir(folder) if name.startswith("link_remap.")]


@state
def offset():
    with open("file", "w") as f:
        f.write("0123456789")
    fd = os.open("file", os.O_RDWR)
    shared = os.dup(fd)
    os.lseek(fd, 4, os.SEEK_SET)
    yield
    same(os.read(shared, 2), b"45", "at the offset, through a duplicate")
    same(os.read(fd, 2), b"67", "the same offset")


@state
def lower_file_offset():
    fd = os.open(f"{LOWER}/read", os.O_RDONLY)
    os.lseek(fd, 6, os.SEEK_SET)
    yield
    same(os.read(fd, 5), b"below", "a file of a lower layer at its offset")


@state
def append():
    fd = os.open("file", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(fd, b"one ")
    yield
    with open("file", "a") as other:
        other.write("two ")
    os.write(fd, b"three")
    with open("file") as f:
        same(f.read(), "one two three", "O_APPEND")


@state
def open_flags():
    fd = os.open("file", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC, 0o644)
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    path = os.open("file", os.O_PATH)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    yield
    same(fcntl.fcntl(fd, fcntl.F_GETFL), flags, "flags")
    same(fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.FD_CLOEXEC, "close on exec")
    same(os.listdir(folder), ["file"], "an open folder")
    same(os.fstat(path).st_size, 0, "an O_PATH descriptor")


def deleted(size):
    fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o640)
    for at in range(0, size, 65536):
        os.write(fd, struct.pack("q", at) + bytes(min(65536, size - at) - 8))
    os.unlink("file")
    return fd


def check_deleted(fd, size):
    same(os.fstat(fd).st_size, size, "its size")
    same(os.fstat(fd).st_mode & 0o777, 0o640, "its mode")
    for at in range(0, size, 65536):
        same(struct.unpack("q", os.pread(fd, 8, at))[0], at, "its content")
    os.pwrite(fd, b"on", 0)
    same(os.pread(fd, 2, 0), b"on", "it can be written")
    same(os.listdir("."), [], "no name of it")


@state
def deleted_small_file():
    fd = deleted(4096)
    yield
    check_deleted(fd, 4096)


@state
def deleted_large_file():
    fd = deleted(3 << 20)
    yield
    check_deleted(fd, 3 << 20)


@state
def deleted_sparse_file():
    """64 GiB of which a page is there."""
    fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(fd, b"far", 64 << 20)
    os.unlink("file")
    yield
    same(os.pread(fd, 3, 64 << 20), b"far", "behind the hole")
    same(os.fstat(fd).st_blocks * 512 < 1 << 20, True, "still sparse")


@state
def deleted_lower_file():
    fd = os.open(f"{LOWER}/unlink/it", os.O_RDONLY)
    os.unlink(f"{LOWER}/unlink/it")
    yield
    same(os.pread(fd, 5, 0), b"lower", "a deleted file of a lower layer")
    same(os.listdir(f"{LOWER}/unlink"), [], "names left behind")


@state
def deleted_and_made_anew():
    with open("file", "w") as f:
        f.write("old")
    fd = os.open("file", os.O_RDONLY)
    os.unlink("file")
    with open("file", "w") as f:
        f.write("new")
    yield
    same(os.read(fd, 9), b"old", "the deleted file")
    with open("file") as f:
        same(f.read(), "new", "the one that has its name now")
    same(link_remaps(), [], "names left behind")


@state
def replaced_by_rename():
    with open("file", "w") as f:
        f.write("old")
    fd = os.open("file", os.O_RDONLY)
    with open("other", "w") as f:
        f.write("new")
    os.rename("other", "file")
    yield
    same(os.read(fd, 9), b"old", "the replaced file")


@state
def renamed_open_file():
    with open("file", "w") as f:
        f.write("kept")
    fd = os.open("file", os.O_RDWR)
    os.rename("file", "elsewhere")
    yield
    os.pwrite(fd, b"KEPT", 0)
    with open("elsewhere") as f:
        same(f.read(), "KEPT", "the renamed file")


@state
def deleted_folder():
    os.mkdir("gone")
    os.chdir("gone")
    os.rmdir("../gone")
    yield
    same(os.listdir("."), [], "a deleted current folder")
    same(os.path.basename(os.readlink("/proc/self/cwd")), "gone (deleted)", "its name")


@state
def unnamed_file():
    fd = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600)
    os.write(fd, b"unnamed")
    yield
    same(os.pread(fd, 9, 0), b"unnamed", "an O_TMPFILE")


@state
def hard_link_kept():
    """One name is deleted while the file is open, the other one stays."""
    with open("one", "w") as f:
        f.write("linked")
    os.link("one", "two")
    fd = os.open("one", os.O_RDWR)
    os.unlink("one")
    yield
    os.pwrite(fd, b"LINKED", 0)
    with open("two") as f:
        same(f.read(), "LINKED", "a write to the deleted name's descriptor, seen by the other name")
    same(os.stat("two").st_nlink, 1, "links")
    same(os.listdir("."), ["two"], "names")


@state
def hard_links():
    with open("one", "w") as f:
        f.write("linked")
    os.link("one", "two")
    fd = os.open("one", os.O_RDWR)
    yield
    os.pwrite(fd, b"LINKED", 0)
    with open("two") as f:
        same(f.read(), "LINKED", "a write through one name, seen by the other")
    same(os.stat("one").st_ino, os.stat("two").st_ino, "one file")


@state
def lower_hard_links():
    """Both names come from a lower layer; one was deleted while open for writing."""
    fd = os.open(f"{LOWER}/links/one", os.O_RDWR)
    os.unlink(f"{LOWER}/links/one")
    yield
    os.pwrite(fd, b"LINKED", 0)
    with open(f"{LOWER}/links/two") as f:
        same(f.read(6), "LINKED", "seen by the other name")
    same(os.listdir(f"{LOWER}/links"), ["two"], "names")


def refused(lock):
    """Another process may not have it."""

    def other():
        try:
            lock()
            return 1
        except OSError:
            return 0

    same(ended(forked(other)), 0, "the lock keeps others out")


@state
def flock():
    fd = os.open("lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX)
    shared = os.open("shared", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(shared, fcntl.LOCK_SH)
    yield
    refused(lambda: fcntl.flock(os.open("lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB))
    refused(lambda: fcntl.flock(os.open("shared", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB))
    fcntl.flock(os.open("shared", os.O_RDWR), fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_UN)
    fcntl.flock(os.open("lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)


@state
def record_locks():
    fd = os.open("lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 5)
    yield
    fresh = os.open("lock", os.O_RDWR)  # closing it would give up the lock: that is how these locks are
    refused(lambda: fcntl.lockf(os.open("lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14))
    fcntl.lockf(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)

    def outside_the_range():
        fcntl.lockf(os.open("lock", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 20)

    same(ended(forked(outside_the_range)), 0, "other bytes are free")


OFD_SETLK = 37


@state
def ofd_locks():
    fd = os.open("lock", os.O_RDWR | os.O_CREAT, 0o644)
    whole = struct.pack("hhqqixxxx", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(fd, OFD_SETLK, whole)
    yield
    try:
        fcntl.fcntl(os.open("lock", os.O_RDWR), OFD_SETLK, whole)
        raise AssertionError("another open file description got the lock")
    except BlockingIOError:
        pass
    fcntl.fcntl(fd, OFD_SETLK, whole)


@state
def mapped_file_locks():
    """A process that gives up a descriptor of a mapped file keeps the locks that it has on it: see sqlite_wal_transaction."""
    import mmap

    fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(fd, 8192)
    view = mmap.mmap(fd, 8192)
    # mmap() of Python keeps a duplicate of the descriptor, whose end would end the lock.
    fcntl.lockf(fd, fcntl.LOCK_EX, 4, 100)
    yield

    def takes():
        try:
            fcntl.lockf(os.open("file", os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB, 4, 100)
        except OSError:
            return 3

    same(ended(forked(takes)), 3, "the lock keeps others out")
    view[:1] = b"x"


@state
def waits_for_lock():
    """A process blocked in flock() gets the lock when it is given back."""
    fd = os.open("lock", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(fd, fcntl.LOCK_EX)
    pid = forked(lambda: fcntl.flock(os.open("lock", os.O_RDWR), fcntl.LOCK_EX))
    yield
    fcntl.flock(fd, fcntl.LOCK_UN)
    same(ended(pid), 0, "the one that waited")


@state
def proc_files():
    status = open("/proc/self/status")
    folder = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY)
    yield
    same(status.readline().split()[1], "proc_files", "/proc/self/status")
    same(os.listdir(folder), [str(os.getpid())], "/proc/self/task")


@state
def devices():
    null, zero, random = (os.open(f"/dev/{name}", os.O_RDWR) for name in ("null", "zero", "urandom"))
    yield
    same(os.read(null, 1), b"", "/dev/null")
    same(os.read(zero, 3), bytes(3), "/dev/zero")
    same(len(os.read(random, 16)), 16, "/dev/urandom")
