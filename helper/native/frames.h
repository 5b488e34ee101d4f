/* Buffers and frames, as every connection to and inside a branch carries them: u32 length (little endian) of what follows
 * the type, u8 type, bytes. */
#ifndef TELEPORT_FRAMES_H
#define TELEPORT_FRAMES_H

#include <stddef.h>

struct buffer {
  char *bytes;
  size_t start, end, size;
};

struct frame {
  char type;
  char *bytes; /* in the buffer it was taken from, until that is changed */
  size_t length;
};

size_t waiting(const struct buffer *b);
void append(struct buffer *b, const void *bytes, size_t n);
/* A buffer that a large transfer made large is given back: it would be in every image. */
void shrink(struct buffer *b);
void put_frame(struct buffer *out, char type, const void *bytes, size_t n);
/* The next whole frame: 1; 0: not all of it is there; -1: it is longer than `most`. */
int take_frame(struct buffer *in, size_t most, struct frame *frame);
/* The next NUL-terminated string before `end`, or NULL. */
char *next_word(char **at, char *end);
/* Writes what waits; 0: the other side is gone. */
int write_out(int fd, struct buffer *out);

#endif
