/*
 * tables/config.def as arrays, and what reads entries of maps by them, for the files of this folder. The arrays are
 * static and constant; any thread. What fails says what is wanted.
 */
#pragma once

#include "conf/value.h"

extern const struct field conf_fields[CONF_KEY_N]; /* by enum conf_key */
extern const struct field conf_queue_fields[CONF_QUEUE_N];
extern const struct field conf_model_fields[CONF_MODEL_N];

/* An entry of `queues` or `gpu.models`: all its fields as they are by default; then those that a map names. */
void entry_default(const struct field *fields, size_t n_fields, void *entry);
MUST_CHECK int entry_set(const struct field *fields, size_t n_fields, void *entry, uint8_t *source,
        const struct doc_node *n, const char *path, enum conf_source from, struct err *err);
/* A value as it is typed, as the node that the file would give; the caller's to free. */
MUST_CHECK int text_node(
        enum value_type type, const char *text, struct doc_node **ret_root, struct err *err);

/* queue.c: the map of all of them; what was there before is replaced. */
MUST_CHECK int queues_set(struct conf_queues *queues, const struct doc_node *n, const char *path,
        enum conf_source from, struct err *err);
void queues_free(struct conf_queues *queues);
