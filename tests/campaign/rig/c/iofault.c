/* Fails, shortens or kills at the Nth file system call of a process: LD_PRELOAD.
 *
 * Build: cc -O2 -shared -fPIC -o iofault.so iofault.c -ldl
 *   RIG_FAULT       comma-separated rules op:when:action
 *     op      one of the names below, or any
 *     when    N, only the Nth matching call; N+, from the Nth on
 *     action  a name of errno
 *             short      read or write half of the bytes, and say so
 *             torn       write half of the bytes, then SIGKILL
 *             kill       SIGKILL before the call; killafter: after it
 *             after-EIO  make the call, then say that it failed
 *   RIG_FAULT_PATH  only calls on paths that contain this text count (descriptors are looked up)
 *   RIG_FAULT_HIT   file that is made when a rule applies, with the path of a sync in it: the
 *                   order of calls may differ a little from run to run
 *   RIG_FAULT_COUNT file: at exit, one line "op=calls ..." is appended to it
 * What does not go through the C library's symbols escapes: the campaign compares with strace.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
  OPEN, READ, WRITE, FSYNC, FDATASYNC, SYNCFS, SYNCRANGE, MSYNC, POPULATE, FALLOCATE, FTRUNCATE,
  MMAP, RENAME, LINK, UNLINK, MKDIR, RMDIR, FLOCK, STAT, STATFS, UTIMES, READDIR, OPS
};
static const char *names[OPS] = {
  "open", "read", "write", "fsync", "fdatasync", "syncfs", "syncrange", "msync", "populate",
  "fallocate", "ftruncate", "mmap", "rename", "link", "unlink", "mkdir", "rmdir", "flock", "stat",
  "statfs", "utimes", "readdir"};
enum { FAIL, SHORT, TORN, KILL, KILLAFTER, AFTER };
struct rule { int op, action, error, from; long n, seen; };

static struct rule rules[16];
static int rule_count, ready;
static long counts[OPS];
static const char *path_part;

static int errno_of(const char *name) {
  static const struct { const char *name; int error; } known[] = {
    {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EINTR", EINTR}, {"EAGAIN", EAGAIN},
    {"EMFILE", EMFILE}, {"ENFILE", ENFILE}, {"ENOMEM", ENOMEM}, {"EACCES", EACCES},
    {"EPERM", EPERM}, {"EROFS", EROFS}, {"EFBIG", EFBIG}, {"EOPNOTSUPP", EOPNOTSUPP},
    {"ENODEV", ENODEV}, {"EFAULT", EFAULT}, {"EINVAL", EINVAL}, {"ENOLCK", ENOLCK},
    {"EWOULDBLOCK", EWOULDBLOCK}, {"ESTALE", ESTALE}, {"ENOSYS", ENOSYS}, {"EMLINK", EMLINK}};
  for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
    if (!strcmp(known[i].name, name)) return known[i].error;
  return 0;
}

static void report(void) {
  const char *file = getenv("RIG_FAULT_COUNT");
  char text[1024];
  int used = 0;
  if (!file) return;
  for (int i = 0; i < OPS; i++)
    used += snprintf(text + used, sizeof text - used, "%s=%ld%s", names[i], counts[i],
                     i + 1 < OPS ? " " : "\n");
  int to = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (to < 0) return;
  if (syscall(SYS_write, to, text, used) != used) _exit(98);
  syscall(SYS_close, to);
}

static void refuse(const char *rule) {
  dprintf(2, "iofault: no rule: %s\n", rule);
  _exit(99);
}

__attribute__((constructor)) static void begin(void) {
  const char *asked = getenv("RIG_FAULT");
  char *copy = asked ? strdup(asked) : 0, *state = 0;
  path_part = getenv("RIG_FAULT_PATH");
  for (char *t = copy ? strtok_r(copy, ",", &state) : 0; t; t = strtok_r(0, ",", &state)) {
    char op[16], when[24], action[24];
    if (rule_count == 16 || sscanf(t, "%15[^:]:%23[^:]:%23s", op, when, action) != 3) refuse(t);
    struct rule *r = &rules[rule_count++];
    r->op = -1;
    for (int i = 0; i < OPS; i++)
      if (!strcmp(op, names[i])) r->op = i;
    if (r->op < 0 && strcmp(op, "any")) refuse(t);
    r->n = atol(when);
    r->from = strchr(when, '+') != 0;
    const char *error = action;
    r->action = FAIL;
    if (!strcmp(action, "short")) r->action = SHORT;
    if (!strcmp(action, "torn")) r->action = TORN;
    if (!strcmp(action, "kill")) r->action = KILL;
    if (!strcmp(action, "killafter")) r->action = KILLAFTER;
    if (!strncmp(action, "after-", 6)) r->action = AFTER, error = action + 6;
    r->error = errno_of(error);
    if ((r->action == FAIL || r->action == AFTER) && !r->error) refuse(t);
  }
  free(copy);
  atexit(report);
  ready = 1;
}

static int by_path(const char *path) { return !path_part || (path && strstr(path, path_part)); }

/* The path a descriptor was last asked for. */
static char looked_up[4096];

static int by_fd(int fd) {
  char link[64], *path = looked_up;
  if (!path_part) return 1;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int saved = errno;
  long n = syscall(SYS_readlink, link, path, sizeof looked_up - 1);
  errno = saved;
  if (n < 0) return 0;
  path[n] = 0;
  return strstr(path, path_part) != 0;
}

static void die(void) {
  report();
  for (;;) kill(getpid(), SIGKILL);
}

static void note_hit(void) {
  const char *file = getenv("RIG_FAULT_HIT");
  int saved = errno;
  long to = file ? syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT, 0644) : -1;
  if (to >= 0 && syscall(SYS_write, to, looked_up, strlen(looked_up)) < 0) _exit(98);
  if (to >= 0) syscall(SYS_close, to);
  errno = saved;
}

static struct rule *hit(int op) {
  if (!ready) return 0;
  __atomic_add_fetch(&counts[op], 1, __ATOMIC_SEQ_CST);
  for (int i = 0; i < rule_count; i++) {
    struct rule *r = &rules[i];
    if (r->op != op && r->op != -1) continue;
    long now = __atomic_add_fetch(&r->seen, 1, __ATOMIC_SEQ_CST);
    if (!(r->from ? now >= r->n : now == r->n)) continue;
    note_hit();
    if (r->action == KILL) die();
    return r;
  }
  return 0;
}

#define NEXT(name) \
  static __typeof__(&name) next; \
  if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define AFTERWARDS(r, failed) \
  if (r && r->action == KILLAFTER) die(); \
  if (r && r->action == AFTER) { errno = r->error; return failed; }
#define PLAIN(name, op, matches, failed, call) \
  NEXT(name); \
  struct rule *r = (matches) ? hit(op) : 0; \
  if (r && r->action == FAIL) { errno = r->error; return failed; } \
  __typeof__(call) result = call; \
  AFTERWARDS(r, failed) \
  return result

int fsync(int fd) { PLAIN(fsync, FSYNC, by_fd(fd), -1, next(fd)); }
int fdatasync(int fd) { PLAIN(fdatasync, FDATASYNC, by_fd(fd), -1, next(fd)); }
int syncfs(int fd) { PLAIN(syncfs, SYNCFS, by_fd(fd), -1, next(fd)); }
int sync_file_range(int fd, off64_t o, off64_t n, unsigned f) {
  PLAIN(sync_file_range, SYNCRANGE, by_fd(fd), -1, next(fd, o, n, f));
}
/* A map has no path: all of them count. */
int msync(void *a, size_t n, int f) { looked_up[0] = 0;
  PLAIN(msync, MSYNC, 1, -1, next(a, n, f)); }
int madvise(void *a, size_t n, int f) {
  PLAIN(madvise, POPULATE, f == MADV_POPULATE_READ || f == MADV_POPULATE_WRITE, -1, next(a, n, f));
}
int ftruncate(int fd, off_t n) { PLAIN(ftruncate, FTRUNCATE, by_fd(fd), -1, next(fd, n)); }
int ftruncate64(int fd, off64_t n) { PLAIN(ftruncate64, FTRUNCATE, by_fd(fd), -1, next(fd, n)); }
int fallocate(int fd, int m, off_t o, off_t n) {
  PLAIN(fallocate, FALLOCATE, by_fd(fd), -1, next(fd, m, o, n));
}
int fallocate64(int fd, int m, off64_t o, off64_t n) {
  PLAIN(fallocate64, FALLOCATE, by_fd(fd), -1, next(fd, m, o, n));
}
int rename(const char *a, const char *b) {
  PLAIN(rename, RENAME, by_path(a) || by_path(b), -1, next(a, b));
}
int linkat(int d, const char *a, int e, const char *b, int f) {
  PLAIN(linkat, LINK, by_path(a) || by_path(b), -1, next(d, a, e, b, f));
}
int unlink(const char *a) { PLAIN(unlink, UNLINK, by_path(a), -1, next(a)); }
int mkdir(const char *a, mode_t m) { PLAIN(mkdir, MKDIR, by_path(a), -1, next(a, m)); }
int rmdir(const char *a) { PLAIN(rmdir, RMDIR, by_path(a), -1, next(a)); }
int flock(int fd, int how) { PLAIN(flock, FLOCK, by_fd(fd), -1, next(fd, how)); }
int futimens(int fd, const struct timespec t[2]) {
  PLAIN(futimens, UTIMES, by_fd(fd), -1, next(fd, t));
}

int statx(int d, const char *p, int f, unsigned m, struct statx *s) {
  /* Rust's library asks with null pointers whether there is such a call; the header denies them. */
  const char *volatile path = p;
  const char *named = path;
  PLAIN(statx, STAT, named && *named ? by_path(named) : by_fd(d), -1, next(d, p, f, m, s));
}
int stat64(const char *p, struct stat64 *s) { PLAIN(stat64, STAT, by_path(p), -1, next(p, s)); }
int lstat64(const char *p, struct stat64 *s) { PLAIN(lstat64, STAT, by_path(p), -1, next(p, s)); }
int fstat64(int fd, struct stat64 *s) { PLAIN(fstat64, STAT, by_fd(fd), -1, next(fd, s)); }
int statfs(const char *p, struct statfs *s) { PLAIN(statfs, STATFS, by_path(p), -1, next(p, s)); }
int statfs64(const char *p, struct statfs64 *s) {
  PLAIN(statfs64, STATFS, by_path(p), -1, next(p, s));
}
int fstatfs(int fd, struct statfs *s) { PLAIN(fstatfs, STATFS, by_fd(fd), -1, next(fd, s)); }
int fstatfs64(int fd, struct statfs64 *s) { PLAIN(fstatfs64, STATFS, by_fd(fd), -1, next(fd, s)); }
int statvfs(const char *p, struct statvfs *s) {
  PLAIN(statvfs, STATFS, by_path(p), -1, next(p, s));
}
int statvfs64(const char *p, struct statvfs64 *s) {
  PLAIN(statvfs64, STATFS, by_path(p), -1, next(p, s));
}

#define TRANSFER(name, op, fd, n, full, half) \
  NEXT(name); \
  struct rule *r = by_fd(fd) ? hit(op) : 0; \
  if (r && r->action == FAIL) { errno = r->error; return -1; } \
  if (r && (r->action == SHORT || r->action == TORN) && n > 1) { \
    ssize_t some = half; \
    if (r->action == TORN) die(); \
    return some; \
  } \
  ssize_t result = full; \
  AFTERWARDS(r, -1) \
  return result
ssize_t write(int fd, const void *b, size_t n) {
  TRANSFER(write, WRITE, fd, n, next(fd, b, n), next(fd, b, n / 2));
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
  TRANSFER(pwrite, WRITE, fd, n, next(fd, b, n, o), next(fd, b, n / 2, o));
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
  TRANSFER(pwrite64, WRITE, fd, n, next(fd, b, n, o), next(fd, b, n / 2, o));
}
ssize_t read(int fd, void *b, size_t n) {
  TRANSFER(read, READ, fd, n, next(fd, b, n), next(fd, b, n / 2));
}
ssize_t pread(int fd, void *b, size_t n, off_t o) {
  TRANSFER(pread, READ, fd, n, next(fd, b, n, o), next(fd, b, n / 2, o));
}
ssize_t pread64(int fd, void *b, size_t n, off64_t o) {
  TRANSFER(pread64, READ, fd, n, next(fd, b, n, o), next(fd, b, n / 2, o));
}

void *mmap(void *a, size_t n, int p, int f, int fd, off_t o) {
  PLAIN(mmap, MMAP, fd >= 0 && by_fd(fd), MAP_FAILED, next(a, n, p, f, fd, o));
}
void *mmap64(void *a, size_t n, int p, int f, int fd, off64_t o) {
  PLAIN(mmap64, MMAP, fd >= 0 && by_fd(fd), MAP_FAILED, next(a, n, p, f, fd, o));
}

#define OPENING(name, path, call) \
  va_list list; \
  va_start(list, f); \
  mode_t m = (f & (O_CREAT | O_TMPFILE)) ? va_arg(list, mode_t) : 0; \
  va_end(list); \
  PLAIN(name, OPEN, by_path(path), -1, call)
int open(const char *p, int f, ...) { OPENING(open, p, next(p, f, m)); }
int open64(const char *p, int f, ...) { OPENING(open64, p, next(p, f, m)); }
int openat(int d, const char *p, int f, ...) { OPENING(openat, p, next(d, p, f, m)); }
int openat64(int d, const char *p, int f, ...) { OPENING(openat64, p, next(d, p, f, m)); }
DIR *opendir(const char *p) { PLAIN(opendir, OPEN, by_path(p), (DIR *)0, next(p)); }
struct dirent64 *readdir64(DIR *d) {
  PLAIN(readdir64, READDIR, by_fd(dirfd(d)), (struct dirent64 *)0, next(d));
}
