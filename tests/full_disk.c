/* A disk that fills: after so many calls that write to a regular file, none does any more.
 *
 * Preloaded (LD_PRELOAD) by tests/test_write_faults.py. The first call that fails still writes half, as on a
 * real disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long long limit = -1, calls = 0; /* limit -1: count only */
static int paused = 0;

void disk_full_after(long long n) {
    limit = n;
    calls = 0;
}

long long disk_calls(void) { return calls; }

/* What is written meanwhile always finds space, and is not counted. */
void disk_paused(int yes) { paused = yes; }

/* 0: there is space; 1: for half of it; 2: for nothing. */
static int full(int file) {
    struct stat facts;
    if (paused) return 0;
    if (fstat(file, &facts) || !S_ISREG(facts.st_mode)) return 0;
    calls++;
    if (limit < 0 || calls <= limit) return 0;
    return calls == limit + 1 ? 1 : 2;
}

ssize_t write(int file, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    switch (full(file)) {
    case 0: return real(file, data, size);
    case 1: if (size > 1) return real(file, data, size / 2);
    }
    errno = ENOSPC;
    return -1;
}

/* How Python copies files. */
ssize_t sendfile(int file, int from, off_t *offset, size_t size) {
    static ssize_t (*real)(int, int, off_t *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "sendfile");
    if (!full(file)) return real(file, from, offset, size);
    errno = ENOSPC;
    return -1;
}

ssize_t copy_file_range(int from, off_t *at, int file, off_t *offset, size_t size, unsigned flags) {
    static ssize_t (*real)(int, off_t *, int, off_t *, size_t, unsigned);
    if (!real) real = dlsym(RTLD_NEXT, "copy_file_range");
    if (!full(file)) return real(from, at, file, offset, size, flags);
    errno = ENOSPC;
    return -1;
}

int fsync(int file) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (!full(file)) return real(file);
    errno = ENOSPC;
    return -1;
}
