/*
 * The ledger of a slice while somebody writes into its file: the input says what is done, and what is overwritten in between. What
 * the process itself knows to have is never more than the limit, whatever the file says, and no answer takes long.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dice.h"
#include "fuzz.h"
#include "shim/ledger.h"
#include "shim/ledger_file.h"

#define LIMIT (UINT64_C(64) << 20)

struct scene {
	struct ledger ledger;
	int fd;
	uint64_t reserved_bytes; /* the last reservation, not yet settled */
};

static char path[64];

static void leave(void)
{
	unlink(path);
}

static int new_file(void)
{
	static int fd = -1;
	struct slice_grant grant = {.magic = SLICE_MAGIC,
	        .abi = SLICE_ABI,
	        .n_slots = SLICE_SLOTS,
	        .uuid = "GPU-1",
	        .limit_bytes = LIMIT,
	        .granule_bytes = 2 << 20,
	        .context_bytes = 1 << 20,
	        .flags = SLICE_HOLDS_MEMORY};

	if (fd < 0) {
		snprintf(path, sizeof(path), "/tmp/berth-slice-fuzz-XXXXXX");
		fd = mkostemp(path, O_CLOEXEC);
		FUZZ_MUST(fd >= 0);
		atexit(leave);
	}
	FUZZ_MUST(ftruncate(fd, 0) == 0 && ftruncate(fd, sizeof(struct slice)) == 0);
	FUZZ_MUST(pwrite(fd, &grant, sizeof(grant), 0) == (ssize_t)sizeof(grant));
	return fd;
}

/* A place that counts, or any. */
static uint64_t some_place(struct dice *d)
{
	static const uint64_t places[] = {SLICE_LEDGER_AT, SLICE_LEDGER_AT + 4, SLICE_LEDGER_AT + 8,
	        SLICE_LEDGER_AT + 16, SLICE_WATCH_AT, SLICE_SLOTS_AT, SLICE_SLOTS_AT + 8,
	        SLICE_SLOTS_AT + 24, SLICE_SLOTS_AT + 128, SLICE_SLOTS_AT + 136,
	        SLICE_SLOTS_AT + 152, 0, 8, 112, 120};
	uint32_t at = dice_below(d, 16);

	return at < 15 ? places[at] : dice_u64(d) % sizeof(struct slice);
}

static void overwrite(struct scene *s, struct dice *d)
{
	uint64_t at = some_place(d), value = dice_u64(d);
	size_t n = dice_below(d, 2) ? 8 : 4;

	if (dice_below(d, 4) == 0)
		value = dice_below(d, 2) ? UINT64_MAX : 0;
	(void)!pwrite(s->fd, &value, n, (off_t)at);
}

static void reserve(struct scene *s, uint64_t bytes)
{
	int rc;

	if (s->reserved_bytes)
		return;
	rc = ledger_reserve(&s->ledger, bytes);
	FUZZ_MUST(rc == LEDGER_OK || rc == LEDGER_FULL || rc == LEDGER_BROKEN);
	if (rc == LEDGER_OK)
		s->reserved_bytes = bytes;
}

static void settle(struct scene *s, struct dice *d)
{
	uint64_t bytes = s->reserved_bytes ? dice_u64(d) % (s->reserved_bytes + 1) : 0;
	int rc = ledger_settle(
	        &s->ledger, s->reserved_bytes, (enum slice_kind)dice_below(d, SLICE_KINDS), bytes);

	FUZZ_MUST(rc == LEDGER_OK || rc == LEDGER_BROKEN);
	s->reserved_bytes = 0;
}

static void give_back(struct scene *s, struct dice *d)
{
	enum slice_kind kind = (enum slice_kind)dice_below(d, SLICE_KINDS);
	int rc = ledger_return(&s->ledger, kind, dice_u64(d) % (s->ledger.bytes[kind] + 1));

	FUZZ_MUST(rc == LEDGER_OK || rc == LEDGER_BROKEN);
}

static void act(struct scene *s, struct dice *d)
{
	switch (dice_below(d, 10)) {
	case 0:
	case 1:
		reserve(s, dice_u64(d) % (LIMIT + 2));
		break;
	case 2:
		settle(s, d);
		break;
	case 3:
		give_back(s, d);
		break;
	case 4:
		FUZZ_MUST(ledger_left(&s->ledger) <= s->ledger.grant.limit_bytes);
		break;
	case 5:
		(void)!ftruncate(s->fd, (off_t)(dice_u64(d) % (sizeof(struct slice) + 100)));
		break;
	case 6:
		(void)!ftruncate(s->fd, sizeof(struct slice));
		break;
	case 7:
		if (s->ledger.fd >= 0)
			close(s->ledger.fd);
		break;
	default:
		overwrite(s, d);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct scene s;
	struct dice d = {.bytes = data, .end = data + (size < 400 ? size : 400)};

	memset(&s, 0, sizeof(s));
	s.fd = new_file();
	/* One in four is spoilt before it is opened. */
	for (unsigned n = dice_below(&d, 4) ? 0 : 3; n > 0; n--)
		overwrite(&s, &d);
	if (ledger_open(&s.ledger, path, NULL) == 0) {
		while (dice_has_bytes(&d)) {
			act(&s, &d);
			FUZZ_MUST(s.ledger.grant.flags == 0 ||
			          ledger_total(&s.ledger) <= s.ledger.grant.limit_bytes);
		}
		munmap(s.ledger.map, sizeof(struct slice));
	}
	if (s.ledger.fd > 0)
		close(s.ledger.fd);
	return 0;
}
