#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void *mem_zalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	BUG_IF(!p);
	return p;
}

void *mem_realloc(void *p, size_t n, size_t size)
{
	size_t bytes;

	BUG_IF(__builtin_mul_overflow(n, size, &bytes));
	p = realloc(p, bytes ? bytes : 1);
	BUG_IF(!p);
	return p;
}

void *mem_dup(const void *p, size_t size)
{
	void *copy = mem_zalloc(size);

	if (size)
		memcpy(copy, p, size);
	return copy;
}

char *mem_strdup(const char *s)
{
	return s ? mem_dup(s, strlen(s) + 1) : NULL;
}
