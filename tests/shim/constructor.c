/* A library whose constructor calls the function whose address is in BERTH_TEST_CONSTRUCTOR, while the loader has its lock. */
#include <stdlib.h>

__attribute__((constructor)) static void call(void)
{
	const char *text = getenv("BERTH_TEST_CONSTRUCTOR");
	void (*function)(void) = NULL;
	if (text != NULL)
		*(void **)&function = (void *)strtoull(text, NULL, 16);
	if (function != NULL)
		function();
}
