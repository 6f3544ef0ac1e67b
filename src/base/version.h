/*
 * The version of this program, as `berth help` and the agents' HELLO say it. Static, for any thread.
 * An object of its own: a test may link the same program as another version.
 */
#pragma once

extern const char berth_version[];
