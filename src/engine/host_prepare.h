/*
 * From the server's START to the message for the keepers' parent: account, directory, environment, output files.
 * Everything in the result hangs on the caller's talloc context. Loop thread; makes directories and links in the data
 * directory. Failing means that the attempt cannot be started here; the text is for its submitter.
 */
#pragma once

#include "engine/account.h"
#include "engine/engine.h"
#include "wire/launch.h"

struct prepare {
	const char *data_dir; /* absolute */
	const char *node_name;
	const char *fake_gpus; /* description of simulated devices, or NULL */
	const char *lang;
	bool has_accounts; /* jobs run as the account of their submitter; else all as `uid` */
	bool is_resolver; /* accounts are looked up here, because we are root and no helper stands between */
	uint32_t uid; /* ours */
	struct accounts *accounts;
	char *log_dir; /* of outputs, that was made or found last */
};

MUST_CHECK int prepare_launch(void *ctx, struct prepare *p, const struct engine_request *r,
        uint64_t now_ms, struct launch *ret_launch, struct err *err);
/* Whose rights: by name, or where that is NULL by number. *ret_account is NULL for a number without a name. */
MUST_CHECK int prepare_account(void *ctx, const struct prepare *p, const char *user, uint32_t uid,
        uint64_t now_ms, struct launch *l, const struct account **ret_account, struct err *err);
/* The directory of the sockets of terminals, made when it is missing. */
MUST_CHECK int prepare_console_dir(const struct prepare *p, struct err *err);
/* The socket of an attempt, or (console_id not 0) of a command beside it. */
char *prepare_console_path(void *ctx, const struct prepare *p, uint64_t epoch, uint64_t console_id);
