/*
 * For tests: preloaded into a program (LD_PRELOAD), moves its wall clock by what the file that MOVABLE_CLOCK names says:
 * nanoseconds, 64 bits in this machine's order. The file is mapped into memory, so that what is written there holds at once.
 * The monotonic clock, by which the program sets its timers, stays the machine's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("MOVABLE_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        fprintf(stderr, "movableclock: MOVABLE_CLOCK: cannot map %s\n", path ? path : "(unset)");
        _exit(127);
    }
    close(fd);
    offset = page;
}

static int is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t id, struct timespec *t) {
    int status = (int)syscall(SYS_clock_gettime, id, t);
    if (status != 0 || !is_wall(id) || offset == NULL) return status;
    int64_t by = *offset, ns = t->tv_nsec + by % 1000000000;
    t->tv_sec += by / 1000000000;
    if (ns < 0) { ns += 1000000000; t->tv_sec--; }
    if (ns >= 1000000000) { ns -= 1000000000; t->tv_sec++; }
    t->tv_nsec = ns;
    return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    (void)zone;
    struct timespec t;
    int status = clock_gettime(CLOCK_REALTIME, &t);
    if (status == 0) {
        tv->tv_sec = t.tv_sec;
        tv->tv_usec = t.tv_nsec / 1000;
    }
    return status;
}

time_t time(time_t *out) {
    struct timespec t;
    if (clock_gettime(CLOCK_REALTIME, &t) != 0) return (time_t)-1;
    if (out != NULL) *out = t.tv_sec;
    return t.tv_sec;
}
