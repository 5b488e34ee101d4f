/* teleport-init: puts a process tree into its own world (launch, enter) and is PID 1 in there (serve).
 * Static and small, because it is part of every memory image. */
#ifndef TELEPORT_INIT_H
#define TELEPORT_INIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_LOWERS 512
#define MAX_GROUPS 64
#define MAX_CGROUPS 4

/* Where the branch's socket stands inside the branch. The folder belongs to the skeleton layer. */
#define SERVER_SOCKET "/.teleport-env/init.sock"
#define INIT_INSIDE "/.teleport-env/init"
/* Where processes in there ask the helper for something, and with what; see asks.h. */
#define ASK_SOCKET "/.teleport-env/ask.sock"
#define ASK_PROGRAM "teleport-env"
#define LISTEN_FD 3

struct world {
  const char *cgroups[MAX_CGROUPS]; /* folders of cgroups to join, NULL after the last */
  const char *net;       /* "new", "host", or the pid whose network namespace to join */
  const char *chdir;     /* relative layer paths start here */
  const char *root;      /* mount point of the overlay; NULL: mount none */
  const char *upper;
  const char *work;
  const char *options;   /* more overlay options, comma separated */
  const char *lowers[MAX_LOWERS];
  int nlowers;
  const char *run;       /* folder to stand at /run: CRIU keeps its feature cache there */
  const char *hostname;
};

struct payload {
  uid_t uid;
  gid_t gid;
  gid_t groups[MAX_GROUPS];
  int ngroups;
};

/* Ends the process with a line on stderr: what, and errno's text. Exit code 125. */
void die(const char *what) __attribute__((noreturn));

/* Joins the cgroups, the network namespace and a private mount namespace. */
void enter_namespaces(const struct world *w);
/* In there, mounts the overlay. */
void mount_world(const struct world *w);

/* Makes the branch's namespaces and in them runs INIT_INSIDE with serve_argv as PID 1 behind the new root. Returns its
 * pid once it has called world_ready(). */
pid_t launch_branch(const struct world *w, const struct payload *p, char **serve_argv);
void world_ready(void);

/* In a forked child: session leader already, drops to the payload's ids without any way back, filters system calls. */
void become_payload(const struct payload *p);

/* PID 1's loop: sessions on SERVER_SOCKET, reaping. Never returns. */
void serve(const struct payload *p) __attribute__((noreturn));
void open_server_socket(void);

/* The program that people and agents have inside: asks on ASK_SOCKET. Returns what to end with. */
int ask(int argc, char **argv);

/* Where a branch with a network asks for names, in its own network namespace; see helper/engine/network.ts. */
#define DNS_ADDRESS "169.254.77.53"
void serve_dns(const struct world *w) __attribute__((noreturn));

/* Says what changes in the branch whose root is descriptor 3; see watch.c. */
void watch_files(void) __attribute__((noreturn));

#endif
