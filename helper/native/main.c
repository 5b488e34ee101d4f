/* Command line of teleport-init.
 *
 *   teleport-init launch WORLD… [--uid N --gid N --groups N,N] --hostname H
 *       makes a branch from nothing and prints the host's pid of its PID 1
 *   teleport-init serve …
 *       what launch runs inside, with its own arguments
 *   teleport-init enter [--wait FD] WORLD… -- COMMAND…
 *       runs COMMAND in a world (CRIU is run so). With --wait it enters what it was told of, then reads more of WORLD from
 *       that descriptor, each word and an empty last one ended by a NUL; where nothing comes, it ends
 *   teleport-init dns --net PID [--cgroup DIR]
 *       answers name questions of that process's network namespace, until the process ends
 *   teleport-init watch
 *       says what changes in the files of a branch, see watch.c
 *
 * Under the name teleport-env it is the program that processes inside have; see ask.c.
 *
 * WORLD: --cgroup DIR… --net new|host|PID --chdir DIR --root DIR --upper DIR --work DIR --lower DIR… --options O --run DIR
 */
#define _GNU_SOURCE
#include "asks.h"
#include "init.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void die(const char *what) {
  fprintf(stderr, "teleport-init: %s: %s\n", what, strerror(errno));
  _exit(125);
}

static void usage(const char *what) {
  fprintf(stderr, "teleport-init: %s (usage: teleport-init launch|enter …)\n", what);
  _exit(124);
}

static void parse_groups(struct payload *p, const char *list) {
  char *copy = strdup(list), *save = NULL;
  for (char *g = strtok_r(copy, ",", &save); g; g = strtok_r(NULL, ",", &save)) {
    if (p->ngroups == MAX_GROUPS) usage("too many groups");
    p->groups[p->ngroups++] = (gid_t)strtoul(g, NULL, 10);
  }
  free(copy);
}

/* PID 1's command line can be read by everybody inside: what it needs, and no path of the host. */
static char **serve_words(int argc, char **argv) {
  static char *words[16] = {"teleport-init", "serve"};
  int n = 2;
  for (int i = 2; i + 1 < argc && n < 12; i += 2)
    if (!strcmp(argv[i], "--uid") || !strcmp(argv[i], "--gid") || !strcmp(argv[i], "--groups")) {
      words[n++] = argv[i];
      words[n++] = argv[i + 1];
    }
  return words;
}

static struct world w = {.net = "host"};
static struct payload p = {.uid = 65534, .gid = 65534};
static int wait_fd = -1;

static void take_option(const char *option, const char *value) {
  static int ncgroups;
  if (!value) usage("an option without a value");
  if (!strcmp(option, "--cgroup")) {
    if (ncgroups == MAX_CGROUPS) usage("too many cgroups");
    w.cgroups[ncgroups++] = value;
  }
  else if (!strcmp(option, "--net")) w.net = value;
  else if (!strcmp(option, "--wait")) wait_fd = atoi(value);
  else if (!strcmp(option, "--chdir")) w.chdir = value;
  else if (!strcmp(option, "--root")) w.root = value;
  else if (!strcmp(option, "--upper")) w.upper = value;
  else if (!strcmp(option, "--work")) w.work = value;
  else if (!strcmp(option, "--options")) w.options = value;
  else if (!strcmp(option, "--run")) w.run = value;
  else if (!strcmp(option, "--hostname")) w.hostname = value;
  else if (!strcmp(option, "--uid")) p.uid = (uid_t)strtoul(value, NULL, 10);
  else if (!strcmp(option, "--gid")) p.gid = (gid_t)strtoul(value, NULL, 10);
  else if (!strcmp(option, "--groups")) parse_groups(&p, value);
  else if (!strcmp(option, "--lower")) {
    if (w.nlowers == MAX_LOWERS) usage("too many lower layers");
    w.lowers[w.nlowers++] = value;
  } else usage(option);
}

/* The helper may end while we wait, or never want us: then nothing comes. */
static void take_more_options(int fd) {
  size_t size = 4096, used = 0;
  char *text = malloc(size);
  for (ssize_t n; (n = read(fd, text + used, size - used)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) die("read more words");
    used += (size_t)n;
    if (used == size && !(text = realloc(text, size *= 2))) die("read more words");
  }
  close(fd);
  if (used < 1 || text[used - 1] || (used > 1 && text[used - 2])) _exit(0);
  for (char *word = text; *word;) {
    char *value = word + strlen(word) + 1;
    take_option(word, *value ? value : NULL);
    word = value + strlen(value) + 1;
  }
}

int main(int argc, char **argv) {
  const char *slash = argc ? strrchr(argv[0], '/') : NULL;
  if (argc && !strcmp(slash ? slash + 1 : argv[0], ASK_PROGRAM)) return ask(argc, argv);
  if (argc < 2) usage("no verb");
  int i = 2;
  for (; i < argc && strcmp(argv[i], "--"); i += 2) take_option(argv[i], argv[i + 1]);
  if (!strcmp(argv[1], "launch")) {
    if (!w.root) usage("launch needs --root");
    enter_namespaces(&w);
    mount_world(&w);
    printf("%d\n", (int)launch_branch(&w, &p, serve_words(argc, argv)));
    return fflush(stdout) ? 125 : 0;
  }
  if (!strcmp(argv[1], "serve")) {
    if (getpid() != 1) usage("serve is for PID 1 of a branch");
    open_server_socket();
    world_ready();
    open_ask_socket();
    serve(&p);
  }
  if (!strcmp(argv[1], "dns")) {
    struct world own = {.cgroups = {w.cgroups[0]}, .net = "host"};
    enter_namespaces(&own);
    serve_dns(&w);
  }
  if (!strcmp(argv[1], "watch")) watch_files();
  if (!strcmp(argv[1], "enter")) {
    if (i + 1 >= argc) usage("enter needs a command after --");
    enter_namespaces(&w);
    if (wait_fd >= 0) take_more_options(wait_fd);
    mount_world(&w);
    execvp(argv[i + 1], argv + i + 1);
    die(argv[i + 1]);
  }
  usage(argv[1]);
}
