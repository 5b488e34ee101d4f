"""A terminal's window for a test: runs CMD… in one of ROWS x COLUMNS. What comes in is typed; "ROWS COLUMNS" on descriptor 3
gives it another size."""
import fcntl, os, pty, select, struct, sys, termios


def fit(rows, columns):
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", int(rows), int(columns), 0, 0))


rows, columns, *command = sys.argv[1:]
ready, go = os.pipe()
pid, master = pty.fork()
if pid == 0:
    os.read(ready, 1)
    os.execvp(command[0], command)
fit(rows, columns)
os.write(go, b".")
while True:
    for fd in select.select([0, 3, master], [], [])[0]:
        try:
            data = os.read(fd, 65536)
        except OSError:  # the last of those on the other side has gone
            data = b""
        if fd == master and not data:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        elif not data:  # whoever looks at the window has gone
            sys.exit(1)
        elif fd == master:
            os.write(1, data)
        elif fd == 3:
            fit(*data.split())
        else:
            os.write(master, data)
