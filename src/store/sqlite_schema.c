#include "store/sqlite_priv.h"

#include <errno.h>

#include "base/embed.h"
#include "plat/fs.h"

/*
 * DESIGN. PRAGMA user_version counts the files of schema/ that a database has seen. Each is run in a transaction of its own together
 * with the new count, under the leader's lock, so that no server of another version is writing meanwhile.
 */

#define APPLICATION_ID 0x42525448 /* "BRTH", as schema/001.sql sets it */

extern const struct embed_file store_schema[];

static int n_versions(void)
{
	int n = 0;

	while (store_schema[n].name)
		n++;
	return n;
}

static int ask_number(struct sqlite *q, const char *sql, int *ret_number, struct err *err)
{
	sqlite3_stmt *stmt;
	int rc = 0;

	errno = 0;
	if (sqlite3_prepare_v2(q->db, sql, -1, &stmt, NULL) != SQLITE_OK)
		return sqlite_err(q, "opening", err);
	if (sqlite_step(stmt) == SQLITE_ROW)
		*ret_number = sqlite3_column_int(stmt, 0);
	else
		rc = sqlite_err(q, "opening", err);
	sqlite3_finalize(stmt);
	return rc;
}

int sqlite_check_file(struct sqlite *q, struct err *err)
{
	int id, n_tables, version;
	int rc = ask_number(q, "SELECT count(*) FROM sqlite_schema", &n_tables, err);

	if (rc == 0)
		rc = ask_number(q, "PRAGMA application_id", &id, err);
	if (rc == 0)
		rc = ask_number(q, "PRAGMA user_version", &version, err);
	if (rc < 0)
		return rc;
	if (id != APPLICATION_ID && (id != 0 || n_tables > 0))
		return err_set(err, ERR_CORRUPT, "'%s' is a database of another program", q->path);
	if (version > n_versions()) {
		(void)!err_set(err, ERR_VERSION,
		        "'%s' has schema %d; this program knows schemas up to %d", q->path, version,
		        n_versions());
		return err_hint(err,
		        "run the newer Berth that wrote it, or put a backup from before its upgrade in its place");
	}
	return 0;
}

int sqlite_lock(struct sqlite *q, struct err *err)
{
	char *path = sqlite3_mprintf("%s.lock", q->path);
	int rc;

	BUG_IF(!path);
	rc = fs_lock(path, &q->lock_fd, err);
	sqlite3_free(path);
	if (rc == -ERR_CONFLICT)
		(void)!err_hint(err,
		        "one server at a time has this data directory; stop the other one, or use another directory");
	if (rc == 0) {
		rc = sqlite_log_renew(q, err);
		if (rc < 0) {
			fs_unlock(q->lock_fd);
			q->lock_fd = -1;
		}
	}
	return rc < 0 ? err_wrap(err, "leading the store") : 0;
}

static int upgrade_to(struct sqlite *q, int version, struct err *err)
{
	char *sql = sqlite3_mprintf("BEGIN IMMEDIATE;\n%s\n;PRAGMA user_version = %d; COMMIT",
	        store_schema[version - 1].data, version);
	int rc = 0;

	BUG_IF(!sql);
	errno = 0;
	if (sqlite3_exec(q->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
		rc = sqlite_err(q, "upgrading", err);
		if (!sqlite3_get_autocommit(q->db))
			sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
	}
	sqlite3_free(sql);
	return rc;
}

int sqlite_migrate(struct sqlite *q, struct err *err)
{
	int version;
	int rc = ask_number(q, "PRAGMA user_version", &version, err);

	if (rc < 0 || version == n_versions())
		return rc;
	rc = sqlite_lock(q, err);
	if (rc < 0)
		return rc;
	/* Somebody may have done it before we had the lock. */
	rc = ask_number(q, "PRAGMA user_version", &version, err);
	while (rc == 0 && version < n_versions())
		rc = upgrade_to(q, ++version, err);
	fs_unlock(q->lock_fd);
	q->lock_fd = -1;
	return rc;
}
