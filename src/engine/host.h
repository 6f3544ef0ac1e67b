/*
 * The engine of plain processes: each attempt has a keeper (ADR 0005), which the keepers' parent forks when a message asks
 * for it, and which tells what becomes of it in a spool file. Ownership, thread and failures: as engine.h says.
 */
#pragma once

#include "engine/engine.h"

extern const struct engine_ops host_engine;
