/* Asks for what the sandbox refuses, and tells how: `NAME ERRNO` a line. Then reads a file as a program does that would have
 * liked to use io_uring. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, long result) { printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "works"); }

static void try_clone(const char *name, unsigned long flags) {
  pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0);
  if (pid == 0) _exit(0);
  tell(name, pid);
  if (pid > 0) waitpid(pid, NULL, 0);
}

int main(void) {
  char parameters[256] = {0}, text[64] = {0};
  long ring = syscall(425, 8, parameters);
  tell("io_uring_setup", ring);
  tell("userfaultfd", syscall(SYS_userfaultfd, 1));
  tell("unshare user", unshare(CLONE_NEWUSER));
  tell("unshare pid", unshare(CLONE_NEWPID));
  tell("unshare net", unshare(CLONE_NEWNET));
  tell("unshare mount", unshare(CLONE_NEWNS));
  try_clone("clone user", CLONE_NEWUSER);
  try_clone("clone pid", CLONE_NEWPID);
  try_clone("clone net", CLONE_NEWNET);
  try_clone("clone", 0);
  tell("clone3", syscall(SYS_clone3, parameters, 88));
  tell("memfd_secret", syscall(447, 0));
  tell("pkey_alloc", syscall(SYS_pkey_alloc, 0, 0));
  tell("perf_event_open", syscall(SYS_perf_event_open, parameters, 0, -1, -1, 0));
  tell("bpf", syscall(SYS_bpf, 0, parameters, 72));
  tell("multipath tcp", socket(AF_INET, SOCK_STREAM, 262));
  tell("kernel crypto socket", socket(AF_ALG, SOCK_SEQPACKET, 0));
  tell("host socket", socket(AF_VSOCK, SOCK_STREAM, 0));
  tell("tcp", socket(AF_INET, SOCK_STREAM, 0));
  int fd = open("/etc/hostname", O_RDONLY);
  tell("read instead", ring < 0 ? read(fd, text, sizeof text) : -1);
  return 0;
}
