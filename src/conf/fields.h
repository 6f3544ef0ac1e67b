/*
 * tables/config.def as arrays, for the files of this folder. Static and constant; any thread.
 */
#pragma once

#include "conf/value.h"

extern const struct field conf_fields[CONF_KEY_N]; /* by enum conf_key */
extern const struct field conf_queue_fields[CONF_QUEUE_N];
extern const struct field conf_model_fields[CONF_MODEL_N];
