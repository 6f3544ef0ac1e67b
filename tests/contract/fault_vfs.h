/*
 * A layer between SQLite and the disk that fails on request, for the tests of the SQLite store.
 * Static, for the whole process: installed once, the default for every database opened afterwards.
 * The thread that tests may set it while another one is at the disk.
 * Nothing of it fails by itself.
 */
#pragma once

#include <stdbool.h>

enum fault_kind {
	FAULT_NONE,
	FAULT_WRITE, /* half of a write is made, then the disk is full */
	FAULT_SYNC,
	FAULT_DEAD, /* no write, sync, truncate, open or read succeeds */
};

struct fault {
	_Atomic enum fault_kind kind;
	_Atomic int after;    /* so many calls succeed before one fails; FAULT_DEAD: all fail */
	_Atomic int n_failed; /* counted up */
};

extern struct fault fault;

void fault_install(void);
