/* Name resolution for a branch with a network: answers at DNS_ADDRESS inside, by asking whom the host's resolv.conf names. The
 * sockets that listen are made in the branch's network namespace, the questions are asked in the host's: so a resolver that
 * listens on the host's loopback only works as well, and no firewall lies between. It passes bytes on and reads none
 * of them. Runs as nobody, and ends with the branch. */
#define _GNU_SOURCE
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534
#define MAX_QUESTIONS 128
#define MAX_RELAYS 16
#define MAX_SERVERS 3      /* as many as libc takes from resolv.conf */
#define NEXT_SERVER_MS 1500
#define GIVE_UP_MS 6000
#define RELAY_IDLE_MS 20000

struct question { /* a datagram on its way */
  int fd, server;
  long begun, asked;
  struct sockaddr_in from;
  size_t length;
  unsigned char text[1500];
};
struct relay { /* a connection: [0] from inside, [1] to the server */
  int fd[2], ended[2], connected;
  long last;
};
static struct question questions[MAX_QUESTIONS];
static struct relay relays[MAX_RELAYS];

static long now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The n-th name server of the host as it is configured now. */
static socklen_t name_server(int n, struct sockaddr_storage *to) {
  FILE *f = fopen("/etc/resolv.conf", "re");
  char line[512], address[128];
  socklen_t size = 0;
  while (f && !size && fgets(line, sizeof line, f)) {
    if (sscanf(line, " nameserver %127s", address) != 1 || n-- > 0) continue;
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    char *zone = strchr(address, '%');
    if (zone) *zone = 0;
    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
      v4->sin_family = AF_INET;
      v4->sin_port = htons(53);
      size = sizeof *v4;
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
      v6->sin6_family = AF_INET6;
      v6->sin6_port = htons(53);
      size = sizeof *v6;
    } else n = 0; /* unreadable: the next one */
  }
  if (f) fclose(f);
  return size;
}

static void drop(struct question *q) {
  if (q->fd >= 0) close(q->fd);
  q->fd = -1;
}

/* Asks the question's next server that can be asked at all. */
static void put(struct question *q) {
  for (drop(q); q->server < MAX_SERVERS; ) {
    struct sockaddr_storage to;
    socklen_t size = name_server(q->server++, &to);
    if (!size) return;
    q->fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    q->asked = now_ms();
    if (q->fd >= 0 && !connect(q->fd, (struct sockaddr *)&to, size) && send(q->fd, q->text, q->length, 0) >= 0) return;
    drop(q);
  }
}

static void hear_question(int udp) {
  struct question *q = &questions[0]; /* the oldest has to make room where there is none */
  for (int i = 0; i < MAX_QUESTIONS; i++) {
    if (questions[i].fd < 0) {
      q = &questions[i];
      break;
    }
    if (questions[i].begun < q->begun) q = &questions[i];
  }
  drop(q);
  socklen_t size = sizeof q->from;
  ssize_t n = recvfrom(udp, q->text, sizeof q->text, 0, (struct sockaddr *)&q->from, &size);
  if (n <= 0) return;
  q->length = (size_t)n;
  q->server = 0;
  q->begun = now_ms();
  put(q);
}

static void hear_answer(struct question *q, int udp) {
  static unsigned char text[65536];
  ssize_t n = recv(q->fd, text, sizeof text, 0);
  if (n < 0 && errno != EAGAIN) put(q); /* refused */
  if (n <= 0) return;
  sendto(udp, text, (size_t)n, 0, (struct sockaddr *)&q->from, sizeof q->from);
  drop(q);
}

static void end_relay(struct relay *r) {
  for (int i = 0; i < 2; i++) {
    if (r->fd[i] >= 0) close(r->fd[i]);
    r->fd[i] = -1;
  }
}

static void accept_relay(int tcp) {
  int fd = accept4(tcp, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), i = 0;
  while (i < MAX_RELAYS && relays[i].fd[0] >= 0) i++;
  struct sockaddr_storage to;
  socklen_t size = i < MAX_RELAYS ? name_server(0, &to) : 0;
  int out = fd >= 0 && size ? socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
  if (out < 0 || (connect(out, (struct sockaddr *)&to, size) && errno != EINPROGRESS)) {
    if (fd >= 0) close(fd);
    if (out >= 0) close(out);
    return;
  }
  relays[i] = (struct relay){.fd = {fd, out}, .last = now_ms()};
}

/* Messages are small and the kernel's buffers hold them: what does not fit ends the relay. */
static void carry(struct relay *r, int from) {
  static unsigned char text[65536];
  ssize_t n = recv(r->fd[from], text, sizeof text, 0);
  if (n < 0 && errno == EAGAIN) return;
  r->last = now_ms();
  if (n == 0) {
    r->ended[from] = 1;
    shutdown(r->fd[!from], SHUT_WR);
  }
  if (n < 0 || (n > 0 && send(r->fd[!from], text, (size_t)n, MSG_NOSIGNAL) != n) || (r->ended[0] && r->ended[1])) end_relay(r);
}

static int listen_inside(int type) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
  inet_pton(AF_INET, DNS_ADDRESS, &at.sin_addr);
  int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
  /* The address comes and goes with the network. */
  if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof on) || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on))
    die("socket");
  if (bind(fd, (struct sockaddr *)&at, sizeof at)) {
    if (errno == EADDRINUSE) _exit(0); /* another one serves this branch already */
    die("bind");
  }
  if (type == SOCK_STREAM && listen(fd, 16)) die("listen");
  return fd;
}

void serve_dns(const struct world *w) {
  pid_t branch = atoi(w->net);
  int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), alive = (int)syscall(SYS_pidfd_open, branch, 0);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", (int)branch);
  int there = open(path, O_RDONLY | O_CLOEXEC);
  if (home < 0 || alive < 0 || there < 0 || setns(there, CLONE_NEWNET)) die(path);
  int udp = listen_inside(SOCK_DGRAM), tcp = listen_inside(SOCK_STREAM);
  if (setns(home, CLONE_NEWNET)) die("back to the host's network");
  close(there);
  close(home);
  if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)) die("become nobody");
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  prctl(PR_SET_NAME, "teleport-dns");
  for (int i = 0; i < MAX_QUESTIONS; i++) questions[i].fd = -1;
  for (int i = 0; i < MAX_RELAYS; i++) relays[i].fd[0] = relays[i].fd[1] = -1;
  for (;;) {
    static struct pollfd fds[3 + MAX_QUESTIONS + 2 * MAX_RELAYS];
    int n = 0, waits = 0;
    fds[n++] = (struct pollfd){.fd = alive, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = udp, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = tcp, .events = POLLIN};
    for (int i = 0; i < MAX_QUESTIONS; i++) {
      fds[n++] = (struct pollfd){.fd = questions[i].fd, .events = POLLIN};
      waits |= questions[i].fd >= 0;
    }
    for (int i = 0; i < MAX_RELAYS; i++)
      for (int side = 0; side < 2; side++) {
        struct relay *r = &relays[i];
        short events = side == 1 && !r->connected ? POLLOUT : r->connected && !r->ended[side] ? POLLIN : 0;
        fds[n++] = (struct pollfd){.fd = r->ended[side] ? -1 : r->fd[side], .events = events};
        waits |= r->fd[side] >= 0;
      }
    poll(fds, (nfds_t)n, waits ? 250 : -1); /* at rest it sleeps */
    if (fds[0].revents) _exit(0);
    long now = now_ms();
    for (int i = 0; i < MAX_QUESTIONS; i++) {
      struct question *q = &questions[i];
      if (q->fd < 0) continue;
      if (fds[3 + i].revents) hear_answer(q, udp);
      else if (now - q->begun > GIVE_UP_MS) drop(q);
      else if (now - q->asked > NEXT_SERVER_MS && q->server < MAX_SERVERS) {
        struct sockaddr_storage to;
        if (name_server(q->server, &to)) put(q);
      }
    }
    for (int i = 0; i < MAX_RELAYS; i++) {
      struct relay *r = &relays[i];
      for (int side = 0; side < 2 && r->fd[0] >= 0; side++) {
        short got = fds[3 + MAX_QUESTIONS + 2 * i + side].revents;
        if (side == 1 && !r->connected && got & POLLOUT) r->connected = 1;
        else if (got && r->connected) carry(r, side);
        else if (got & (POLLERR | POLLHUP)) end_relay(r);
      }
      if (r->fd[0] >= 0 && now - r->last > RELAY_IDLE_MS) end_relay(r);
    }
    if (fds[1].revents) hear_question(udp);
    if (fds[2].revents) accept_relay(tcp);
  }
}
