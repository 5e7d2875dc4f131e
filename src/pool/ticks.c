/* SPDX-License-Identifier: MIT */
#include "ticks.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define MEASURE_NS 300000
#define READINGS 5

static struct strait_ticks the_ticks = {.counter = false, .ns = 1};
static pthread_once_t ticks_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)

/* The kernel uses the counter only where it runs at one rate, everywhere and always. */
static bool counter_trusted(void)
{
    char name[4] = {0};
    int fd = open(CLOCKSOURCE, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t length = read(fd, name, sizeof(name));
    close(fd);
    return length == sizeof(name) && memcmp(name, "tsc\n", sizeof(name)) == 0;
}

/* Both clocks at one moment: of several readings the one that was interrupted least. */
static int64_t read_both(uint64_t *counter)
{
    int64_t now = 0;
    uint64_t narrowest = UINT64_MAX;
    *counter = 0;
    for (int i = 0; i < READINGS; i++) {
        uint64_t before = __builtin_ia32_rdtsc();
        int64_t between = strait_now();
        uint64_t after = __builtin_ia32_rdtsc();
        if (after - before < narrowest) {
            narrowest = after - before;
            *counter = before + (after - before) / 2;
            now = between;
        }
    }
    return now;
}

static void ticks_measure(void)
{
    uint64_t from;
    uint64_t to;
    int saved = errno;
    if (counter_trusted()) {
        int64_t start = read_both(&from);
        while (strait_now() < start + MEASURE_NS) {
            strait_pause();
        }
        int64_t end = read_both(&to);
        the_ticks.ns = (double)(end - start) / (double)(to - from);
        the_ticks.counter = true;
    }
    errno = saved;
}

#else

static void ticks_measure(void)
{
}

#endif

const struct strait_ticks *strait_ticks_init(void)
{
    pthread_once(&ticks_once, ticks_measure);
    return &the_ticks;
}
