import array
import os
import socket

from state import ended, forked, same, state

LOOPBACK = "127.0.0.1"


def pair(kind):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    a.send(b"to b")
    a.send(b"more")
    b.send(b"to a")
    return a, b


@state
def unix_stream_pair():
    a, b = pair(socket.SOCK_STREAM)
    yield
    same(b.recv(99), b"to bmore", "a stream")
    same(a.recv(99), b"to a", "the other way")
    a.shutdown(socket.SHUT_WR)
    same(b.recv(99), b"", "its end")


@state
def unix_dgram_pair():
    a, b = pair(socket.SOCK_DGRAM)
    yield
    same([b.recv(99), b.recv(99), a.recv(99)], [b"to b", b"more", b"to a"], "datagrams")


@state
def unix_seqpacket_pair():
    a, b = pair(socket.SOCK_SEQPACKET)
    yield
    same([b.recv(99), b.recv(99), a.recv(99)], [b"to b", b"more", b"to a"], "packets")


@state
def unix_dgram_named():
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind("socket")
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.connect("socket")
    client.send(b"before")
    yield
    client.send(b"after")
    same([server.recv(99), server.recv(99)], [b"before", b"after"], "datagrams")


@state
def unix_listening():
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind("socket")
    server.listen()
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    abstract.bind(b"\0state")
    abstract.listen()
    before = socket.socket(socket.AF_UNIX)
    before.connect("socket")
    there, _ = server.accept()
    before.send(b"before")
    yield
    same(there.recv(99), b"before", "an accepted connection")
    for listener, name in (server, "socket"), (abstract, b"\0state"):
        client = socket.socket(socket.AF_UNIX)
        client.connect(name)
        accepted, _ = listener.accept()
        client.send(b"new")
        same(accepted.recv(9), b"new", "a new connection")


@state
def unix_not_yet_accepted():
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind("socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("socket")
    yield
    server.settimeout(5)
    accepted, _ = server.accept()
    client.send(b"late")
    same(accepted.recv(9), b"late", "a connection that nobody had accepted")


@state
def descriptor_in_flight():
    """A file that nobody holds open: it only exists in a message that was not received yet."""
    a, b = socket.socketpair()
    with open("file", "w+") as f:
        f.write("passed on")
        f.flush()
        a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [f.fileno()]))])
    yield
    _, fds, _, _ = socket.recv_fds(b, 9, 1)
    same(os.pread(fds[0], 99, 0), b"passed on", "the descriptor in the message")


def tcp(family=socket.AF_INET, address=LOOPBACK):
    listener = socket.create_server((address, 0), family=family)
    client = socket.create_connection(listener.getsockname()[:2])
    server, _ = listener.accept()
    for one in client, server:
        one.settimeout(5)
    return listener, client, server


def receive(one, size):
    got = b""
    while len(got) < size and (part := one.recv(size - len(got))):
        got += part
    return got


def talk(client, server):
    for n in range(3):
        client.sendall(b"ping %d" % n)
        same(server.recv(99), b"ping %d" % n, "to the server")
        server.sendall(b"pong %d" % n)
        same(client.recv(99), b"pong %d" % n, "to the client")


@state
def tcp_connection():
    listener, client, server = tcp()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    talk(client, server)
    yield
    same(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), 1, "TCP_NODELAY")
    talk(client, server)
    client.close()
    same(server.recv(9), b"", "its end")


@state
def tcp_data_in_flight():
    """More than the receiver's buffer takes: unread there, unsent here."""
    _, client, server = tcp()
    client.setblocking(False)
    sent = 0
    block = bytes(range(256)) * 16
    try:
        while True:
            sent += client.send(block[sent % 4096 :])
    except BlockingIOError:
        pass
    server.sendall(b"and back")
    yield
    client.setblocking(True)
    client.settimeout(5)
    same(client.recv(99), b"and back", "to the client")
    got = receive(server, sent)
    same(len(got), sent, "bytes that were under way")
    same(got == (block * (sent // 4096 + 1))[:sent], True, "in order")
    talk(client, server)


@state
def tcp_v6():
    _, client, server = tcp(socket.AF_INET6, "::1")
    client.sendall(b"early")
    yield
    same(server.recv(99), b"early", "data under way")
    talk(client, server)


@state
def tcp_half_closed():
    _, client, server = tcp()
    client.sendall(b"the end")
    client.shutdown(socket.SHUT_WR)
    yield
    same(receive(server, 99), b"the end", "data, then the end")
    server.sendall(b"answer")
    same(client.recv(99), b"answer", "the other direction goes on")


@state
def tcp_listening():
    listener = socket.create_server((LOOPBACK, 0), backlog=7)
    listener.settimeout(5)
    yield
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    client.settimeout(5)
    server.settimeout(5)
    talk(client, server)


@state
def tcp_between_processes():
    """Server and client, each blocked in a read."""
    listener = socket.create_server((LOOPBACK, 0))

    def server():
        conn, _ = listener.accept()
        while data := conn.recv(99):
            conn.sendall(data.upper())

    pid = forked(server)
    client = socket.create_connection(listener.getsockname())
    client.settimeout(5)
    client.sendall(b"before")
    same(client.recv(99), b"BEFORE", "before")
    yield
    client.sendall(b"after")
    same(client.recv(99), b"AFTER", "after")
    client.close()
    same(ended(pid), 0, "the server")


@state
def udp():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((LOOPBACK, 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(server.getsockname())
    yield
    client.send(b"datagram")
    server.settimeout(5)
    data, sender = server.recvfrom(99)
    same(data, b"datagram", "a datagram")
    server.sendto(b"back", sender)
    client.settimeout(5)
    same(client.recv(99), b"back", "an answer")


@state
def netlink():
    import struct

    fd = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    fd.bind((0, 0))
    yield
    fd.settimeout(5)
    fd.send(struct.pack("IHHIIBxHiII", 32, 18, 0x301, 1, 0, 0, 0, 0, 0, 0))  # RTM_GETLINK, all
    same(struct.unpack_from("H", fd.recv(65536), 4)[0], 16, "it answers with links")


@state
def tcp_not_yet_accepted():
    """Goes on where the branch does. In another branch the client hears of its end, so that nobody waits for ever."""
    listener = socket.create_server((LOOPBACK, 0))
    client = socket.create_connection(listener.getsockname())
    client.sendall(b"early")
    yield
    client.settimeout(5)
    listener.settimeout(1)
    try:
        server, _ = listener.accept()
    except TimeoutError:
        try:
            same(client.recv(9), b"", "nothing but the end")
        except ConnectionResetError:
            pass  # once: who was restored again after that hears the end
        client = socket.create_connection(listener.getsockname())
        client.sendall(b"early")
        server, _ = listener.accept()
    same(receive(server, 5), b"early", "what was sent")
