#include "plat/mounts.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

bool mounts_begin(void)
{
	return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0;
}

bool mounts_work(void)
{
	int status = -1;
	pid_t pid = _Fork();

	if (pid == 0)
		_exit(mounts_begin() ? 0 : 1);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0;
}

/* On top of itself, as a mount on which device files are none. */
bool mounts_refuse_device(const char *path)
{
	if (mount(path, path, NULL, MS_BIND, NULL) < 0)
		return errno == ENOENT;
	return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOEXEC,
	               NULL) == 0;
}

bool mounts_cover(const char *dir)
{
	return mount("berth", dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k") == 0;
}

bool mounts_seal(const char *dir)
{
	return mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
	               NULL) == 0;
}

bool mounts_bind_file(const char *from, const char *to)
{
	return mount(from, to, NULL, MS_BIND, NULL) == 0;
}

bool mounts_bind_data(const char *from, const char *to)
{
	return mount(from, to, NULL, MS_BIND, NULL) == 0 &&
	       mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOEXEC,
	               NULL) == 0;
}

bool mounts_enter(int ns_fd, int root_fd)
{
	return setns(ns_fd, CLONE_NEWNS) == 0 && fchdir(root_fd) == 0 && chroot(".") == 0;
}
