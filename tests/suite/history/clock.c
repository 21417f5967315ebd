/* Replaces the wall clock of a process. The clock is ahead by the number of nanoseconds in the file
   that TEST_CLOCK_FILE names; the number may change at any time. The monotonic clock is unchanged.
   LD_PRELOAD loads this library before the C library. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void open_file(void)
{
    const char *path = getenv("TEST_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY) : -1;
    void *memory = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        abort();
    close(file);
    ahead = memory;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nanoseconds = time->tv_nsec + *ahead % 1000000000;
        time->tv_sec += *ahead / 1000000000;
        if (nanoseconds < 0) {
            nanoseconds += 1000000000;
            time->tv_sec -= 1;
        }
        time->tv_sec += nanoseconds / 1000000000;
        time->tv_nsec = nanoseconds % 1000000000;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    time->tv_sec = now.tv_sec;
    time->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where)
        *where = now.tv_sec;
    return now.tv_sec;
}
