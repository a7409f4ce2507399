/* Loaded before libc (LD_PRELOAD): the disk under the gateway's database fails when a flag says so.

   GATEWAY_FAULT_FILES  the database's path: it and all files whose names begin so are meant
   GATEWAY_FAULT_FLAGS  a folder of flags, where SUFFIX is what follows the database's name:
     full, fullSUFFIX     while it exists, what writes or grows a file fails with ENOSPC
     writeSUFFIX          the next write fails with EIO; the flag is taken away
     syncSUFFIX           the next fsync or fdatasync fails with EIO; the flag is taken away */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static const char *flag(char *buffer, const char *name, const char *suffix) {
    snprintf(buffer, PATH_MAX, "%s/%s%s", getenv("GATEWAY_FAULT_FLAGS"), name, suffix);
    return buffer;
}

/* What follows the database's name in that of an open file; NULL for any other file. */
static const char *suffix_of(int fd, char *path) {
    const char *files = getenv("GATEWAY_FAULT_FILES");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = files == NULL ? -1 : readlink(link, path, PATH_MAX - 1);
    if (length < 0) return NULL;
    path[length] = '\0';
    return strncmp(path, files, strlen(files)) == 0 ? path + strlen(files) : NULL;
}

/* The error that a change of this file meets, 0 for none. */
static int write_fault(int fd) {
    char path[PATH_MAX], name[PATH_MAX];
    int before = errno, found = 0;
    const char *suffix = suffix_of(fd, path);
    if (suffix != NULL) {
        if (access(flag(name, "full", ""), F_OK) == 0) found = ENOSPC;
        else if (access(flag(name, "full", suffix), F_OK) == 0) found = ENOSPC;
        else if (unlink(flag(name, "write", suffix)) == 0) found = EIO;
    }
    errno = before;
    return found;
}

static int sync_fault(int fd) {
    char path[PATH_MAX], name[PATH_MAX];
    int before = errno;
    const char *suffix = suffix_of(fd, path);
    int found = suffix != NULL && unlink(flag(name, "sync", suffix)) == 0 ? EIO : 0;
    errno = before;
    return found;
}

#define INTERPOSED(result, name, fault, parameters, arguments)          \
    result name parameters {                                            \
        static result(*real) parameters;                                \
        int found = fault(fd);                                          \
        if (found != 0) {                                               \
            errno = found;                                              \
            return -1;                                                  \
        }                                                               \
        if (real == NULL) real = (result(*) parameters)dlsym(RTLD_NEXT, #name); \
        return real arguments;                                          \
    }

INTERPOSED(ssize_t, write, write_fault, (int fd, const void *data, size_t size), (fd, data, size))
INTERPOSED(ssize_t, pwrite, write_fault, (int fd, const void *data, size_t size, off_t offset),
           (fd, data, size, offset))
INTERPOSED(ssize_t, pwrite64, write_fault, (int fd, const void *data, size_t size, off64_t offset),
           (fd, data, size, offset))
INTERPOSED(int, fallocate, write_fault, (int fd, int mode, off_t offset, off_t size),
           (fd, mode, offset, size))
INTERPOSED(int, fallocate64, write_fault, (int fd, int mode, off64_t offset, off64_t size),
           (fd, mode, offset, size))
INTERPOSED(int, fsync, sync_fault, (int fd), (fd))
INTERPOSED(int, fdatasync, sync_fault, (int fd), (fd))
