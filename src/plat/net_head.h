/*
 * The head of an HTTP message: where it ends, whether every reader would read it alike, what it says. For files of this folder.
 * Strings live in the talloc context that was given; nothing else is kept. Any thread.
 * What is wrong comes back as a fault: the status to answer and one line of text.
 */
#pragma once

#include "base/err.h"

#include <http_parser.h>

#define HEAD_FIELDS_MAX 100
#define HEAD_QUERY_MAX  1000

struct head_pair {
	const char *name;
	const char *value;
};

struct head_fault {
	int status;
	enum err_kind kind;
	const char *text;
	const char *hint; /* or NULL */
};

struct head {
	const char *
	        path; /* decoded, begins with '/', no "." and ".." parts, no empty ones but the last */
	struct head_pair *query;
	unsigned n_query;
	unsigned n_fields;
	struct head_pair fields[HEAD_FIELDS_MAX];
	unsigned minor;  /* HTTP/1.minor */
	bool has_length; /* Content-Length is there and is `length` */
	bool is_chunked;
	uint64_t length;
};

enum head_state { HEAD_MORE, HEAD_WHOLE, HEAD_BAD };

/* Looks for the empty line. *scanned is 0 for a new head and kept between calls on the same, longer bytes. Lines that do not end in
 * CR LF are bad as soon as they are seen. */
enum head_state head_scan(const uint8_t *bytes, size_t len, size_t *scanned, size_t *ret_len);

/* The first line of a request alone, as soon as head_scan has seen its end: who speaks another HTTP does not wait for the rest. 0 as long
 * as it is not whole. */
MUST_CHECK int head_check_first(const uint8_t *bytes, size_t len, struct head_fault *fault);
/* bytes[0..len) is a whole head. On success the parser stands where the body begins; p->data is the caller's to set. */
MUST_CHECK int head_parse_request(void *ctx, http_parser *p, const uint8_t *bytes, size_t len,
        struct head *h, struct head_fault *fault);
/* The same for an answer; its status is p->status_code. */
MUST_CHECK int head_parse_answer(void *ctx, http_parser *p, const uint8_t *bytes, size_t len,
        struct head *h, struct head_fault *fault);

const char *head_find(
        const struct head *h, const char *name); /* first, any case; NULL when absent */
bool head_has_word(const struct head *h, const char *name,
        const char *word); /* in the comma lists of all fields of that name */
/* nth value of a key of the query, from 0; NULL when there are not so many. */
const char *head_query(const struct head *h, const char *key, unsigned nth);

/* The bytes between the pieces of a chunked body must have their one exact form, too. Zeroed for a new body. */
struct chunk_check {
	int state;
	unsigned n_digits;
	bool is_more; /* the size being read is not 0 */
};
bool chunk_check_framing(struct chunk_check *k, const void *framing, size_t len); /* false: wrong */
bool chunk_check_data(const struct chunk_check *k); /* data may come here */
