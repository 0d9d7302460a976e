/* Sets the wall clock of the program that this is preloaded into, by the file that LEASEHOLD_CLOCK names: by how many
 * nanoseconds it is ahead, and, unless that is zero, where it stands still. Both may change at any time. Monotonic clocks
 * are left alone, for an event loop that sees its own clock go back stands still. Allocates nothing: the allocator may be
 * the first to ask for the time. A wait until a point of the wall clock is the kernel's, and so is not shifted. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

struct setting {
    int64_t ahead;
    int64_t stands_at;
};

static const volatile struct setting *setting(void) {
    static const volatile struct setting *mapped;
    if (mapped == NULL) {
        const char *path = getenv("LEASEHOLD_CLOCK");
        int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        void *map = mmap(NULL, sizeof *mapped, PROT_READ, MAP_SHARED, file, 0);
        if (map == MAP_FAILED) abort();
        close(file);
        mapped = map;
    }
    return mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (syscall(SYS_clock_gettime, clock, now) != 0) return -1;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        int64_t stands_at = setting()->stands_at;
        int64_t nanos = stands_at ? stands_at : now->tv_sec * SECOND + now->tv_nsec + setting()->ahead;
        now->tv_sec = nanos / SECOND;
        now->tv_nsec = nanos % SECOND;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec spec;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &spec) != 0) return -1;
    now->tv_sec = spec.tv_sec;
    now->tv_usec = spec.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec spec;
    if (clock_gettime(CLOCK_REALTIME, &spec) != 0) return -1;
    if (seconds != NULL) *seconds = spec.tv_sec;
    return spec.tv_sec;
}
