/* Requests from inside a branch: any process in there may ask on ASK_SOCKET; PID 1 passes it on to the helper, and the
 * helper's answer back. The helper knows by its own connection which branch that is: nothing that a process says can name
 * another. A request, and the connection that waits for its answer, are part of every image. */
#ifndef TELEPORT_ASKS_H
#define TELEPORT_ASKS_H

#include <poll.h>

#include "frames.h"

/* Words that a request may have, and what it may bring on standard input. */
#define MOST_WORDS (64u << 10)
#define MOST_INPUT (4u << 20)
#define MAX_ASKS 32 /* others wait to be accepted */

void open_ask_socket(void);
/* What to poll: fills at most 1 + MAX_ASKS entries and says how many. */
int poll_asks(struct pollfd *fds);
/* Does what the poll found. `helper`: what is sent to the helper, NULL where none listens. */
void work_on_asks(const struct pollfd *fds, struct buffer *helper);
/* A helper listens from now on: it hears of all that wait, and which of them an earlier one had heard of. */
void tell_asks(struct buffer *helper);
/* number\0 exit-code\0 output-length\0 output, then text for standard error */
void answer_ask(char *bytes, size_t n);

#endif
