/*
 * The fake NVML as a user of it sees it: loaded by dlopen, two devices from a description, all functions of the table.
 * box_setup and box_teardown are cmocka's, and make and take away a struct box. One thread. What goes wrong fails the test.
 */
#pragma once

#include "fixture.h"

#include "../../../tables/nvml_abi.h"

#include <dlfcn.h>
#include <time.h>

#define UUID "GPU-00000000-1111-2222-3333-444444444444"

/* One pointer per row, from whichever library. */
struct lib {
	void *handle;
#define NVML(need, since, ret, name, params) ret(*name) params;
#include "../../../tables/nvml.def"
#undef NVML
};

static inline void load(struct lib *l, const char *file)
{
	char path[512];
	const struct {
		const char *name;
		size_t offset;
	} symbols[] = {
#define NVML(need, since, ret, name, params) {#name, offsetof(struct lib, name)},
#include "../../../tables/nvml.def"
#undef NVML
	};

	l->handle = dlopen(fixture_built(file, path), RTLD_NOW | RTLD_LOCAL);
	if (!l->handle)
		fail_msg("%s", dlerror());
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *symbol = dlsym(l->handle, symbols[i].name);

		memcpy((char *)l + symbols[i].offset, &symbol, sizeof(symbol));
	}
}

struct box {
	struct fixture f;
	struct lib n;
	struct nvml_device *devs[2];
};

#define DESCRIPTION                                                          \
	"driver 550.54.15\ncuda 12.4\ndevice\nmodel NVIDIA A100\nuuid " UUID \
	"\nmemory 8GiB\nreserved 256MiB\ncc 8.6\n"                           \
	"pci 0000:3b:00.0\nnuma 1\ncpus 0,2,70\ndevice\nmemory 4GiB\necc off\ncpus none\ngpu_numa 3\n"

static inline void reload_handles(struct box *b)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(b->n.nvmlDeviceGetHandleByIndex_v2(i, &b->devs[i]), NVML_SUCCESS);
}

static inline int box_setup(void **state)
{
	struct box *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	fixture_new(&b->f, DESCRIPTION);
	load(&b->n, "fake/libnvidia-ml.so.1");
	setenv("BERTH_FAKE_GPUS", b->f.path, 1);
	assert_int_equal(b->n.nvmlInit_v2(), NVML_SUCCESS);
	reload_handles(b);
	*state = b;
	return 0;
}

static inline int box_teardown(void **state)
{
	struct box *b = *state;

	while (b->n.nvmlShutdown() == NVML_SUCCESS)
		;
	unsetenv("BERTH_FAKE_GPUS");
	dlclose(b->n.handle);
	fixture_free(&b->f);
	free(b);
	return 0;
}

static inline int64_t elapsed_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, box_setup, box_teardown)
