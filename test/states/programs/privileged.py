"""States that only root inside can be in."""
import os

from state import same, state


@state
def chroot():
    os.mkdir("root")
    with open("root/inside", "w") as f:
        f.write("inside")
    os.chroot("root")
    os.chdir("/")
    fd = os.open("inside", os.O_RDONLY)
    yield
    same(os.listdir("/"), ["inside"], "the root folder")
    same(os.read(fd, 9), b"inside", "a file in it")
    same(os.getcwd(), "/", "the current folder")


@state
def owners():
    """Files of several owners, and a process that gave up root."""
    with open("theirs", "w"):
        pass
    os.chown("theirs", 12, 34)
    fd = os.open("theirs", os.O_RDWR)
    os.setgroups([5, 6])
    os.setresgid(34, 34, 34)
    os.setresuid(12, 12, 12)
    yield
    same((os.getresuid(), os.getresgid(), os.getgroups()), ((12, 12, 12), (34, 34, 34), [5, 6]), "ids")
    same((os.fstat(fd).st_uid, os.fstat(fd).st_gid), (12, 34), "owner")
