#include "keeper/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "keeper/rights.h"
#include "keeper/ring.h"
#include "plat/clock.h"

enum {
	INDEX_GATHER_MS = 10,
	INDEX_GATHER_BYTES = 1 << 20,
	INDEX_AGAIN_MS = 200, /* when the disk did not take it */
	MAX_LEAST = 2048,
	GRANT_BYTES = 1 << 20,
	LEFT_FREE_PART = 20,
	LEFT_FREE_BYTES = 256 << 20,
};

static int open_for_account(struct output_file *f, const struct keeper_base *base,
        const struct launch *l, struct err *err)
{
	int flags = O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct stat st;
	int sys;

	rights_as_account(base, l);
	/* Reading is needed to put a ring in order only. O_NONBLOCK: a pipe without a reader must not hold us. */
	f->fd = open(f->path, O_RDWR | flags, 0666);
	if (f->fd < 0 && errno == EACCES)
		f->fd = open(f->path, O_WRONLY | flags, 0666);
	sys = errno;
	rights_back(base);
	/* Where the job's own place is never to be written to, waiting for a disk is of no use. */
	if (f->fd < 0 && sys == EROFS)
		return err_set(
		        err, ERR_FORBIDDEN, "opening output file '%s': %s", f->path, strerror(sys));
	if (f->fd < 0)
		return err_sys(err, sys, "opening output file '%s'", f->path);
	f->is_regular = fstat(f->fd, &st) == 0 && S_ISREG(st.st_mode);
	return 0;
}

static bool is_same_file(int a, int b)
{
	struct stat sa, sb;

	return fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

int output_open(
        struct output *o, const struct keeper_base *base, const struct launch *l, struct err *err)
{
	const char *paths[] = {l->out_path, l->err_path};
	int rc;

	*o = (struct output){.index_fd = -1, .index_path = l->index_path, .is_split = l->err_path};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct output_file *f = &o->files[i];

		*f = (struct output_file){
		        .fd = -1, .path = paths[i], .is_internal = l->out_internal};
		if (!f->path || f->is_internal)
			continue;
		rc = open_for_account(f, base, l, err);
		if (rc < 0)
			return rc;
	}
	/* Two names of one file: two offsets in it would write over each other. */
	if (o->is_split && o->files[0].fd >= 0 && is_same_file(o->files[0].fd, o->files[1].fd)) {
		close(o->files[1].fd);
		o->is_split = false;
	}
	for (size_t i = 0; i < ARRAY_LEN(paths) && l->output_max; i++) {
		o->files[i].max = MAX(l->output_max >> o->is_split, (uint64_t)MAX_LEAST);
		o->files[i].head = o->files[i].max / 2;
	}
	return 0;
}

static bool is_there(struct output_file *f)
{
	if (f->fd >= 0)
		return true;
	f->fd = open(f->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	f->is_regular = true;
	return f->fd >= 0;
}

/* An entry that was cut short is written over by the next one: the index stays a run of whole entries. */
static bool index_put(struct output *o, const struct spool_chunk *c)
{
	if (o->index_len >= SPOOL_INDEX_MAX)
		return true;
	if (o->index_fd < 0)
		o->index_fd = open(
		        o->index_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (o->index_fd < 0 ||
	        pwrite(o->index_fd, c, sizeof(*c), (off_t)o->index_len) != (ssize_t)sizeof(*c))
		return false;
	o->index_len += sizeof(*c);
	return true;
}

/* What a ring wrote elsewhere meanwhile cannot be one entry with it, and is in none. */
static void owe(struct output *o, struct output_file *f, const struct spool_chunk *c)
{
	if (f->owed.len == 0) {
		f->owed = *c;
	} else if (f->owed.offset + f->owed.len == c->offset &&
	           c->len <= UINT32_MAX - f->owed.len) {
		f->owed.len += c->len;
		if (f->owed.stream != c->stream)
			f->owed.stream = SPOOL_STDOUT;
	}
	o->pending_due_ms = clock_mono_ms() + INDEX_AGAIN_MS;
}

static bool is_owed(const struct output *o)
{
	return o->files[0].owed.len || o->files[1].owed.len;
}

void output_flush(struct output *o)
{
	struct output_file *f = &o->files[o->pending.stream == SPOOL_STDERR && o->is_split];

	if ((o->pending.len == 0 && !is_owed(o)) || !o->index_path)
		return;
	for (size_t i = 0; i < ARRAY_LEN(o->files); i++)
		if (o->files[i].owed.len && index_put(o, &o->files[i].owed))
			o->files[i].owed.len = 0;
	if (o->pending.len && (f->owed.len || !index_put(o, &o->pending)))
		owe(o, f, &o->pending);
	else if (is_owed(o))
		o->pending_due_ms = clock_mono_ms() + INDEX_AGAIN_MS;
	o->pending.len = 0;
}

static void index_add(struct output *o, enum spool_stream stream, uint64_t offset, uint32_t len)
{
	struct spool_chunk *p = &o->pending;
	int64_t now_ms;

	if (!o->index_path)
		return;
	now_ms = clock_wall_ms();
	if (p->len && (p->stream != stream || p->offset + p->len != offset ||
	                      p->len >= INDEX_GATHER_BYTES ||
	                      now_ms - p->wall_ms >= INDEX_GATHER_MS || now_ms < p->wall_ms))
		output_flush(o);
	if (p->len == 0) {
		*p = (struct spool_chunk){.offset = offset, .wall_ms = now_ms, .stream = stream};
		o->pending_due_ms = clock_mono_ms() + INDEX_GATHER_MS;
	}
	p->len += len;
}

int output_flush_in(const struct output *o)
{
	uint64_t now;

	if (o->pending.len == 0 && !is_owed(o))
		return -1;
	now = clock_mono_ms();
	return now >= o->pending_due_ms ? 0 : (int)(o->pending_due_ms - now);
}

/* Whether it may grow up to `end`; else with ENOSPC. Asked once in a while only. */
static bool has_room(struct output_file *f, uint64_t end)
{
	struct statvfs v;
	uint64_t left_free;

	if (!f->is_internal || end <= f->granted)
		return true;
	if (fstatvfs(f->fd, &v) == 0) {
		left_free = MIN((uint64_t)v.f_blocks * v.f_frsize / LEFT_FREE_PART,
		        (uint64_t)LEFT_FREE_BYTES);
		if ((uint64_t)v.f_bavail * v.f_frsize < left_free) {
			errno = ENOSPC;
			return false;
		}
	}
	f->granted = end + GRANT_BYTES;
	return true;
}

/* To where it is, so that head and tail are kept in what it has of the disk by now. */
static bool lower_ceiling(struct output_file *f)
{
	if (!f->is_regular || ring_is_used(f) || f->n < MAX_LEAST || f->n == f->max)
		return false;
	f->max = f->n;
	f->head = f->max / 2;
	return true;
}

/* Writes what the file takes now; the number of bytes, with errno when they are fewer. */
static size_t put(struct output *o, struct output_file *f, enum spool_stream stream,
        const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		uint64_t at = ring_position(f, f->n);
		size_t room = f->max && f->is_regular ? MIN(len - done, f->max - at) : len - done;
		ssize_t n;

		if (!has_room(f, at + room)) {
			if (!lower_ceiling(f))
				break;
			continue;
		}
		n = f->is_regular ? pwrite(f->fd, data + done, room, (off_t)at)
		                  : write(f->fd, data + done, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		f->n += (uint64_t)n;
		done += (size_t)n;
		index_add(o, stream, at, (uint32_t)n);
	}
	return done;
}

/* Before the first bytes behind a loss: a line that tells of it. */
static bool tell_loss(struct output *o, struct output_file *f, enum spool_stream stream)
{
	char line[128];
	size_t len;

	if (!f->untold)
		return true;
	len = (size_t)snprintf(line, sizeof(line), "\n[berth: %ju bytes not kept: %s]\n",
	        (uintmax_t)f->untold, strerror(f->lost_errno));
	len = MIN(len, sizeof(line) - 1);
	if (put(o, f, stream, (uint8_t *)line, len) < len)
		return false;
	f->untold = 0;
	return true;
}

void output_write(struct output *o, enum spool_stream stream, const void *data, size_t len)
{
	struct output_file *f = &o->files[stream == SPOOL_STDERR && o->is_split];
	size_t done = 0;

	o->total += len;
	if (!f->path)
		return;
	if (is_there(f) && tell_loss(o, f, stream))
		done = put(o, f, stream, data, len);
	if (done < len) {
		f->lost_errno = errno;
		f->lost += len - done;
		f->untold += len - done;
	}
}

static bool is_ring_used(const struct output *o, size_t i)
{
	return o->files[i].fd >= 0 && ring_is_used(&o->files[i]);
}

/* How many bytes are left out. */
static uint64_t put_in_order(struct output *o)
{
	uint32_t line_len[2] = {0};
	uint64_t dropped = 0;

	ring_mark_index(o);
	for (size_t i = 0; i < ARRAY_LEN(o->files); i++)
		if (is_ring_used(o, i))
			dropped += ring_put_in_order(&o->files[i], &line_len[i]);
	if (line_len[0] || line_len[1])
		ring_rewrite_index(o, line_len);
	return dropped;
}

void output_finish(struct output *o, uint64_t *ret_total, uint64_t *ret_dropped)
{
	*ret_dropped = 0;
	output_flush(o);
	for (size_t i = 0; i < ARRAY_LEN(o->files); i++) {
		struct output_file *f = &o->files[i];

		*ret_dropped += f->lost;
		if (f->fd >= 0 && f->untold)
			tell_loss(o, f, i ? SPOOL_STDERR : SPOOL_STDOUT);
	}
	output_flush(o);
	if (is_ring_used(o, 0) || is_ring_used(o, 1))
		*ret_dropped += put_in_order(o);
	*ret_total = o->total;
}
