#include "keeper/ring.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "plat/clock.h"

enum { BLOCK = 1 << 16, SMALL = 1 << 20 };

uint64_t ring_position(const struct output_file *f, uint64_t n)
{
	return !f->max || !f->is_regular || n < f->max
	               ? n
	               : f->head + (n - f->head) % (f->max - f->head);
}

bool ring_is_used(const struct output_file *f)
{
	return f->max && f->is_regular && f->n > f->max;
}

static bool get(int fd, void *data, size_t len, uint64_t at)
{
	return pread(fd, data, len, (off_t)at) == (ssize_t)len;
}

static bool set(int fd, const void *data, size_t len, uint64_t at)
{
	return pwrite(fd, data, len, (off_t)at) == (ssize_t)len;
}

/* Exchanges two runs of the same length that do not overlap. */
static bool swap_runs(int fd, uint8_t *room, uint64_t a, uint64_t b, uint64_t len)
{
	for (uint64_t done = 0; done < len; done += BLOCK) {
		size_t n = (size_t)MIN(len - done, (uint64_t)BLOCK);

		if (!get(fd, room, n, a + done) || !get(fd, room + BLOCK, n, b + done) ||
		        !set(fd, room + BLOCK, n, a + done) || !set(fd, room, n, b + done))
			return false;
	}
	return true;
}

/* Moves a run down by `by` bytes, or up when `up`; runs may overlap. */
static bool move_run(int fd, uint8_t *room, uint64_t at, uint64_t len, uint64_t by, bool up)
{
	for (uint64_t done = 0, n; done < len; done += n) {
		n = MIN(len - done, (uint64_t)BLOCK);
		uint64_t from = up ? at + len - done - n : at + done;

		if (!get(fd, room, (size_t)n, from) ||
		        !set(fd, room, (size_t)n, up ? from + by : from - by))
			return false;
	}
	return true;
}

/* left and right change places; one of them fits into memory. */
static bool shift(int fd, uint8_t *room, uint64_t at, uint64_t left, uint64_t right)
{
	uint8_t *kept = room + BLOCK;

	if (left <= right)
		return get(fd, kept, (size_t)left, at) &&
		       move_run(fd, room, at + left, right, left, false) &&
		       set(fd, kept, (size_t)left, at + right);
	return get(fd, kept, (size_t)right, at + left) &&
	       move_run(fd, room, at, left, right, true) && set(fd, kept, (size_t)right, at);
}

/*
 * The left `left` bytes of a region and the `right` bytes behind them change places, without a second file: the shorter
 * run is swapped into its final place and what remains is the same task, smaller, until a run fits into memory.
 */
static bool rotate(int fd, uint64_t at, uint64_t left, uint64_t right)
{
	uint8_t *room = mem_zalloc(BLOCK + MAX(SMALL, BLOCK));
	bool ok = true;

	while (ok && MIN(left, right) > SMALL) {
		if (left <= right) {
			ok = swap_runs(fd, room, at, at + right, left);
			right -= left;
		} else {
			ok = swap_runs(fd, room, at, at + left, right);
			at += right;
			left -= right;
		}
	}
	if (ok && left && right)
		ok = shift(fd, room, at, left, right);
	free(room);
	return ok;
}

static size_t make_line(char line[80], uint64_t left_out)
{
	return (size_t)snprintf(line, 80, "\n[berth: %ju bytes left out]\n", (uintmax_t)left_out);
}

uint64_t ring_put_in_order(struct output_file *f, uint32_t *ret_line_len)
{
	uint64_t start = ring_position(f, f->n), left_out = f->n - f->max;
	char line[80];
	size_t len = make_line(line, left_out);

	/* The line takes room from the tail, and so adds to the number in it: that may take a digit more. */
	for (size_t again = 0; again < 2; again++)
		len = make_line(line, left_out + len);
	if (!rotate(f->fd, f->head, start - f->head, f->max - start) ||
	        !set(f->fd, line, len, f->head))
		return 0;
	*ret_line_len = (uint32_t)len;
	return left_out + len;
}

/* One entry of the old index, which tells of bytes `at` onwards of its file, as up to three of the new one. */
static void convert(struct buf *out, const struct output_file *f, const struct spool_chunk *c,
        uint64_t at, uint32_t line_len, bool *is_gap_told)
{
	uint64_t kept_from = f->n - (f->max - f->head - line_len), end = at + c->len;
	struct spool_chunk part = *c;

	if (at < f->head) {
		part.len = (uint32_t)(MIN(end, f->head) - at);
		buf_add(out, &part, sizeof(part));
	}
	if (end > f->head && !*is_gap_told) {
		part = (struct spool_chunk){
		        .offset = f->head, .wall_ms = c->wall_ms, .len = line_len};
		part.stream = c->stream == SPOOL_STDERR ? SPOOL_GAP_STDERR : SPOOL_GAP;
		buf_add(out, &part, sizeof(part));
		*is_gap_told = true;
	}
	if (end > kept_from) {
		uint64_t from = MAX(at, kept_from);

		part = *c;
		part.offset = f->head + line_len + (from - kept_from);
		part.len = (uint32_t)(end - from);
		buf_add(out, &part, sizeof(part));
	}
}

/* Where the last bytes end, so that who does not know it sees an entry without bytes. */
void ring_mark_index(const struct output *o)
{
	const struct output_file *f = &o->files[0];
	struct spool_chunk c = {.offset = f->n ? ring_position(f, f->n - 1) + 1 : 0,
	        .wall_ms = clock_wall_ms(),
	        .stream = SPOOL_TURNING};

	if (o->index_fd >= 0)
		set(o->index_fd, &c, sizeof(c), o->index_len);
}

void ring_rewrite_index(struct output *o, const uint32_t line_len[2])
{
	CLEANUP_BUF struct buf out = BUF_INIT(SPOOL_INDEX_MAX + MIB);
	bool is_gap_told[2] = {false}, ok;
	uint64_t at[2] = {0};
	struct spool_chunk c;
	char path[4096];
	int fd;

	if (o->index_fd < 0 ||
	        (size_t)snprintf(path, sizeof(path), "%s.new", o->index_path) >= sizeof(path))
		return;
	for (uint64_t pos = 0; pos < o->index_len && get(o->index_fd, &c, sizeof(c), pos);
	        pos += sizeof(c)) {
		size_t i = c.stream == SPOOL_STDERR && o->is_split;

		if (line_len[i])
			convert(&out, &o->files[i], &c, at[i], line_len[i], &is_gap_told[i]);
		else
			buf_add(&out, &c, sizeof(c));
		at[i] += c.len;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	ok = write(fd, out.data, out.len) == (ssize_t)out.len;
	close(fd);
	if (!ok || rename(path, o->index_path) < 0)
		unlink(path);
}
