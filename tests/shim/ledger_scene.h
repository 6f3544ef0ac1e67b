/* One ledger of 64 MiB for each test, and ways to come to it as a process would. */
#pragma once

#include "region.h"

#include "shim/ledger.h"
#include "shim/ledger_file.h"
#include "shim/step.h"

static struct region region;

static inline int set_up(void **state)
{
	(void)state;
	region_make(&region, "GPU-00000000-0000-0000-0000-000000000001", 64 * MIB, 0);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	region_end(&region);
	return 0;
}

static inline struct ledger *opened(void)
{
	static struct ledger ledger;
	memset(&ledger, 0, sizeof ledger);
	return ledger_open(&ledger, region.path, NULL) == 0 ? &ledger : NULL;
}

static inline void shut(struct ledger *ledger)
{
	munmap(ledger->map, sizeof(struct slice));
	if (ledger->anchor != NULL)
		munmap(ledger->anchor, SLICE_SLOTS_AT);
	if (ledger->fd >= 0)
		close(ledger->fd);
	if (ledger->who_fd >= 0)
		close(ledger->who_fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
