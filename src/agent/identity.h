/*
 * Who this node is to a server elsewhere: a secret of its own, made at its first start, in DATA/node.key (0600). The server
 * keeps a hash of it with the node's name, so that a token to join with is not enough to become a node that is known.
 * Nothing is owned. Loop thread. A file that is damaged or somebody else's is an error: a new key would be another node.
 */
#pragma once

#include "base/err.h"

#define IDENTITY_KEY_LEN 64 /* hexadecimal digits */

MUST_CHECK int identity_read(
        const char *data_dir, char ret_key[IDENTITY_KEY_LEN + 1], struct err *err);
