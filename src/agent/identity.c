#include "agent/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "plat/fs.h"

static int make_key(const char *path, char ret_key[IDENTITY_KEY_LEN + 1], struct err *err)
{
	uint8_t random[IDENTITY_KEY_LEN / 2];

	BUG_IF(getrandom(random, sizeof(random), 0) != sizeof(random));
	num_format_hex(random, sizeof(random), ret_key);
	return fs_write_atomic(path, ret_key, IDENTITY_KEY_LEN, 0600, err);
}

static bool is_key(const struct buf *b)
{
	return b->len == IDENTITY_KEY_LEN && !memchr(b->data, '\0', b->len) &&
	       strspn((const char *)b->data, "0123456789abcdef") >= IDENTITY_KEY_LEN;
}

int identity_read(const char *data_dir, char ret_key[IDENTITY_KEY_LEN + 1], struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	char path[PATH_MAX];
	struct stat st;
	int rc;

	snprintf(path, sizeof(path), "%s/node.key", data_dir);
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? make_key(path, ret_key, err)
		                       : err_sys(err, errno, "looking at '%s'", path);
	rc = fs_read(path, &b, err);
	if (rc < 0)
		return rc;
	buf_str(&b);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) || !is_key(&b))
		return err_set(err, ERR_CORRUPT, "'%s' is not a key of this account's alone", path)
		               ? err_hint(err,
		                         "remove it, and join with a token made for this node: berth token create --agent --name NODE")
		               : 0;
	memcpy(ret_key, b.data, IDENTITY_KEY_LEN);
	ret_key[IDENTITY_KEY_LEN] = '\0';
	return 0;
}
