/* A disk that fails when it is told to, and one that remembers what was flushed. Preloaded into a process that uses a ledger.
 *
 * SHIM_DIR: where the ledger lies, in files whose names begin with `ledger.sqlite`.
 * The first byte of SHIM_DIR/shim decides:
 *   f  flushing the ledger fails (EIO)
 *   w  writing to it fails (EIO)
 *   r  what was flushed is kept in SHIM_DIR/image, file by file, as it would be found after a power cut
 * The file `…-spill` never fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The base name of the ledger's file behind `fd`, or NULL. */
static const char *ledger_file(int fd, char path[PATH_MAX])
{
    char link[64];
    const char *dir = getenv("SHIM_DIR");
    size_t length;
    ssize_t got;
    if (!dir)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    got = readlink(link, path, PATH_MAX - 1);
    if (got <= 0)
        return NULL;
    path[got] = 0;
    length = strlen(dir);
    if (strncmp(path, dir, length) || path[length] != '/' || strncmp(path + length + 1, "ledger.sqlite", 13))
        return NULL;
    return path + length + 1;
}

static char mode(void)
{
    char path[PATH_MAX], byte = 0;
    int fd;
    snprintf(path, sizeof path, "%s/shim", getenv("SHIM_DIR"));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &byte, 1) != 1)
            byte = 0;
        close(fd);
    }
    return byte;
}

static int fails(int fd, char how)
{
    char path[PATH_MAX];
    const char *name = ledger_file(fd, path);
    if (!name || strstr(name, "-spill") || mode() != how)
        return 0;
    errno = EIO;
    return 1;
}

/* Keeps a copy of a file as it was flushed: whole, or the one before it. */
static void keep(int fd)
{
    char path[PATH_MAX], from[PATH_MAX + 16], to[PATH_MAX + 16], buffer[65536];
    const char *name = ledger_file(fd, path);
    off_t at = 0;
    ssize_t got;
    int copy;
    if (!name || mode() != 'r')
        return;
    snprintf(from, sizeof from, "%s/image/%s.new", getenv("SHIM_DIR"), name);
    snprintf(to, sizeof to, "%s/image/%s", getenv("SHIM_DIR"), name);
    copy = open(from, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (copy < 0)
        abort();
    while ((got = pread(fd, buffer, sizeof buffer, at)) > 0) {
        if (REAL(write)(copy, buffer, got) != got)
            abort();
        at += got;
    }
    close(copy);
    if (rename(from, to))
        abort();
}

#define FLUSH(name)                                                                                                    \
    int name(int fd)                                                                                                   \
    {                                                                                                                  \
        int done;                                                                                                      \
        if (fails(fd, 'f'))                                                                                            \
            return -1;                                                                                                 \
        pthread_mutex_lock(&alone);                                                                                    \
        done = REAL(name)(fd);                                                                                         \
        if (!done)                                                                                                     \
            keep(fd);                                                                                                  \
        pthread_mutex_unlock(&alone);                                                                                  \
        return done;                                                                                                   \
    }

FLUSH(fsync)
FLUSH(fdatasync)

ssize_t write(int fd, const void *bytes, size_t count)
{
    return fails(fd, 'w') ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    return fails(fd, 'w') ? -1 : REAL(pwrite)(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    return fails(fd, 'w') ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}
