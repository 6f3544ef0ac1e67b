#include <stdio.h>
#include <string.h>

#include "conf/fields.h"

#define VALUE_MAX (2 * MIB)

const char *conf_source_name(enum conf_source source)
{
	static const char *const names[] = {
	        [CONF_FROM_DEFAULT] = "default",
	        [CONF_FROM_FILE] = "file",
	        [CONF_FROM_ENVIRONMENT] = "environment",
	        [CONF_FROM_FLAG] = "flag",
	        [CONF_FROM_RUN_TIME] = "run time",
	};

	return names[source];
}

struct visit {
	void (*fn)(const struct conf_row *row, void *arg);
	void *arg;
	struct buf value, key; /* of the row at hand */
};

/* The limits of the others are of their length, which nobody meets by chance. */
static bool is_bounded(enum value_type type)
{
	return type != VALUE_STRING && type != VALUE_ADDRESS && type != VALUE_LIST &&
	       type != VALUE_QUEUES && type != VALUE_MODELS;
}

/*
 * A row's path is the parts of a key of the table, then the entry's name and its field. Without a name, f is the
 * setting itself; without a base it is a map without entries.
 */
static void visit_row(struct visit *v, const struct field *table_field, const char *name,
        size_t entry, const struct field *f, const void *base, enum conf_source source)
{
	struct conf_row row = {.source = source, .entry = entry};
	char parts[64], *dot;

	BUG_IF(strlen(table_field->key) >= sizeof(parts));
	memcpy(parts, table_field->key, strlen(table_field->key) + 1);
	row.def = f->def;
	row.limits = is_bounded(f->type) ? f->limits : "";
	row.help = f->help;
	row.path[row.n_path++] = parts;
	dot = strchr(parts, '.');
	if (dot) {
		*dot = '\0';
		row.path[row.n_path++] = dot + 1;
	}
	if (name) {
		row.path[row.n_path++] = name;
		row.path[row.n_path++] = f->key;
	}
	buf_reset(&v->key);
	for (size_t i = 0; i < row.n_path; i++)
		buf_addf(&v->key, "%s%s", i ? "." : "", row.path[i]);
	row.key = buf_str(&v->key);
	buf_reset(&v->value);
	if (base)
		value_format(f, base, &v->value);
	else
		buf_add_str(&v->value, "{}");
	row.value = buf_str(&v->value);
	v->fn(&row, v->arg);
}

void conf_each(const struct conf *c, void (*fn)(const struct conf_row *row, void *arg), void *arg)
{
	struct visit v = {fn, arg, BUF_INIT(VALUE_MAX), BUF_INIT(VALUE_MAX)};

	for (size_t k = 0; k < CONF_KEY_N; k++) {
		const struct field *f = &conf_fields[k];

		if (f->type == VALUE_QUEUES) {
			for (size_t i = 0; i < c->queues.n; i++)
				for (size_t j = 0; j < CONF_QUEUE_N; j++)
					visit_row(&v, f, c->queues.v[i].name, i,
					        &conf_queue_fields[j], &c->queues.v[i],
					        c->queues.v[i].source[j]);
		} else if (f->type == VALUE_MODELS) {
			for (size_t i = 0; i < c->gpu_models.n; i++)
				for (size_t j = 0; j < CONF_MODEL_N; j++)
					visit_row(&v, f, c->gpu_models.v[i].name, i,
					        &conf_model_fields[j], &c->gpu_models.v[i],
					        c->gpu_models.v[i].source[j]);
			if (c->gpu_models.n == 0)
				visit_row(&v, f, NULL, 0, f, NULL, c->source[k]);
		} else {
			visit_row(&v, f, NULL, 0, f, c, c->source[k]);
		}
	}
	buf_done(&v.value);
	buf_done(&v.key);
}

struct show {
	struct buf *out;
	bool explain;
	char open[4][DOC_KEY_MAX + 1]; /* the path of the row before */
	size_t n_open;
};

static void show_indent(struct show *s, size_t depth)
{
	for (size_t i = 0; i < depth; i++)
		buf_add_str(s->out, "  ");
}

static void show_path(struct show *s, const struct conf_row *row)
{
	size_t same = 0;

	while (same + 1 < row->n_path && same + 1 < s->n_open &&
	        strcmp(s->open[same], row->path[same]) == 0)
		same++;
	if (same == 0)
		buf_add_str(s->out, "\n");
	for (size_t i = same; i + 1 < row->n_path; i++) {
		show_indent(s, i);
		value_quote(row->path[i], s->out);
		buf_add_str(s->out, ":\n");
	}
	for (size_t i = same; i < row->n_path; i++)
		snprintf(s->open[i], sizeof(s->open[i]), "%s", row->path[i]);
	s->n_open = row->n_path;
}

static void show_row(const struct conf_row *row, void *arg)
{
	struct show *s = arg;

	show_path(s, row);
	/* The fields of queues and models are explained at the first one. */
	if (s->explain && row->entry == 0) {
		show_indent(s, row->n_path - 1);
		buf_addf(s->out, "# %s", row->help);
		if (*row->limits)
			buf_addf(s->out, " (%s)", row->limits);
		buf_add_str(s->out, "\n");
	}
	show_indent(s, row->n_path - 1);
	value_quote(row->path[row->n_path - 1], s->out);
	buf_addf(s->out, ": %s  # %s\n", row->value, conf_source_name(row->source));
}

void conf_show(const struct conf *c, bool explain, struct buf *out)
{
	struct show s = {.out = out, .explain = explain};

	buf_add_str(out, "# The configuration in force, and where each setting comes from.\n");
	conf_each(c, show_row, &s);
}
