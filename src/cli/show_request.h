/*
 * The request of a job, as people read it: sizes, times and GPU parts in the units that they were asked for in.
 * Borrows the json of GET /v1/jobs/{id}. One thread. Cannot fail; a key that this program does not know is shown as it is.
 */
#pragma once

#include <jansson.h>

/* Prints it as fields; what is not asked for is left out. */
void show_request(json_t *request);
