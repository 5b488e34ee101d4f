/* What the CRIU tests dump: one small static program, one mode per kind of state.
 *
 *   criu-payload launch DIR MODE      makes namespaces as a branch has them (user, PID, mount, IPC, UTS; a network
 *                                     namespace that belongs to the outside), with DIR as root, runs MODE there as
 *                                     PID 1 and prints its pid, as seen outside. DIR must hold this
 *                                     program as "payload": what is mapped must be found inside
 *   criu-payload join PID -- CMD…     runs CMD in the network namespace of PID (for a dump)
 *   criu-payload fresh DIR -- CMD…    runs CMD in a new network namespace with loopback up, and with DIR a mount point
 *                                     (for a restore)
 *
 * PID 1 listens on the unix socket /sock and answers each connection with one line: "NONCE COUNTER STATE". NONCE is
 * random and held in memory only, COUNTER grows once a millisecond, STATE depends on the mode:
 *   plain        "-"
 *   tcp          four loopback connections, with data under way, checked on each question: "ok" or what is wrong
 *   traced       a child that another child traces
 *   io_uring     an open ring
 *   userns       a child in a nested user namespace
 *   foreign      a file opened in another mount namespace, under a name that does not exist here
 *   pipe         a pipe whose other end is outside
 *   peer         a stream socket whose peer is outside
 *   inotify      a watch
 *   ghost        a deleted file of 2 MiB
 *   lock         a file lock
 *   pending      a TCP connection that nobody accepted
 *   memory       8 MiB written whole, and 8 MiB with each seventh page left out. STATE: their addresses in hex, and "ok"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(x) ({ long r_ = (long)(x); if (r_ < 0) { perror(#x); exit(1); } r_; })

static void loopback_up(void) {
  struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int s = NEED(socket(AF_INET, SOCK_DGRAM, 0));
  NEED(ioctl(s, SIOCSIFFLAGS, &r));
  close(s);
}

/* --- tcp: pattern in, pattern out ------------------------------------------------------------------------------- */

struct conn { int client, server; size_t to_server, to_client; unsigned char cs, cv, sc, sv; };
static struct conn quiet, busy, half, half2;

static struct conn dial(int port) {
  struct conn c = {0};
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  int one = 1, l = NEED(socket(AF_INET, SOCK_STREAM, 0));
  NEED(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  NEED(bind(l, (void *)&a, sizeof a));
  NEED(listen(l, 1));
  c.client = NEED(socket(AF_INET, SOCK_STREAM, 0));
  NEED(connect(c.client, (void *)&a, sizeof a));
  c.server = NEED(accept(l, 0, 0)); /* l stays: a listener beside its connections is the usual case */
  return c;
}

/* Sends n bytes of a running pattern, or as many as fit; returns how many went. */
static size_t put(int fd, unsigned char *next, size_t n) {
  size_t sent = 0;
  while (sent < n) {
    unsigned char b[4096], start = *next;
    size_t m = n - sent < sizeof b ? n - sent : sizeof b;
    for (size_t i = 0; i < m; i++) b[i] = start + i;
    ssize_t r = send(fd, b, m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (r <= 0) break;
    *next = start + r;
    sent += r;
  }
  return sent;
}

/* Reads n bytes and checks the pattern. */
static int get(int fd, unsigned char *next, size_t n) {
  while (n) {
    unsigned char b[4096];
    struct pollfd p = {fd, POLLIN, 0};
    if (poll(&p, 1, 5000) != 1) return 0;
    ssize_t r = recv(fd, b, n < sizeof b ? n : sizeof b, 0);
    if (r <= 0) return 0;
    for (ssize_t i = 0; i < r; i++) if (b[i] != (*next)++) return 0;
    n -= r;
  }
  return 1;
}

static void tcp_set_up(void) {
  int big = 200000;
  quiet = dial(7001);
  quiet.to_server = put(quiet.client, &quiet.cs, 100);
  quiet.to_client = put(quiet.server, &quiet.sc, 50);
  busy = dial(7002); /* more than the receiver's window takes: part of it is not yet sent */
  NEED(setsockopt(busy.client, SOL_SOCKET, SO_SNDBUF, &big, sizeof big));
  busy.to_server = put(busy.client, &busy.cs, 1 << 24);
  half = dial(7003); /* the client said it all, the server has not answered */
  half.to_server = put(half.client, &half.cs, 10);
  NEED(shutdown(half.client, SHUT_WR));
  half2 = dial(7004); /* the same the other way round, nothing under way */
  NEED(shutdown(half2.server, SHUT_WR));
}

static const char *tcp_check(void) {
  char end;
  if (!get(quiet.server, &quiet.sv, quiet.to_server)) return "quiet-to-server";
  if (!get(quiet.client, &quiet.cv, quiet.to_client)) return "quiet-to-client";
  if (!get(busy.server, &busy.sv, busy.to_server)) return "busy";
  quiet.to_server = put(quiet.client, &quiet.cs, 1000);
  quiet.to_client = put(quiet.server, &quiet.sc, 1000);
  busy.to_server = put(busy.client, &busy.cs, 1 << 24);
  if (!quiet.to_server || !quiet.to_client || !busy.to_server) return "cannot-send";
  if (half.to_server && !get(half.server, &half.sv, half.to_server)) return "half-data";
  half.to_server = 0;
  if (recv(half.server, &end, 1, 0) != 0) return "half-end";
  put(half.server, &half.sc, 7);
  if (!get(half.client, &half.cv, 7)) return "half-answer";
  if (recv(half2.client, &end, 1, 0) != 0) return "half2-end";
  put(half2.client, &half2.cs, 7);
  if (!get(half2.server, &half2.sv, 7)) return "half2-answer";
  return "ok";
}

/* --- memory ----------------------------------------------------------------------------------------------------- */

enum { PAGE = 4096, REGION = 8 << 20 };
static char *whole, *gaps;

static int left_out(const char *region, size_t at) { return region == gaps && at / PAGE % 7 == 3; }

/* A mapping of its own: what lies on both sides stays inaccessible. */
static char *region(void) {
  char *p = mmap(0, REGION + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) { perror("mmap"); exit(1); }
  p += PAGE;
  NEED(mprotect(p, REGION, PROT_READ | PROT_WRITE));
  return p;
}

static void fill(char *p) {
  for (size_t at = 0; at < REGION; at += PAGE)
    if (!left_out(p, at)) *(unsigned long *)(p + at) = (unsigned long)p ^ at;
}

static void memory_set_up(void) {
  whole = region(), gaps = region();
  NEED(madvise(gaps, REGION, MADV_NOHUGEPAGE)); /* one would fill the gaps */
  fill(whole), fill(gaps);
}

/* Looks at no page that was left out: looking would make it resident. */
static int holds(char *p) {
  for (size_t at = 0; at < REGION; at += PAGE)
    if (!left_out(p, at) && *(unsigned long *)(p + at) != ((unsigned long)p ^ at)) return 0;
  return 1;
}

static const char *memory_check(void) {
  static char said[99];
  snprintf(said, sizeof said, "%lx,%lx,%s", (long)whole, (long)gaps, holds(whole) && holds(gaps) ? "ok" : "changed");
  return said;
}

/* --- what cannot be dumped, or only with an option -------------------------------------------------------------- */

static void wait_for_ever(void) { for (;;) pause(); }

static void set_up(const char *mode) {
  if (!strcmp(mode, "tcp")) tcp_set_up();
  if (!strcmp(mode, "memory")) memory_set_up();
  if (!strcmp(mode, "traced")) {
    pid_t victim = NEED(fork());
    if (!victim) wait_for_ever();
    int ready[2];
    NEED(pipe(ready));
    if (!NEED(fork())) {
      NEED(ptrace(PTRACE_SEIZE, victim, 0, 0));
      NEED(write(ready[1], "x", 1));
      wait_for_ever();
    }
    char c;
    NEED(read(ready[0], &c, 1));
    close(ready[0]), close(ready[1]);
  }
  if (!strcmp(mode, "io_uring")) {
    struct io_uring_params p = {0};
    NEED(syscall(SYS_io_uring_setup, 4, &p));
  }
  if (!strcmp(mode, "userns") && !NEED(fork())) {
    NEED(unshare(CLONE_NEWUSER));
    wait_for_ever();
  }
  if (!strcmp(mode, "inotify")) NEED(inotify_add_watch(NEED(inotify_init1(0)), "/", IN_CREATE));
  if (!strcmp(mode, "ghost")) {
    int fd = NEED(open("/big", O_RDWR | O_CREAT, 0600));
    NEED(ftruncate(fd, 0));
    for (int i = 0; i < 512; i++) { char page[4096]; memset(page, i, sizeof page); NEED(write(fd, page, sizeof page)); }
    NEED(unlink("/big"));
  }
  if (!strcmp(mode, "lock")) NEED(flock(NEED(open("/locked", O_RDWR | O_CREAT, 0600)), LOCK_EX));
  if (!strcmp(mode, "pending")) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7005), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int l = NEED(socket(AF_INET, SOCK_STREAM, 0));
    NEED(bind(l, (void *)&a, sizeof a));
    NEED(listen(l, 4));
    NEED(connect(NEED(socket(AF_INET, SOCK_STREAM, 0)), (void *)&a, sizeof a));
  }
}

/* Says "ready" to that descriptor once it can be asked, and keeps nothing of it. */
static void serve(const char *mode, int ready) {
  unsigned long nonce, counter = 0;
  struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "/sock"};
  NEED(getrandom(&nonce, sizeof nonce, 0));
  set_up(mode);
  int l = NEED(socket(AF_UNIX, SOCK_STREAM, 0));
  unlink(a.sun_path);
  NEED(bind(l, (void *)&a, sizeof a));
  NEED(listen(l, 8));
  NEED(write(ready, "x", 1));
  close(ready);
  for (;; counter++) {
    struct pollfd p = {l, POLLIN, 0};
    if (poll(&p, 1, 1) != 1) continue;
    int c = NEED(accept(l, 0, 0));
    const char *state = !strcmp(mode, "tcp") ? tcp_check() : !strcmp(mode, "memory") ? memory_check() : "-";
    dprintf(c, "%lx %lu %s\n", nonce, counter, state);
    close(c);
  }
}

/* --- namespaces ------------------------------------------------------------------------------------------------- */

static void write_map(pid_t pid, const char *file) {
  char path[64], map[] = "0 0 4294967295";
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  int fd = NEED(open(path, O_WRONLY));
  NEED(write(fd, map, sizeof map - 1));
  close(fd);
}

static void launch(const char *dir, const char *mode) {
  int ready[2], mapped[2], foreign = -1, outside[2] = {-1, -1}, peers[2] = {-1, -1};
  char c;
  NEED(unshare(CLONE_NEWNET));
  loopback_up();
  NEED(pipe(ready));
  NEED(pipe(mapped));
  if (!strcmp(mode, "foreign")) foreign = NEED(open("/etc/hostname", O_RDONLY));
  if (!strcmp(mode, "pipe")) NEED(pipe(outside));
  if (!strcmp(mode, "peer")) NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, peers));
  pid_t pid = NEED(syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0));
  if (!pid) {
    NEED(read(mapped[0], &c, 1));
    close(mapped[0]), close(mapped[1]), close(ready[0]);
    NEED(setuid(0)), NEED(setgid(0)), NEED(setsid());
    NEED(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    NEED(mount(dir, dir, 0, MS_BIND, 0)); /* not recursive, not locked: made in here */
    NEED(chdir(dir));
    mkdir("proc", 0555);
    NEED(mount("proc", "proc", "proc", 0, 0));
    NEED(syscall(SYS_pivot_root, ".", "."));
    NEED(umount2(".", MNT_DETACH));
    NEED(chdir("/"));
    if (outside[0] >= 0) close(outside[1]);
    if (peers[0] >= 0) close(peers[1]);
    int null = NEED(open("/null", O_RDWR | O_CREAT, 0600));
    dup2(null, 0), dup2(null, 1), dup2(null, 2), close(null);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    char fd[12];
    snprintf(fd, sizeof fd, "%d", ready[1]);
    NEED(execl("/payload", "/payload", "serve", mode, fd, NULL));
  }
  (void)foreign;
  write_map(pid, "uid_map");
  write_map(pid, "gid_map");
  NEED(write(mapped[1], "x", 1));
  close(ready[1]);
  NEED(read(ready[0], &c, 1) - 1);
  printf("%d\n", pid);
  fflush(stdout);
  if (outside[0] >= 0 || peers[0] >= 0) {
    close(outside[0]), close(peers[0]);
    fclose(stdout);
    wait_for_ever(); /* holds the other end until it is killed */
  }
}

int main(int argc, char **argv) {
  if (argc == 4 && !strcmp(argv[1], "launch")) { launch(argv[2], argv[3]); return 0; }
  if (argc == 4 && !strcmp(argv[1], "serve")) serve(argv[2], atoi(argv[3]));
  if (argc >= 5 && !strcmp(argv[1], "join")) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/ns/net", argv[2]);
    NEED(setns(NEED(open(path, O_RDONLY | O_CLOEXEC)), CLONE_NEWNET));
    NEED(execvp(argv[4], argv + 4));
  }
  if (argc >= 5 && !strcmp(argv[1], "fresh")) {
    NEED(unshare(CLONE_NEWNET | CLONE_NEWNS));
    loopback_up();
    NEED(mount(0, "/", 0, MS_REC | MS_PRIVATE, 0));
    NEED(mount(argv[2], argv[2], 0, MS_BIND, 0));
    NEED(execvp(argv[4], argv + 4));
  }
  fprintf(stderr, "criu-payload: see the comment at the top of its source\n");
  return 2;
}
