/*
 * Bytes of formats as they once were, in tests/golden/: what was written then must be read for ever. A golden file is never changed.
 * Test code; fails by cmocka's asserts. With GOLDEN_WRITE in the environment a file that is not there yet is written.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/buf.h"

/* What today's encoder makes of the same values is what stands in the file: no value has got another place or number. */
void golden_made(const char *name, const struct buf *made);
void golden_read(const char *name, struct buf *b);
