/*
 * A library for LD_PRELOAD that makes calls of libc fail, wait or lie, as a file says: for tests of bad days.
 * $FAULT_PLAN, or else the file fault.plan beside the program, is a file of 8192 bytes, shared by all processes that have it: text, and behind 4096 bytes counters.
 * Any thread, also between fork and exec. What it cannot understand it ends with, so that no test passes for want of a fault.
 *
 * A line of the plan: PROGRAM CALL WHAT NTH PATH
 *   PROGRAM  a word of the name of its file: server, agent, keeper, helper; any
 *   CALL     a row of CALLS below; "clock"; "redirect"
 *   WHAT     an errno as a number; slowMS: it takes so long, and succeeds. Of clock: milliseconds to add to the wall clock.
 *            Of redirect: what is opened instead of PATH
 *   NTH      the so many-th of these calls, of all processes together; 0: each; -N: each from the N-th on
 *   PATH     only of files whose name begins so; "-": all
 * Calls that a line of the plan fits are counted, and so are those that were made to fail.
 */
#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { TEXT_BYTES = 4096, PLAN_BYTES = 8192, WORD = 64, PATH_BYTES = 512 };

struct counters {
	_Atomic uint64_t n_fit;
	_Atomic uint64_t n_done;
};

static char *plan;
static char
        program[WORD]; /* a copy: programs may write over the words that they were started with */
static struct counters *counters;

__attribute__((noreturn)) static void give_up(const char *what)
{
	dprintf(STDERR_FILENO, "fault: %s\n", what);
	abort();
}

/* The program, and the plan beside it: for those that are started with an environment of their own. */
static void find_program(char path[PATH_BYTES])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_BYTES - 16);
	char *slash;

	path[n > 0 ? n : 0] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		give_up("/proc is not there");
	snprintf(program, sizeof(program), "%s", slash + 1);
	strcpy(slash + 1, "fault.plan");
}

__attribute__((constructor)) static void begin(void)
{
	void *at;
	const char *path = getenv("FAULT_PLAN");
	char beside[PATH_BYTES];
	int fd;

	find_program(beside);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path ? path : beside, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	at = mmap(NULL, PLAN_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		give_up("FAULT_PLAN is no file of 8192 bytes");
	counters = (struct counters *)((char *)at + TEXT_BYTES);
	plan = at;
}

struct rule {
	char program[WORD], call[WORD], what[PATH_BYTES], path[PATH_BYTES];
	long nth;
};

/* The next rule for this process and call; *at moves behind it. */
static bool next_rule(const char **at, const char *call, struct rule *r)
{
	while (**at) {
		int n = sscanf(*at, "%63s %63s %511s %ld %511s", r->program, r->call, r->what,
		        &r->nth, r->path);

		if (n != 5 && n > 0)
			give_up("a line of the plan has not five words");
		*at += strcspn(*at, "\n");
		*at += **at == '\n';
		if (n == 5 && strcmp(r->call, call) == 0 &&
		        (strcmp(r->program, "any") == 0 || strstr(program, r->program)))
			return true;
	}
	return false;
}

static bool path_fits(const struct rule *r, int fd, const char *path)
{
	char link[64], target[PATH_BYTES];
	ssize_t n;

	if (strcmp(r->path, "-") == 0)
		return true;
	if (!path) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		n = readlink(link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		path = target;
	}
	return strncmp(path, r->path, strlen(r->path)) == 0;
}

static bool is_its_turn(const struct rule *r)
{
	uint64_t n = atomic_fetch_add(&counters->n_fit, 1) + 1;

	return r->nth == 0 || (r->nth > 0 ? n == (uint64_t)r->nth : n >= (uint64_t)-r->nth);
}

/* True with errno: the call fails. fd and path: what it is about, -1 and NULL where it is about no file. */
static bool must_fail(const char *call, int fd, const char *path)
{
	const char *at = plan;
	int before = errno;
	struct rule r;

	if (!at || !*at)
		return false;
	while (next_rule(&at, call, &r)) {
		if (!path_fits(&r, fd, path) || !is_its_turn(&r))
			continue;
		atomic_fetch_add(&counters->n_done, 1);
		if (strncmp(r.what, "slow", 4) == 0) {
			usleep((useconds_t)atoi(r.what + 4) * 1000);
			continue;
		}
		errno = atoi(r.what);
		return true;
	}
	errno = before;
	return false;
}

#define REAL(name)                                             \
	({                                                     \
		static __typeof__(&(name)) real_##name;        \
		if (!real_##name) {                            \
			real_##name = dlsym(RTLD_NEXT, #name); \
			if (!real_##name)                      \
				give_up(#name);                \
		}                                              \
		real_##name;                                   \
	})

/* CALLS(call in the plan, type, name, parameters, arguments, descriptor, path) */
#define CALLS(X)                                                                                   \
	X("write", ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), fd, NULL)        \
	X("write", ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at),   \
	        fd, NULL)                                                                          \
	X("write", ssize_t, pwrite64, (int fd, const void *p, size_t n, off64_t at),               \
	        (fd, p, n, at), fd, NULL)                                                          \
	X("write", ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), fd, NULL)  \
	X("read", ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), fd, NULL) \
	X("read", ssize_t, pread64, (int fd, void *p, size_t n, off64_t at), (fd, p, n, at), fd,   \
	        NULL)                                                                              \
	X("sync", int, fsync, (int fd), (fd), fd, NULL)                                            \
	X("sync", int, fdatasync, (int fd), (fd), fd, NULL)                                        \
	X("truncate", int, ftruncate, (int fd, off_t n), (fd, n), fd, NULL)                        \
	X("truncate", int, ftruncate64, (int fd, off64_t n), (fd, n), fd, NULL)                    \
	X("truncate", int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n),    \
	        fd, NULL)                                                                          \
	X("truncate", int, fallocate64, (int fd, int mode, off64_t at, off64_t n),                 \
	        (fd, mode, at, n), fd, NULL)                                                       \
	X("stat", int, fstat, (int fd, struct stat *st), (fd, st), fd, NULL)                       \
	X("stat", int, fstat64, (int fd, struct stat64 *st), (fd, st), fd, NULL)                   \
	X("rename", int, rename, (const char *a, const char *b), (a, b), -1, a)                    \
	X("rename", int, renameat, (int x, const char *a, int y, const char *b), (x, a, y, b), -1, \
	        a)                                                                                 \
	X("unlink", int, unlink, (const char *a), (a), -1, a)                                      \
	X("mkdir", int, mkdir, (const char *a, mode_t m), (a, m), -1, a)                           \
	X("chown", int, fchown, (int fd, uid_t u, gid_t g), (fd, u, g), fd, NULL)                  \
	X("chown", int, fchownat, (int d, const char *a, uid_t u, gid_t g, int f),                 \
	        (d, a, u, g, f), -1, a)                                                            \
	X("chmod", int, fchmod, (int fd, mode_t m), (fd, m), fd, NULL)                             \
	X("setuid", int, setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c), -1, "")                \
	X("setuid", int, setuid, (uid_t a), (a), -1, "")                                           \
	X("setuid", int, seteuid, (uid_t a), (a), -1, "")                                          \
	X("setuid", int, setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c), -1, "")                \
	X("setuid", int, setgid, (gid_t a), (a), -1, "")                                           \
	X("setuid", int, setegid, (gid_t a), (a), -1, "")                                          \
	X("setuid", int, setgroups, (size_t n, const gid_t *v), (n, v), -1, "")                    \
	X("pipe", int, pipe2, (int fds[2], int flags), (fds, flags), -1, "")                       \
	X("socket", int, socket, (int a, int b, int c), (a, b, c), -1, "")                         \
	X("socket", int, socketpair, (int a, int b, int c, int v[2]), (a, b, c, v), -1, "")        \
	X("socket", int, listen, (int fd, int n), (fd, n), -1, "")                                 \
	X("socket", int, accept4, (int fd, void *a, void *n, int f), (fd, a, n, f), -1, "")        \
	X("socket", int, connect, (int fd, const void *a, unsigned n), (fd, a, n), -1, "")         \
	X("recv", ssize_t, recv, (int fd, void *p, size_t n, int f), (fd, p, n, f), -1, "")        \
	X("recv", ssize_t, recvmsg, (int fd, void *m, int f), (fd, m, f), -1, "")                  \
	X("send", ssize_t, send, (int fd, const void *p, size_t n, int f), (fd, p, n, f), -1, "")  \
	X("send", ssize_t, sendmsg, (int fd, const void *m, int f), (fd, m, f), -1, "")            \
	X("dup", int, dup2, (int a, int b), (a, b), -1, "")                                        \
	X("dup", int, dup3, (int a, int b, int c), (a, b, c), -1, "")                              \
	X("fork", pid_t, fork, (void), (), -1, "")                                                 \
	X("fork", pid_t, _Fork, (void), (), -1, "")                                                \
	X("poll", int, poll, (struct pollfd * v, unsigned long n, int ms), (v, n, ms), -1, "")     \
	X("timer", int, timerfd_create, (int a, int b), (a, b), -1, "")                            \
	X("map", void *, mmap, (void *a, size_t n, int p, int f, int fd, off_t at),                \
	        (a, n, p, f, fd, at), -1, "")                                                      \
	X("map", void *, mmap64, (void *a, size_t n, int p, int f, int fd, off64_t at),            \
	        (a, n, p, f, fd, at), -1, "")

struct pollfd;
int poll(struct pollfd *v, unsigned long n, int ms);
int setgroups(size_t n, const gid_t *v);
int socket(int a, int b, int c);
int socketpair(int a, int b, int c, int v[2]);
int listen(int fd, int n);
int timerfd_create(int a, int b);
int accept4(int fd, void *a, void *n, int f);
int connect(int fd, const void *a, unsigned n);
ssize_t recv(int fd, void *p, size_t n, int f);
ssize_t recvmsg(int fd, void *m, int f);
ssize_t send(int fd, const void *p, size_t n, int f);
ssize_t sendmsg(int fd, const void *m, int f);

#define WRAP(call, type, name, params, args, fd, path) \
	EXPORT type name params                        \
	{                                              \
		if (must_fail(call, fd, path))         \
			return (type)(intptr_t)-1;     \
		return REAL(name) args;                \
	}
CALLS(WRAP)

/* posix_fallocate returns its error. */
EXPORT int posix_fallocate64(int fd, off64_t at, off64_t n)
{
	return must_fail("truncate", fd, NULL) ? errno : REAL(posix_fallocate64)(fd, at, n);
}

EXPORT int posix_fallocate(int fd, off_t at, off_t n)
{
	return must_fail("truncate", fd, NULL) ? errno : REAL(posix_fallocate)(fd, at, n);
}

struct spawn_words;
int posix_spawn(pid_t *pid, const char *path, const struct spawn_words *files,
        const struct spawn_words *attr, char *const argv[], char *const env[]);
EXPORT int posix_spawn(pid_t *pid, const char *path, const struct spawn_words *files,
        const struct spawn_words *attr, char *const argv[], char *const env[])
{
	return must_fail("spawn", -1, path) ? errno
	                                    : REAL(posix_spawn)(pid, path, files, attr, argv, env);
}

/* Locks only: the rest of fcntl is not worth failing. */
static int lock_or_pass(int fd, int op, void *arg)
{
	bool is_lock = op == F_SETLK || op == F_SETLKW || op == F_OFD_SETLK;

	if (is_lock && must_fail("lock", fd, NULL))
		return -1;
	return REAL(fcntl)(fd, op, arg);
}

#define FCNTL(name)                               \
	EXPORT int name(int fd, int op, ...)      \
	{                                         \
		va_list ap;                       \
		void *arg;                        \
                                                  \
		va_start(ap, op);                 \
		arg = va_arg(ap, void *);         \
		va_end(ap);                       \
		return lock_or_pass(fd, op, arg); \
	}
FCNTL(fcntl)
FCNTL(fcntl64)

static int open_as_planned(int dir, const char *path, int flags, mode_t mode)
{
	const char *at = plan;
	struct rule r;

	if (must_fail("open", -1, path))
		return -1;
	while (at && *at && next_rule(&at, "redirect", &r))
		if (strcmp(r.path, path) == 0)
			return (int)syscall(SYS_openat, AT_FDCWD, r.what, flags, mode);
	return (int)syscall(SYS_openat, dir, path, flags | O_LARGEFILE, mode);
}

#define OPEN(name, params, dir)                                                  \
	EXPORT int name params                                                   \
	{                                                                        \
		va_list ap;                                                      \
		mode_t mode;                                                     \
                                                                                 \
		va_start(ap, flags);                                             \
		mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0; \
		va_end(ap);                                                      \
		return open_as_planned(dir, path, flags, mode);                  \
	}
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int dir, const char *path, int flags, ...), dir)
OPEN(openat64, (int dir, const char *path, int flags, ...), dir)

int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);

EXPORT int __open_2(const char *path, int flags)
{
	return open_as_planned(AT_FDCWD, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return open_as_planned(AT_FDCWD, path, flags, 0);
}

/* The wall clock. */
static int64_t shift_ms(void)
{
	const char *at = plan;
	struct rule r;

	return at && *at && next_rule(&at, "clock", &r) ? atoll(r.what) : 0;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int rc = (int)syscall(SYS_clock_gettime, clock, ts);
	int64_t ms = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? shift_ms() : 0;

	if (rc == 0 && ms) {
		int64_t ns = ts->tv_nsec + ms % 1000 * 1000000;

		ts->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
		ts->tv_nsec = ns >= 1000000000 ? ns - 1000000000 : ns < 0 ? ns + 1000000000 : ns;
	}
	return rc;
}

EXPORT time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}

EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &ts);
	*tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
	return 0;
}

/* vfork returns twice into its caller's frame, so that nothing of ours may lie between. */
EXPORT bool fault_vfork(void);
bool fault_vfork(void)
{
	return must_fail("vfork", -1, "");
}

#ifdef __x86_64__
EXPORT pid_t vfork(void);
__attribute__((naked)) pid_t vfork(void)
{
	__asm__("sub $8, %rsp\n"
	        "call fault_vfork@PLT\n"
	        "add $8, %rsp\n"
	        "test %al, %al\n"
	        "jnz 1f\n"
	        "pop %rdi\n"
	        "mov $58, %eax\n" /* SYS_vfork: the return address is kept in a register, as libc does */
	        "syscall\n"
	        "push %rdi\n"
	        "cmp $-4095, %rax\n"
	        "jae 1f\n"
	        "ret\n"
	        "1: mov $-1, %eax\n"
	        "ret\n");
}
#endif
