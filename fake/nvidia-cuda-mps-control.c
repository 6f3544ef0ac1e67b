/*
 * A simulated nvidia-cuda-mps-control, of simulated devices only: `-d` leaves a daemon in the background that listens in
 * CUDA_MPS_PIPE_DIRECTORY, where it writes its pid; without an option each line of stdin is a command to that daemon:
 *   get_server_list   nothing: no server is simulated
 *   get_client_list   the pids of those who use the fake CUDA by it, one a line
 *   quit              it ends
 * The fake libcuda connects, says "client PID", and stays connected. Nothing of what real MPS does on a card is here.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME        "nvidia-cuda-mps-control (simulated)"
#define CLIENTS_MAX 256
#define LINE_MAX    128

static struct {
	struct pollfd polls[CLIENTS_MAX + 1]; /* the first one listens */
	int pids[CLIENTS_MAX + 1];            /* of clients; 0: it only asks */
	unsigned n;
} d;

static int fail(const char *what)
{
	fprintf(stderr, NAME ": %s: %s\n", what, strerror(errno));
	return 1;
}

static const char *directory(void)
{
	const char *dir = getenv("CUDA_MPS_PIPE_DIRECTORY");

	return dir && *dir ? dir : "/tmp/nvidia-mps";
}

static bool set_address(struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (snprintf(a->sun_path, sizeof(a->sun_path), "%s/control", directory()) <
	        (int)sizeof(a->sun_path))
		return true;
	errno = ENAMETOOLONG;
	return false;
}

static int reach(void)
{
	struct sockaddr_un a;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && set_address(&a) && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The daemon */

static void drop(unsigned i)
{
	close(d.polls[i].fd);
	d.n--;
	d.polls[i] = d.polls[d.n];
	d.pids[i] = d.pids[d.n];
}

static void list_clients(int fd)
{
	for (unsigned i = 1; i < d.n; i++)
		if (d.pids[i])
			dprintf(fd, "%d\n", d.pids[i]);
}

/* One line of one peer; false: it was the last word. */
static bool take_line(unsigned i, const char *line)
{
	int fd = d.polls[i].fd;

	if (strcmp(line, "quit") == 0)
		return false;
	if (sscanf(line, "client %d", &d.pids[i]) == 1)
		return true;
	if (strcmp(line, "get_client_list") == 0)
		list_clients(fd);
	else if (strcmp(line, "get_server_list") != 0)
		dprintf(fd, NAME ": unknown command '%s'\n", line);
	drop(i);
	return true;
}

static bool take(unsigned i)
{
	char line[LINE_MAX];
	ssize_t n = read(d.polls[i].fd, line, sizeof(line) - 1);

	if (n <= 0) {
		drop(i);
		return true;
	}
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return take_line(i, line);
}

static void serve(void)
{
	bool goes_on = true;

	while (goes_on && poll(d.polls, d.n, -1) > 0) {
		for (unsigned i = d.n; goes_on && i-- > 1;)
			if (d.polls[i].revents)
				goes_on = take(i);
		if (!d.polls[0].revents)
			continue;
		d.polls[d.n] = (struct pollfd){
		        accept4(d.polls[0].fd, NULL, NULL, SOCK_CLOEXEC), POLLIN, 0};
		d.pids[d.n] = 0;
		if (d.polls[d.n].fd >= 0 && d.n < CLIENTS_MAX)
			d.n++;
		else if (d.polls[d.n].fd >= 0)
			close(d.polls[d.n].fd);
	}
}

static void path_of(const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", directory(), name);
}

static int listen_here(void)
{
	struct sockaddr_un a;
	int fd;

	if (!set_address(&a))
		return -1;
	fd = reach();
	if (fd >= 0) {
		close(fd);
		errno = EADDRINUSE;
		return -1;
	}
	unlink(a.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 64) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool write_pid(const char *path, pid_t pid)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return false;
	fprintf(f, "%d\n", (int)pid);
	return fclose(f) == 0;
}

static void be_daemon(const char *pid_path)
{
	char path[512];

	setsid();
	signal(SIGPIPE, SIG_IGN);
	/* Whoever started us may wait for the end of these. */
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	if (open("/dev/null", O_RDWR) == 0 && dup(0) == 1 && dup(0) == 2)
		serve();
	path_of("control", path, sizeof(path));
	unlink(path);
	unlink(pid_path);
	_exit(0);
}

static int start(void)
{
	char path[512];
	pid_t pid;

	if (!getenv("BERTH_FAKE_GPUS")) {
		errno = ENODEV;
		return fail("BERTH_FAKE_GPUS names no simulated devices");
	}
	d.polls[0] = (struct pollfd){listen_here(), POLLIN, 0};
	if (d.polls[0].fd < 0)
		return fail(directory());
	d.n = 1;
	path_of("nvidia-cuda-mps-control.pid", path, sizeof(path));
	pid = fork();
	if (pid == 0)
		be_daemon(path);
	return pid > 0 && write_pid(path, pid) ? 0 : fail("starting");
}

/* Commands */

static int ask(const char *line)
{
	char room[1024];
	int fd = reach();
	ssize_t n;

	if (fd < 0)
		return fail("no daemon");
	dprintf(fd, "%s", line);
	while ((n = read(fd, room, sizeof(room))) > 0)
		fwrite(room, 1, (size_t)n, stdout);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	char line[LINE_MAX];

	signal(SIGPIPE, SIG_IGN);
	if (argc == 2 && strcmp(argv[1], "-d") == 0)
		return start();
	if (argc > 1) {
		fprintf(stderr, "usage: nvidia-cuda-mps-control [-d]   (simulated)\n");
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		int rc = ask(line);

		if (rc)
			return rc;
	}
	return 0;
}
