/* One insert per commit, synced: what a durable submit costs when nothing is gathered. Prints commits per second. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	sqlite3 *db;
	sqlite3_stmt *insert;
	long n = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
	double begin;

	if (n <= 0 || sqlite3_open(argv[1], &db) != SQLITE_OK)
		return 2;
	sqlite3_exec(db,
	        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)",
	        NULL, NULL, NULL);
	if (sqlite3_prepare_v2(db, "INSERT INTO t (data) VALUES (zeroblob(300))", -1, &insert,
	            NULL) != SQLITE_OK)
		return 1;
	begin = now();
	for (long i = 0; i < n; i++) {
		if (sqlite3_step(insert) != SQLITE_DONE)
			return 1;
		sqlite3_reset(insert);
	}
	printf("%.1f\n", (double)n / (now() - begin));
	sqlite3_finalize(insert);
	sqlite3_close(db);
	return 0;
}
