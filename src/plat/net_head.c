#include "plat/net_head.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <talloc.h>

#include "base/text.h"

/*
 * DESIGN. http-parser is lenient: it takes spaces before a colon, bare line feeds, folded lines, several spaces in the first line. Whoever
 * stands before us may read such bytes otherwise, and then the two disagree about where a message ends. So a head is gathered whole,
 * must have the one exact form, and only then goes through the parser, in one piece, as a copy that is cut into strings afterwards.
 */

static int fault_set(struct head_fault *f, int status, enum err_kind kind, const char *text)
{
	*f = (struct head_fault){.status = status, .kind = kind, .text = text};
	return -(int)kind;
}

static int bad(struct head_fault *f, const char *text)
{
	return fault_set(f, 400, ERR_INVALID, text);
}

enum head_state head_scan(const uint8_t *bytes, size_t len, size_t *scanned, size_t *ret_len)
{
	size_t at = *scanned;
	const uint8_t *lf;

	while (at < len && (lf = memchr(bytes + at, '\n', len - at))) {
		size_t i = (size_t)(lf - bytes);

		if (i == 0 || bytes[i - 1] != '\r')
			return HEAD_BAD;
		if (i >= 2 && bytes[i - 2] == '\n') {
			*ret_len = i + 1;
			return HEAD_WHOLE;
		}
		at = i + 1;
	}
	*scanned = len;
	return HEAD_MORE;
}

static bool is_token_char(uint8_t c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

#define VERSION_LEN 8

static bool is_version(const uint8_t *s)
{
	return memcmp(s, "HTTP/", 5) == 0 && isdigit(s[5]) && s[6] == '.' && isdigit(s[7]);
}

static int bad_version(struct head_fault *f)
{
	return fault_set(f, 505, ERR_UNSUPPORTED, "the version is not HTTP/1.0 or HTTP/1.1");
}

static int check_first_line(const uint8_t *line, size_t len, bool is_request, struct head_fault *f)
{
	const uint8_t *version;
	unsigned spaces = 0;

	for (size_t i = 0; i < len; i++) {
		if (line[i] < 0x20 || line[i] == 0x7f)
			return bad(f, "the first line has a control character");
		if (line[i] == ' ')
			spaces++;
	}
	if (!is_request)
		return 0;
	version = len > VERSION_LEN ? line + len - VERSION_LEN : NULL;
	if (spaces != 2 || !version || version[-1] != ' ' || !is_version(version))
		return bad(f, "the first line is not METHOD TARGET HTTP/1.1");
	return version[5] == '1' && version[7] <= '1' ? 0 : bad_version(f);
}

int head_check_first(const uint8_t *bytes, size_t len, struct head_fault *fault)
{
	const uint8_t *lf = memchr(bytes, '\n', len);

	return lf && lf > bytes ? check_first_line(bytes, (size_t)(lf - bytes) - 1, true, fault)
	                        : 0;
}

static const char *check_field_line(const uint8_t *line, size_t len)
{
	size_t i = 0;

	if (line[0] == ' ' || line[0] == '\t')
		return "a header is folded over two lines";
	while (i < len && is_token_char(line[i]))
		i++;
	if (i == 0 || i == len || line[i] != ':')
		return "a header's name is not followed by a colon";
	for (; i < len; i++)
		if ((line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
			return "a header has a control character";
	return NULL;
}

/* head_scan has seen that every line ends in CR LF. */
static int check_lines(const uint8_t *head, size_t len, bool is_request, struct head_fault *f)
{
	const uint8_t *end = head + len - 2; /* the empty line */
	const uint8_t *line = head;

	while (line < end) {
		const uint8_t *lf = memchr(line, '\n', (size_t)(end - line));
		size_t n = (size_t)(lf - line) - 1;
		const char *fault = line == head ? NULL : check_field_line(line, n);

		if (fault)
			return bad(f, fault);
		if (line == head && check_first_line(line, n, is_request, f) < 0)
			return -(int)f->kind;
		line = lf + 1;
	}
	return 0;
}

/* Where the parser's callbacks put what they find: places in the copy, which becomes strings when the parser is done with it. */
struct gather {
	struct head *h;
	char *url;
	size_t url_len;
	size_t name_len[HEAD_FIELDS_MAX];
	size_t value_len[HEAD_FIELDS_MAX];
	bool overflow;
};

static int on_url(http_parser *p, const char *at, size_t len)
{
	struct gather *g = p->data;

	g->url = (char *)at;
	g->url_len = len;
	return 0;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
	struct gather *g = p->data;
	struct head *h = g->h;

	if (h->n_fields == HEAD_FIELDS_MAX) {
		g->overflow = true;
		return 1;
	}
	h->fields[h->n_fields] = (struct head_pair){.name = at, .value = ""};
	g->name_len[h->n_fields] = len;
	g->value_len[h->n_fields] = 0;
	h->n_fields++;
	return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
	struct gather *g = p->data;
	struct head *h = g->h;

	while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
		len--;
	if (len == 0)
		return 0;
	h->fields[h->n_fields - 1].value = at;
	g->value_len[h->n_fields - 1] = len;
	return 0;
}

static void cut_fields(struct gather *g)
{
	struct head *h = g->h;

	for (unsigned i = 0; i < h->n_fields; i++) {
		((char *)h->fields[i].name)[g->name_len[i]] = '\0';
		if (g->value_len[i])
			((char *)h->fields[i].value)[g->value_len[i]] = '\0';
	}
}

const char *head_find(const struct head *h, const char *name)
{
	for (unsigned i = 0; i < h->n_fields; i++)
		if (strcasecmp(h->fields[i].name, name) == 0)
			return h->fields[i].value;
	return NULL;
}

static unsigned count_fields(const struct head *h, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < h->n_fields; i++)
		n += strcasecmp(h->fields[i].name, name) == 0;
	return n;
}

bool head_has_word(const struct head *h, const char *name, const char *word)
{
	size_t want = strlen(word);

	for (unsigned i = 0; i < h->n_fields; i++) {
		const char *s = h->fields[i].value;

		if (strcasecmp(h->fields[i].name, name) != 0)
			continue;
		while (*s) {
			size_t n;

			s += strspn(s, ", \t");
			n = strcspn(s, ",");
			while (n && (s[n - 1] == ' ' || s[n - 1] == '\t'))
				n--;
			if (n == want && strncasecmp(s, word, n) == 0)
				return true;
			s += strcspn(s, ",");
		}
	}
	return false;
}

const char *head_query(const struct head *h, const char *key, unsigned nth)
{
	for (unsigned i = 0; i < h->n_query; i++)
		if (strcmp(h->query[i].name, key) == 0 && nth-- == 0)
			return h->query[i].value;
	return NULL;
}

/* Where a body ends must follow from the head in one way only. */
static int check_framing(struct head *h, struct head_fault *f)
{
	const char *length = head_find(h, "content-length");
	const char *coding = head_find(h, "transfer-encoding");

	if (length && coding)
		return bad(f, "Content-Length and Transfer-Encoding exclude each other");
	if (count_fields(h, "content-length") > 1)
		return bad(f, "more than one Content-Length");
	if (length) {
		size_t n = strspn(length, "0123456789");

		if (n == 0 || n > 18 || length[n])
			return bad(f, "Content-Length is not a number");
		h->has_length = true;
		h->length = strtoull(length, NULL, 10);
	}
	if (coding) {
		if (h->minor == 0)
			return bad(f, "HTTP/1.0 has no Transfer-Encoding");
		if (count_fields(h, "transfer-encoding") > 1 || strcasecmp(coding, "chunked") != 0)
			return fault_set(f, 501, ERR_UNSUPPORTED,
			        "the only Transfer-Encoding here is chunked");
		h->is_chunked = true;
	}
	return 0;
}

static int check_host(const struct head *h, struct head_fault *f)
{
	const char *host = head_find(h, "host");
	unsigned n = count_fields(h, "host");

	if (n > 1)
		return bad(f, "more than one Host");
	if (n == 0)
		return h->minor == 0 ? 0 : bad(f, "Host is missing");
	for (; *host; host++)
		if (!isalnum((uint8_t)*host) && !strchr(".-_:[]%", *host))
			return bad(f, "Host is not a name or an address");
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* In place. False: a broken escape, a NUL, or bytes that are no UTF-8. */
static bool url_decode(char *s, bool plus_is_space)
{
	char *out = s;
	const char *in = s;

	while (*in) {
		char c = *in++;

		if (c == '%') {
			int hi = hex_digit(in[0]);
			int lo = hi < 0 ? -1 : hex_digit(in[1]);

			if (lo < 0 || hi + lo == 0)
				return false;
			c = (char)(hi << 4 | lo);
			in += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		*out++ = c;
	}
	*out = '\0';
	return text_is_utf8(s, (size_t)(out - s));
}

/* In place: no empty parts but the last, no "."; false on "..". */
static bool path_normalise(char *path)
{
	char *out = path;
	const char *in = path;

	while (*in) {
		size_t n;

		in += strspn(in, "/");
		n = strcspn(in, "/");
		if (n == 2 && in[0] == '.' && in[1] == '.')
			return false;
		*out++ = '/';
		if (n == 0)
			break;
		if (n == 1 && in[0] == '.') {
			out--;
			if (!in[1])
				*out++ = '/';
		} else {
			memmove(out, in, n);
			out += n;
		}
		in += n;
	}
	*out = '\0';
	return true;
}

static int parse_query(void *ctx, struct head *h, char *text, struct head_fault *f)
{
	unsigned n = 1;

	for (const char *s = text; *s; s++)
		n += *s == '&';
	if (n > HEAD_QUERY_MAX)
		return fault_set(f, 414, ERR_TOO_LARGE, "the query has more than 1,000 parts");
	h->query = talloc_array(ctx, struct head_pair, n);
	BUG_IF(!h->query);
	for (char *part; (part = strsep(&text, "&"));) {
		char *value = strchr(part, '=');

		if (!*part)
			continue;
		if (value)
			*value++ = '\0';
		if (!url_decode(part, true) || (value && !url_decode(value, true)))
			return bad(f, "the query is not well-formed");
		h->query[h->n_query++] =
		        (struct head_pair){.name = part, .value = value ? value : ""};
	}
	return 0;
}

/* What a proxy is sent: a whole address. Who is meant must be said alike in both places. Returns the path, NULL: refused. */
static char *skip_authority(const struct head *h, char *target, struct head_fault *f)
{
	const char *host = head_find(h, "host");
	char *name = strchr(target, ':') + 3;
	char *slash = strchr(name, '/');
	size_t n = slash ? (size_t)(slash - name) : 0;

	if (n == 0)
		(void)bad(f, "the target has no host or no path");
	else if (!host || strlen(host) != n || strncasecmp(host, name, n) != 0)
		(void)bad(f, "the target names another host than Host");
	else
		return slash;
	return NULL;
}

static int parse_target(void *ctx, struct head *h, char *target, struct head_fault *f)
{
	char *query;

	if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
		target = skip_authority(h, target, f);
		if (!target)
			return -(int)f->kind;
	}
	if (target[0] != '/')
		return bad(f, "the target is not a path");
	if (strchr(target, '#'))
		return bad(f, "the target has a fragment");
	query = strchr(target, '?');
	if (query)
		*query++ = '\0';
	if (!url_decode(target, false) || text_has_control(target, strlen(target)) ||
	        !path_normalise(target))
		return bad(f, "the path is not well-formed");
	h->path = target;
	return query ? parse_query(ctx, h, query, f) : 0;
}

static int run_parser(
        struct gather *g, http_parser *p, char *copy, size_t len, struct head_fault *f)
{
	static const http_parser_settings settings = {
	        .on_url = on_url, .on_header_field = on_field, .on_header_value = on_value};
	size_t n;

	p->data = g;
	n = http_parser_execute(p, &settings, copy, len);
	p->data = NULL;
	if (g->overflow)
		return fault_set(f, 431, ERR_TOO_LARGE, "more than 100 headers");
	switch (HTTP_PARSER_ERRNO(p)) {
	case HPE_OK:
		break;
	case HPE_INVALID_METHOD:
		return fault_set(f, 501, ERR_UNSUPPORTED, "the method is not known");
	case HPE_INVALID_VERSION:
		return bad_version(f);
	case HPE_HEADER_OVERFLOW:
		return fault_set(f, 431, ERR_TOO_LARGE, "the head is too large");
	default:
		return bad(f, http_errno_description(HTTP_PARSER_ERRNO(p)));
	}
	if (n != len)
		return bad(f, "the head is not well-formed");
	if (p->http_major != 1 || p->http_minor > 1)
		return bad_version(f);
	g->h->minor = p->http_minor;
	cut_fields(g);
	return check_framing(g->h, f);
}

static int parse(void *ctx, http_parser *p, struct gather *g, const uint8_t *bytes, size_t len,
        struct head_fault *f)
{
	char *copy;

	g->h->n_fields = g->h->n_query = 0;
	g->h->has_length = g->h->is_chunked = false;
	g->h->length = 0;
	if (check_lines(bytes, len, p->type == HTTP_REQUEST, f) < 0)
		return -(int)f->kind;
	copy = talloc_size(ctx, len + 1);
	BUG_IF(!copy);
	memcpy(copy, bytes, len);
	copy[len] = '\0';
	return run_parser(g, p, copy, len, f);
}

int head_parse_request(void *ctx, http_parser *p, const uint8_t *bytes, size_t len, struct head *h,
        struct head_fault *fault)
{
	struct gather g = {.h = h};
	int rc;

	http_parser_init(p, HTTP_REQUEST);
	rc = parse(ctx, p, &g, bytes, len, fault);
	if (rc < 0)
		return rc;
	rc = check_host(h, fault);
	if (rc < 0)
		return rc;
	if (!g.url)
		return bad(fault, "the first line has no target");
	g.url[g.url_len] = '\0';
	return parse_target(ctx, h, g.url, fault);
}

int head_parse_answer(void *ctx, http_parser *p, const uint8_t *bytes, size_t len, struct head *h,
        struct head_fault *fault)
{
	struct gather g = {.h = h};
	int rc;

	http_parser_init(p, HTTP_RESPONSE);
	h->path = NULL;
	rc = parse(ctx, p, &g, bytes, len, fault);
	if (rc == 0 && p->status_code < 100)
		return bad(fault, "the status is not of three digits");
	return rc;
}

/* Extensions of chunks are refused: nobody sends them but to be read in two ways, or to make many bytes of few. */
enum { SIZE, SIZE_LF, DATA, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, END_LF, END };

static int chunk_check_step(struct chunk_check *k, uint8_t c)
{
	bool is_text = (c >= 0x20 && c != 0x7f) || c == '\t';

	switch (k->state) {
	case SIZE:
		if (isxdigit(c) && k->n_digits < 15) {
			k->n_digits++;
			k->is_more |= c != '0';
			return SIZE;
		}
		return k->n_digits && c == '\r' ? SIZE_LF : -1;
	case SIZE_LF:
		return c != '\n' ? -1 : k->is_more ? DATA : TRAILER_START;
	case DATA:
		return c == '\r' ? DATA_LF : -1;
	case DATA_LF:
		k->n_digits = 0;
		k->is_more = false;
		return c == '\n' ? SIZE : -1;
	case TRAILER_START:
		if (c == '\r')
			return END_LF;
		return is_token_char(c) ? TRAILER : -1;
	case TRAILER:
		return c == '\r' ? TRAILER_LF : is_text ? TRAILER : -1;
	case TRAILER_LF:
		return c == '\n' ? TRAILER_START : -1;
	case END_LF:
		return c == '\n' ? END : -1;
	default:
		return -1;
	}
}

bool chunk_check_framing(struct chunk_check *k, const void *framing, size_t len)
{
	const uint8_t *bytes = framing;

	for (size_t i = 0; i < len; i++) {
		int state = chunk_check_step(k, bytes[i]);

		if (state < 0)
			return false;
		k->state = state;
	}
	return true;
}

bool chunk_check_data(const struct chunk_check *k)
{
	return k->state == DATA;
}
