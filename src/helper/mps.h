/*
 * MPS daemons (nvidia-cuda-mps-control) for the agent, each as the account whose jobs it serves, since a daemon serves one account:
 * started, found and ended in children as those of opener.h, which answer by themselves. Nothing is owned; no state: a
 * daemon stands in the background and outlives us, and is found by the pid that it writes, with the rights of its account. One thread.
 * What cannot be done is told to who asked.
 *
 * DESIGN. Root says what runs: a program of root's own at a place of root's own (simulated: the one that was installed with us), with
 * this environment and nothing more: PATH, CUDA_MPS_PIPE_DIRECTORY, CUDA_MPS_LOG_DIRECTORY, CUDA_VISIBLE_DEVICES, BERTH_MPS
 * (simulated: BERTH_FAKE_GPUS too). Its directory is DATA/run/mps/PLACE/UID: made with the server's rights, and given
 * to the account; what is in it is made with the account's rights.
 */
#pragma once

#include "helper/opener.h"
#include "helper/policy.h"

/* l: checked, one of LAUNCH_MPS_*, with its account. conn stays the caller's, who has no more to do with it. */
void mps_begin(struct openers *o, int conn, const struct policy *p, const struct launch *l);
