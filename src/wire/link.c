#include "wire/link.h"

#include "wire/field.h"

#include <string.h>

#define ATTEMPTS_MAX 262144 /* in a HELLO or a REMOVE */
#define HEAD_BYTES   5

/* clang-format off */
static const struct field device_fields[] = {
	FIELD_OF_FIXED(device_info, 1, uuid),
	FIELD_OF_FIXED(device_info, 2, model),
	FIELD(device_info, 3, FIELD_U32, index),
	FIELD(device_info, 4, FIELD_U64, mem_bytes),
	FIELD(device_info, 5, FIELD_U32, cc),
	FIELD(device_info, 6, FIELD_U32, cuda),
	FIELD_OF_FIXED(device_info, 7, driver),
	FIELD(device_info, 8, FIELD_I32, numa_node),
	FIELD(device_info, 9, FIELD_CPUS, cpus),
	FIELD(device_info, 10, FIELD_BOOL, simulated),
	FIELD_OF_ENUM(device_info, 11, health, DEVICE_OK, DEVICE_LOST),
	FIELD_OF_FIXED(device_info, 12, health_text),
	FIELD(device_info, 13, FIELD_U64, withheld_bytes),
	FIELD_OF_ENUM(device_info, 14, held_by, HELD_BY_NONE, HELD_BY_MIG),
	FIELD(device_info, 15, FIELD_U32, card_milli),
};
static const struct field_table device_table = FIELD_TABLE(device_info, device_fields);

static const struct field slice_fields[] = {
	FIELD_OF_FIXED(slice_record, 1, device),
	FIELD(slice_record, 2, FIELD_U64, mem_bytes),
	FIELD(slice_record, 3, FIELD_U32, share_milli),
};
static const struct field_table slice_table = FIELD_TABLE(slice_record, slice_fields);

static const struct field attempt_fields[] = {
	FIELD(link_attempt, 1, FIELD_U64, id.num),
	FIELD(link_attempt, 2, FIELD_TASK, id.task),
	FIELD(link_attempt, 3, FIELD_U64, epoch),
	FIELD(link_attempt, 4, FIELD_U32, attempt),
	FIELD_OF_ENUM(link_attempt, 5, phase, 0, LINK_ENDED_UNACKED), /* 0 in a REMOVE */
};
static const struct field_table attempt_table = FIELD_TABLE(link_attempt, attempt_fields);

static const struct field hello_fields[] = {
	FIELD(link_hello, 1, FIELD_U32, version),
	FIELD(link_hello, 2, FIELD_TEXT, program),
	FIELD(link_hello, 3, FIELD_TEXT, name),
	FIELD(link_hello, 4, FIELD_TEXT, boot_id),
	FIELD(link_hello, 5, FIELD_CPUS, cpus),
	FIELD(link_hello, 6, FIELD_U64, mem_bytes),
	FIELD_OF_LIST(link_hello, 7, devices, n_devices, NODE_DEVICES_MAX, device_table),
	FIELD_OF_LIST(link_hello, 8, attempts, n_attempts, ATTEMPTS_MAX, attempt_table),
	FIELD(link_hello, 9, FIELD_TEXT, key),
};
static const struct field_table hello_table = FIELD_TABLE(link_hello, hello_fields);

static const struct field model_fields[] = {
	FIELD(link_model, 1, FIELD_TEXT, model),
	FIELD_OF_ENUM(link_model, 2, mechanism, 0, LINK_MECHANISM_KERNEL),
};
static const struct field_table model_table = FIELD_TABLE(link_model, model_fields);

static const struct field welcome_fields[] = {
	FIELD(link_welcome, 1, FIELD_U64, node),
	FIELD(link_welcome, 2, FIELD_U32, heartbeat_ms),
	FIELD(link_welcome, 3, FIELD_U64, grace_ms),
	FIELD(link_welcome, 4, FIELD_U64, output_max),
	FIELD(link_welcome, 5, FIELD_U32, start_burst),
	FIELD(link_welcome, 6, FIELD_U32, watchdog),
	FIELD(link_welcome, 7, FIELD_TEXT, server_program),
	FIELD(link_welcome, 8, FIELD_U64, max_processes),
	FIELD(link_welcome, 9, FIELD_BOOL, cap_cpus),
	FIELD(link_welcome, 10, FIELD_U32, io_weight),
	FIELD(link_welcome, 11, FIELD_TEXT, group_parent),
	FIELD_OF_ENUM(link_welcome, 12, mechanism, 0, LINK_MECHANISM_KERNEL),
	FIELD_OF_LIST(link_welcome, 13, models, n_models, LINK_MODELS_MAX, model_table),
	FIELD(link_welcome, 14, FIELD_BOOL, cap_compute),
};
static const struct field_table welcome_table = FIELD_TABLE(link_welcome, welcome_fields);

static const struct field blob_fields[] = {
	FIELD(link_blob, 1, FIELD_U64, num),
	FIELD_OF_BYTES(link_blob, 2, data, len, LINK_MESSAGE_MAX),
};
static const struct field_table blob_table = FIELD_TABLE(link_blob, blob_fields);

static const struct field start_fields[] = {
	FIELD(link_start, 1, FIELD_U64, id.num),
	FIELD(link_start, 2, FIELD_TASK, id.task),
	FIELD(link_start, 3, FIELD_U32, attempt),
	FIELD(link_start, 4, FIELD_U64, epoch),
	FIELD(link_start, 5, FIELD_TEXT, name),
	FIELD(link_start, 6, FIELD_TEXT, queue),
	FIELD(link_start, 7, FIELD_TEXT, user),
	FIELD(link_start, 8, FIELD_U32, uid),
	FIELD_OF_STRINGS(link_start, 9, argv),
	FIELD(link_start, 10, FIELD_U64, env_blob),
	FIELD(link_start, 11, FIELD_TEXT, chdir),
	FIELD(link_start, 12, FIELD_TEXT, output),
	FIELD(link_start, 13, FIELD_TEXT, error),
	FIELD(link_start, 14, FIELD_BOOL, tty),
	FIELD(link_start, 15, FIELD_U32, rows),
	FIELD(link_start, 16, FIELD_U32, columns),
	FIELD(link_start, 17, FIELD_U64, time_limit_ms),
	FIELD(link_start, 18, FIELD_U64, mem_bytes),
	FIELD(link_start, 19, FIELD_U32, n_cpus),
	FIELD(link_start, 20, FIELD_CPUS, cpus),
	FIELD_OF_LIST(link_start, 21, slices, n_slices, NODE_DEVICES_MAX, slice_table),
	FIELD(link_start, 22, FIELD_U64, array_size),
	FIELD(link_start, 23, FIELD_TEXT, grant),
	FIELD(link_start, 24, FIELD_U32, ranks),
	FIELD(link_start, 25, FIELD_BOOL, label),
};
static const struct field_table start_table = FIELD_TABLE(link_start, start_fields);

static const struct field stop_fields[] = {
	FIELD(link_stop, 1, FIELD_U64, id.num),
	FIELD(link_stop, 2, FIELD_TASK, id.task),
	FIELD(link_stop, 3, FIELD_U64, epoch),
	FIELD_OF_ENUM(link_stop, 4, cause, SPOOL_EXIT, SPOOL_CAUSE_MAX - 1),
	FIELD(link_stop, 5, FIELD_BOOL, force),
};
static const struct field_table stop_table = FIELD_TABLE(link_stop, stop_fields);

static const struct field record_fields[] = {{.tag = 1, .form = FIELD_RECORD}};
static const struct field_table record_table = FIELD_TABLE(spool_record, record_fields);

static const struct field number_fields[] = {{.tag = 1, .form = FIELD_U64}};
static const struct field_table number_table = {.size = sizeof(uint64_t), .n = 1, .fields = number_fields};

static const struct field devices_fields[] = {
	FIELD_OF_LIST(link_devices, 1, devices, n_devices, NODE_DEVICES_MAX, device_table),
};
static const struct field_table devices_table = FIELD_TABLE(link_devices, devices_fields);

static const struct field remove_fields[] = {
	FIELD_OF_LIST(link_remove, 1, attempts, n_attempts, ATTEMPTS_MAX, attempt_table),
	FIELD(link_remove, 2, FIELD_U64, number),
};
static const struct field_table remove_table = FIELD_TABLE(link_remove, remove_fields);

static const struct field stream_open_fields[] = {
	FIELD(link_stream_open, 1, FIELD_U64, stream),
	FIELD_OF_ENUM(link_stream_open, 2, kind, LINK_STREAM_LOG, LINK_STREAM_EXEC),
	FIELD(link_stream_open, 3, FIELD_U64, id.num),
	FIELD(link_stream_open, 4, FIELD_TASK, id.task),
	FIELD(link_stream_open, 5, FIELD_U32, attempt),
	FIELD(link_stream_open, 6, FIELD_U64, epoch),
	FIELD(link_stream_open, 7, FIELD_TEXT, output),
	FIELD(link_stream_open, 8, FIELD_TEXT, error),
	FIELD(link_stream_open, 9, FIELD_BOOL, want_stdout),
	FIELD(link_stream_open, 10, FIELD_BOOL, want_stderr),
	FIELD(link_stream_open, 11, FIELD_BOOL, follow),
	FIELD(link_stream_open, 12, FIELD_BOOL, ended),
	FIELD(link_stream_open, 13, FIELD_U64, offset),
	FIELD(link_stream_open, 14, FIELD_U64, tail_lines),
	FIELD_OF_STRINGS(link_stream_open, 15, argv),
	FIELD_OF_STRINGS(link_stream_open, 16, env),
	FIELD(link_stream_open, 17, FIELD_BOOL, tty),
	FIELD(link_stream_open, 18, FIELD_U32, rows),
	FIELD(link_stream_open, 19, FIELD_U32, columns),
	FIELD(link_stream_open, 20, FIELD_TEXT, grant),
	FIELD(link_stream_open, 21, FIELD_TEXT, user),
};
static const struct field_table stream_open_table = FIELD_TABLE(link_stream_open, stream_open_fields);

static const struct field stream_data_fields[] = {
	FIELD(link_stream_data, 1, FIELD_U64, stream),
	FIELD_OF_ENUM(link_stream_data, 2, frame, CONSOLE_STDIN, CONSOLE_ERROR),
	FIELD_OF_BYTES(link_stream_data, 3, data, len, CONSOLE_FRAME_MAX),
};
static const struct field_table stream_data_table = FIELD_TABLE(link_stream_data, stream_data_fields);

static const struct field stream_window_fields[] = {
	FIELD(link_stream_window, 1, FIELD_U64, stream),
	FIELD(link_stream_window, 2, FIELD_U64, bytes),
};
static const struct field_table stream_window_table = FIELD_TABLE(link_stream_window, stream_window_fields);

static const struct field stream_close_fields[] = {
	FIELD(link_stream_close, 1, FIELD_U64, stream),
	FIELD_OF_ENUM(link_stream_close, 2, kind, ERR_NONE, ERR_MAX - 1),
	FIELD(link_stream_close, 3, FIELD_TEXT, text),
};
static const struct field_table stream_close_table = FIELD_TABLE(link_stream_close, stream_close_fields);

static const struct field note_fields[] = {
	FIELD(link_note, 1, FIELD_U64, id.num),
	FIELD(link_note, 2, FIELD_TASK, id.task),
	FIELD(link_note, 3, FIELD_U64, epoch),
	FIELD(link_note, 4, FIELD_TEXT, text),
	FIELD(link_note, 5, FIELD_U32, cause),
};
static const struct field used_slice_fields[] = {
	FIELD_OF_FIXED(slice_record, 1, device),
	FIELD(slice_record, 2, FIELD_U64, used_bytes),
	FIELD(slice_record, 3, FIELD_U64, driver_bytes),
};
static const struct field_table used_slice_table = FIELD_TABLE(slice_record, used_slice_fields);

static const struct field use_fields[] = {
	FIELD(link_use, 1, FIELD_U64, id.num),
	FIELD(link_use, 2, FIELD_TASK, id.task),
	FIELD(link_use, 3, FIELD_U64, epoch),
	FIELD_OF_LIST(link_use, 4, slices, n_slices, NODE_DEVICES_MAX, used_slice_table),
};
static const struct field_table use_table = FIELD_TABLE(link_use, use_fields);

static const struct field_table note_table = FIELD_TABLE(link_note, note_fields);

static const struct field_table empty_table = {0};

static const struct field_table *const tables[LINK_TYPE_MAX] = {
	[LINK_HELLO] = &hello_table,
	[LINK_WELCOME] = &welcome_table,
	[LINK_BLOB] = &blob_table,
	[LINK_START] = &start_table,
	[LINK_STOP] = &stop_table,
	[LINK_STARTED] = &record_table,
	[LINK_ENDED] = &record_table,
	[LINK_ACK] = &number_table,
	[LINK_DEVICES] = &devices_table,
	[LINK_BEAT] = &empty_table,
	[LINK_REMOVE] = &remove_table,
	[LINK_STREAM_OPEN] = &stream_open_table,
	[LINK_STREAM_DATA] = &stream_data_table,
	[LINK_STREAM_WINDOW] = &stream_window_table,
	[LINK_STREAM_CLOSE] = &stream_close_table,
	[LINK_SHUTDOWN] = &empty_table,
	[LINK_BYE] = &empty_table,
	[LINK_REMOVED] = &number_table,
	[LINK_DROP] = &number_table,
	[LINK_NOTE] = &note_table,
	[LINK_USE] = &use_table,
};
/* clang-format on */

static void put_message(struct buf *b, enum link_type type, const void *value)
{
	uint8_t head[HEAD_BYTES] = {(uint8_t)type};
	size_t at = b->len, len;

	buf_add(b, head, sizeof(head));
	field_table_put(tables[type], value, b);
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

void link_put_removed(struct buf *b, uint64_t number)
{
	put_message(b, LINK_REMOVED, &number);
}

void link_put_drop(struct buf *b, uint64_t blob)
{
	put_message(b, LINK_DROP, &blob);
}

void link_put_use(struct buf *b, const struct link_use *m)
{
	put_message(b, LINK_USE, m);
}

void link_put_note(struct buf *b, const struct link_note *m)
{
	put_message(b, LINK_NOTE, m);
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
		if (!field_table_get(tables[m.type], q + HEAD_BYTES, (size_t)len, ctx,
		            (uint8_t *)&m + offsetof(struct link_message, hello)) ||
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

static size_t message_len(const uint8_t *p)
{
	return HEAD_BYTES + ((size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4]);
}

size_t link_piece(const uint8_t *data, size_t len)
{
	size_t n = message_len(data);

	while (n < len && n + message_len(data + n) <= LINK_PIECE)
		n += message_len(data + n);
	return n;
}
