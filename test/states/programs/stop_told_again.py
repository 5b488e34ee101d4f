"""Has stopped a child, and knows of it. Tells later whether it is told of that stop once more."""
import os
import signal
import time

told = []
signal.signal(signal.SIGCHLD, lambda *_: told.append(1))
child = os.fork()
while child == 0:
    time.sleep(1)
os.kill(child, signal.SIGSTOP)
os.waitpid(child, os.WUNTRACED)
while not told:
    time.sleep(0.02)
print("ready", flush=True)
while not os.path.exists("ask"):
    time.sleep(0.02)
found, status = os.waitpid(child, os.WUNTRACED | os.WCONTINUED | os.WNOHANG)
if len(told) == 1 and found == 0:
    print("silence", flush=True)
else:
    print("told again" if len(told) == 2 and os.WIFSTOPPED(status) else f"another: {told} {found} {status}", flush=True)
