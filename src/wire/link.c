#include "wire/link.h"

#include <string.h>
#include <talloc.h>

/*
 * DESIGN. Each message is a table of fields: tag, form, place in its struct. One encoder and one decoder walk the tables,
 * so the two cannot disagree, and every ceiling stands beside its field. A tag is never used again for another meaning.
 */

#define STRINGS_MAX  262144 /* of one list: arguments, environment */
#define ATTEMPTS_MAX 262144 /* in a HELLO or a REMOVE */
#define HEAD_BYTES   5
#define FIELDS_MAX   32 /* of one table */

enum form {
	FORM_U64 = 1,
	FORM_U32,
	FORM_I32,
	FORM_TASK, /* int64_t */
	FORM_ENUM, /* `min` to `max`, both included */
	FORM_BOOL,
	FORM_TEXT,    /* char *, NULL when empty or absent */
	FORM_FIXED,   /* char[size], cut to fit */
	FORM_STRINGS, /* char **, NULL-terminated, never NULL when decoded; at most `max` */
	FORM_CPUS,    /* struct cpu_set */
	FORM_BYTES,   /* const void * and its length at `count` */
	FORM_LIST,    /* pointer to elements of `of`, and their number at `count`; at most `max` */
	FORM_RECORD,  /* struct spool_record, as it stands in a spool */
};

struct field {
	uint8_t tag;
	uint8_t form;
	uint16_t at;    /* offset in the struct */
	uint16_t count; /* offset of the length */
	uint16_t size;
	uint32_t min;
	uint32_t max;
	const struct table *of;
};

struct table {
	size_t size; /* of the struct */
	size_t n;
	const struct field *fields;
};

#define FIELD(s, t, f, member)                                            \
	{                                                                 \
		.tag = (t), .form = (f), .at = offsetof(struct s, member) \
	}
#define ENUM(s, t, member, low, high)                                                          \
	{                                                                                      \
		.tag = (t), .form = FORM_ENUM, .at = offsetof(struct s, member), .min = (low), \
		.max = (high)                                                                  \
	}
#define FIXED(s, t, member)                                                       \
	{                                                                         \
		.tag = (t), .form = FORM_FIXED, .at = offsetof(struct s, member), \
		.size = sizeof(((struct s *)0)->member)                           \
	}
#define STRINGS(s, t, member)                                                       \
	{                                                                           \
		.tag = (t), .form = FORM_STRINGS, .at = offsetof(struct s, member), \
		.max = STRINGS_MAX                                                  \
	}
#define BYTES(s, t, member, length, high)                                         \
	{                                                                         \
		.tag = (t), .form = FORM_BYTES, .at = offsetof(struct s, member), \
		.count = offsetof(struct s, length), .max = (high)                \
	}
#define LIST(s, t, member, number, high, table)                                    \
	{                                                                          \
		.tag = (t), .form = FORM_LIST, .at = offsetof(struct s, member),   \
		.count = offsetof(struct s, number), .max = (high), .of = &(table) \
	}
#define TABLE(s, array)                                                            \
	{                                                                          \
		.size = sizeof(struct s), .n = ARRAY_LEN(array), .fields = (array) \
	}

static const struct field device_fields[] = {
        FIXED(device_info, 1, uuid),
        FIXED(device_info, 2, model),
        FIELD(device_info, 3, FORM_U32, index),
        FIELD(device_info, 4, FORM_U64, mem_bytes),
        FIELD(device_info, 5, FORM_U32, cc),
        FIELD(device_info, 6, FORM_U32, cuda),
        FIXED(device_info, 7, driver),
        FIELD(device_info, 8, FORM_I32, numa_node),
        FIELD(device_info, 9, FORM_CPUS, cpus),
        FIELD(device_info, 10, FORM_BOOL, simulated),
        ENUM(device_info, 11, health, DEVICE_OK, DEVICE_LOST),
        FIXED(device_info, 12, health_text),
        FIELD(device_info, 13, FORM_U64, withheld_bytes),
};
static const struct table device_table = TABLE(device_info, device_fields);

static const struct field slice_fields[] = {
        FIXED(slice_record, 1, device),
        FIELD(slice_record, 2, FORM_U64, mem_bytes),
        FIELD(slice_record, 3, FORM_U32, share_milli),
};
static const struct table slice_table = TABLE(slice_record, slice_fields);

static const struct field attempt_fields[] = {
        FIELD(link_attempt, 1, FORM_U64, id.num), FIELD(link_attempt, 2, FORM_TASK, id.task),
        FIELD(link_attempt, 3, FORM_U64, epoch), FIELD(link_attempt, 4, FORM_U32, attempt),
        ENUM(link_attempt, 5, phase, 0, LINK_ENDED_UNACKED), /* 0 in a REMOVE */
};
static const struct table attempt_table = TABLE(link_attempt, attempt_fields);

static const struct field hello_fields[] = {
        FIELD(link_hello, 1, FORM_U32, version),
        FIELD(link_hello, 2, FORM_TEXT, program),
        FIELD(link_hello, 3, FORM_TEXT, name),
        FIELD(link_hello, 4, FORM_TEXT, boot_id),
        FIELD(link_hello, 5, FORM_CPUS, cpus),
        FIELD(link_hello, 6, FORM_U64, mem_bytes),
        LIST(link_hello, 7, devices, n_devices, NODE_DEVICES_MAX, device_table),
        LIST(link_hello, 8, attempts, n_attempts, ATTEMPTS_MAX, attempt_table),
};
static const struct table hello_table = TABLE(link_hello, hello_fields);

static const struct field welcome_fields[] = {
        FIELD(link_welcome, 1, FORM_U64, node),
        FIELD(link_welcome, 2, FORM_U32, heartbeat_ms),
        FIELD(link_welcome, 3, FORM_U64, grace_ms),
        FIELD(link_welcome, 4, FORM_U64, output_max),
        FIELD(link_welcome, 5, FORM_U32, start_burst),
        FIELD(link_welcome, 6, FORM_U32, watchdog),
        FIELD(link_welcome, 7, FORM_TEXT, server_program),
};
static const struct table welcome_table = TABLE(link_welcome, welcome_fields);

static const struct field blob_fields[] = {
        FIELD(link_blob, 1, FORM_U64, num),
        BYTES(link_blob, 2, data, len, LINK_MESSAGE_MAX),
};
static const struct table blob_table = TABLE(link_blob, blob_fields);

static const struct field start_fields[] = {
        FIELD(link_start, 1, FORM_U64, id.num),
        FIELD(link_start, 2, FORM_TASK, id.task),
        FIELD(link_start, 3, FORM_U32, attempt),
        FIELD(link_start, 4, FORM_U64, epoch),
        FIELD(link_start, 5, FORM_TEXT, name),
        FIELD(link_start, 6, FORM_TEXT, queue),
        FIELD(link_start, 7, FORM_TEXT, user),
        FIELD(link_start, 8, FORM_U32, uid),
        STRINGS(link_start, 9, argv),
        FIELD(link_start, 10, FORM_U64, env_blob),
        FIELD(link_start, 11, FORM_TEXT, chdir),
        FIELD(link_start, 12, FORM_TEXT, output),
        FIELD(link_start, 13, FORM_TEXT, error),
        FIELD(link_start, 14, FORM_BOOL, tty),
        FIELD(link_start, 15, FORM_U32, rows),
        FIELD(link_start, 16, FORM_U32, columns),
        FIELD(link_start, 17, FORM_U64, time_limit_ms),
        FIELD(link_start, 18, FORM_U64, mem_bytes),
        FIELD(link_start, 19, FORM_U32, n_cpus),
        FIELD(link_start, 20, FORM_CPUS, cpus),
        LIST(link_start, 21, slices, n_slices, NODE_DEVICES_MAX, slice_table),
        FIELD(link_start, 22, FORM_U64, array_size),
};
static const struct table start_table = TABLE(link_start, start_fields);

static const struct field stop_fields[] = {
        FIELD(link_stop, 1, FORM_U64, id.num),
        FIELD(link_stop, 2, FORM_TASK, id.task),
        FIELD(link_stop, 3, FORM_U64, epoch),
        ENUM(link_stop, 4, cause, SPOOL_EXIT, SPOOL_CAUSE_MAX - 1),
        FIELD(link_stop, 5, FORM_BOOL, force),
};
static const struct table stop_table = TABLE(link_stop, stop_fields);

static const struct field record_fields[] = {{.tag = 1, .form = FORM_RECORD}};
static const struct table record_table = TABLE(spool_record, record_fields);

static const struct field ack_fields[] = {{.tag = 1, .form = FORM_U64}};
static const struct table ack_table = {.size = sizeof(uint64_t), .n = 1, .fields = ack_fields};

static const struct field devices_fields[] = {
        LIST(link_devices, 1, devices, n_devices, NODE_DEVICES_MAX, device_table),
};
static const struct table devices_table = TABLE(link_devices, devices_fields);

static const struct field remove_fields[] = {
        LIST(link_remove, 1, attempts, n_attempts, ATTEMPTS_MAX, attempt_table),
};
static const struct table remove_table = TABLE(link_remove, remove_fields);

static const struct field stream_open_fields[] = {
        FIELD(link_stream_open, 1, FORM_U64, stream),
        ENUM(link_stream_open, 2, kind, LINK_STREAM_LOG, LINK_STREAM_EXEC),
        FIELD(link_stream_open, 3, FORM_U64, id.num),
        FIELD(link_stream_open, 4, FORM_TASK, id.task),
        FIELD(link_stream_open, 5, FORM_U32, attempt),
        FIELD(link_stream_open, 6, FORM_U64, epoch),
        FIELD(link_stream_open, 7, FORM_TEXT, output),
        FIELD(link_stream_open, 8, FORM_TEXT, error),
        FIELD(link_stream_open, 9, FORM_BOOL, want_stdout),
        FIELD(link_stream_open, 10, FORM_BOOL, want_stderr),
        FIELD(link_stream_open, 11, FORM_BOOL, follow),
        FIELD(link_stream_open, 12, FORM_BOOL, ended),
        FIELD(link_stream_open, 13, FORM_U64, offset),
        FIELD(link_stream_open, 14, FORM_U64, tail_lines),
        STRINGS(link_stream_open, 15, argv),
        STRINGS(link_stream_open, 16, env),
        FIELD(link_stream_open, 17, FORM_BOOL, tty),
        FIELD(link_stream_open, 18, FORM_U32, rows),
        FIELD(link_stream_open, 19, FORM_U32, columns),
};
static const struct table stream_open_table = TABLE(link_stream_open, stream_open_fields);

static const struct field stream_data_fields[] = {
        FIELD(link_stream_data, 1, FORM_U64, stream),
        ENUM(link_stream_data, 2, frame, CONSOLE_STDIN, CONSOLE_ERROR),
        BYTES(link_stream_data, 3, data, len, CONSOLE_FRAME_MAX),
};
static const struct table stream_data_table = TABLE(link_stream_data, stream_data_fields);

static const struct field stream_window_fields[] = {
        FIELD(link_stream_window, 1, FORM_U64, stream),
        FIELD(link_stream_window, 2, FORM_U64, bytes),
};
static const struct table stream_window_table = TABLE(link_stream_window, stream_window_fields);

static const struct field stream_close_fields[] = {
        FIELD(link_stream_close, 1, FORM_U64, stream),
        ENUM(link_stream_close, 2, kind, ERR_NONE, ERR_MAX - 1),
        FIELD(link_stream_close, 3, FORM_TEXT, text),
};
static const struct table stream_close_table = TABLE(link_stream_close, stream_close_fields);

static const struct table empty_table = {0};

static const struct table *const tables[LINK_TYPE_MAX] = {
        [LINK_HELLO] = &hello_table,
        [LINK_WELCOME] = &welcome_table,
        [LINK_BLOB] = &blob_table,
        [LINK_START] = &start_table,
        [LINK_STOP] = &stop_table,
        [LINK_STARTED] = &record_table,
        [LINK_ENDED] = &record_table,
        [LINK_ACK] = &ack_table,
        [LINK_DEVICES] = &devices_table,
        [LINK_BEAT] = &empty_table,
        [LINK_REMOVE] = &remove_table,
        [LINK_STREAM_OPEN] = &stream_open_table,
        [LINK_STREAM_DATA] = &stream_data_table,
        [LINK_STREAM_WINDOW] = &stream_window_table,
        [LINK_STREAM_CLOSE] = &stream_close_table,
        [LINK_SHUTDOWN] = &empty_table,
        [LINK_BYE] = &empty_table,
};

_Static_assert(ARRAY_LEN(start_fields) <= FIELDS_MAX && ARRAY_LEN(stream_open_fields) <= FIELDS_MAX,
        "the decoder counts lists by field");

/* Encoding */

static void put_run(struct buf *b, const struct table *t, const void *value);

static void put_cpus(struct buf *b, uint32_t tag, const struct cpu_set *s)
{
	uint8_t bytes[sizeof(s->bits)];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(s->bits[i / 8] >> (i % 8 * 8));
		if (bytes[i])
			n = i + 1;
	}
	codec_put_bytes(b, tag, bytes, n);
}

static void put_list(struct buf *b, const struct field *f, const uint8_t *elements, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		size_t mark = codec_begin(b, f->tag);

		put_run(b, f->of, elements + (size_t)i * f->of->size);
		codec_end(b, mark);
	}
}

static void put_record(struct buf *b, uint32_t tag, const struct spool_record *r)
{
	size_t mark = codec_begin(b, tag);

	spool_encode(r, b);
	codec_end(b, mark);
}

static void put_field(struct buf *b, const struct field *f, const uint8_t *base)
{
	const void *p = base + f->at;

	switch ((enum form)f->form) {
	case FORM_U64:
		codec_put_u64(b, f->tag, *(const uint64_t *)p);
		break;
	case FORM_U32:
	case FORM_ENUM:
		codec_put_u64(b, f->tag, *(const uint32_t *)p);
		break;
	case FORM_I32:
		codec_put_i64(b, f->tag, *(const int32_t *)p);
		break;
	case FORM_TASK:
		codec_put_i64(b, f->tag, *(const int64_t *)p);
		break;
	case FORM_BOOL:
		codec_put_u64(b, f->tag, *(const bool *)p);
		break;
	case FORM_TEXT:
		codec_put_str(b, f->tag, *(char *const *)p);
		break;
	case FORM_FIXED:
		codec_put_bytes(b, f->tag, p, strnlen(p, f->size));
		break;
	case FORM_STRINGS:
		for (char *const *s = *(char *const *const *)p; s && *s; s++)
			codec_add_bytes(b, f->tag, *s, strlen(*s));
		break;
	case FORM_CPUS:
		put_cpus(b, f->tag, p);
		break;
	case FORM_BYTES:
		codec_put_bytes(b, f->tag, *(const void *const *)p,
		        *(const size_t *)(const void *)(base + f->count));
		break;
	case FORM_LIST:
		put_list(b, f, *(const void *const *)p,
		        *(const uint32_t *)(const void *)(base + f->count));
		break;
	case FORM_RECORD:
		put_record(b, f->tag, p);
		break;
	}
}

static void put_run(struct buf *b, const struct table *t, const void *value)
{
	for (size_t i = 0; i < t->n; i++)
		put_field(b, &t->fields[i], value);
}

static void put_message(struct buf *b, enum link_type type, const void *value)
{
	uint8_t head[HEAD_BYTES] = {(uint8_t)type};
	size_t at = b->len, len;

	buf_add(b, head, sizeof(head));
	put_run(b, tables[type], value);
	if (b->overflow)
		return;
	len = b->len - at - HEAD_BYTES;
	for (size_t i = 0; i < 4; i++)
		b->data[at + 1 + i] = (uint8_t)(len >> (24 - 8 * i));
}

void link_put_hello(struct buf *b, const struct link_hello *m)
{
	put_message(b, LINK_HELLO, m);
}

void link_put_welcome(struct buf *b, const struct link_welcome *m)
{
	put_message(b, LINK_WELCOME, m);
}

void link_put_blob(struct buf *b, const struct link_blob *m)
{
	put_message(b, LINK_BLOB, m);
}

void link_put_start(struct buf *b, const struct link_start *m)
{
	put_message(b, LINK_START, m);
}

void link_put_stop(struct buf *b, const struct link_stop *m)
{
	put_message(b, LINK_STOP, m);
}

void link_put_record(struct buf *b, const struct spool_record *m)
{
	put_message(b, m->kind == SPOOL_STARTED ? LINK_STARTED : LINK_ENDED, m);
}

void link_put_ack(struct buf *b, uint64_t epoch)
{
	put_message(b, LINK_ACK, &epoch);
}

void link_put_devices(struct buf *b, const struct link_devices *m)
{
	put_message(b, LINK_DEVICES, m);
}

void link_put_remove(struct buf *b, const struct link_remove *m)
{
	put_message(b, LINK_REMOVE, m);
}

void link_put_stream_open(struct buf *b, const struct link_stream_open *m)
{
	put_message(b, LINK_STREAM_OPEN, m);
}

void link_put_stream_data(struct buf *b, const struct link_stream_data *m)
{
	put_message(b, LINK_STREAM_DATA, m);
}

void link_put_stream_window(struct buf *b, const struct link_stream_window *m)
{
	put_message(b, LINK_STREAM_WINDOW, m);
}

void link_put_stream_close(struct buf *b, const struct link_stream_close *m)
{
	put_message(b, LINK_STREAM_CLOSE, m);
}

void link_put_empty(struct buf *b, enum link_type type)
{
	BUG_IF(tables[type] != &empty_table);
	put_message(b, type, NULL);
}

/* Decoding: false means that the bytes are not of their form. */

struct list {
	uint32_t n;     /* elements there are */
	uint32_t taken; /* elements filled in */
	size_t bytes;   /* of strings */
	char *text;     /* where the next string goes */
};

static bool get_run(const struct table *t, struct codec_reader r, uint8_t *base, void *ctx);

static bool is_bytes_form(enum form form)
{
	return form == FORM_TEXT || form == FORM_FIXED || form == FORM_STRINGS ||
	       form == FORM_CPUS || form == FORM_BYTES || form == FORM_LIST || form == FORM_RECORD;
}

static bool is_list_form(enum form form)
{
	return form == FORM_STRINGS || form == FORM_LIST;
}

static bool has_nul(const struct codec_field *f)
{
	return memchr(f->data, '\0', f->len) != NULL;
}

static const struct field *find_field(const struct table *t, uint32_t tag)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->fields[i].tag == tag)
			return &t->fields[i];
	return NULL;
}

/* How many elements each list will have, so that each is one block. */
static bool count_lists(const struct table *t, struct codec_reader r, struct list *lists)
{
	struct codec_field in;

	while (codec_next(&r, &in)) {
		const struct field *f = find_field(t, in.tag);

		if (!f || !is_list_form((enum form)f->form))
			continue;
		struct list *l = &lists[f - t->fields];
		if (!in.is_bytes || ++l->n > f->max)
			return false;
		l->bytes += in.len + 1;
	}
	return !r.bad;
}

static void make_lists(const struct table *t, struct list *lists, uint8_t *base, void *ctx)
{
	static char *no_strings[1];

	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];
		struct list *l = &lists[i];
		void *block = NULL;

		if (f->form == FORM_LIST && l->n) {
			block = talloc_zero_size(ctx, (size_t)l->n * f->of->size);
			BUG_IF(!block);
			*(void **)(void *)(base + f->at) = block;
			*(uint32_t *)(void *)(base + f->count) = l->n;
		} else if (f->form == FORM_STRINGS && l->n) {
			block = talloc_size(ctx, (l->n + (size_t)1) * sizeof(char *) + l->bytes);
			BUG_IF(!block);
			*(char ***)(void *)(base + f->at) = block;
			l->text = (char *)((char **)block + l->n + 1);
			((char **)block)[l->n] = NULL;
		} else if (f->form == FORM_STRINGS) {
			*(char ***)(void *)(base + f->at) = no_strings;
		}
	}
}

static bool get_cpus(const struct codec_field *in, struct cpu_set *s)
{
	if (in->len > sizeof(s->bits))
		return false;
	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < in->len; i++)
		s->bits[i / 8] |= (uint64_t)in->data[i] << (i % 8 * 8);
	return true;
}

static bool get_text(const struct codec_field *in, char **ret, void *ctx)
{
	if (has_nul(in))
		return false;
	*ret = talloc_strndup(ctx, (const char *)in->data, in->len);
	BUG_IF(!*ret);
	return true;
}

static bool get_string(const struct codec_field *in, struct list *l, char **strings)
{
	if (has_nul(in))
		return false;
	strings[l->taken++] = l->text;
	memcpy(l->text, in->data, in->len);
	l->text[in->len] = '\0';
	l->text += in->len + 1;
	return true;
}

static bool get_record(const struct codec_field *in, struct spool_record *r)
{
	struct err err;

	return spool_decode(in->data, in->len, r, &err) == (int)in->len;
}

static bool get_bytes_field(const struct field *f, const struct codec_field *in, struct list *l,
        uint8_t *base, void *ctx)
{
	void *p = base + f->at;

	switch ((enum form)f->form) {
	case FORM_TEXT:
		return get_text(in, p, ctx);
	case FORM_FIXED:
		codec_strcpy(p, f->size, in);
		return true;
	case FORM_STRINGS:
		return get_string(in, l, *(char ***)p);
	case FORM_CPUS:
		return get_cpus(in, p);
	case FORM_BYTES:
		*(const void **)p = in->data;
		*(size_t *)(void *)(base + f->count) = in->len;
		return in->len <= f->max;
	case FORM_LIST:
		return get_run(f->of, codec_read(in->data, in->len),
		        *(uint8_t **)p + (size_t)l->taken++ * f->of->size, ctx);
	default:
		return get_record(in, p);
	}
}

static bool get_number_field(const struct field *f, const struct codec_field *in, uint8_t *base)
{
	void *p = base + f->at;
	int64_t i = codec_i64(in);

	switch ((enum form)f->form) {
	case FORM_U64:
		*(uint64_t *)p = in->u;
		return true;
	case FORM_U32:
		*(uint32_t *)p = (uint32_t)in->u;
		return in->u <= UINT32_MAX;
	case FORM_ENUM:
		*(uint32_t *)p = (uint32_t)in->u;
		return in->u <= f->max;
	case FORM_I32:
		*(int32_t *)p = (int32_t)i;
		return i >= INT32_MIN && i <= INT32_MAX;
	case FORM_TASK:
		*(int64_t *)p = i;
		return i >= TASK_NONE;
	default:
		*(bool *)p = in->u != 0;
		return in->u <= 1;
	}
}

/* What no field said is zero, and zero is not always a value. */
static bool has_least(const struct table *t, const uint8_t *base)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];

		if (f->form == FORM_ENUM &&
		        *(const uint32_t *)(const void *)(base + f->at) < f->min)
			return false;
		if (f->form == FORM_RECORD &&
		        !((const struct spool_record *)(const void *)base)->kind)
			return false;
	}
	return true;
}

/* base: a zeroed struct of t. */
static bool get_run(const struct table *t, struct codec_reader r, uint8_t *base, void *ctx)
{
	struct list lists[FIELDS_MAX] = {0};
	struct codec_field in;
	uint32_t seen = 0;

	if (!count_lists(t, r, lists))
		return false;
	make_lists(t, lists, base, ctx);
	while (codec_next(&r, &in)) {
		const struct field *f = find_field(t, in.tag);

		if (!f)
			continue;
		if (in.is_bytes != is_bytes_form((enum form)f->form))
			return false;
		/* A peer must not make one message cost more memory than it is long. */
		if (!is_list_form((enum form)f->form) && seen & (uint32_t)1 << (f - t->fields))
			return false;
		seen |= (uint32_t)1 << (f - t->fields);
		if (in.is_bytes ? !get_bytes_field(f, &in, &lists[f - t->fields], base, ctx)
		                : !get_number_field(f, &in, base))
			return false;
	}
	return has_least(t, base);
}

static bool is_of_its_type(const struct link_message *m)
{
	if (m->type == LINK_STARTED)
		return m->record.kind == SPOOL_STARTED;
	if (m->type == LINK_ENDED)
		return m->record.kind == SPOOL_ENDED;
	return true;
}

int link_next(const uint8_t **p, const uint8_t *end, void *ctx, struct link_message *ret_message,
        struct err *err)
{
	while (*p != end) {
		const uint8_t *q = *p;
		uint64_t len;
		struct link_message m;

		if (end - q < HEAD_BYTES)
			return err_set(
			        err, ERR_CORRUPT, "a message of the link is cut in its head");
		len = (uint64_t)q[1] << 24 | (uint64_t)q[2] << 16 | (uint64_t)q[3] << 8 | q[4];
		if (len > LINK_MESSAGE_MAX || len > (uint64_t)(end - q - HEAD_BYTES))
			return err_set(err, ERR_CORRUPT,
			        "a message of the link says %llu bytes, %zu are there, %llu are allowed",
			        (unsigned long long)len, (size_t)(end - q - HEAD_BYTES),
			        (unsigned long long)LINK_MESSAGE_MAX);
		*p = q + HEAD_BYTES + len;
		if (q[0] >= LINK_TYPE_MAX || !tables[q[0]])
			continue;
		memset(&m, 0, sizeof(m));
		m.type = (enum link_type)q[0];
		if (!get_run(tables[m.type], codec_read(q + HEAD_BYTES, (size_t)len),
		            (uint8_t *)&m + offsetof(struct link_message, hello), ctx) ||
		        !is_of_its_type(&m)) {
			*p = q;
			return err_set(err, ERR_CORRUPT,
			        "a message of the link, type %u, is not of its form", q[0]);
		}
		*ret_message = m;
		return 1;
	}
	return 0;
}
