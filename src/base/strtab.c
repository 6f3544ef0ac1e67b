#include "base/strtab.h"

#include <string.h>
#include <strings.h>

const char *strtab_name(struct strtab t, unsigned value)
{
	return value < t.n && t.names[value] ? t.names[value] : "?";
}

int strtab_find(struct strtab t, const char *name)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.names[i] && strcmp(t.names[i], name) == 0)
			return (int)i;
	return -1;
}

int strtab_find_nocase(struct strtab t, const char *name)
{
	for (size_t i = 0; i < t.n; i++)
		if (t.names[i] && strcasecmp(t.names[i], name) == 0)
			return (int)i;
	return -1;
}

/* Levenshtein distance by one row; words longer than the row are "far". */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t n = strlen(b);

	if (n >= ARRAY_LEN(row) || strlen(a) >= ARRAY_LEN(row))
		return 99;
	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 0; a[i]; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i + 1;
		for (size_t j = 0; j < n; j++) {
			unsigned replace = diagonal + (a[i] != b[j]);
			unsigned best = MIN(row[j], row[j + 1]) + 1;
			diagonal = row[j + 1];
			row[j + 1] = MIN(best, replace);
		}
	}
	return row[n];
}

const char *strtab_closest(struct strtab t, const char *name)
{
	const char *best = NULL;
	unsigned best_distance = 3;

	for (size_t i = 0; i < t.n; i++) {
		if (!t.names[i])
			continue;
		unsigned d = distance(name, t.names[i]);
		if (d < best_distance && d < strlen(name)) {
			best = t.names[i];
			best_distance = d;
		}
	}
	return best;
}
