"""SQLite's locks belong to the process and to device and inode of the file. Opens a database that it has open already, and tells
whether the transaction that is under way still keeps writers out."""
import os
import sqlite3
import time


def open_it():
    return sqlite3.connect("database", isolation_level=None, timeout=0)


first = open_it()
first.execute("create table t (n)")
first.execute("begin immediate")
first.execute("insert into t values (1)")
print("ready", flush=True)
while not os.path.exists("ask"):
    time.sleep(0.02)
second = open_it()
try:
    second.execute("insert into t values (2)")
    print("let in", flush=True)
except sqlite3.OperationalError:
    print("kept out", flush=True)
