/* Namespaces and mounts of a branch. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The mount calls of Linux 5.2 by number, the same on every architecture: older C libraries lack them, newer ones and
 * linux/mount.h define them twice. */
enum { MOVE_MOUNT = 429, FSOPEN = 430, FSCONFIG = 431, FSMOUNT = 432 };
enum { CLOSE_ON_EXEC = 1, EMPTY_FROM_PATH = 4 };
enum { SET_FLAG = 0, SET_STRING = 1, CREATE = 6 };

static int write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t n = write(fd, text, strlen(text));
  int saved = errno;
  close(fd);
  errno = saved;
  return n == (ssize_t)strlen(text) ? 0 : -1;
}

static void loopback_up(void) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq ifr = {.ifr_flags = IFF_UP | IFF_RUNNING};
  strcpy(ifr.ifr_name, "lo");
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr)) die("raise lo");
  close(fd);
}

static void enter_net(const char *net) {
  if (!strcmp(net, "host")) return;
  if (!strcmp(net, "new")) {
    if (unshare(CLONE_NEWNET)) die("new network namespace");
    loopback_up();
    /* The payload's user namespace does not own this network namespace, so low ports need no capability instead. */
    if (write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")) die("ip_unprivileged_port_start");
    return;
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/ns/net", atoi(net));
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET)) die(path);
  close(fd);
}

static int configure(int fd, unsigned command, const char *key, const char *value) {
  return (int)syscall(FSCONFIG, fd, command, key, value, 0);
}

/* One fsconfig call a layer (Linux 6.5): no page-size limit on the whole. Returns -1 with EINVAL where the kernel is older. */
static int mount_overlay_by_layer(const struct world *w) {
  int fs = (int)syscall(FSOPEN, "overlay", CLOSE_ON_EXEC);
  if (fs < 0) return -1;
  for (int i = 0; i < w->nlowers; i++)
    if (configure(fs, SET_STRING, "lowerdir+", w->lowers[i])) goto fail;
  if (w->upper && (configure(fs, SET_STRING, "upperdir", w->upper) ||
                   configure(fs, SET_STRING, "workdir", w->work)))
    goto fail;
  if (w->options) {
    char *copy = strdup(w->options), *save = NULL;
    for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
      char *eq = strchr(o, '=');
      if (eq) *eq = 0;
      if (eq ? configure(fs, SET_STRING, o, eq + 1) : configure(fs, SET_FLAG, o, NULL)) goto fail;
    }
    free(copy);
  }
  if (configure(fs, CREATE, NULL, NULL)) goto fail;
  int mnt = (int)syscall(FSMOUNT, fs, CLOSE_ON_EXEC, 0);
  if (mnt < 0) goto fail;
  int r = (int)syscall(MOVE_MOUNT, mnt, "", AT_FDCWD, w->root, EMPTY_FROM_PATH);
  int saved = errno;
  close(mnt);
  close(fs);
  errno = saved;
  return r;
fail:
  saved = errno;
  char message[512];
  ssize_t n;
  while ((n = read(fs, message, sizeof message - 1)) > 0) { /* what the file system says of it, e.g. "e overlay: …" */
    message[n] = 0;
    fprintf(stderr, "teleport-init: %s\n", message);
  }
  close(fs);
  errno = saved;
  return -1;
}

static int mount_overlay_by_string(const struct world *w) {
  size_t size = 8192, used = 0;
  char *data = malloc(size);
  used += (size_t)snprintf(data, size, "lowerdir=");
  for (int i = 0; i < w->nlowers; i++)
    if ((used += (size_t)snprintf(data + used, size - used, "%s%s", i ? ":" : "", w->lowers[i])) >= size) break;
  if (used < size && w->upper)
    used += (size_t)snprintf(data + used, size - used, ",upperdir=%s,workdir=%s", w->upper, w->work);
  if (used < size && w->options) used += (size_t)snprintf(data + used, size - used, ",%s", w->options);
  if (used >= (size_t)sysconf(_SC_PAGESIZE)) {
    errno = E2BIG;
    die("overlay options");
  }
  int r = mount("overlay", w->root, "overlay", 0, data);
  free(data);
  return r;
}

static int mount_overlay(const struct world *w) {
  if (!mount_overlay_by_layer(w)) return 0;
  return errno == EINVAL || errno == ENOSYS ? mount_overlay_by_string(w) : -1;
}

/* A volatile upper directory is refused (EIO, Linux 5.11) as long as nobody was told of an error in writing to its file system. */
static int hear_of_errors(const char *dir) {
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  if (syncfs(fd)) fprintf(stderr, "teleport-init: the volume could not be written to: %s\n", strerror(errno));
  return close(fd);
}

void enter_namespaces(const struct world *w) {
  for (int i = 0; i < MAX_CGROUPS && w->cgroups[i]; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/cgroup.procs", w->cgroups[i]);
    if (write_file(path, "0")) die(path);
  }
  enter_net(w->net);
  if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL)) die("new mount namespace");
  if (w->run && mount(w->run, "/run", NULL, MS_BIND, NULL)) die(w->run);
}

void mount_world(const struct world *w) {
  if (w->chdir && chdir(w->chdir)) die(w->chdir);
  if (!w->root || !w->nlowers || !mount_overlay(w)) return;
  if (errno != EIO || !w->upper || hear_of_errors(w->upper) || mount_overlay(w)) die("mount overlay");
}

#define READY_FD 4 /* where `serve` finds the pipe on which the launcher waits */

static void mount_or_die(const char *type, const char *where, unsigned long flags, const char *data) {
  if (mount(type, where, type, flags, data)) die(where);
}

static void read_only(const char *path) {
  if (access(path, F_OK)) return; /* not in every kernel */
  if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) ||
      mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
    die(path);
}

static void become_root_of_branch(const struct world *w, const struct payload *p) {
  if (setresgid(0, 0, 0) || setgroups(0, NULL) || setresuid(0, 0, 0)) die("become root inside");
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("private mounts");
  /* Inherited mounts are locked in a user namespace: only a bind of our own can be pivoted to. */
  if (chdir(w->root) || mount(".", ".", NULL, MS_BIND | MS_REC, NULL) || chdir(w->root)) die("bind the root");
  /* While the host's /proc is still in sight: the kernel grants a new proc only then. */
  mount_or_die("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  mount_or_die("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5");
  if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) die("pivot_root");
  /* Files of /proc/sys ask for the host's uid 0, not for a capability, and ids map one to one. */
  if (p->uid == 0) {
    read_only("/proc/sys");
    read_only("/proc/sysrq-trigger");
  }
  if (w->hostname && sethostname(w->hostname, strlen(w->hostname))) die("sethostname");
  if (setsid() < 0) die("setsid");
}

/* PID 1's program must be a file of the branch, or it can't be dumped: so it is run again from in there. */
static void exec_inside(char **serve_argv, int ready) {
  if (dup2(ready, READY_FD) < 0 || fcntl(READY_FD, F_SETFD, 0)) die("ready pipe");
  char *env[] = {NULL};
  execve(INIT_INSIDE, serve_argv, env);
  die(INIT_INSIDE);
}

pid_t launch_branch(const struct world *w, const struct payload *p, char **serve_argv) {
  int ready_pipe[2], mapped_pipe[2];
  if (pipe2(ready_pipe, O_CLOEXEC) || pipe2(mapped_pipe, O_CLOEXEC)) die("pipe");
  unsigned long flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | SIGCHLD;
  pid_t child = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, 0);
  if (child < 0) die("new namespaces");
  char byte;
  if (child == 0) {
    close(mapped_pipe[1]);
    close(ready_pipe[0]);
    if (read(mapped_pipe[0], &byte, 1) != 1) _exit(125);
    close(mapped_pipe[0]);
    become_root_of_branch(w, p);
    exec_inside(serve_argv, ready_pipe[1]);
  }
  close(mapped_pipe[0]);
  close(ready_pipe[1]);
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/uid_map", (int)child);
  if (write_file(path, "0 0 4294967295")) die(path);
  snprintf(path, sizeof path, "/proc/%d/gid_map", (int)child);
  if (write_file(path, "0 0 4294967295")) die(path);
  if (write(mapped_pipe[1], "m", 1) != 1) die("mapped");
  if (read(ready_pipe[0], &byte, 1) != 1) {
    errno = ECHILD;
    die("the branch did not come up");
  }
  return child;
}

void world_ready(void) {
  /* A descriptor opened in another mount namespace can't be dumped: report, then reopen 0-2 inside and close the rest. */
  if (write(READY_FD, "r", 1) != 1) die("ready");
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) die("/dev/null");
  for (int fd = 0; fd < 3; fd++) dup2(null, fd);
  if (syscall(SYS_close_range, LISTEN_FD + 1, ~0U, 0)) die("close_range");
}
