#include "keeper/report.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "plat/clock.h"

enum { RECORD_ROOM = 640, BEGUN_SLOTS = 1 << 16 };

struct spool_record report_new(const struct attempt_id *id, enum spool_kind kind)
{
	return (struct spool_record){
	        .kind = kind,
	        .job = id->job,
	        .task = id->task,
	        .attempt = id->attempt,
	        .epoch = id->epoch,
	        .wall_ms = clock_wall_ms(),
	};
}

/* After a write that was cut short the whole record is written again: readers pass over the first piece. The bytes are
 * gathered on the stack: a keeper that touches no heap has fewer pages of its own. */
void report_append(const struct spool_record *r)
{
	uint8_t room[RECORD_ROOM];
	struct buf b = {.data = room, .cap = sizeof(room), .max = sizeof(room) - 1};
	struct timespec wait = {.tv_nsec = 10 * 1000 * 1000};

	spool_encode(r, &b);
	BUG_IF(b.overflow);
	while (write(FD_SPOOL, b.data, b.len) != (ssize_t)b.len && r->kind == SPOOL_ENDED) {
		nanosleep(&wait, NULL);
		wait.tv_nsec = MIN(wait.tv_nsec * 2, 999 * 1000 * 1000);
	}
}

void report_failure(
        const struct attempt_id *id, enum spool_cause cause, int code, const struct err *why)
{
	struct spool_record r = report_new(id, SPOOL_ENDED);

	r.cause = cause;
	r.wait_status = code << 8;
	r.no_disk = cause == SPOOL_SETUP_FAILED && err_is_no_disk(why);
	snprintf(r.text, sizeof(r.text), "%s", why->text);
	report_append(&r);
}

/* Takes whole records off the front of b. At the end of the file a record that asks for more is a cut one. */
static void search(struct buf *b, bool at_end, uint64_t epoch, bool *is_started, bool *is_ended)
{
	struct spool_record r;
	struct err err;
	size_t used = 0;

	while (used < b->len) {
		int len = spool_decode(b->data + used, b->len - used, &r, &err);

		if (len == 0 && !at_end)
			break;
		if (len <= 0)
			len = (int)spool_skip(b->data + used, b->len - used);
		else if (r.epoch == epoch)
			*(r.kind == SPOOL_STARTED ? is_started : is_ended) = true;
		used += (size_t)len;
	}
	buf_consume(b, used);
}

void report_find(uint64_t epoch, bool *ret_is_started, bool *ret_is_ended)
{
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB + SPOOL_RECORD_MAX);
	off_t at = 0;
	ssize_t n;

	*ret_is_started = *ret_is_ended = false;
	do {
		n = pread(FD_SPOOL, buf_reserve(&b, 64 * KIB), 64 * KIB, at);
		if (n > 0)
			buf_commit(&b, (size_t)n);
		at += n;
		search(&b, n <= 0, epoch, ret_is_started, ret_is_ended);
	} while (n > 0);
}

static off_t slot_of(uint64_t epoch)
{
	return (off_t)(epoch % BEGUN_SLOTS * sizeof(epoch));
}

/* A disk that takes no note takes no start: then an attempt could be run twice. */
bool report_note_begun(uint64_t epoch)
{
	return pwrite(FD_BEGUN, &epoch, sizeof(epoch), slot_of(epoch)) == sizeof(epoch);
}

bool report_has_begun(uint64_t epoch)
{
	uint64_t noted = 0;

	return pread(FD_BEGUN, &noted, sizeof(noted), slot_of(epoch)) == sizeof(noted) &&
	       noted == epoch;
}
