/*
 * Memory nodes of graphs: the driver takes their memory when a graph is launched or uploaded, from a cache on the device.
 * `have.execs` has the graphs made ready that have such nodes; processes without any pay one load a launch for it.
 * Any thread.
 * What does not fit is CU_ERROR_OUT_OF_MEMORY of the launch.
 */
#pragma once

#include "shim/charge.h"

/* From now on graphs are looked at. */
void graphs_have_memory(void);

void graphs_forked(void);
