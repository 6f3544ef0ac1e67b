#include "store/journal.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

/* Little-endian, packed. */
struct head {
	uint64_t time_ms;
	uint64_t key;
	uint64_t sub;
	uint32_t len;
} __attribute__((packed));

int journal_encode(struct buf *b, const struct store_event *events, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct head head = {
		        .time_ms = htole64((uint64_t)events[i].time_ms),
		        .key = htole64(events[i].key),
		        .sub = htole64((uint64_t)events[i].sub),
		        .len = htole32((uint32_t)events[i].len),
		};

		buf_add(b, &head, sizeof(head));
		buf_add(b, events[i].data, events[i].len);
	}
	if (b->overflow)
		return err_set(
		        err, ERR_TOO_LARGE, "a batch has more than %zu bytes of events", b->max);
	return 0;
}

int journal_decode(const void *data, size_t len, uint64_t seq, store_event_fn *fn, void *fn_data,
        size_t *ret_n, struct err *err)
{
	const uint8_t *p = data, *end = p + len;
	size_t n = 0;

	while (p < end) {
		struct store_event event;
		struct head head;
		int rc;

		if ((size_t)(end - p) < sizeof(head))
			goto corrupt;
		memcpy(&head, p, sizeof(head));
		p += sizeof(head);
		event = (struct store_event){
		        .time_ms = (int64_t)le64toh(head.time_ms),
		        .key = le64toh(head.key),
		        .sub = (int64_t)le64toh(head.sub),
		        .data = p,
		        .len = le32toh(head.len),
		};
		if ((size_t)(end - p) < event.len)
			goto corrupt;
		p += event.len;
		n++;
		rc = fn ? fn(fn_data, seq, &event, err) : 0;
		if (rc < 0)
			return rc;
	}
	*ret_n = n;
	return 0;
corrupt:
	return err_set(err, ERR_CORRUPT,
	        "batch %" PRIu64 " of the journal ends in the middle of an event", seq);
}

int64_t journal_latest_ms(const struct store_event *events, size_t n)
{
	int64_t latest_ms = INT64_MIN;

	for (size_t i = 0; i < n; i++)
		latest_ms = MAX(latest_ms, events[i].time_ms);
	return latest_ms;
}
