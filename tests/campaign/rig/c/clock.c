/* A wall clock and a clock since boot that can be set: LD_PRELOAD.
 *
 * Build: cc -O2 -shared -fPIC -o clock.so clock.c
 * rig_clock(wall, boot, known) moves both by so many seconds, and says whether the wall clock is
 * known to be right. The clock that only rises is the kernel's.
 */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static volatile long wall_moved, boot_moved, is_known;

void rig_clock(long wall, long boot, long known) {
  wall_moved = wall;
  boot_moved = boot;
  is_known = known;
}

int clock_gettime(clockid_t id, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, id, now);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += wall_moved;
  if (!failed && id == CLOCK_BOOTTIME) now->tv_sec += boot_moved;
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec found;
  (void)zone;
  if (clock_gettime(CLOCK_REALTIME, &found)) return -1;
  now->tv_sec = found.tv_sec;
  now->tv_usec = found.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *to) {
  struct timespec found;
  clock_gettime(CLOCK_REALTIME, &found);
  if (to) *to = found.tv_sec;
  return found.tv_sec;
}

int adjtimex(struct timex *state) {
  int code = syscall(SYS_adjtimex, state);
  return code < 0 ? code : is_known ? TIME_OK : TIME_ERROR;
}
