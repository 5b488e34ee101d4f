/* `teleport-env` inside a branch. It understands no words itself: it passes them on and shows the answer, so that there is
 * one place that knows them, and nothing here grows old in a sandbox that lives on.
 *
 *   teleport-env agent NAME [quiet] -- COMMAND…
 *       runs COMMAND and, as long as it runs, stays connected: that is how the helper knows of an agent in here, also after
 *       a rollback or when it was restarted
 *   teleport-env hook …
 *       passes standard input on; what goes wrong is told, but is no failure of the agent's
 */
#define _GNU_SOURCE
#include "asks.h"
#include "init.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 120      /* seconds until there is an answer */
#define HOOK_PATIENCE 30  /* an agent waits for its hook */
#define INPUT_PATIENCE 5  /* until standard input goes on */

enum { UNREACHABLE = 2 };

static time_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec;
}

static int complain(const char *what, const char *why) {
  fprintf(stderr, "teleport-env: %s: %s\n", what, why);
  return UNREACHABLE;
}

/* A write of all of it; -1: the other side is gone. */
static int send_all(int fd, struct buffer *out) {
  while (waiting(out))
    if (!write_out(fd, out)) return -1;
  return 0;
}

static void put_input(struct buffer *out) {
  static char chunk[65536];
  struct pollfd in = {.fd = 0, .events = POLLIN};
  struct buffer input = {0};
  ssize_t n;
  while (poll(&in, 1, INPUT_PATIENCE * 1000) > 0 && (n = read(0, chunk, sizeof chunk)) > 0)
    if (waiting(&input) <= MOST_INPUT) append(&input, chunk, (size_t)n); /* what is too much is read, and left out whole */
  for (size_t at = 0, all = waiting(&input); all <= MOST_INPUT && at < all; at += sizeof chunk)
    put_frame(out, 'I', input.bytes + at, all - at < sizeof chunk ? all - at : sizeof chunk);
  free(input.bytes);
}

/* Connects and asks; -1 where that was impossible (and said). */
static int put_question(int argc, char **argv, int with_input) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ASK_SOCKET};
  struct buffer out = {0}, words = {0};
  char *cwd = getcwd(NULL, 0);
  for (int i = 1; i < argc; i++) append(&words, argv[i], strlen(argv[i]) + 1);
  append(&words, cwd ? cwd : "/", strlen(cwd ? cwd : "/") + 1);
  free(cwd);
  if (waiting(&words) > MOST_WORDS) {
    complain("too long", strerror(E2BIG));
    return -1;
  }
  put_frame(&out, 'W', words.bytes, waiting(&words));
  if (with_input) put_input(&out);
  put_frame(&out, 'E', "", 0);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) || send_all(fd, &out)) {
    complain("this is no sandbox of teleport-env, or an older one", strerror(errno));
    if (fd >= 0) close(fd);
    fd = -1;
  }
  free(out.bytes);
  free(words.bytes);
  return fd;
}

static void show(FILE *to, const struct frame *frame) { fwrite(frame->bytes, 1, frame->length, to); }

/* Shows the answer. What to end with; -1: there was none within that many seconds. */
static int show_answer(int fd, int patience) {
  static char chunk[65536];
  struct buffer in = {0};
  struct frame frame;
  for (time_t end = now() + patience, left; (left = end - now()) > 0;) {
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    if (poll(&answer, 1, (int)left * 1000) <= 0) continue;
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return complain("no answer", n ? strerror(errno) : "the connection ended");
    append(&in, chunk, (size_t)n);
    while (take_frame(&in, 16u << 20, &frame) > 0) {
      if (frame.type == 'o') show(stdout, &frame);
      else if (frame.type == 'e') show(stderr, &frame);
      else if (frame.type == 'x') {
        char code[8] = {0};
        memcpy(code, frame.bytes, frame.length < 7 ? frame.length : 7);
        return fflush(stdout) ? UNREACHABLE : atoi(code);
      }
    }
  }
  return -1;
}

static int run_agent(int argc, char **argv) {
  int at = 2;
  while (at < argc && strcmp(argv[at], "--")) at++;
  if (at < 3 || at + 1 >= argc) return complain("agent", "a name, -- and a command are expected");
  int fd = put_question(at, argv, 0); /* without it the agent runs all the same: its hooks may still get through */
  pid_t child = fork();
  if (child < 0) return complain("fork", strerror(errno));
  if (child == 0) {
    signal(SIGPIPE, SIG_DFL);
    execvp(argv[at + 1], argv + at + 1);
    complain(argv[at + 1], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
  }
  /* Keys such as Ctrl-C are the agent's. */
  signal(SIGINT, SIG_IGN);
  signal(SIGQUIT, SIG_IGN);
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return complain("wait", strerror(errno));
  if (fd >= 0) close(fd);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int ask(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "";
  signal(SIGPIPE, SIG_IGN);
  if (!strcmp(verb, "agent")) return run_agent(argc, argv);
  int is_hook = !strcmp(verb, "hook");
  int patience = is_hook ? HOOK_PATIENCE : PATIENCE;
  int fd = put_question(argc, argv, is_hook);
  int code = fd < 0 ? UNREACHABLE : show_answer(fd, patience);
  if (code < 0) code = complain("no answer", "is the helper running? (outside: teleport-env doctor)");
  return is_hook ? 0 : code;
}
