/*
 * Inside of agent.h, for agent.c (its parts and their life) and agent_link.c (what the server says, and the end).
 * Ownership, thread and failures: as there.
 */
#pragma once

#include "agent/agent.h"
#include "agent/blobs.h"
#include "agent/console.h"
#include "agent/identity.h"
#include "agent/inventory.h"
#include "agent/output.h"
#include "agent/procs.h"
#include "agent/release.h"
#include "agent/slicing.h"
#include "agent/uplink.h"
#include "agent/waiting.h"
#include "agent/watchdog.h"

#define AGENT_BEAT_MS 3000 /* until the server says */

struct agent {
	struct agent_options o;
	struct loop *loop;
	int lock_fd;
	struct machine machine;
	char *fake_gpus;
	char *keeper_program, *nvml;
	const char *node_name;
	char key[IDENTITY_KEY_LEN + 1]; /* "": this machine is the server's own */
	struct outbox outbox;
	struct attempts *attempts;
	struct engine *engine;
	struct outputs *outputs;
	struct consoles *consoles;
	struct procs *procs;
	struct releases *releases;
	struct mps *mps; /* NULL: not to be had here */
	struct slicing *slicing;
	struct waiting *waiting; /* for their slices to be ready */
	struct watchdog *watchdog;
	struct inventory *inventory;
	struct blobs *blobs;
	struct uplink *uplink; /* NULL until the devices are known */
	struct loop_signal *sigterm, *sigint;
	struct loop_timer *beat, *ending;
	uint64_t beat_ms, heard_ms;
	uint64_t again_until_ms; /* 0: no WELCOME yet */
	bool is_shutdown, is_leaving;
	bool is_swept; /* ledgers that an earlier agent left */
	uint64_t
	        idle_since_ms; /* of a shutdown: nothing has been living since then; 0: something is */
};

/* Connects, or connects anew when there is a link: a HELLO says what devices there are. */
void agent_connect(struct agent *a);
void agent_leave(
        struct agent *a); /* agent_run returns when the link is closed in good order, or soon */
/* Callbacks, with the agent as data. */
void agent_on_start(void *agent, const struct link_start *m);
void agent_on_beat(void *agent);
void agent_on_ending(void *agent);
void agent_on_turn_end(void *agent);
