#include "plat/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

void pty_resize(int master, uint32_t rows, uint32_t cols)
{
	struct winsize size = {.ws_row = (unsigned short)MIN(rows ? rows : 24, 65535u),
	        .ws_col = (unsigned short)MIN(cols ? cols : 80, 65535u)};

	ioctl(master, TIOCSWINSZ, &size);
}

char pty_eof_char(int master)
{
	struct termios t;

	return tcgetattr(master, &t) == 0 && (t.c_lflag & ICANON) ? (char)t.c_cc[VEOF] : 0;
}

int pty_open(
        uint32_t rows, uint32_t cols, uid_t owner, int *ret_master, int *ret_slave, struct err *err)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), slave, unlocked = 0, rc;

	if (master < 0)
		return err_sys(err, errno, "opening a terminal");
	/* The slave comes from the master itself: no name that could mean another mount of devpts. */
	if (ioctl(master, TIOCSPTLCK, &unlocked) < 0 ||
	        (slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
		rc = err_sys(err, errno, "opening a terminal");
		close(master);
		return rc;
	}
	if (owner != (uid_t)-1 &&
	        (fchown(slave, owner, (gid_t)-1) < 0 || fchmod(slave, 0600) < 0)) {
		rc = err_sys(err, errno, "giving the terminal to its account");
		close(slave);
		close(master);
		return rc;
	}
	pty_resize(master, rows, cols);
	*ret_master = master;
	*ret_slave = slave;
	return 0;
}
