/* A disk that refuses: LD_PRELOAD, for files below $FAILING_DIR. The first bytes of $FAILING_SWITCH say which calls fail
 * (w: writes, s: syncs of files, d: syncs of directories, r: renames and links, o: files that are made; 0: none),
 * and with which errno; a third byte spares the journals of SQLite. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile unsigned char *given;
static const char *dir;

__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("FAILING_SWITCH");
  dir = getenv("FAILING_DIR");
  int fd = file && dir ? open(file, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (map != MAP_FAILED) given = map;
}

static int below(const char *path) {
  return path && !strncmp(path, dir, strlen(dir));
}

static int fails(unsigned char kind) {
  return given && given[0] == kind;
}

static int refuse(void) {
  errno = given[1];
  return -1;
}

static int is_ours(int fd) {
  char name[64], path[4096];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(name, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  const char *end = length > 4 ? path + length - 4 : "";
  if (given[2] && (!strcmp(end, "-wal") || !strcmp(end, "-shm"))) return 0;
  return below(path);
}

static int is_dir(int fd) {
  struct stat at;
  return fstat(fd, &at) == 0 && S_ISDIR(at.st_mode);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *from, size_t n) { REAL(write); return fails('w') && is_ours(fd) ? refuse() : real(fd, from, n); }
ssize_t writev(int fd, const struct iovec *from, int n) { REAL(writev); return fails('w') && is_ours(fd) ? refuse() : real(fd, from, n); }
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) { REAL(pwrite); return fails('w') && is_ours(fd) ? refuse() : real(fd, from, n, at); }
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) { REAL(pwrite64); return fails('w') && is_ours(fd) ? refuse() : real(fd, from, n, at); }
ssize_t pwritev(int fd, const struct iovec *from, int n, off_t at) { REAL(pwritev); return fails('w') && is_ours(fd) ? refuse() : real(fd, from, n, at); }
ssize_t pwritev64(int fd, const struct iovec *from, int n, off64_t at) { REAL(pwritev64); return fails('w') && is_ours(fd) ? refuse() : real(fd, from, n, at); }

static int sync_fails(int fd) {
  return (fails('s') || fails('d')) && is_ours(fd) && is_dir(fd) == fails('d');
}

int fsync(int fd) { REAL(fsync); return sync_fails(fd) ? refuse() : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return sync_fails(fd) ? refuse() : real(fd); }

int rename(const char *from, const char *to) { REAL(rename); return fails('r') && below(to) ? refuse() : real(from, to); }
int link(const char *from, const char *to) { REAL(link); return fails('r') && below(to) ? refuse() : real(from, to); }

#define OPEN(name) \
  int name(const char *path, int flags, ...) { \
    REAL(name); \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if (fails('o') && flags & O_CREAT && below(path)) return refuse(); \
    return real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
