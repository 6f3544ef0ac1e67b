#include "helper/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int door_give(const char *data, uid_t server_uid, gid_t gid, struct err *err)
{
	char path[4096];
	struct stat st;
	int fd, rc = 0;

	snprintf(path, sizeof(path), "%s/berth.sock", data);
	fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "looking at '%s'", path);
	if (gid == (gid_t)-1)
		rc = err_set(err, ERR_INVALID, "no group was named");
	else if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode) || st.st_uid != server_uid)
		rc = err_set(err, ERR_FORBIDDEN, "'%s' is no socket of the server's", path);
	else if (fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
		rc = err_sys(err, errno, "giving '%s' to group %u", path, (unsigned)gid);
	close(fd);
	return rc;
}
