/* The head of an HTTP message, of a request and of an answer, and the framing of chunks. */
#include <string.h>
#include <talloc.h>

#include "fuzz.h"
#include "base/text.h"
#include "plat/net_head.h"

static struct head head;

static void check_strings(const struct head *h)
{
	FUZZ_MUST(h->n_fields <= HEAD_FIELDS_MAX && h->n_query <= HEAD_QUERY_MAX);
	for (unsigned i = 0; i < h->n_fields; i++) {
		const char *value = h->fields[i].value;
		FUZZ_MUST(*h->fields[i].name && !strpbrk(h->fields[i].name, " \t:\r\n"));
		FUZZ_MUST(!strpbrk(value, "\r\n"));
		FUZZ_MUST(!*value || (*value != ' ' && value[strlen(value) - 1] != ' '));
		FUZZ_MUST(head_find(h, h->fields[i].name));
	}
	for (unsigned i = 0; i < h->n_query; i++)
		FUZZ_MUST(text_is_utf8(h->query[i].value, strlen(h->query[i].value)));
}

static void check_fault(const struct head_fault *f)
{
	FUZZ_MUST(f->status >= 400 && f->status < 600);
	FUZZ_MUST(f->kind > ERR_NONE && f->kind < ERR_MAX && f->text && *f->text);
}

static void parse_request(void *ctx, const uint8_t *bytes, size_t len)
{
	struct head_fault fault = {0};
	http_parser p;

	if (head_parse_request(ctx, &p, bytes, len, &head, &fault) < 0) {
		check_fault(&fault);
		return;
	}
	check_strings(&head);
	FUZZ_MUST(head.path[0] == '/' && !strstr(head.path, "/../") && !strstr(head.path, "//"));
	FUZZ_MUST(text_is_utf8(head.path, strlen(head.path)));
	FUZZ_MUST(!text_has_control(head.path, strlen(head.path)));
	FUZZ_MUST(head.minor <= 1 && !(head.is_chunked && head.has_length));
	FUZZ_MUST(head.has_length || head.length == 0);
	if (head.minor == 1)
		FUZZ_MUST(head_find(&head, "host"));
}

static void parse_answer(void *ctx, const uint8_t *bytes, size_t len)
{
	struct head_fault fault = {0};
	http_parser p;

	if (head_parse_answer(ctx, &p, bytes, len, &head, &fault) < 0) {
		check_fault(&fault);
		return;
	}
	check_strings(&head);
	FUZZ_MUST(p.status_code >= 100 && p.status_code <= 999);
	(void)head_has_word(&head, "connection", "upgrade");
}

/* Where the head ends does not hang on how its bytes came. */
static enum head_state scan(const uint8_t *bytes, size_t size, size_t step, size_t *ret_len)
{
	enum head_state state = HEAD_MORE;
	size_t scanned = 0;

	for (size_t len = MIN(step, size); state == HEAD_MORE; len = MIN(len + step, size)) {
		state = head_scan(bytes, len, &scanned, ret_len);
		if (len == size)
			break;
	}
	return state;
}

static bool chunks(const uint8_t *bytes, size_t size, size_t step)
{
	struct chunk_check k = {0};

	for (size_t at = 0; at < size; at += step)
		if (!chunk_check_framing(&k, bytes + at, MIN(step, size - at)))
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t whole = 0, cut = 0;
	void *ctx = talloc_new(NULL);
	enum head_state state;

	if (!size)
		data = (const uint8_t *)"";
	state = scan(data, size, size + 1, &whole);
	FUZZ_MUST(scan(data, size, 1, &cut) == state);
	FUZZ_MUST(state != HEAD_WHOLE || (whole == cut && whole <= size));
	if (state == HEAD_WHOLE) {
		parse_request(ctx, data, whole);
		parse_answer(ctx, data, whole);
	}
	FUZZ_MUST(chunks(data, size, size + 1) == chunks(data, size, 1));
	talloc_free(ctx);
	return 0;
}
