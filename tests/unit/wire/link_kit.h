/*
 * Link messages there and back, for tests. A struct wire belongs to its test, until wire_free or expect_end. One thread.
 */
#pragma once

#include "wire/link.h"

#define WIRE_MAX (32 * MIB)

/* What went out, read back. */
struct wire {
	struct buf out;
	const uint8_t *p;
	void *ctx;
	struct link_message m;
	struct err err;
};

struct wire *wire_new(void);
void wire_free(struct wire *w);
int wire_next(struct wire *w);
void expect(struct wire *w, enum link_type type);
void expect_end(struct wire *w);
struct device_info a_device(uint32_t index);
void put_hello(struct buf *b, uint32_t n_devices, uint32_t n_attempts);
void put_start(struct buf *b);
struct spool_record a_record(enum spool_kind kind);
void put_open(struct buf *b);
