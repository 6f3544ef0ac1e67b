/*
 * How many durable batches and rows a store takes per second, and how long the slowest of them waited: run by hand.
 * store_bench URL [SECONDS]: batches of 1, 10, 100 and 1000 new rows of 300 bytes with an event each, then rows that end, then reading
 * all of it back. The store at URL must be new; it is not removed.
 */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "store/store.h"

#define ROW_BYTES   300
#define EVENT_BYTES 60
#define BATCHES_MAX 2000000
#define BATCH_MAX   1000

static struct store *store;
static uint64_t epoch;
static uint64_t next_key = 1;
static uint64_t *took_ns;

static void die(const struct err *err)
{
	fprintf(stderr, "store_bench: %s\n", err->text);
	exit(1);
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* ended_ms 0: new rows; else the rows of first_key on are ended. */
static void bench_commit(const char *what, size_t rows_per_batch, uint64_t first_key,
        int64_t ended_ms, double seconds)
{
	static uint8_t data[ROW_BYTES], event_data[EVENT_BYTES];
	static struct store_row rows[BATCH_MAX];
	static struct store_event events[BATCH_MAX];
	uint64_t begin_ns = clock_mono_ns(), end_ns = begin_ns + (uint64_t)(seconds * 1e9),
	         now_ns = begin_ns;
	uint64_t key = ended_ms ? first_key : next_key;
	size_t n = 0;
	struct err err;

	while (now_ns < end_ns && n < BATCHES_MAX &&
	        (!ended_ms || key + rows_per_batch < next_key)) {
		uint64_t before_ns = now_ns;

		for (size_t i = 0; i < rows_per_batch; i++) {
			rows[i] = (struct store_row){.kind = ROW_JOB,
			        .key = key++,
			        .sub = -1,
			        .ended_ms = ended_ms,
			        .data = data,
			        .len = ROW_BYTES};
			events[i] = (struct store_event){
			        .time_ms = 1, .key = key, .data = event_data, .len = EVENT_BYTES};
		}
		memcpy(data, &key, sizeof(key));
		if (store_commit(store, epoch, store_last_seq(store) + 1, events, rows_per_batch,
		            rows, rows_per_batch, &err) < 0)
			die(&err);
		now_ns = clock_mono_ns();
		took_ns[n++] = now_ns - before_ns;
	}
	if (!ended_ms)
		next_key = key;
	if (n == 0)
		return;
	seconds = (double)(now_ns - begin_ns) / 1e9;
	qsort(took_ns, n, sizeof(took_ns[0]), cmp_u64);
	printf("%-10s %5zu rows a batch  %8.0f batches/s  %9.0f rows/s   p50 %6.2f  p99 %6.2f  p99.9 %6.2f  max %6.2f ms\n",
	        what, rows_per_batch, (double)n / seconds, (double)(n * rows_per_batch) / seconds,
	        (double)took_ns[n / 2] / 1e6, (double)took_ns[n - 1 - n / 100] / 1e6,
	        (double)took_ns[n - 1 - n / 1000] / 1e6, (double)took_ns[n - 1] / 1e6);
	fflush(stdout);
}

static int count_row(void *data, const struct store_row *row, struct err *err)
{
	++*(uint64_t *)data;
	return 0;
}

static void bench_each(enum store_which which, const char *what)
{
	uint64_t n = 0, begin_ns = clock_mono_ns();
	struct err err;
	double ms;

	if (store_each(store, ROW_JOB, which, count_row, &n, &err) < 0)
		die(&err);
	ms = (double)(clock_mono_ns() - begin_ns) / 1e6;
	printf("%-10s %8" PRIu64 " rows in %.1f ms, %.1f ms for 100,000\n", what, n, ms,
	        ms * 1e5 / (double)MAX(n, 1));
}

static void open_store(const char *url)
{
	uint64_t begin_ns = clock_mono_ns();
	struct err err;

	if (store_open(url, &store, &err) < 0 || store_lead(store, &epoch, &err) < 0)
		die(&err);
	printf("opened in %.1f ms\n", (double)(clock_mono_ns() - begin_ns) / 1e6);
}

static void print_memory(void)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	const char *line;
	struct err err;

	malloc_trim(0);
	if (fs_read("/proc/self/smaps_rollup", &b, &err) < 0)
		die(&err);
	line = strstr(buf_str(&b), "Private_Dirty:");
	if (line)
		printf("%.*s\n", (int)strcspn(line, "\n"), line);
}

static void bench_copy(const char *url)
{
	uint64_t begin_ns, slowest_ns = 0, all_ns = clock_mono_ns();
	struct store_copy *copy;
	bool is_complete = false;
	char path[512];
	struct err err;

	if (strncmp(url, "sqlite:", 7) != 0)
		return;
	snprintf(path, sizeof(path), "%s.copy", url + 7);
	if (store_copy_begin(store, path, &copy, &err) < 0)
		die(&err);
	while (!is_complete) {
		begin_ns = clock_mono_ns();
		if (store_copy_step(copy, &is_complete, &err) < 0)
			die(&err);
		slowest_ns = MAX(slowest_ns, clock_mono_ns() - begin_ns);
	}
	begin_ns = clock_mono_ns();
	if (store_copy_end(copy, &err) < 0)
		die(&err);
	slowest_ns = MAX(slowest_ns, clock_mono_ns() - begin_ns);
	printf("copied in %.0f ms, slowest step %.1f ms\n",
	        (double)(clock_mono_ns() - all_ns) / 1e6, (double)slowest_ns / 1e6);
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
	uint64_t first_key;

	if (argc < 2 || seconds <= 0) {
		fprintf(stderr, "usage: store_bench URL [SECONDS]\n");
		return 2;
	}
	took_ns = calloc(BATCHES_MAX, sizeof(took_ns[0]));
	if (!took_ns)
		return 1;
	open_store(argv[1]);
	print_memory();
	first_key = next_key;
	for (size_t rows = 1; rows <= BATCH_MAX; rows *= 10)
		bench_commit("new", rows, 0, 0, seconds);
	for (size_t rows = 1; rows <= 100; rows *= 10) {
		bench_commit("ended", rows, first_key, 1000 + (int64_t)rows, seconds);
		first_key += next_key / 4;
	}
	print_memory();
	bench_each(STORE_LIVING, "living");
	bench_each(STORE_ALL, "all");
	bench_copy(argv[1]);
	store_close(store);
	open_store(argv[1]);
	bench_each(STORE_LIVING, "living");
	print_memory();
	store_close(store);
	free(took_ns);
	return 0;
}
