#include "base/text.h"

#include <string.h>

size_t text_utf8_len(const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;
	uint8_t low = 0x80, high = 0xbf; /* bounds of the second byte */
	size_t n;

	if (len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (len < n || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool text_is_utf8(const char *s, size_t len)
{
	while (len > 0) {
		size_t n = text_utf8_len(s, len);
		if (n == 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

static bool is_control(const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;

	return (n == 1 && (p[0] < 0x20 || p[0] == 0x7f)) || (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);
}

bool text_has_control(const char *s, size_t len)
{
	while (len > 0) {
		size_t n = text_utf8_len(s, len);

		if (is_control(s, n))
			return true;
		n = n ? n : 1;
		s += n;
		len -= n;
	}
	return false;
}

void text_clean(char *s)
{
	size_t len = strlen(s);
	char *out = s;

	while (len > 0) {
		size_t n = text_utf8_len(s, len), step = n ? n : 1;

		if (n == 0 || is_control(s, n))
			*out++ = '?';
		else
			for (size_t i = 0; i < n; i++)
				*out++ = s[i];
		s += step;
		len -= step;
	}
	*out = '\0';
}

const char *text_show(const char *s, char out[TEXT_SHOW_SIZE])
{
	size_t len = strlen(s), room = TEXT_SHOW_SIZE - sizeof("..."), used = 0;

	while (len > 0) {
		size_t n = text_utf8_len(s, len);
		size_t step = n ? n : 1;
		bool hidden = n == 0 || is_control(s, n);
		size_t need = hidden ? 1 : n;

		if (used + need > room) {
			memcpy(out + used, "...", 3);
			used += 3;
			break;
		}
		if (hidden)
			out[used] = '?';
		else
			memcpy(out + used, s, n);
		used += need;
		s += step;
		len -= step;
	}
	out[used] = '\0';
	return out;
}

#define WORD_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

bool text_is_label(const char *label)
{
	size_t n = strspn(label, WORD_CHARS);

	if (!n || !label[n])
		return n > 0;
	return label[n] == '=' && label[n + 1] && !label[n + 1 + strspn(label + n + 1, WORD_CHARS)];
}
