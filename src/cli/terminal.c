#include "cli/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool is_raw;

int terminal_raw(struct err *err)
{
	static bool registered;
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &before) < 0)
		return err_set(err, ERR_INVALID, "-t needs a terminal, and standard input is none")
		               ? err_hint(err, "leave -t away")
		               : 0;
	raw = before;
	cfmakeraw(&raw);
	if (!registered)
		atexit(terminal_restore);
	registered = true;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0)
		return err_sys(err, errno, "setting the terminal to raw mode");
	is_raw = true;
	return 0;
}

void terminal_restore(void)
{
	if (is_raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
	is_raw = false;
}

struct terminal_size terminal_size(void)
{
	static const int fds[] = {STDOUT_FILENO, STDIN_FILENO, STDERR_FILENO};
	struct winsize w;

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (ioctl(fds[i], TIOCGWINSZ, &w) == 0 && w.ws_row && w.ws_col)
			return (struct terminal_size){w.ws_row, w.ws_col};
	return (struct terminal_size){24, 80};
}

bool terminal_wants_colour(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no && no[0]) && term && term[0];
}
