import os
import subprocess
import sys
import time

from state import ended, forked, same, state, until


@state
def python_http_server():
    import urllib.request

    with open("page", "w") as f:
        f.write("served")
    # Port 0 is printed, and a single-threaded server must not be left with a connection that it has not accepted.
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    port = server.stdout.readline().split()[5].decode()

    def get():
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=5).read()

    same(get(), b"served", "before")
    yield
    same(get(), b"served", "the page")
    with open("page", "w") as f:
        f.write("changed")
    same(get(), b"changed", "the page, changed")
    server.kill()


@state
def sqlite_wal_transaction():
    import sqlite3

    db = sqlite3.connect("db", isolation_level=None)
    same(db.execute("pragma journal_mode=wal").fetchone()[0], "wal", "mode")
    db.execute("create table t (n)")
    db.execute("insert into t values (1)")
    db.execute("begin immediate")
    db.execute("insert into t values (2)")
    yield

    def other():
        """Sees what was committed, and may not write."""
        second = sqlite3.connect("db", isolation_level=None, timeout=0)
        if second.execute("select n from t").fetchall() != [(1,)]:
            return 1
        try:
            second.execute("insert into t values (9)")
            return 2
        except sqlite3.OperationalError:
            return 0

    same(ended(forked(other)), 0, "a second process, while the transaction is open")
    db.execute("insert into t values (3)")
    db.execute("commit")
    same(db.execute("select n from t").fetchall(), [(1,), (2,), (3,)], "rows")
    same(db.execute("pragma integrity_check").fetchone()[0], "ok", "integrity")


@state
def git_rebase():
    """Stopped in the editor, half-way."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_EDITOR": "true", "HOME": os.getcwd()}
    for who in "AUTHOR", "COMMITTER":
        env[f"GIT_{who}_NAME"] = "state"
        env[f"GIT_{who}_EMAIL"] = "state@example.org"

    def git(*words, **more):
        return subprocess.run(["git", *words], check=True, env={**env, **more}, capture_output=True, text=True).stdout

    git("init", "-q", "-b", "main")
    for n in range(3):
        with open(f"file{n}", "w") as f:
            f.write(f"{n}\n")
        git("add", ".")
        git("commit", "-qm", f"commit {n}")
    with open("editor", "w") as f:
        f.write('#!/bin/sh\ntouch editing\nwhile [ ! -e edited ]; do sleep 0.05; done\necho reworded > "$1"\n')
    os.chmod("editor", 0o755)
    rebase = subprocess.Popen(
        ["git", "rebase", "-q", "-i", "HEAD~2"],
        env={**env, "GIT_SEQUENCE_EDITOR": "sed -i 1s/pick/reword/", "GIT_EDITOR": f"{os.getcwd()}/editor"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: os.path.exists("editing"), "the editor was started", 20)
    yield
    same("interactive rebase in progress" in git("status"), True, "git status")
    with open("edited", "w"):
        pass
    try:
        _, said = rebase.communicate(timeout=15)
    except subprocess.TimeoutExpired as error:
        raise AssertionError("the rebase does not end") from error
    same((rebase.returncode, said), (0, ""), "the rebase")
    same(git("log", "--format=%s").split("\n"), ["commit 2", "reworded", "commit 0", ""], "its commits")
    git("fsck", "--strict")


@state
def bash_script():
    """A loop, a variable, a here-document, a trap, a job, a pipeline."""
    script = """
    trap 'echo trapped' USR1
    n=5; sleep 1000 & job=$!
    { echo ready; read word; kill -USR1 $$; echo $((n+1)) $word; kill $job; wait $job; echo $?; } | cat
    """
    bash = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    same(bash.stdout.readline(), "ready\n", "ready")
    yield
    bash.stdin.write("word\n")
    bash.stdin.close()
    lines = bash.stdout.read().split("\n")
    same(lines[0], "6 word", "its variable and its input")
    bash.wait(5)


@state
def tail_follows():
    with open("log", "w") as f:
        f.write("one\n")
    tail = subprocess.Popen(["tail", "-F", "log"], stdout=subprocess.PIPE, text=True)
    same(tail.stdout.readline(), "one\n", "before")
    time.sleep(0.1)
    yield
    with open("log", "a") as f:
        f.write("two\n")
    line = tail.stdout.readline()
    if line == "one\n":  # its st_dev changed with the branch: when it looks, it takes the file for a new one and shows it again
        line = tail.stdout.readline()
    same(line, "two\n", "what is appended")
    tail.kill()
