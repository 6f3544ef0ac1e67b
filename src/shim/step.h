/*
 * Sequence points: the places at which a process may be killed in the middle of a change that others see.
 * In the library that is installed they are nothing; a build for tests counts them, and ends the process at the one asked for.
 * Any thread.
 * Nothing here fails.
 */
#pragma once

#ifdef SHIM_STEPS
void shim_step(void);
#define STEP() shim_step()
#else
#define STEP() ((void)0)
#endif
