#define _GNU_SOURCE
#include "frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

size_t waiting(const struct buffer *b) { return b->end - b->start; }

void append(struct buffer *b, const void *bytes, size_t n) {
  if (b->start == b->end) b->start = b->end = 0;
  if (b->end + n > b->size && b->start) {
    memmove(b->bytes, b->bytes + b->start, waiting(b));
    b->end -= b->start;
    b->start = 0;
  }
  if (b->end + n > b->size) {
    b->size = (b->end + n) * 2;
    b->bytes = realloc(b->bytes, b->size);
    if (!b->bytes) die("memory");
  }
  memcpy(b->bytes + b->end, bytes, n);
  b->end += n;
}

void shrink(struct buffer *b) {
  if (b->start != b->end || b->size <= 65536) return;
  free(b->bytes);
  memset(b, 0, sizeof *b);
}

void put_frame(struct buffer *out, char type, const void *bytes, size_t n) {
  unsigned char head[5] = {n & 255, (n >> 8) & 255, (n >> 16) & 255, (n >> 24) & 255, (unsigned char)type};
  append(out, head, 5);
  append(out, bytes, n);
}

int take_frame(struct buffer *in, size_t most, struct frame *frame) {
  if (waiting(in) < 5) return 0;
  unsigned char *head = (unsigned char *)in->bytes + in->start;
  size_t length = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
  if (length > most) return -1;
  if (waiting(in) < 5 + length) return 0;
  *frame = (struct frame){.type = (char)head[4], .bytes = (char *)head + 5, .length = length};
  in->start += 5 + length;
  return 1;
}

char *next_word(char **at, char *end) {
  char *text = *at, *nul = text < end ? memchr(text, 0, (size_t)(end - text)) : NULL;
  if (!nul) return NULL;
  *at = nul + 1;
  return text;
}

int write_out(int fd, struct buffer *out) {
  ssize_t n = write(fd, out->bytes + out->start, waiting(out));
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  out->start += (size_t)n;
  shrink(out);
  return 1;
}
