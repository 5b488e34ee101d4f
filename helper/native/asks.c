/* PID 1's side of requests from inside.
 *
 *   from a process   W words, each with its NUL: arguments, then the working directory     I bytes    standard input
 *                    E                                  that is all of it
 *   to a process     o, e bytes                         for stdout, stderr
 *                    x code                             what to end with, the last frame
 *   to the helper    q number\0 again\0 length\0 words input      again: 1 where a helper was told before; input is
 *                                                                 told only once, so that it is in no image
 *                    z number\0                         nobody waits for the answer any more
 */
#define _GNU_SOURCE
#include "asks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "init.h"

struct ask {
  int fd;
  unsigned long number;
  int complete, told, answered;
  struct buffer in, out, words, input;
};

static struct ask *asks[MAX_ASKS];
static struct ask *polled[MAX_ASKS]; /* in the order of the poll's entries */
static int listener = -1;
static unsigned long numbers;

void open_ask_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ASK_SOCKET};
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  unlink(ASK_SOCKET);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128))
    die(ASK_SOCKET);
  chmod(ASK_SOCKET, 0666); /* whoever is in here */
}

int poll_asks(struct pollfd *fds) {
  int n = 1, full = 1;
  for (int i = 0; i < MAX_ASKS; i++) {
    struct ask *ask = polled[i] = asks[i];
    if (!ask) full = 0;
    else fds[n++] = (struct pollfd){.fd = ask->fd, .events = (short)(POLLIN | (waiting(&ask->out) ? POLLOUT : 0))};
  }
  fds[0] = (struct pollfd){.fd = full ? -1 : listener, .events = POLLIN};
  return n;
}

static void tell(struct ask *ask, struct buffer *helper) {
  char head[64];
  size_t words = waiting(&ask->words), input = waiting(&ask->input);
  int n = snprintf(head, sizeof head, "%lu%c%d%c%zu%c", ask->number, 0, ask->told, 0, words, 0);
  struct buffer body = {0};
  append(&body, head, (size_t)n);
  append(&body, ask->words.bytes + ask->words.start, words);
  if (input) append(&body, ask->input.bytes + ask->input.start, input);
  put_frame(helper, 'q', body.bytes, waiting(&body));
  free(body.bytes);
  free(ask->input.bytes);
  memset(&ask->input, 0, sizeof ask->input);
  ask->told = 1;
}

void tell_asks(struct buffer *helper) {
  for (int i = 0; i < MAX_ASKS; i++)
    if (asks[i] && asks[i]->complete && !asks[i]->answered) tell(asks[i], helper);
}

static void drop(int slot, struct buffer *helper) {
  struct ask *ask = asks[slot];
  asks[slot] = NULL;
  if (ask->told && !ask->answered && helper) {
    char number[24];
    int n = snprintf(number, sizeof number, "%lu", ask->number);
    put_frame(helper, 'z', number, (size_t)n + 1);
  }
  close(ask->fd);
  free(ask->in.bytes);
  free(ask->out.bytes);
  free(ask->words.bytes);
  free(ask->input.bytes);
  free(ask);
}

/* 0: nobody is there any more, or what it says is no request. */
static int hear(struct ask *ask) {
  static char chunk[65536];
  ssize_t n = read(ask->fd, chunk, sizeof chunk);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  if (n == 0) return 0;
  if (ask->complete) return 1; /* it has said all there is to say */
  append(&ask->in, chunk, (size_t)n);
  struct frame frame;
  int got;
  while ((got = take_frame(&ask->in, MOST_INPUT, &frame)) > 0) {
    if (frame.type == 'W' && !waiting(&ask->words) && frame.length <= MOST_WORDS)
      append(&ask->words, frame.bytes, frame.length);
    else if (frame.type == 'I' && waiting(&ask->input) + frame.length <= MOST_INPUT)
      append(&ask->input, frame.bytes, frame.length);
    else if (frame.type == 'E' && waiting(&ask->words)) {
      ask->complete = 1;
      ask->number = ++numbers;
      break;
    } else return 0;
  }
  shrink(&ask->in);
  return got >= 0;
}

static void accept_asks(void) {
  for (int i = 0; i < MAX_ASKS; i++) {
    if (asks[i]) continue;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (!(asks[i] = calloc(1, sizeof **asks))) die("memory");
    asks[i]->fd = fd;
  }
}

void work_on_asks(const struct pollfd *fds, struct buffer *helper) {
  int at = 1;
  for (int i = 0; i < MAX_ASKS; i++) {
    struct ask *ask = polled[i];
    if (!ask) continue;
    int here = fds[at++].revents & (POLLIN | POLLHUP | POLLERR) ? hear(ask) : 1;
    if (here && ask->complete && !ask->told && helper) tell(ask, helper);
    if (here && waiting(&ask->out)) here = write_out(ask->fd, &ask->out);
    if (!here || (ask->answered && !waiting(&ask->out))) drop(i, helper);
  }
  if (fds[0].revents & POLLIN) accept_asks();
}

void answer_ask(char *bytes, size_t n) {
  char *at = bytes, *end = bytes + n;
  char *number = next_word(&at, end), *code = next_word(&at, end), *length = next_word(&at, end);
  if (!length) return;
  size_t output = strtoul(length, NULL, 10), all = (size_t)(end - at);
  if (output > all) return;
  for (int i = 0; i < MAX_ASKS; i++) {
    struct ask *ask = asks[i];
    if (!ask || !ask->told || ask->answered || ask->number != strtoul(number, NULL, 10)) continue;
    if (output) put_frame(&ask->out, 'o', at, output);
    if (all > output) put_frame(&ask->out, 'e', at + output, all - output);
    put_frame(&ask->out, 'x', code, strlen(code));
    ask->answered = 1;
  }
}
