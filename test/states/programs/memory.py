import ctypes
import hashlib
import mmap
import os
import threading

from state import call, ended, forked, libc, same, state


def pattern(size):
    return bytes(hashlib.shake_128(str(size).encode()).digest(size))


@state
def memory():
    block = bytearray(pattern(2 << 20))
    wanted = hashlib.sha256(block).hexdigest()
    readonly = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    readonly[:4] = b"kept"
    where = ctypes.addressof(ctypes.c_char.from_buffer(readonly))
    call(libc.mprotect(ctypes.c_void_p(where), 4096, 1))
    yield
    same(hashlib.sha256(block).hexdigest(), wanted, "2 MiB of memory")
    same(readonly[:5], b"kept\0", "a mapping")
    with open("/proc/self/maps") as maps:
        same(next(line.split()[1] for line in maps if line.startswith(f"{where:x}-")), "r--p", "its protection")


@state
def memory_without_access():
    """Not even its owner may read it: whoever copies it has to make it readable, and unreadable again."""
    hidden = mmap.mmap(-1, 3 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    hidden[:6] = b"hidden"
    where = ctypes.addressof(ctypes.c_char.from_buffer(hidden))
    call(libc.mprotect(ctypes.c_void_p(where), len(hidden), 0))
    yield
    with open("/proc/self/maps") as maps:
        same(next(line.split()[1] for line in maps if line.startswith(f"{where:x}-")), "---p", "its protection")
    call(libc.mprotect(ctypes.c_void_p(where), len(hidden), 3))
    same(hidden[:7], b"hidden\0", "what it holds")


@state
def threads():
    local, turn, asked, answers = threading.local(), threading.Condition(), [], {}
    receive, send = os.pipe()

    def waits_for_turn(number):
        local.mine = number * 7
        with turn:
            while number not in asked:
                turn.wait()
        answers[number] = local.mine

    def reads():
        answers["read"] = os.read(receive, 9)

    all_of_them = [threading.Thread(target=waits_for_turn, args=(n,)) for n in range(8)]
    all_of_them.append(threading.Thread(target=reads))
    for thread in all_of_them:
        thread.start()
    ids = [thread.native_id for thread in all_of_them]
    yield
    same(sorted(map(int, os.listdir("/proc/self/task"))), sorted([os.getpid(), *ids]), "thread ids")
    os.write(send, b"from main")
    with turn:
        asked.extend(range(8))
        turn.notify_all()
    for thread in all_of_them:
        thread.join(5)
    same(answers, {**{n: n * 7 for n in range(8)}, "read": b"from main"}, "what the threads had")


@state
def shared_anonymous_mapping():
    shared = mmap.mmap(-1, 4096)
    shared[:6] = b"before"
    go_read, go_write = os.pipe()

    def child():
        os.read(go_read, 1)
        if shared[:6] != b"parent":
            return 1
        shared[:5] = b"child"

    pid = forked(child)
    yield
    same(shared[:6], b"before", "shared memory")
    shared[:6] = b"parent"
    os.write(go_write, b"g")
    same(ended(pid), 0, "the child saw the parent's write")
    same(shared[:5], b"child", "the parent sees the child's")


@state
def private_file_mapping():
    with open("mapped", "wb") as f:
        f.write(b"file" * 4096)
    with open("mapped", "r+b") as f:
        view = mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    view[:4] = b"mine"
    yield
    same(view[:8], b"minefile", "own page")
    same(view[8192:8196], b"file", "the file's page")
    with open("mapped", "rb") as f:
        same(f.read(4), b"file", "the file")


@state
def shared_file_mapping():
    with open("mapped", "wb") as f:
        f.write(b"file" * 4096)
    with open("mapped", "r+b") as f:
        view = mmap.mmap(f.fileno(), 0)
    view[:4] = b"ours"
    yield
    view[8192:8196] = b"late"
    with open("mapped", "rb") as f:
        same(f.read(8), b"oursfile", "what was written before")
        f.seek(8192)
        same(f.read(4), b"late", "what was written after")


@state
def deleted_mapped_file():
    with open("mapped", "wb") as f:
        f.write(b"file" * 4096)
    with open("mapped", "r+b") as f:
        view = mmap.mmap(f.fileno(), 0)
    os.unlink("mapped")
    view[:4] = b"gone"
    yield
    same(view[:8], b"gonefile", "the mapping of a deleted file")


@state
def posix_shared_memory():
    from multiprocessing import shared_memory

    name = f"state-{os.getpid()}"
    block = shared_memory.SharedMemory(name, create=True, size=65536)
    block.buf[:5] = b"posix"
    yield
    other = shared_memory.SharedMemory(name)
    same(bytes(other.buf[:5]), b"posix", "shared memory by its name")
    other.buf[:5] = b"again"
    same(bytes(block.buf[:5]), b"again", "two mappings of it")
    other.close()
    block.close()
    block.unlink()


@state
def unlinked_posix_shared_memory():
    from multiprocessing import shared_memory

    block = shared_memory.SharedMemory(f"gone-{os.getpid()}", create=True, size=2 << 20)
    block.buf[:5] = b"posix"
    block.unlink()
    yield
    same(bytes(block.buf[:5]), b"posix", "shared memory without a name")


@state
def memfd():
    import fcntl

    fd = os.memfd_create("state", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 8192)
    view = mmap.mmap(fd, 8192)
    view[:5] = b"memfd"
    F_ADD_SEALS, F_GET_SEALS, F_SEAL_SHRINK = 1033, 1034, 2
    fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)
    os.lseek(fd, 3, os.SEEK_SET)
    yield
    same(os.read(fd, 2), b"fd", "the memfd at its offset")
    same(fcntl.fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK, "its seals")
    view[:5] = b"again"
    same(os.pread(fd, 5, 0), b"again", "its mapping")
