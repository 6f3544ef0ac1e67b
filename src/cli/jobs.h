/*
 * What the verbs about jobs share: their listing, and arguments that are job ids. Borrows everything; one thread.
 */
#pragma once

#include <argp.h>
#include <jansson.h>

#include "cli/cli.h"

void jobs_print(const struct cli *cli, const json_t *answer);
/* For the parse function of a verb that takes ids and nothing else. */
MUST_CHECK int jobs_parse_ids(
        int key, struct argp_state *state, char ***ret_ids, int *ret_n, struct err *err);
/* Its slices in one cell: "n1/0: 2 GiB 25 %". */
void jobs_cell_slices(const json_t *job, bool plain, struct buf *out);
