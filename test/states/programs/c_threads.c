/* What only C has: thread-local storage, robust mutexes, signal stacks, futex waits with a time limit, FPU registers. */
#define _GNU_SOURCE
#include "state.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static __thread int local;
static pthread_mutex_t robust, lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int started, go, die;
static int found[4];
static char stack[65536];

static void *wait_for_turn(void *number) {
  local = 100 + (int)(long)number;
  pthread_mutex_lock(&lock);
  started++;
  struct timespec never = {.tv_sec = time(NULL) + 3600};
  while (!go) pthread_cond_timedwait(&turn, &lock, &never);
  found[(long)number] = local;
  pthread_mutex_unlock(&lock);
  return NULL;
}

static void *die_with_lock(void *unused) {
  pthread_mutex_lock(&robust);
  pthread_mutex_lock(&lock);
  started++;
  while (!die) pthread_cond_wait(&turn, &lock);
  pthread_mutex_unlock(&lock);
  return unused;
}

static volatile sig_atomic_t on_stack;
static void on_signal(int number) {
  (void)number;
  char here;
  on_stack = &here >= stack && &here < stack + sizeof stack;
}

static pthread_t waiters[4], dying;
static volatile double third;

static void setup(void) {
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &kind);
  local = 7;
  for (long n = 0; n < 4; n++)
    if (pthread_create(waiters + n, NULL, wait_for_turn, (void *)n)) fail("pthread_create");
  if (pthread_create(&dying, NULL, die_with_lock, NULL)) fail("pthread_create");
  for (int all = 0; !all; usleep(1000)) {
    pthread_mutex_lock(&lock);
    all = started == 5;
    pthread_mutex_unlock(&lock);
  }
  stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
  if (sigaltstack(&alternative, NULL) || sigaction(SIGUSR1, &action, NULL)) fail("signal stack");
  fesetround(FE_UPWARD);
}

static void check(void) {
  if (fegetround() != FE_UPWARD) fail("rounding mode of the FPU");
  if (local != 7) fail("own thread-local variable: %d", local);
  pthread_mutex_lock(&lock);
  go = die = 1;
  pthread_cond_broadcast(&turn);
  pthread_mutex_unlock(&lock);
  for (int n = 0; n < 4; n++) {
    pthread_join(waiters[n], NULL);
    if (found[n] != 100 + n) fail("thread-local variable of thread %d: %d", n, found[n]);
  }
  pthread_join(dying, NULL);
  if (pthread_mutex_lock(&robust) != EOWNERDEAD) fail("the robust mutex does not know that its owner is dead");
  raise(SIGUSR1);
  if (!on_stack) fail("the signal did not run on its own stack");
}
