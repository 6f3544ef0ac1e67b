/*
 * The MPS daemons of this node (nvidia-cuda-mps-control): one for each device whose fractions MPS holds, with directories of
 * its own for pipes and logs, DATA/run/mps/N. Owns the daemons; borrows the loop. Loop thread. A daemon that does not
 * come up, or dies, is an error here or a callback, and started again with the next need; nothing else can go wrong.
 *
 * DESIGN. A daemon serves one account at a time, so it serves ours alone: where jobs run under accounts of their own, nobody
 * asks for it. It stands in the background by itself and outlives us; whoever comes after us finds it by the pid that it
 * writes into its directory and by a variable that only it and its server carry (BERTH_MPS=DIRECTORY).
 * The compute mode of the device is left as it is.
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
	const char *program;   /* path of nvidia-cuda-mps-control; NULL: there is none */
	const char *fake_gpus; /* description of simulated devices; NULL: they are real */
	/* A daemon has ended that nobody has told to: what is on the device goes on without it, or fails. */
	void (*on_death)(void *data, const char *uuid);
	void *data;
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
/* Starts the daemon of this device if it does not run, and waits until it listens: some milliseconds as a rule, at most 5 s. */
MUST_CHECK int mps_need(
        struct mps *m, const char *uuid, struct mps_place *ret_place, struct err *err);
/* Those of which is_wanted says false are told to end, and made to if they do not. */
void mps_sweep(struct mps *m, bool (*is_wanted)(void *data, const char *uuid), void *data);

/* -- queries -- */
bool mps_is_alive(const struct mps *m, const char *uuid);
/* Where the machine's own is: by PATH. False: nowhere. */
bool mps_find_program(char ret_path[MPS_PATH]);
