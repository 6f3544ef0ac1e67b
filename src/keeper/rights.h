/*
 * Whose rights a keeper uses for what, where the keepers' parent is root; where it is not, nothing here does anything.
 * rights_as and rights_back come in pairs, around opening a file: what the account may not open stays closed.
 * Nothing is owned. One thread. A right that cannot be given up ends the process.
 */
#pragma once

#include "base/err.h"
#include "keeper/keeper.h"
#include "wire/launch.h"

/* The account of the message. Its process could not signal or trace us meanwhile: real and saved uid stay root's. */
void rights_as_account(const struct keeper_base *base, const struct launch *l);
/* The account that the agent runs as: it owns what lies in the data directory. */
void rights_as_server(const struct keeper_base *base);
void rights_back(const struct keeper_base *base);

/* For good: the server's account, and of root's powers only the one to signal any process. */
void rights_drop_to_keeper(const struct keeper_base *base);
/* For good: the account of the message. After vfork too: only system calls. False with errno. */
MUST_CHECK bool rights_drop_to_account(const struct launch *l);
