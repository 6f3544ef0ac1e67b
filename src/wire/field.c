#include "wire/field.h"

#include <string.h>
#include <talloc.h>

#include "base/text.h"

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

		field_table_put(f->of, elements + (size_t)i * f->of->size, b);
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

	switch ((enum field_form)f->form) {
	case FIELD_U64:
		codec_put_u64(b, f->tag, *(const uint64_t *)p);
		break;
	case FIELD_U32:
	case FIELD_ENUM:
		codec_put_u64(b, f->tag, *(const uint32_t *)p);
		break;
	case FIELD_I32:
		codec_put_i64(b, f->tag, *(const int32_t *)p);
		break;
	case FIELD_TASK:
		codec_put_i64(b, f->tag, *(const int64_t *)p);
		break;
	case FIELD_BOOL:
		codec_put_u64(b, f->tag, *(const bool *)p);
		break;
	case FIELD_TEXT:
		codec_put_str(b, f->tag, *(char *const *)p);
		break;
	case FIELD_FIXED:
		codec_put_bytes(b, f->tag, p, strnlen(p, f->size));
		break;
	case FIELD_STRINGS:
		for (char *const *s = *(char *const *const *)p; s && *s; s++)
			codec_add_bytes(b, f->tag, *s, strlen(*s));
		break;
	case FIELD_CPUS:
		put_cpus(b, f->tag, p);
		break;
	case FIELD_BYTES:
		codec_put_bytes(b, f->tag, *(const void *const *)p,
		        *(const size_t *)(const void *)(base + f->count));
		break;
	case FIELD_LIST:
		put_list(b, f, *(const void *const *)p,
		        *(const uint32_t *)(const void *)(base + f->count));
		break;
	case FIELD_RECORD:
		put_record(b, f->tag, p);
		break;
	}
}

void field_table_put(const struct field_table *t, const void *value, struct buf *b)
{
	for (size_t i = 0; i < t->n; i++)
		put_field(b, &t->fields[i], value);
}

struct list {
	uint32_t n;     /* elements there are */
	uint32_t taken; /* elements filled in */
	size_t bytes;   /* of strings */
	char *text;     /* where the next string goes */
};

static bool is_bytes_form(enum field_form form)
{
	return form == FIELD_TEXT || form == FIELD_FIXED || form == FIELD_STRINGS ||
	       form == FIELD_CPUS || form == FIELD_BYTES || form == FIELD_LIST ||
	       form == FIELD_RECORD;
}

static bool is_list_form(enum field_form form)
{
	return form == FIELD_STRINGS || form == FIELD_LIST;
}

static bool has_nul(const struct codec_field *f)
{
	return memchr(f->data, '\0', f->len) != NULL;
}

static const struct field *find_field(const struct field_table *t, uint32_t tag)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->fields[i].tag == tag)
			return &t->fields[i];
	return NULL;
}

/* How many elements each list will have, so that each is one block. */
static bool count_lists(const struct field_table *t, struct codec_reader r, struct list *lists)
{
	struct codec_field in;

	while (codec_next(&r, &in)) {
		const struct field *f = find_field(t, in.tag);

		if (!f || !is_list_form((enum field_form)f->form))
			continue;
		struct list *l = &lists[f - t->fields];
		if (!in.is_bytes || ++l->n > f->max)
			return false;
		l->bytes += in.len + 1;
	}
	return !r.bad;
}

static void make_lists(const struct field_table *t, struct list *lists, uint8_t *base, void *ctx)
{
	static char *no_strings[1];

	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];
		struct list *l = &lists[i];
		void *block = NULL;

		if (f->form == FIELD_LIST && l->n) {
			block = talloc_zero_size(ctx, (size_t)l->n * f->of->size);
			BUG_IF(!block);
			*(void **)(void *)(base + f->at) = block;
			*(uint32_t *)(void *)(base + f->count) = l->n;
		} else if (f->form == FIELD_STRINGS && l->n) {
			block = talloc_size(ctx, (l->n + (size_t)1) * sizeof(char *) + l->bytes);
			BUG_IF(!block);
			*(char ***)(void *)(base + f->at) = block;
			l->text = (char *)((char **)block + l->n + 1);
			((char **)block)[l->n] = NULL;
		} else if (f->form == FIELD_STRINGS) {
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

	switch ((enum field_form)f->form) {
	case FIELD_TEXT:
		return get_text(in, p, ctx);
	case FIELD_FIXED:
		codec_strcpy(
		        p, f->size, in); /* names, for people: a peer may have cut a character */
		text_clean(p);
		return true;
	case FIELD_STRINGS:
		return get_string(in, l, *(char ***)p);
	case FIELD_CPUS:
		return get_cpus(in, p);
	case FIELD_BYTES:
		*(const void **)p = in->data;
		*(size_t *)(void *)(base + f->count) = in->len;
		return in->len <= f->max;
	case FIELD_LIST:
		return field_table_get(f->of, in->data, in->len, ctx,
		        *(uint8_t **)p + (size_t)l->taken++ * f->of->size);
	default:
		return get_record(in, p);
	}
}

static bool get_number_field(const struct field *f, const struct codec_field *in, uint8_t *base)
{
	void *p = base + f->at;
	int64_t i = codec_i64(in);

	switch ((enum field_form)f->form) {
	case FIELD_U64:
		*(uint64_t *)p = in->u;
		return true;
	case FIELD_U32:
		*(uint32_t *)p = (uint32_t)in->u;
		return in->u <= UINT32_MAX;
	case FIELD_ENUM:
		*(uint32_t *)p = (uint32_t)in->u;
		return in->u <= f->max;
	case FIELD_I32:
		*(int32_t *)p = (int32_t)i;
		return i >= INT32_MIN && i <= INT32_MAX;
	case FIELD_TASK:
		*(int64_t *)p = i;
		return i >= TASK_NONE;
	default:
		*(bool *)p = in->u != 0;
		return in->u <= 1;
	}
}

/* What no field said is zero, and zero is not always a value. */
static bool has_least(const struct field_table *t, const uint8_t *base)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct field *f = &t->fields[i];

		if (f->form == FIELD_ENUM &&
		        *(const uint32_t *)(const void *)(base + f->at) < f->min)
			return false;
		if (f->form == FIELD_RECORD &&
		        !((const struct spool_record *)(const void *)base)->kind)
			return false;
	}
	return true;
}

bool field_table_get(
        const struct field_table *t, const void *data, size_t len, void *ctx, void *ret_value)
{
	struct codec_reader r = codec_read(data, len);
	uint8_t *base = ret_value;
	struct list lists[FIELD_TABLE_MAX] = {0};
	struct codec_field in;
	uint32_t seen = 0, bit;

	if (!count_lists(t, r, lists))
		return false;
	make_lists(t, lists, base, ctx);
	while (codec_next(&r, &in)) {
		const struct field *f = find_field(t, in.tag);

		if (!f)
			continue;
		if (in.is_bytes != is_bytes_form((enum field_form)f->form))
			return false;
		/* A peer must not make one message cost much more memory than it is long. */
		bit = (uint32_t)1 << (f - t->fields);
		if (!is_list_form((enum field_form)f->form) && (seen & bit))
			return false;
		seen |= bit;
		if (in.is_bytes ? !get_bytes_field(f, &in, &lists[f - t->fields], base, ctx)
		                : !get_number_field(f, &in, base))
			return false;
	}
	return has_least(t, base);
}
