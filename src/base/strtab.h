/*
 * Enum <-> name by a table of strings; the tables come from the .def files by X-macro.
 * Nothing is owned: tables are static, names are borrowed. Any thread. Absence is not an error: -1 or "?".
 */
#pragma once

#include "base/cc.h"

struct strtab {
	const char *const *names; /* indexed by the enum; NULL entries have no name */
	size_t n;
};

#define STRTAB(array) ((struct strtab){.names = (array), .n = ARRAY_LEN(array)})

const char *strtab_name(struct strtab t, unsigned value);  /* "?" when out of range */
int strtab_find(struct strtab t, const char *name);        /* exact, -1 when absent */
int strtab_find_nocase(struct strtab t, const char *name); /* letters of any case, -1 when absent */
/* The closest name within an edit distance of 2, or NULL: for "did you mean". */
const char *strtab_closest(struct strtab t, const char *name);
