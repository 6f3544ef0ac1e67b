/*
 * What the harnesses share. One file per parser, x_fuzz.c, with LLVMFuzzerTestOneInput(): linked with libFuzzer by `make fuzz`,
 * and with replay.c as a unit test that runs the committed inputs. Inputs are borrowed for the call, nothing is kept between two of
 * them but what replies to the same bytes in the same way. One thread. What does not hold ends the process, so that the
 * fuzzer keeps the input.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

NORETURN void fuzz_fail(const char *file, int line, const char *what);
#define FUZZ_MUST(cond) ((cond) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #cond))

/* An err as the stack may leave it: nothing of it is a text until somebody fills it. */
void fuzz_err_init(struct err *err);
/* What failed has a kind, which is what was returned, and a text that a terminal can show. */
void fuzz_err_check(int rc, const struct err *err);

/* The bytes as a string of its own size, up to the first NUL; the caller frees it. */
char *fuzz_text(const uint8_t *data, size_t size);
/* Takes one byte from the front; 0 when there is none. */
uint8_t fuzz_byte(const uint8_t **data, size_t *size);
/* Cuts off a piece whose length stands in its first two bytes (little end first), cut to what is there; false at the end. */
bool fuzz_piece(const uint8_t **data, size_t *size, const uint8_t **ret_piece, size_t *ret_len);

/* UTF-8 in which nothing is that a terminal would act on. */
bool fuzz_is_line(const char *text, size_t len);
bool fuzz_is_same(const struct buf *a, const struct buf *b);
