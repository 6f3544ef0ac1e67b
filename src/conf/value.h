/*
 * One setting: a node of the document <-> a member of a struct, by a row of tables/config.def. Private to conf.
 * Members own their strings and lists; value_done() releases them. One thread at a time.
 * What fails says what is wanted and leaves the member as it was; `path` names the setting in messages.
 */
#pragma once

#include "conf/conf.h"
#include "conf/doc.h"

enum value_type {
	VALUE_STRING,
	VALUE_ADDRESS,
	VALUE_CHOICE,
	VALUE_BOOL,
	VALUE_UINT,
	VALUE_INT,
	VALUE_SIZE,
	VALUE_DURATION,
	VALUE_MODE,
	VALUE_LIST,
	VALUE_QUEUES, /* these two by conf.c: their fields are rows of their own */
	VALUE_MODELS,
};

struct field {
	const char *key;
	enum value_type type;
	size_t offset; /* of the member */
	const char *def, *limits, *help;
};

#define FIELD(owner, type, key, member, def, limits, help) \
	{key, VALUE_##type, offsetof(owner, member), def, limits, help},

MUST_CHECK int value_set(const struct field *f, void *base, const struct doc_node *n,
        const char *path, struct err *err);
void value_done(const struct field *f, void *base);
void value_format(const struct field *f, const void *base, struct buf *out);

/* Quoted where YAML could read it otherwise. */
void value_quote(const char *text, struct buf *out);
/* Puts "line N: PATH" before the text; returns -(int)err->kind. */
MUST_CHECK int value_where(const struct doc_node *n, const char *path, struct err *err);
/* "line N: PATH: WANTED is wanted, this is a list". */
MUST_CHECK int value_wrong_kind(
        const struct doc_node *n, const char *path, const char *wanted, struct err *err);
