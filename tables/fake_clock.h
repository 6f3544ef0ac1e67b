/*
 * The clock that a simulated driver shares with the interposer in front of it, so that both live in one time, which may run
 * faster or slower than the machine's, or only while somebody waits. A real driver has none of this.
 * The fake libcuda.so.1 exports berthFakeClock; what it returns is constant, the library's, and may be used from any thread.
 * Nothing here fails.
 */
#pragma once

#include <stdint.h>

struct fake_clock {
	uint64_t (*now_ns)(void);
	/* Sleeps while *word is value, until it is woken or until_ns has come (UINT64_MAX: never); may end early. */
	void (*wait)(uint32_t *word, uint32_t value, uint64_t until_ns);
	void (*wake)(uint32_t *word); /* everybody who waits on it, in every process that maps it */
	void (*spin)(uint64_t ns);    /* passes so much time without a timer, which would be late */
};

const struct fake_clock *berthFakeClock(void);
