/*
 * What recording.c (encoding) and recorded.c (decoding) share: tables of the members of structs, so that the two cannot disagree.
 */
#pragma once

#include "wire/recording.h"

enum member_form {
	MEMBER_U64,
	MEMBER_I64,
	MEMBER_U32, /* and enums */
	MEMBER_I32,
	MEMBER_BOOL,
	MEMBER_TEXT, /* char * */
	MEMBER_FIXED /* char[size] */
};

/* What is zero, false or empty is left out. */
struct member {
	const char *name;
	uint8_t form;
	uint16_t at, size;
};
struct members {
	const struct member *v;
	size_t n;
};

extern const struct members recording_event, recording_end, recording_request, recording_node,
        recording_device, recording_queue, recording_policy, recording_model, recording_label,
        recording_counters;
extern const struct strtab recording_event_names;

#define RECORDING_IS_BEGIN "begin"
#define RECORDING_IS_JOB   "job"
#define RECORDING_IS_PLAN  "plan"
#define RECORDING_IS_LEARN "learn"
#define RECORDING_IS_ADOPT "adopt"
