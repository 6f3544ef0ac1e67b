/*
 * A struct gpu over simulated devices in a directory of the test's own.
 * box_open makes it from a description, box_close takes all away. One thread. Whatever goes wrong fails the test.
 */
#pragma once

#include "fixture.h"

#include "gpu/gpu.h"

#define UUID0 "GPU-00000000-0000-0000-0000-000000000000"
#define UUID1 "GPU-11111111-1111-1111-1111-111111111111"
#define TWO_DEVICES                                                  \
	"driver 550.54.15\ncuda 12.4\n"                              \
	"device\nmodel NVIDIA A100\nuuid " UUID0                     \
	"\nmemory 8GiB\nreserved 256MiB\ncc 8.6\npci 0000:3b:00.0\n" \
	"numa 1\ncpus 0,2,70\n"                                      \
	"device\nuuid " UUID1 "\nmemory 4GiB\n"

struct box {
	struct fixture f;
	struct gpu *gpu;
	struct err err;
	struct gpu_device devs[GPU_DEVICES_MAX];
	struct gpu_state states[GPU_DEVICES_MAX];
	size_t n;
};

#define box_ok(b, call)                                           \
	do {                                                      \
		if ((call) < 0)                                   \
			fail_msg("%s: %s", #call, (b)->err.text); \
	} while (0)

static inline void box_scan(struct box *b)
{
	box_ok(b, gpu_scan(b->gpu, b->devs, GPU_DEVICES_MAX, &b->n, &b->err));
}

static inline void box_poll(struct box *b)
{
	box_ok(b, gpu_poll(b->gpu, 0, b->states, GPU_DEVICES_MAX, &b->n, &b->err));
}

static inline struct box *box_open_with(
        const char *description, const char *library, struct gpu_options o)
{
	struct box *b = calloc(1, sizeof(*b));
	char path[512];

	assert_non_null(b);
	fixture_new(&b->f, description);
	o.library = fixture_built(library, path);
	o.simulate = b->f.path;
	box_ok(b, gpu_open(&o, &b->gpu, &b->err));
	return b;
}

static inline struct box *box_open(const char *description)
{
	struct box *b =
	        box_open_with(description, "fake/libnvidia-ml.so.1", (struct gpu_options){0});

	box_scan(b);
	return b;
}

static inline void box_close(struct box *b)
{
	gpu_close(b->gpu);
	fixture_free(&b->f);
	free(b);
}

/* The health of device i by a poll, and part of what is said of it. */
static inline void box_expect(struct box *b, size_t i, enum gpu_health health, const char *says)
{
	box_poll(b);
	if (b->states[i].health != health ||
	        (*says ? !strstr(b->states[i].health_text, says) : *b->states[i].health_text))
		fail_msg("device %zu is %d '%s', not %d '%s'", i, b->states[i].health,
		        b->states[i].health_text, health, says);
}
