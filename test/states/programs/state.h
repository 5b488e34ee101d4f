/* As state.py, for C: the program's name is the state's, `setup` comes before the word to check, `check` after it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[4096], *name;

static void tell(const char *folder, const char *text) {
  char path[4500], whole[4400];
  snprintf(whole, sizeof whole, "%s/%s/%s", top, folder, name);
  snprintf(path, sizeof path, "%s.new", whole);
  FILE *f = fopen(path, "w");
  if (!f || fputs(text, f) < 0 || fclose(f) || rename(path, whole)) _exit(3);
}

static int checking;

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...) {
  char why[512], text[600];
  va_list list;
  va_start(list, format);
  vsnprintf(why, sizeof why, format, list);
  va_end(list);
  snprintf(text, sizeof text, "fail: %s (%s)", why, strerror(errno));
  tell(checking ? "results" : "ready", text);
  _exit(1);
}

static void setup(void);
static void check(void);

int main(int argc, char **argv) {
  char path[4400];
  (void)argc;
  name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
  if (!getcwd(top, sizeof top)) return 2;
  snprintf(path, sizeof path, "%s/work/%s", top, name);
  if (mkdir(path, 0755) || chdir(path)) return 2;
  setsid();
  setup();
  tell("ready", "ready");
  snprintf(path, sizeof path, "%s/go", top);
  while (access(path, F_OK)) usleep(40000);
  checking = 1;
  check();
  tell("results", "pass");
  return 0;
}
