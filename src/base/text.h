/*
 * Strings that came from somebody else: are they UTF-8, and how a message quotes them.
 * Nothing is owned; what is shown goes into the caller's buffer. Any thread. Cannot fail.
 */
#pragma once

#include "base/cc.h"

#define TEXT_SHOW_SIZE 72

/* Well-formed UTF-8 without surrogates and overlong forms; NUL counts as a character. */
bool text_is_utf8(const char *s, size_t len);
/* The length in bytes of the well-formed character at s, of at most len bytes; 0 when there is none. */
size_t text_utf8_len(const char *s, size_t len);
/* C0 (line breaks and NUL too), DEL or C1: what a terminal would act on. */
bool text_has_control(const char *s, size_t len);
/* Control characters and broken bytes become '?', in place. */
void text_clean(char *s);
/* For messages: control characters and broken bytes as '?', and cut between two characters with "..." when long. */
const char *text_show(const char *s, char out[TEXT_SHOW_SIZE]);

/* A word, or WORD=WORD, of letters, digits, '.', '_' and '-'. */
bool text_is_label(const char *text);
