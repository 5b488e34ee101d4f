/* Tells what changes in a branch's files, from outside: one fanotify mark for its whole overlay, so that watching takes no
 * walk through the tree and no time while nothing happens. Needs kernel 5.9, and the overlay's nfs_export=on.
 *
 * Descriptor 3 is the branch's root. Prints records that end with NUL: a letter and an absolute path inside. `c` there is
 * one now that was not, or was another; `m` written; `d` gone; `o` without a path: some were missed. The first record is
 * `r`, ready. Ends with standard input. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT_FD 3
/* Writes come in bursts: the kernel merges those of one file while they wait. */
#define PAUSE_US 15000

static const uint64_t EVENTS =
    FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_MODIFY | FAN_ATTRIB | FAN_ONDIR;

static void tell(char kind, const char *dir, const char *name) {
  putchar(kind);
  if (dir) fputs(dir, stdout);
  if (name) {
    if (dir && strcmp(dir, "/")) putchar('/');
    fputs(name, stdout);
  }
  putchar(0);
}

static void tell_event(uint64_t mask, int dir, const char *name) {
  char link[64], path[8192];
  snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return;
  path[n] = 0;
  struct stat st;
  int there = !fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
  int names = !!(mask & (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO));
  /* Merged events have lost their order: what counts is what is there now. */
  if (names && there) tell('c', path, name);
  else if (names) tell('d', path, name);
  else if (there && !S_ISDIR(st.st_mode)) tell('m', path, name);
}

static void take(const char *buffer, ssize_t size) {
  const struct fanotify_event_metadata *m = (const void *)buffer;
  for (; FAN_EVENT_OK(m, size); m = FAN_EVENT_NEXT(m, size)) {
    if (m->mask & FAN_Q_OVERFLOW) tell('o', NULL, NULL);
    if (m->event_len < sizeof *m + sizeof(struct fanotify_event_info_fid) + sizeof(struct file_handle)) continue;
    const struct fanotify_event_info_fid *info = (const void *)(m + 1);
    if (info->hdr.info_type != FAN_EVENT_INFO_TYPE_DFID_NAME) continue;
    struct file_handle *handle = (struct file_handle *)info->handle;
    const char *name = (const char *)handle->f_handle + handle->handle_bytes;
    if (!strcmp(name, ".")) continue;
    int dir = open_by_handle_at(ROOT_FD, handle, O_PATH | O_CLOEXEC);
    if (dir < 0) continue; /* the folder is gone: that is told by its parent */
    tell_event(m->mask, dir, name);
    close(dir);
  }
}

void watch_files(void) {
  int fan = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
  if (fan < 0) die("fanotify_init");
  if (fanotify_mark(fan, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, EVENTS, ROOT_FD, ".")) die("fanotify_mark");
  tell('r', NULL, NULL);
  fflush(stdout);
  static char buffer[65536] __attribute__((aligned(8)));
  for (;;) {
    struct pollfd fds[] = {{.fd = fan, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR) die("poll");
    if (fds[1].revents) _exit(0);
    usleep(PAUSE_US);
    for (ssize_t n; (n = read(fan, buffer, sizeof buffer)) > 0;) take(buffer, n);
    if (fflush(stdout)) _exit(0);
  }
}
