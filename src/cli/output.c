#include "cli/output.h"

#include <ctype.h>
#include <libsmartcols/libsmartcols.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/terminal.h"

#define CELL_MAX (64 * KIB)

/* By the first word of the cell: "RUNNING 3/8", "degraded: XID 79". */
static const char *state_colour(const char *cell)
{
	static const struct {
		const char *word, *colour;
	} colours[] = {{"PENDING", "yellow"}, {"STARTING", "cyan"}, {"RUNNING", "green"},
	        {"COMPLETING", "cyan"}, {"FAILED", "red"}, {"TIMEOUT", "red"},
	        {"OUT_OF_MEMORY", "red"}, {"NODE_FAIL", "red"}, {"down", "red"},
	        {"drained", "yellow"}, {"lost", "red"}, {"degraded", "yellow"}};
	size_t len = strcspn(cell, " :");

	for (size_t i = 0; i < ARRAY_LEN(colours); i++)
		if (strlen(colours[i].word) == len && memcmp(colours[i].word, cell, len) == 0)
			return colours[i].colour;
	return NULL;
}

static bool is_shown(const struct cli *cli, const struct output_column *col)
{
	return cli->format != OUTPUT_TABLE || !col->wide_only;
}

static void add_table_row(const struct cli *cli, const struct output_listing *l, const json_t *row,
        struct libscols_table *table)
{
	CLEANUP_BUF struct buf cell = BUF_INIT(CELL_MAX);
	struct libscols_line *line = scols_table_new_line(table, NULL);
	size_t place = 0;

	BUG_IF(!line);
	for (size_t i = 0; i < l->n_columns; i++) {
		const struct output_column *col = &l->columns[i];
		if (!is_shown(cli, col))
			continue;
		buf_reset(&cell);
		col->cell(row, false, &cell);
		BUG_IF(scols_line_set_data(line, place, buf_str(&cell)));
		const char *colour = col->is_state ? state_colour(buf_str(&cell)) : NULL;
		if (colour)
			scols_cell_set_color(scols_line_get_cell(line, place), colour);
		place++;
	}
}

static void print_table(const struct cli *cli, const struct output_listing *l, const json_t *rows)
{
	struct libscols_table *table;
	size_t i;
	json_t *row;

	setlocale(LC_CTYPE, "");
	table = scols_new_table();
	BUG_IF(!table);
	scols_table_enable_colors(table, terminal_wants_colour());
	if (!isatty(STDOUT_FILENO))
		scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER);
	for (size_t c = 0; c < l->n_columns; c++) {
		const struct output_column *col = &l->columns[c];
		if (is_shown(cli, col))
			BUG_IF(!scols_table_new_column(table, col->title, col->may_cut ? 0.3 : 1,
			        (col->right ? SCOLS_FL_RIGHT : 0) |
			                (col->may_cut ? SCOLS_FL_TRUNC : 0)));
	}
	json_array_foreach(rows, i, row) add_table_row(cli, l, row, table);
	scols_print_table(table);
	scols_unref_table(table);
}

/* RFC 4180: quoted when it holds a comma, a quote or a line end. */
static void print_csv_cell(const char *cell, bool first)
{
	if (!first)
		putchar(',');
	if (!strpbrk(cell, ",\"\r\n")) {
		fputs(cell, stdout);
		return;
	}
	putchar('"');
	for (; *cell; cell++) {
		if (*cell == '"')
			putchar('"');
		putchar(*cell);
	}
	putchar('"');
}

static void print_csv(const struct output_listing *l, const json_t *rows)
{
	CLEANUP_BUF struct buf cell = BUF_INIT(CELL_MAX);
	size_t i;
	json_t *row;

	for (size_t c = 0; c < l->n_columns; c++) {
		buf_reset(&cell);
		for (const char *t = l->columns[c].title; *t; t++)
			buf_add_byte(&cell, (uint8_t)(*t == ' ' ? '_' : tolower(*t)));
		print_csv_cell(buf_str(&cell), c == 0);
	}
	putchar('\n');
	json_array_foreach(rows, i, row)
	{
		for (size_t c = 0; c < l->n_columns; c++) {
			buf_reset(&cell);
			l->columns[c].cell(row, true, &cell);
			print_csv_cell(buf_str(&cell), c == 0);
		}
		putchar('\n');
	}
}

void output_listing(const struct cli *cli, const struct output_listing *l, const json_t *answer)
{
	const json_t *rows = json_object_get(answer, l->array_key), *row;
	size_t i;

	switch (cli->format) {
	case OUTPUT_JSON:
		output_json(answer);
		return;
	case OUTPUT_NAME:
		json_array_foreach(rows, i, row)
		{
			const char *name = json_string_value(json_object_get(row, l->name_key));
			output_line(name ? name : "-");
		}
		return;
	case OUTPUT_CSV:
		print_csv(l, rows);
		return;
	case OUTPUT_TABLE:
	case OUTPUT_WIDE:
		if (json_array_size(rows) == 0 && l->when_empty)
			cli_say("%s", l->when_empty);
		else
			print_table(cli, l, rows);
		return;
	}
}

/* What terminals obey stands in strings only, and as an escape there: DEL and C1, which JSON would let through. */
static int put_json(const char *data, size_t len, void *stream)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)data[i];
		unsigned char next = i + 1 < len ? (unsigned char)data[i + 1] : 0;

		if (c == 0x7f)
			fputs("\\u007f", stream);
		else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			fprintf(stream, "\\u%04x", (unsigned)data[++i] & 0xff);
		else
			putc(c, stream);
	}
	return 0;
}

static void print_json(const json_t *value, size_t flags)
{
	if (value)
		json_dump_callback(value, put_json, stdout, JSON_ENCODE_ANY | flags);
	else
		fputs("null", stdout); /* the answer had no body */
	putchar('\n');
}

void output_json(const json_t *value)
{
	print_json(value, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
}

void output_json_line(const json_t *value)
{
	print_json(value, JSON_COMPACT);
}

void output_line(const char *text)
{
	CLEANUP_BUF struct buf shown = BUF_INIT(CELL_MAX);

	cli_add_shown(&shown, text);
	puts(buf_str(&shown));
}

void output_field(const char *key, const char *value)
{
	const char *line = value;

	for (;;) {
		size_t len = strcspn(line, "\n");
		printf("%-14s %.*s\n", line == value ? key : "", (int)len, line);
		if (!line[len] || !line[len + 1])
			return;
		line += len + 1;
	}
}

void output_paragraph(const char *text, unsigned indent)
{
	unsigned width = isatty(STDOUT_FILENO) ? terminal_size().columns : UINT_MAX;
	unsigned at = indent;

	while (*text) {
		size_t bytes = strcspn(text, " ");
		unsigned chars = 0;
		for (size_t i = 0; i < bytes; i++)
			chars += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (at > indent && at + 1 + chars > width) {
			printf("\n%*s", (int)indent, "");
			at = indent;
		}
		printf("%s%.*s", at > indent ? " " : "", (int)bytes, text);
		at += chars + (at > indent);
		text += bytes + strspn(text + bytes, " ");
	}
	putchar('\n');
}

static bool is_absent(const json_t *value, bool plain, struct buf *out)
{
	if (value && !json_is_null(value))
		return false;
	if (!plain)
		buf_add_str(out, "-");
	return true;
}

void output_cell_string(const json_t *value, bool plain, struct buf *out)
{
	if (is_absent(value, plain, out))
		return;
	if (json_is_string(value))
		cli_add_shown(out, json_string_value(value));
	else if (json_is_integer(value))
		buf_addf(out, "%lld", (long long)json_integer_value(value));
	else if (json_is_boolean(value))
		buf_add_str(out, json_is_true(value) ? "yes" : "no");
	else if (json_is_real(value))
		buf_addf(out, "%g", json_real_value(value));
}

void output_cell_bytes(const json_t *value, bool plain, struct buf *out)
{
	char text[24];

	if (plain || !json_is_integer(value))
		output_cell_string(value, plain, out);
	else
		buf_add_str(out, num_format_size((uint64_t)json_integer_value(value), text));
}

void output_drift(const json_t *slice, struct buf *out)
{
	const json_t *used = json_object_get(slice, "used_bytes");
	json_int_t more = json_integer_value(json_object_get(slice, "driver_bytes")) -
	                  json_integer_value(used);
	char size[24];

	if (json_is_integer(used) && more > 0)
		buf_addf(out, " (by the driver %s more)", num_format_size((uint64_t)more, size));
}

void output_cell_milli(const json_t *value, bool plain, struct buf *out)
{
	long long milli = json_integer_value(value);

	if (plain || !json_is_integer(value))
		output_cell_string(value, plain, out);
	else if (milli % 10)
		buf_addf(out, "%lld.%lld %%", milli / 10, milli % 10);
	else
		buf_addf(out, "%lld %%", milli / 10);
}

void output_cell_seconds(const json_t *value, bool plain, struct buf *out)
{
	char text[32];

	if (plain || !json_is_integer(value))
		output_cell_string(value, plain, out);
	else
		buf_add_str(out, num_format_duration((uint64_t)json_integer_value(value), text));
}

void output_cell_time(const json_t *value, bool plain, struct buf *out)
{
	const char *text = json_string_value(value);
	struct tm tm = {0};
	char shown[32];

	if (plain || !text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm)) {
		output_cell_string(value, plain, out);
		return;
	}
	time_t t = timegm(&tm);
	localtime_r(&t, &tm);
	strftime(shown, sizeof(shown), "%Y-%m-%d %H:%M:%S", &tm);
	buf_add_str(out, shown);
}
