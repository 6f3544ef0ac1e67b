/*
 * The short notations of a request: amounts of GPUs, thousandths, arrays. Pure; any thread. Results hang on the talloc
 * context that is passed; what is not of the form is refused by name.
 */
#pragma once

#include "core/node.h"

#define ASK_RANGES_MAX 1000
#define ASK_TASKS_MAX  10000000
#define ASK_GPUS_MAX   NODE_DEVICES_MAX

/* "2", "0.5", "50%", each with ":MODEL" if wanted: sets count or milli, and model. */
MUST_CHECK int gpu_ask_parse(const char *text, void *ctx, struct gpu_ask *ask, struct err *err);
/* "1", "0.5", "2.25", up to max: in thousandths. */
MUST_CHECK int thousandths_parse(const char *text, uint64_t max, uint64_t *ret, struct err *err);
/* "0-99%8", "1,3,5-9:2": ascending ranges, and how many may run at once (0: not said). */
MUST_CHECK int array_parse(const char *text, void *ctx, struct array_range **ret_ranges,
        uint32_t *ret_n, uint32_t *ret_throttle, struct err *err);
/* "75,SIGKILL": codes from 1 to 255, and signals, each of which stands for 128 and its number. */
MUST_CHECK int code_set_parse(const char *text, struct code_set *ret_codes, struct err *err);
