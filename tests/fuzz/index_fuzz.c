/*
 * The index beside an output: entries as they are, or short ones with sound numbers, so that there is something to be read.
 * With a second index the first is replaced in the middle, as by a keeper that puts the output in order. An index that is right is
 * read as it says, by another way of counting; of any other only what is in the files comes, in the streams that were asked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/reader.h"
#include "fuzz.h"

#define FILE_BYTES  2048
#define ENTRIES_MAX 64
#define TOLD        "\n[berth: " /* begins the line about bytes that are left out */

enum { OVER = 1, OUT = 2, ERR = 4, SPLIT = 8, REPLACED = 16, SHORT = 32, SEQUENTIAL = 64 };

struct index {
	struct spool_chunk v[ENTRIES_MAX];
	size_t n;
};

struct input {
	unsigned flags;
	size_t max, tail, offset;
	size_t sizes[2];
	char bytes[2][FILE_BYTES];
	struct index first, second;
};

struct seen {
	struct buf bytes, frames; /* each byte, and the stream that it came in */
};

static void take_entry(
        struct input *in, struct index *x, uint64_t end[2], const uint8_t **data, size_t *size)
{
	struct spool_chunk c = {0};

	if (in->flags & SHORT) {
		c.stream = fuzz_byte(data, size) % 6;
		c.offset = (uint64_t)fuzz_byte(data, size) * 8;
		c.len = fuzz_byte(data, size);
	} else {
		size_t n = MIN(*size, sizeof(c));

		memcpy(&c, *data, n);
		*data += n;
		*size -= n;
	}
	if (in->flags & SEQUENTIAL) {
		uint64_t *at = &end[(in->flags & SPLIT) && c.stream == SPOOL_STDERR];

		c.offset = *at;
		*at += c.len;
	}
	x->v[x->n++] = c;
}

static void take_index(struct input *in, struct index *x, const uint8_t *data, size_t size)
{
	uint64_t end[2] = {0};

	x->n = 0;
	while (size && x->n < ENTRIES_MAX)
		take_entry(in, x, end, &data, &size);
}

static void take_input(struct input *in, const uint8_t *data, size_t size)
{
	const uint8_t *piece;
	size_t len;

	in->flags = fuzz_byte(&data, &size);
	in->max = 64 + fuzz_byte(&data, &size);
	in->tail = fuzz_byte(&data, &size) % 8;
	in->offset = fuzz_byte(&data, &size);
	for (size_t f = 0; f < 2; f++) {
		unsigned line = 1 + fuzz_byte(&data, &size) % 64;

		in->sizes[f] = (size_t)fuzz_byte(&data, &size) * 8;
		for (size_t i = 0; i < in->sizes[f]; i++)
			in->bytes[f][i] = (char)(i % line == line - 1 ? '\n' : 'a' + i % 26);
	}
	in->second.n = 0;
	if (in->flags & REPLACED && fuzz_piece(&data, &size, &piece, &len))
		take_index(in, &in->second, piece, len);
	take_index(in, &in->first, data, size);
}

static void put_file(const char *dir, const char *name, const void *data, size_t size)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/logs/0/1.1.%s", dir, name);
	f = fopen(path, "we");
	FUZZ_MUST(f && fwrite(data, 1, size, f) == size && fclose(f) == 0);
}

static void put_index(const char *dir, const char *name, const struct index *x)
{
	put_file(dir, name, x->v, x->n * sizeof(x->v[0]));
}

static void make_files(char *dir, const struct input *in)
{
	char path[64];

	FUZZ_MUST(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/logs", dir);
	FUZZ_MUST(mkdir(path, 0700) == 0);
	snprintf(path, sizeof(path), "%s/logs/0", dir);
	FUZZ_MUST(mkdir(path, 0700) == 0);
	put_file(dir, "out", in->bytes[0], in->sizes[0]);
	if (in->flags & SPLIT)
		put_file(dir, "err", in->bytes[1], in->sizes[1]);
	put_index(dir, "idx", &in->first);
}

static void remove_files(const char *dir)
{
	static const char *const names[] = {"logs/0/1.1.out", "logs/0/1.1.err", "logs/0/1.1.idx",
	        "logs/0/1.1.new", "logs/0", "logs", ""};
	char path[96];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	FUZZ_MUST(access(dir, F_OK) < 0);
}

static void seen_add(struct seen *s, const void *bytes, size_t len, enum console_frame frame)
{
	uint8_t *room = len ? buf_reserve(&s->frames, len) : NULL;

	buf_add(&s->bytes, bytes, len);
	if (!room)
		return;
	memset(room, (int)frame, len);
	buf_commit(&s->frames, len);
}

/* Until there is nothing more now. */
static void read_on(struct reader *r, const struct input *in, size_t max, struct seen *s)
{
	char bytes[512];
	size_t most = 2 * (in->first.n + in->second.n + 2) * FILE_BYTES;

	for (;;) {
		enum console_frame frame = CONSOLE_ERROR;
		size_t len = 0;
		struct err err;
		int rc = reader_next(r, bytes, max, &frame, &len, &err);

		FUZZ_MUST(rc >= 0);
		if (rc == 0)
			return;
		FUZZ_MUST(len > 0 && len <= max);
		FUZZ_MUST(frame == CONSOLE_STDOUT || frame == CONSOLE_STDERR);
		if (len < strlen(TOLD) || memcmp(bytes, TOLD, strlen(TOLD)) != 0)
			FUZZ_MUST(in->flags & (frame == CONSOLE_STDOUT ? OUT : ERR));
		seen_add(s, bytes, len, frame);
		FUZZ_MUST(!s->bytes.overflow && s->bytes.len <= most);
	}
}

/* tail and offset are not used together by anybody. */
static void read_all(const char *dir, const struct input *in, size_t max, size_t tail,
        size_t offset, struct seen *s)
{
	char from[96], to[96];
	struct reader_options o = {.data_dir = dir,
	        .id = {.num = 1, .task = TASK_NONE},
	        .attempt = 1,
	        .want_stdout = in->flags & OUT,
	        .want_stderr = in->flags & ERR,
	        .offset = offset,
	        .tail_lines = tail,
	        .is_over = in->flags & OVER};
	struct reader *r;
	struct err err;

	*s = (struct seen){BUF_INIT(16 * MIB), BUF_INIT(16 * MIB)};
	if (in->flags & REPLACED)
		put_index(dir, "idx", &in->first);
	FUZZ_MUST(reader_open(&o, &r, &err) == 0);
	read_on(r, in, max, s);
	if (in->flags & REPLACED) {
		put_index(dir, "new", &in->second);
		snprintf(from, sizeof(from), "%s/logs/0/1.1.new", dir);
		snprintf(to, sizeof(to), "%s/logs/0/1.1.idx", dir);
		FUZZ_MUST(rename(from, to) == 0);
		read_on(r, in, max, s);
	}
	reader_set_over(r);
	read_on(r, in, max, s);
	reader_close(r);
}

static void seen_done(struct seen *s)
{
	buf_done(&s->bytes);
	buf_done(&s->frames);
}

/* What an index that is right says; false: it is not. */
static bool expect(const struct input *in, struct seen *s)
{
	uint64_t end[2] = {0};

	*s = (struct seen){BUF_INIT(MIB), BUF_INIT(MIB)};
	if (in->flags & REPLACED)
		return false;
	for (size_t i = 0; i < in->first.n; i++) {
		const struct spool_chunk *c = &in->first.v[i];
		bool is_err = c->stream == SPOOL_STDERR;
		size_t f = is_err && (in->flags & SPLIT);

		if ((!is_err && c->stream != SPOOL_STDOUT) || c->offset != end[f] ||
		        c->len > in->sizes[f] - end[f])
			return false;
		end[f] += c->len;
		if (!(in->flags & (is_err ? ERR : OUT)))
			continue;
		seen_add(s, in->bytes[f] + c->offset, c->len,
		        is_err ? CONSOLE_STDERR : CONSOLE_STDOUT);
	}
	/* What no entry tells of is stdout's. */
	if (in->flags & OUT)
		seen_add(s, in->bytes[0] + end[0], in->sizes[0] - end[0], CONSOLE_STDOUT);
	return true;
}

static void check_end_of(const struct seen *whole, const struct seen *part, size_t len)
{
	FUZZ_MUST(len <= whole->bytes.len && part->bytes.len == len);
	if (!len)
		return;
	FUZZ_MUST(memcmp(whole->bytes.data + whole->bytes.len - len, part->bytes.data, len) == 0);
	FUZZ_MUST(
	        memcmp(whole->frames.data + whole->frames.len - len, part->frames.data, len) == 0);
}

/* Bytes in the last n lines. */
static size_t tail_bytes(const struct buf *b, size_t n)
{
	size_t at = b->len;

	while (at > 0) {
		if (b->data[at - 1] == '\n' && at < b->len && --n == 0)
			break;
		at--;
	}
	return b->len - at;
}

static void check_right(const char *dir, const struct input *in, const struct seen *read)
{
	struct seen expected, part;

	if (expect(in, &expected)) {
		check_end_of(&expected, read, expected.bytes.len);
		read_all(dir, in, in->max, 0, in->offset, &part);
		check_end_of(
		        &expected, &part, expected.bytes.len - MIN(in->offset, expected.bytes.len));
		seen_done(&part);
		/* While it lives, what no entry tells of yet is not there yet, and comes afterwards. */
		if (in->tail && (in->flags & OVER)) {
			read_all(dir, in, in->max, in->tail, 0, &part);
			check_end_of(&expected, &part, tail_bytes(&expected.bytes, in->tail));
			seen_done(&part);
		}
	}
	seen_done(&expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct input in;
	char dir[] = "/tmp/berth-fuzz-XXXXXX";
	struct seen whole, pieces;

	take_input(&in, data, size);
	make_files(dir, &in);
	read_all(dir, &in, 512, 0, 0, &whole);
	read_all(dir, &in, in.max, 0, 0, &pieces);
	FUZZ_MUST(fuzz_is_same(&whole.bytes, &pieces.bytes));
	FUZZ_MUST(fuzz_is_same(&whole.frames, &pieces.frames));
	check_right(dir, &in, &whole);
	seen_done(&pieces);
	read_all(dir, &in, in.max, in.tail, in.offset, &pieces);
	seen_done(&pieces);
	seen_done(&whole);
	remove_files(dir);
	return 0;
}
