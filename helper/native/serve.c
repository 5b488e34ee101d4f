/* PID 1's loop: sessions (a process on pipes, a terminal, a connection to a port inside) that outlive the helper's
 * connections to them. Nothing outside is held open across a dump: the helper says DETACH on each connection and
 * waits for its end first.
 *
 * One connection serves one session. Frames: u32 length (little endian) of what follows the type, u8 type, bytes.
 *
 *   to init    O kind\0 id\0 cwd\0 cols\0 rows\0 argc\0 argv…\0 envc\0 env…\0    open and attach (dial: cols is the port)
 *              A id\0 all|missed\0    attach            I bytes     input        E            end of input
 *              R cols\0 rows\0       resize            S number\0  signal       C            hang up and forget
 *              D                     detach            P           ping         L            list
 *              H                     tell requests from inside here     r …     an answer to one (asks.c)
 *              T milliseconds\0      a time limit, after which its process group is killed. It is part of this memory: it
 *                                    goes back with the branch, and outlives the helper
 *   from init  a scrollback          attached          o, e bytes  stdout, stderr
 *              x code                exit code         d           detached, the last frame
 *              p                     pong              l lines     id kind pid running code
 *              ! text                refused           q, z        a request from inside, its end (asks.c)
 */
#define _GNU_SOURCE
#include "asks.h"
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MAX_SESSIONS 256
#define MAX_CONNECTIONS 256
#define RING (256 * 1024)       /* scrollback of a terminal, bytes */
#define HIGH_WATER (256 * 1024) /* stop reading a source while that much waits for a slow reader */
#define MAX_FRAME (16u << 20)
#define DRAIN (1 << 20)         /* at most that much is read from a pipe that might be written to for ever */

enum kind { PROCESS, TERMINAL, DIAL };
static const char *const kind_names[] = {"process", "terminal", "dial"};

struct connection;
struct session {
  char id[24];
  enum kind kind;
  pid_t pid;
  int in, out, err; /* -1 when closed; a terminal's and a dial's in is its out */
  int exited, code, told, input_ended, forgotten;
  struct buffer input;
  char *ring;
  size_t ring_used, ring_next;
  long long deadline; /* by now_ms(); 0: none */
  size_t missed; /* the end of the ring that came while nobody was attached */
  struct connection *connection;
};
struct connection {
  int fd, closing;
  struct buffer in, out;
  struct session *session;
};

static struct session *sessions[MAX_SESSIONS];
static struct connection *connections[MAX_CONNECTIONS];
static struct connection *hearer; /* where requests from inside go */
static volatile sig_atomic_t child_ended;

static void send_frame(struct connection *c, char type, const void *bytes, size_t n) {
  put_frame(&c->out, type, bytes, n);
}

static void refuse(struct connection *c, const char *what, int error) {
  char text[256];
  int n = snprintf(text, sizeof text, "%s: %s", what, strerror(error));
  send_frame(c, '!', text, (size_t)n);
}

static void close_fd(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void close_session_fds(struct session *s) {
  if (s->in == s->out) s->in = -1;
  close_fd(&s->in);
  close_fd(&s->out);
  close_fd(&s->err);
}

static void remember(struct session *s, const char *bytes, size_t n) {
  if (!s->ring && !(s->ring = malloc(RING))) die("memory");
  if (n > RING) bytes += n - RING, n = RING;
  for (size_t done = 0; done < n;) {
    size_t room = RING - s->ring_next, part = n - done < room ? n - done : room;
    memcpy(s->ring + s->ring_next, bytes + done, part);
    s->ring_next = (s->ring_next + part) % RING;
    done += part;
  }
  s->ring_used = s->ring_used + n > RING ? RING : s->ring_used + n;
}

static void send_scrollback(struct session *s, int only_missed) {
  size_t n = only_missed && s->missed < s->ring_used ? s->missed : s->ring_used;
  char *text = malloc(n + 1);
  if (!text) die("memory");
  size_t first = (s->ring_next + RING - n) % RING, head = n < RING - first ? n : RING - first;
  if (n) {
    memcpy(text, s->ring + first, head);
    memcpy(text + head, s->ring, n - head);
  }
  s->missed = 0;
  send_frame(s->connection, 'a', text, n);
  free(text);
}

/* Reads once; 1: there may be more, 0: nothing now, -1: ended. Where nobody is attached a terminal's output still goes
 * to its scrollback, and a told session's is thrown away so that what it left running gets no SIGPIPE. */
static int pump(struct session *s, int *fd, char type) {
  static char chunk[65536];
  if (*fd < 0) return -1;
  ssize_t n = read(*fd, chunk, sizeof chunk);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n <= 0) {
    if (s->in == *fd) s->in = -1;
    close_fd(fd);
    return -1;
  }
  if (s->kind == TERMINAL) {
    remember(s, chunk, (size_t)n);
    if (!s->connection) s->missed += (size_t)n;
  }
  if (s->connection && !s->told) send_frame(s->connection, type, chunk, (size_t)n);
  return 1;
}

static void tell_exit(struct session *s) {
  for (int done = 0; done < DRAIN && pump(s, &s->out, 'o') > 0; done += 65536) {}
  for (int done = 0; done < DRAIN && pump(s, &s->err, 'e') > 0; done += 65536) {}
  char text[16];
  int n = snprintf(text, sizeof text, "%d", s->code);
  send_frame(s->connection, 'x', text, (size_t)n);
  s->told = 1;
  if (s->kind != PROCESS) close_session_fds(s);
}

/* Of a clock that goes on from the checkpoint in a restored branch. */
static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Ends what has had its time. The milliseconds until the next one has, -1: none has a limit. */
static long long end_late_ones(void) {
  long long next = -1, now = 0;
  for (int i = 0; i < MAX_SESSIONS; i++) {
    struct session *s = sessions[i];
    if (!s || !s->deadline || s->exited || s->pid <= 0) continue;
    if (!now) now = now_ms();
    if (s->deadline > now) {
      if (next < 0 || s->deadline - now < next) next = s->deadline - now;
      continue;
    }
    s->deadline = 0;
    kill(-s->pid, SIGKILL);
  }
  return next;
}

static struct session *find_session(const char *id) {
  for (int i = 0; i < MAX_SESSIONS; i++)
    if (sessions[i] && !sessions[i]->forgotten && !strcmp(sessions[i]->id, id)) return sessions[i];
  return NULL;
}

static void attach(struct connection *c, struct session *s, int only_missed) {
  if (s->connection) {
    s->connection->session = NULL;
    s->connection->closing = 1;
  }
  s->connection = c;
  c->session = s;
  send_scrollback(s, only_missed);
}

static char **next_list(char **at, char *end) {
  char *count = next_word(at, end);
  long n = count ? strtol(count, NULL, 10) : -1;
  if (n < 0 || n > 1000000) return NULL;
  char **list = calloc((size_t)n + 1, sizeof *list);
  if (!list) die("memory");
  for (long i = 0; i < n; i++)
    if (!(list[i] = next_word(at, end))) {
      free(list);
      return NULL;
    }
  return list;
}

struct plan { /* what a child needs to become its program */
  const char *cwd;
  char **argv, **env;
  int in, out, err, slave;
};

static void become_program(const struct plan *plan, const struct payload *p, int report) {
  const char *what = "start";
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  for (int s = 1; s < NSIG; s++) signal(s, SIG_DFL);
  setsid();
  if (plan->slave >= 0 && ioctl(plan->slave, TIOCSCTTY, 0)) goto fail;
  if (dup2(plan->in, 0) < 0 || dup2(plan->out, 1) < 0 || dup2(plan->err, 2) < 0) goto fail;
  umask(022);
  become_payload(p);
  what = plan->cwd;
  if (chdir(plan->cwd)) goto fail;
  what = plan->argv[0];
  extern char **environ;
  environ = plan->env;
  execvp(plan->argv[0], plan->argv);
fail:;
  char text[512];
  int error = errno, n = snprintf(text, sizeof text, "%c%s: %s", error == ENOENT ? '7' : '6', what, strerror(error));
  if (write(report, text, (size_t)n) < 0) _exit(125);
  _exit(126);
}

static int nonblocking(int fd) { return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static int open_terminal(struct session *s, struct plan *plan, const struct payload *p, int cols, int rows) {
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0, number;
  if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number)) return -1;
  char path[32];
  snprintf(path, sizeof path, "/dev/pts/%d", number);
  struct winsize size = {.ws_col = (unsigned short)cols, .ws_row = (unsigned short)rows};
  int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (slave < 0 || fchown(slave, p->uid, 5) || ioctl(slave, TIOCSWINSZ, &size)) return -1;
  s->in = s->out = master;
  plan->in = plan->out = plan->err = plan->slave = slave;
  return 0;
}

static int open_pipes(struct session *s, struct plan *plan) {
  int i[2], o[2], e[2];
  if (pipe2(i, O_CLOEXEC) || pipe2(o, O_CLOEXEC) || pipe2(e, O_CLOEXEC)) return -1;
  s->in = i[1], s->out = o[0], s->err = e[0];
  plan->in = i[0], plan->out = o[1], plan->err = e[1];
  return nonblocking(s->err);
}

static int open_dial(struct session *s, int port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, (struct sockaddr *)&to, sizeof to)) { /* loopback: answers at once */
    close(fd);
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to6, sizeof to6)) {
      int saved = errno;
      if (fd >= 0) close(fd);
      errno = saved;
      return -1;
    }
  }
  s->in = s->out = fd;
  return 0;
}

/* Forks and waits until the child runs its program (or says why not). NULL: done, else what stood in the way. */
static const char *start_program(struct session *s, struct plan *plan, const struct payload *p) {
  static char text[512];
  int report[2];
  if (pipe2(report, O_CLOEXEC)) return "pipe";
  s->pid = fork();
  if (s->pid == 0) become_program(plan, p, report[1]);
  close(report[1]);
  ssize_t n = s->pid < 0 ? -1 : read(report[0], text, sizeof text - 1);
  close(report[0]);
  if (s->pid < 0) return "fork";
  if (n <= 0) return NULL;
  text[n] = 0;
  waitpid(s->pid, NULL, 0);
  return text;
}

static void forget(struct session *s) {
  for (int i = 0; i < MAX_SESSIONS; i++)
    if (sessions[i] == s) sessions[i] = NULL;
  if (s->connection) s->connection->session = NULL;
  close_session_fds(s);
  free(s->input.bytes);
  free(s->ring);
  free(s);
}

static void open_session(struct connection *c, char *at, char *end, const struct payload *p) {
  char *kind = next_word(&at, end), *id = next_word(&at, end), *cwd = next_word(&at, end), *cols = next_word(&at, end), *rows = next_word(&at, end);
  char **argv = next_list(&at, end), **env = next_list(&at, end);
  int slot = 0;
  while (slot < MAX_SESSIONS && sessions[slot]) slot++;
  if (!env || strlen(id) >= sizeof sessions[0]->id || find_session(id)) {
    refuse(c, "open", EINVAL);
  } else if (slot == MAX_SESSIONS) {
    refuse(c, "open: too many sessions", EMFILE);
  } else {
    struct session *s = calloc(1, sizeof *s);
    if (!s) die("memory");
    struct plan plan = {.cwd = cwd, .argv = argv, .env = env, .in = -1, .out = -1, .err = -1, .slave = -1};
    s->in = s->out = s->err = -1;
    strcpy(s->id, id);
    s->kind = *kind == 't' ? TERMINAL : *kind == 'd' ? DIAL : PROCESS;
    sessions[slot] = s;
    int failed = s->kind == TERMINAL ? open_terminal(s, &plan, p, atoi(cols), atoi(rows))
                 : s->kind == DIAL   ? open_dial(s, atoi(cols))
                                     : open_pipes(s, &plan);
    const char *why = failed ? strerror(errno) : NULL;
    if (!why && (nonblocking(s->out) || nonblocking(s->in))) why = strerror(errno);
    if (!why && s->kind != DIAL) why = argv[0] ? start_program(s, &plan, p) : "nothing to run";
    close_fd(&plan.in);
    if (plan.slave < 0) {
      close_fd(&plan.out);
      close_fd(&plan.err);
    }
    if (why) {
      send_frame(c, '!', why, strlen(why));
      forget(s);
    } else {
      attach(c, s, 0);
    }
  }
  free(argv);
  free(env);
}

static void hang_up(struct session *s) {
  if (s->pid > 0 && !s->exited) {
    kill(-s->pid, SIGHUP);
    kill(-s->pid, SIGCONT);
    if (s->kind == PROCESS) kill(-s->pid, SIGKILL);
  }
  if (s->exited || s->kind == DIAL) {
    forget(s);
    return;
  }
  s->forgotten = 1; /* until it is reaped */
  if (s->connection) s->connection->session = NULL;
  s->connection = NULL;
  close_session_fds(s);
}

static void list(struct connection *c) {
  static char text[MAX_SESSIONS * 96];
  size_t n = 0;
  for (int i = 0; i < MAX_SESSIONS; i++) {
    struct session *s = sessions[i];
    if (s && !s->forgotten && !(s->kind == PROCESS && s->told))
      n += (size_t)snprintf(text + n, sizeof text - n, "%s %s %d %d %d\n", s->id, kind_names[s->kind], (int)s->pid,
                            !s->exited, s->code);
  }
  send_frame(c, 'l', text, n);
}

static void detach(struct connection *c) {
  if (c->session) c->session->connection = NULL;
  c->session = NULL;
  if (hearer == c) hearer = NULL;
  send_frame(c, 'd', "", 0);
  c->closing = 1;
}

static void obey(struct connection *c, char type, char *bytes, size_t n, const struct payload *p) {
  struct session *s = c->session;
  char *at = bytes, *end = bytes + n;
  if (type == 'P') send_frame(c, 'p', "", 0);
  else if (type == 'L') list(c);
  else if (type == 'D') detach(c);
  else if (type == 'H') tell_asks(&(hearer = c)->out);
  else if (type == 'r') answer_ask(bytes, n);
  else if (type == 'O' && !s) open_session(c, at, end, p);
  else if (type == 'A' && !s) {
    char *id = next_word(&at, end), *what = next_word(&at, end);
    struct session *wanted = what ? find_session(id) : NULL;
    if (wanted) attach(c, wanted, *what == 'm');
    else refuse(c, "no such session", ESRCH);
  } else if (!s) refuse(c, "not attached", EINVAL);
  else if (type == 'I') {
    if (s->in >= 0 && !s->input_ended) append(&s->input, bytes, n);
  } else if (type == 'E') s->input_ended = 1;
  else if (type == 'R') {
    char *cols = next_word(&at, end), *rows = next_word(&at, end);
    struct winsize size = {.ws_col = (unsigned short)(cols ? atoi(cols) : 80), .ws_row = (unsigned short)(rows ? atoi(rows) : 24)};
    if (s->kind == TERMINAL && s->out >= 0) ioctl(s->out, TIOCSWINSZ, &size);
  } else if (type == 'S') {
    char *number = next_word(&at, end);
    if (number && s->pid > 0 && !s->exited) kill(-s->pid, atoi(number));
  } else if (type == 'T') {
    char *ms = next_word(&at, end);
    if (ms && atoll(ms) > 0) s->deadline = now_ms() + atoll(ms);
  } else if (type == 'C') hang_up(s);
  else refuse(c, "unknown frame", EINVAL);
}

static void close_connection(int slot) {
  struct connection *c = connections[slot];
  connections[slot] = NULL;
  if (hearer == c) hearer = NULL;
  if (c->session) c->session->connection = NULL;
  close(c->fd);
  free(c->in.bytes);
  free(c->out.bytes);
  free(c);
}

/* 0: the connection ended. */
static int receive(struct connection *c, const struct payload *p) {
  static char chunk[65536];
  ssize_t n = read(c->fd, chunk, sizeof chunk);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
  if (n <= 0) return 0;
  append(&c->in, chunk, (size_t)n);
  struct frame frame;
  int got = 0;
  while (!c->closing && (got = take_frame(&c->in, MAX_FRAME, &frame)) > 0)
    obey(c, frame.type, frame.bytes, frame.length, p);
  if (got < 0) return 0;
  shrink(&c->in);
  return 1;
}

static void feed(struct session *s) {
  if (waiting(&s->input)) {
    ssize_t n = write(s->in, s->input.bytes + s->input.start, waiting(&s->input));
    if (n > 0) s->input.start += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR) s->input.start = s->input.end;
    shrink(&s->input);
  }
  if (!waiting(&s->input) && s->input_ended && s->in >= 0) {
    if (s->kind == DIAL) shutdown(s->in, SHUT_WR);
    else if (s->kind == PROCESS) close_fd(&s->in);
    if (s->kind != PROCESS) s->in = -1; /* out goes on */
  }
}

static void reap(void) {
  int status;
  pid_t pid;
  child_ended = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
    for (int i = 0; i < MAX_SESSIONS; i++)
      if (sessions[i] && sessions[i]->pid == pid && !sessions[i]->exited) {
        sessions[i]->exited = 1;
        sessions[i]->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
}

static void accept_connection(void) {
  int slot = 0, fd = accept4(LISTEN_FD, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  while (slot < MAX_CONNECTIONS && connections[slot]) slot++;
  struct connection *c = slot < MAX_CONNECTIONS ? calloc(1, sizeof *c) : NULL;
  if (!c) {
    close(fd);
    return;
  }
  c->fd = fd;
  connections[slot] = c;
}

static int wants_output(const struct session *s) {
  if (s->told) return 1; /* to throw away */
  if (!s->connection) return s->kind == TERMINAL;
  return waiting(&s->connection->out) < HIGH_WATER;
}

/* Sessions whose story has ended. */
static void settle(struct session *s) {
  if (s->kind == DIAL && s->out < 0) s->exited = 1;
  if (s->exited && !s->told && s->connection && waiting(&s->connection->out) < HIGH_WATER) tell_exit(s);
  if (s->exited && s->forgotten) forget(s);
  else if (s->told && s->out < 0 && s->err < 0) forget(s);
}

static void on_child(int signal) {
  (void)signal;
  child_ended = 1;
}

void open_server_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SERVER_SOCKET};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  unlink(SERVER_SOCKET);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 128)) die(SERVER_SOCKET);
  chmod(SERVER_SOCKET, 0600); /* root of the branch, and so the helper */
  if (fd != LISTEN_FD && (dup3(fd, LISTEN_FD, O_CLOEXEC) < 0 || close(fd))) die("listen");
}

void serve(const struct payload *p) {
  static struct pollfd fds[1 + MAX_CONNECTIONS + 3 * MAX_SESSIONS + 1 + MAX_ASKS];
  sigset_t normally, while_working;
  struct sigaction action = {.sa_handler = on_child};
  sigaction(SIGCHLD, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_NAME, "teleport-init");
  sigprocmask(SIG_SETMASK, NULL, &normally);
  while_working = normally;
  sigaddset(&while_working, SIGCHLD);
  sigprocmask(SIG_SETMASK, &while_working, NULL);
  for (;;) {
    int n = 0;
    fds[n++] = (struct pollfd){.fd = LISTEN_FD, .events = POLLIN};
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
      struct connection *c = connections[i];
      if (!c) continue;
      int full = c->session && waiting(&c->session->input) > HIGH_WATER;
      short events = (short)((c->closing || full ? 0 : POLLIN) | (waiting(&c->out) ? POLLOUT : 0));
      fds[n++] = (struct pollfd){.fd = c->fd, .events = events};
    }
    for (int i = 0; i < MAX_SESSIONS; i++) {
      struct session *s = sessions[i];
      if (!s) continue;
      int reads = wants_output(s), writes = waiting(&s->input) > 0;
      fds[n++] = (struct pollfd){.fd = reads ? s->out : -1, .events = POLLIN};
      fds[n++] = (struct pollfd){.fd = reads ? s->err : -1, .events = POLLIN};
      fds[n++] = (struct pollfd){.fd = writes ? s->in : -1, .events = POLLOUT};
    }
    int first_ask = n;
    n += poll_asks(fds + n);
    long long left = end_late_ones();
    struct timespec patience = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
    int ready = ppoll(fds, (nfds_t)n, left < 0 ? NULL : &patience, &normally);
    if (child_ended) reap();
    /* The tables only change below, in the order in which fds was filled; a slot made meanwhile is looked at next time. */
    int at = 1;
    static struct connection *polled[MAX_CONNECTIONS];
    static struct session *worked[MAX_SESSIONS];
    memcpy(polled, connections, sizeof polled);
    memcpy(worked, sessions, sizeof worked);
    if (ready > 0) {
      for (int i = 0; i < MAX_CONNECTIONS; i++) {
        if (!polled[i]) continue;
        short got = fds[at++].revents;
        int alive = 1;
        if (got & (POLLIN | POLLHUP | POLLERR) && !polled[i]->closing) alive = receive(polled[i], p);
        else if (got & (POLLHUP | POLLERR)) alive = 0;
        if (!alive) close_connection(i);
      }
      for (int i = 0; i < MAX_SESSIONS; i++) {
        if (!worked[i]) continue;
        short out = fds[at].revents, err = fds[at + 1].revents;
        at += 3;
        /* Forgotten meanwhile; or let go of just now, and what it says waits for whoever attaches next. */
        if (sessions[i] != worked[i] || !wants_output(worked[i])) continue;
        if (out & (POLLIN | POLLHUP | POLLERR)) pump(worked[i], &worked[i]->out, 'o');
        if (err & (POLLIN | POLLHUP | POLLERR)) {
          /* What was written to stdout before it goes first: the persistent shell reports exit codes on stderr. */
          for (int done = 0; done < DRAIN && pump(worked[i], &worked[i]->out, 'o') > 0; done += 65536) {}
          pump(worked[i], &worked[i]->err, 'e');
        }
      }
      if (fds[0].revents & POLLIN) accept_connection();
      work_on_asks(fds + first_ask, hearer ? &hearer->out : NULL);
    }
    for (int i = 0; i < MAX_SESSIONS; i++)
      if (sessions[i]) feed(sessions[i]);
    for (int i = 0; i < MAX_SESSIONS; i++)
      if (sessions[i]) settle(sessions[i]);
    for (int i = 0; i < MAX_CONNECTIONS; i++) {
      struct connection *c = connections[i];
      if (!c) continue;
      if (waiting(&c->out) && !write_out(c->fd, &c->out)) close_connection(i);
      else if (c->closing && !waiting(&c->out)) close_connection(i);
    }
  }
}
