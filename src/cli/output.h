/*
 * Listings: rows of JSON as the server sent them, shown as -o asks. One description of the columns serves table, wide
 * and csv; json is the server's answer itself.
 * Everything is borrowed for the call. One thread. Writing fails at cli_flush(), once, for the whole program.
 */
#pragma once

#include <jansson.h>

#include "cli/cli.h"

struct output_column {
	const char *title; /* "ID"; in lower case the head of a csv column */
	/* Appends the cell. plain: for csv, exact figures instead of rounded ones. */
	void (*cell)(const json_t *row, bool plain, struct buf *out);
	bool wide_only; /* wide and csv */
	bool right;
	bool may_cut;  /* the first to give way when the terminal is narrow */
	bool is_state; /* coloured */
};

struct output_listing {
	const char *array_key; /* of the rows in the answer */
	const char *name_key;  /* of the string that -o name prints */
	const struct output_column *columns;
	size_t n_columns;
	const char *when_empty; /* on stderr, for a table */
};

void output_listing(const struct cli *cli, const struct output_listing *l, const json_t *answer);
/* One line: text from a server, as a terminal may have it. */
void output_line(const char *text);
/* One value as JSON on one line. */
void output_json_line(const json_t *value);
/* One value as JSON: indented on a terminal, else on one line. */
void output_json(const json_t *value);
/* For a single object: "key: value" lines, keys padded. Values may hold several lines, and are fit to be shown. */
void output_field(const char *key, const char *value);

/*
 * The rest of a line that is `indent` columns long so far, and its end. On a terminal it is broken between words, and what
 * follows is indented alike; elsewhere it is one line.
 */
void output_paragraph(const char *text, unsigned indent);

/* Cells for common kinds of values; "-" (csv: nothing) for what is null or missing. */
void output_cell_string(const json_t *value, bool plain, struct buf *out);
void output_cell_bytes(
        const json_t *value, bool plain, struct buf *out); /* "8 GiB"; plain: 8589934592 */
void output_cell_milli(
        const json_t *value, bool plain, struct buf *out); /* thousandths: "25 %"; plain: 250 */
/* " (by the driver 1 GiB more)" of a slice, where the driver says more than is charged; nothing else. */
void output_drift(const json_t *slice, struct buf *out);
void output_cell_seconds(
        const json_t *value, bool plain, struct buf *out); /* "00:10:00"; plain: 600 */
void output_cell_time(const json_t *value, bool plain,
        struct buf *out); /* local, without the milliseconds; plain: as it came */
