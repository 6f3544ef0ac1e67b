/*
 * The MPS daemons of this node (nvidia-cuda-mps-control): one for each device whose fractions MPS holds, with directories of
 * its own for pipes and logs, below DATA/run/mps/N. Owns the daemons; borrows the loop. Loop thread, which never waits for one. A daemon that
 * does not come up, or dies, is said by a callback, and started again with the next need; nothing else can go wrong.
 *
 * DESIGN. A daemon serves one account, so it runs as the one whose jobs it serves: ours, or, where jobs have accounts of their
 * own, the job's; there the helper starts, finds and ends it (helper/mps.h). A device has one daemon at a time.
 * It stands in the background by itself and outlives us; whoever comes after us finds it by the pid that it writes into its
 * directory and by a variable that only it and its server carry (BERTH_MPS=DIRECTORY). The compute mode of the device is left as it is.
 *
 *   DOWN --need--> STARTING --> UP --sweep, end--> ENDING --> DOWN;   FINDING: what an earlier agent left, until it is known
 */
#pragma once

#include "base/err.h"
#include "plat/loop.h"

#define MPS_PROGRAM  "nvidia-cuda-mps-control"
#define MPS_VARIABLE "BERTH_MPS"
#define MPS_PATH     512

struct mps;

struct mps_options {
	struct loop *loop;
	const char *data_dir;
	const char *
	        program; /* path of nvidia-cuda-mps-control; with a helper, which finds its own: NULL */
	const char *helper; /* its socket; NULL: daemons are of our own account */
	bool is_root; /* we are: then jobs without a helper are of any account, and ours serves root's */
	const char *fake_gpus; /* description of simulated devices; NULL: they are real */
	/* A daemon has ended that nobody has told to: what is on the device goes on without it, or fails. */
	void (*on_death)(void *data, const char *uuid);
	/* What mps_need called later is known now; why: it did not come up for this account. NULL: ask again. */
	void (*on_outcome)(
	        void *data, const char *uuid, const char *account, const struct err *why);
	void *data;
};

/* Who needs one. */
struct mps_client {
	const char *uuid;
	const char *user; /* account that its job runs as */
};

/* What its clients are told, in CUDA_MPS_PIPE_DIRECTORY and CUDA_MPS_LOG_DIRECTORY. */
struct mps_place {
	char pipes[MPS_PATH], logs[MPS_PATH];
};

/* -- life cycle -- */
/* Takes over what an earlier agent has left. */
MUST_CHECK int mps_new(const struct mps_options *o, struct mps **ret_mps, struct err *err);
/* is_over: ends all of them, within some seconds; else they go on. NULL does nothing. */
void mps_free(struct mps *m, bool is_over);

/* -- commands -- */
/*
 * 0: the daemon of this device is there for that account; 1: later, on_outcome tells when; it has been started if it was not.
 * CONFLICT: it serves another account. FORBIDDEN: that account has none here.
 */
MUST_CHECK int mps_need(struct mps *m, const struct mps_client *c, struct err *err);
void mps_end(struct mps *m, const char *uuid);
/* Those of which is_wanted says false are told to end, and made to if they do not. */
void mps_sweep(struct mps *m, bool (*is_wanted)(void *data, const char *uuid), void *data);

/* -- queries -- */
/* As mps_need, but nothing is begun; what is not there yet is UNAVAILABLE. */
MUST_CHECK int mps_find(const struct mps *m, const struct mps_client *c,
        struct mps_place *ret_place, struct err *err);
bool mps_is_alive(const struct mps *m, const char *uuid);
bool mps_is_settled(const struct mps *m); /* all is known of what an earlier agent left */
/* Whether jobs of this account may have one. Root's have none by the helper: that runs none as root. */
bool mps_serves(const struct mps *m, const char *user);
/* Where the machine's own is: by PATH. False: nowhere. */
bool mps_find_program(char ret_path[MPS_PATH]);
