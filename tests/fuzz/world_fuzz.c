/* A life of a world whose dice are the bytes of the input; see sequence.h for what is checked after each step. */
#include "fuzz.h"
#include "sequence.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence_stats stats = {0};
	struct err err = {0};
	uint32_t step = 0;

	if (sequence_run_bytes(data, size, &stats, &step, &err))
		fuzz_fail(__FILE__, __LINE__, err.text);
	return 0;
}
