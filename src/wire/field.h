/*
 * A struct as a codec run, by a table of its fields: one encoder and one decoder walk the table, so the two cannot
 * disagree, and every ceiling stands beside its field. Tables are static and at most FIELD_TABLE_MAX long. Decoded
 * strings and lists hang on the caller's talloc context, BYTES are borrowed. Pure; any thread. Bytes that are not of the
 * form make field_table_get return false; it takes memory in proportion to the bytes, whatever they say.
 */
#pragma once

#include "core/node.h"
#include "wire/codec.h"
#include "wire/spool.h"

#define FIELD_TABLE_MAX   32
#define FIELD_STRINGS_MAX 262144 /* of one list: arguments, environment */

enum field_form {
	FIELD_U64 = 1,
	FIELD_U32,
	FIELD_I32,
	FIELD_TASK, /* int64_t, TASK_NONE or more */
	FIELD_ENUM, /* `min` to `max`, both included */
	FIELD_BOOL,
	FIELD_TEXT,    /* char *, NULL when empty or absent */
	FIELD_FIXED,   /* char[size], cut to fit */
	FIELD_STRINGS, /* char **, NULL-terminated, never NULL when decoded; at most `max` */
	FIELD_CPUS,    /* struct cpu_set */
	FIELD_BYTES,   /* const void * and its length at `count` */
	FIELD_LIST,    /* pointer to elements of `of`, and their number at `count`; at most `max` */
	FIELD_RECORD,  /* struct spool_record, as it stands in a spool */
};

struct field {
	uint8_t tag;
	uint8_t form;
	uint16_t at;    /* offset in the struct */
	uint16_t count; /* offset of the length */
	uint16_t size;
	uint32_t min;
	uint32_t max;
	const struct field_table *of;
};

struct field_table {
	size_t size; /* of the struct */
	size_t n;
	const struct field *fields;
};

/* Rows of a table: struct, tag, form or what the form needs. */
/* clang-format off */
#define FIELD(s, t, f, member) {.tag = (t), .form = (f), .at = offsetof(struct s, member)}
#define FIELD_OF_ENUM(s, t, member, low, high) \
	{.tag = (t), .form = FIELD_ENUM, .at = offsetof(struct s, member), .min = (low), .max = (high)}
#define FIELD_OF_FIXED(s, t, member) \
	{.tag = (t), .form = FIELD_FIXED, .at = offsetof(struct s, member), .size = sizeof(((struct s *)0)->member)}
#define FIELD_OF_STRINGS(s, t, member) \
	{.tag = (t), .form = FIELD_STRINGS, .at = offsetof(struct s, member), .max = FIELD_STRINGS_MAX}
#define FIELD_OF_BYTES(s, t, member, length, high) \
	{.tag = (t), .form = FIELD_BYTES, .at = offsetof(struct s, member), .count = offsetof(struct s, length), .max = (high)}
#define FIELD_OF_LIST(s, t, member, number, high, table) \
	{.tag = (t), .form = FIELD_LIST, .at = offsetof(struct s, member), .count = offsetof(struct s, number), .max = (high), .of = &(table)}
#define FIELD_TABLE(s, array) {.size = sizeof(struct s), .n = ARRAY_LEN(array), .fields = (array)}
/* clang-format on */

/* Appends the fields of *value, a struct of t. */
void field_table_put(const struct field_table *t, const void *value, struct buf *b);
/* Fills *ret_value, a zeroed struct of t; tags that t does not have are passed over. */
MUST_CHECK bool field_table_get(
        const struct field_table *t, const void *data, size_t len, void *ctx, void *ret_value);
