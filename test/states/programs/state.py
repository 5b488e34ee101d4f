"""What the programs of this folder have in common, after CRIU's zdtm.

A state is a generator with one bare `yield`: before it the state is set up, after it the state is checked. Whatever happens
to the process in between (a checkpoint, a restore) happens at the yield. `python3 state.py MODULE...` runs every state of
these modules, or that of MODULE:NAME, each in a process of its own named after it, in a folder of its own:

    ready/NAME     it is set up (or, beginning with "fail", why not)
    go             the word to check, polled for
    results/NAME   "pass", or "fail: why"

The current folder is where these are.
"""
import ctypes
import importlib
import os
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
STATES = {}


def state(generator):
    STATES[generator.__name__] = generator
    return generator


def call(result):
    """A C call's result, or the OSError that it stands for."""
    if result == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def same(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: found {found!r}, not {wanted!r}")


def until(condition, what, seconds=8):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def forked(work):
    """A child that runs `work` and ends with what it returns."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(work() or 0)
        except BaseException as error:
            print(why(error), file=sys.stderr)
            os._exit(99)
    return pid


def ended(pid):
    """Exit code of a child that has ended or will soon; minus the signal's number where one killed it."""
    end = time.monotonic() + 8
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    raise AssertionError(f"process {pid} does not end")


def tell(folder, name, text):
    with open(os.open(name + ".new", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder), "w") as f:
        f.write(text)
    os.rename(name + ".new", name, src_dir_fd=folder, dst_dir_fd=folder)


def why(error):
    import traceback  # here, as other large modules: what is imported is in every process's image

    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {error} ({os.path.basename(where.filename)}:{where.lineno}: {where.line})"


def live(name):
    """The life of one state's process."""
    # By descriptor: a state may change root or folder.
    top, ready, results = (os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in (".", "ready", "results"))
    os.mkdir(f"work/{name}")
    os.chdir(f"work/{name}")
    os.setsid()
    libc.prctl(15, name.encode()[:15], 0, 0, 0)  # PR_SET_NAME: errors name the process so
    program = STATES[name]()
    try:
        next(program)
    except BaseException as error:
        tell(ready, name, f"fail: not set up: {why(error)}")
        return
    tell(ready, name, "ready")
    while True:
        try:
            os.stat("go", dir_fd=top)
            break
        except FileNotFoundError:
            time.sleep(0.04)
    try:
        next(program, None)
        tell(results, name, "pass")
    except BaseException as error:
        tell(results, name, f"fail: {why(error)}")


def in_child(work, *words):
    if os.fork() == 0:
        try:
            work(*words)
        finally:
            os._exit(0)


def start(module, only=None):
    """Starts a module's states, and stays their parent."""
    importlib.import_module(module)
    for name in [only] if only else STATES:
        in_child(live, name)
    wait_for_all()


def wait_for_all():
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def main():
    for module in sys.argv[1:]:
        in_child(start, *module.split(":"))
    wait_for_all()


if __name__ == "__main__":
    # States import this file by its name: that must be the same one.
    sys.modules["state"] = sys.modules["__main__"]
    main()
