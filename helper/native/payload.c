/* From PID 1 to the payload: ids, capabilities, system call filter. */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "teleport-init knows x86-64 and arm64"
#endif

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(e) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (e))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE(nr, e) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), ANSWER(e)

/* CRIU can carry none of these; a program that is told so falls back to what can be carried. */
static struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0),
    ANSWER(ENOSYS), /* another architecture's table would go round the rest */
    LOAD(nr),
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
    ANSWER(ENOSYS),
    REFUSE(SYS_io_uring_setup, ENOSYS),
    REFUSE(SYS_io_uring_enter, ENOSYS),
    REFUSE(SYS_io_uring_register, ENOSYS),
    REFUSE(SYS_clone3, ENOSYS), /* its flags lie in memory, where a filter can't see them; libc falls back to clone */
    REFUSE(SYS_landlock_create_ruleset, ENOSYS),
    REFUSE(SYS_memfd_secret, ENOSYS),
    REFUSE(SYS_pkey_alloc, ENOSPC), /* as without the hardware; Node compiles WebAssembly behind such a key, and died of it after a restore */
    REFUSE(SYS_userfaultfd, EPERM),
    REFUSE(SYS_perf_event_open, EPERM),
    REFUSE(SYS_bpf, EPERM),
    REFUSE(SYS_keyctl, EPERM),
    REFUSE(SYS_add_key, EPERM),
    REFUSE(SYS_request_key, EPERM),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 9),
    LOAD(args[2]),
    REFUSE(IPPROTO_MPTCP, EPROTONOSUPPORT), /* Go listens with it wherever it can, and else with plain TCP */
    LOAD(args[0]),
    REFUSE(AF_ALG, EAFNOSUPPORT),
    REFUSE(AF_VSOCK, EAFNOSUPPORT),
    ALLOW,
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 3),
    LOAD(args[0]),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET, 0, 1),
    ANSWER(EPERM),
    ALLOW,
};

/* What root inside may do, as with other containers. All of it counts only within the branch's user namespace. */
static const int kept[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,     CAP_FSETID,     CAP_KILL,
                           CAP_SETGID, CAP_SETUID,       CAP_SETPCAP,    CAP_SYS_CHROOT, CAP_NET_BIND_SERVICE,
                           CAP_MKNOD,  CAP_SETFCAP,      CAP_AUDIT_WRITE};

static int is_kept(int cap) {
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (kept[i] == cap) return 1;
  return 0;
}

static void limit_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{0}};
  for (int cap = 0; cap < 64; cap++) {
    if (is_kept(cap)) {
      data[cap / 32].effective |= 1u << (cap % 32);
      data[cap / 32].permitted |= 1u << (cap % 32);
    } else if (prctl(PR_CAPBSET_READ, cap) == 1 && prctl(PR_CAPBSET_DROP, cap)) {
      die("drop capabilities");
    }
  }
  if (syscall(SYS_capset, &header, data)) die("capset");
}

void become_payload(const struct payload *p) {
  if (setgroups((size_t)p->ngroups, p->groups) || setresgid(p->gid, p->gid, p->gid)) die("set groups");
  if (p->uid == 0) limit_capabilities();
  if (setresuid(p->uid, p->uid, p->uid)) die("set uid");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
  struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) die("seccomp");
}
