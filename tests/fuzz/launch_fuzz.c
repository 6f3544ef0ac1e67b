/*
 * What an agent asks of the helper: messages to the keepers' parent, the policy that stands between, and the comparison with what
 * root granted. The first byte sets the policy, then come two messages: what is asked, and what was granted.
 */
#include <string.h>

#include "fuzz.h"
#include "helper/grants.h"
#include "helper/policy.h"
#include "wire/spool.h"

/* Nobody has grants there. */
#define DATA "/nonexistent/berth"

/* An empty text and none are one. */
static bool is_same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static void check_same_list(char *const *a, char *const *b)
{
	for (; *a && *b; a++, b++)
		FUZZ_MUST(strcmp(*a, *b) == 0);
	FUZZ_MUST(!*a && !*b);
}

/* Nothing was lost on the way. */
static void check_same(const struct launch *a, const struct launch *b)
{
	FUZZ_MUST(a->kind == b->kind && a->job == b->job && a->task == b->task);
	FUZZ_MUST(a->attempt == b->attempt && a->epoch == b->epoch && a->again == b->again);
	FUZZ_MUST(a->console_id == b->console_id && is_same_text(a->grant, b->grant));
	FUZZ_MUST(is_same_text(a->user, b->user) && is_same_text(a->cwd, b->cwd));
	check_same_list(a->argv, b->argv);
	check_same_list(a->env, b->env);
	FUZZ_MUST(a->make_cwd == b->make_cwd && a->out_internal == b->out_internal);
	FUZZ_MUST(is_same_text(a->out_path, b->out_path) && is_same_text(a->err_path, b->err_path));
	FUZZ_MUST(is_same_text(a->index_path, b->index_path) && is_same_text(a->path, b->path));
	FUZZ_MUST(is_same_text(a->console_path, b->console_path));
	FUZZ_MUST(is_same_text(a->refusal, b->refusal) && a->output_max == b->output_max);
	FUZZ_MUST(a->ranks == b->ranks && a->ranks <= LAUNCH_RANKS && a->label == b->label);
	FUZZ_MUST(a->tty == b->tty && a->console == b->console && a->force == b->force);
	FUZZ_MUST(a->rows == b->rows && a->cols == b->cols && a->grace_ms == b->grace_ms);
	FUZZ_MUST(a->time_limit_ms == b->time_limit_ms && a->stop_cause == b->stop_cause);
	FUZZ_MUST(memcmp(a->cpus, b->cpus, sizeof(a->cpus)) == 0);
	FUZZ_MUST(a->has_account == b->has_account && a->uid == b->uid && a->gid == b->gid);
	FUZZ_MUST(a->n_groups == b->n_groups);
	for (size_t i = 0; i < a->n_groups; i++)
		FUZZ_MUST(a->groups[i] == b->groups[i]);
}

static void check_round_trip(const struct launch *l)
{
	CLEANUP_BUF struct buf first = BUF_INIT(16 * MIB), second = BUF_INIT(16 * MIB);
	struct launch again;
	struct err err;

	launch_encode(l, &first);
	FUZZ_MUST(!first.overflow && first.len >= 4);
	FUZZ_MUST(launch_decode(first.data + 4, first.len - 4, &again, &err) == 0);
	check_same(l, &again);
	launch_encode(&again, &second);
	FUZZ_MUST(fuzz_is_same(&first, &second));
	launch_done(&again);
}

/* Walks the parts of a path: true when it stays strictly below the folder, step by step. */
static bool stays_below(const char *path, const char *folder)
{
	size_t n = strlen(folder);
	long depth = 0;

	if (strncmp(path, folder, n) != 0 || path[n] != '/')
		return false;
	for (const char *p = path + n; *p;) {
		size_t len;
		p += strspn(p, "/");
		len = strcspn(p, "/");
		if (len == 2 && memcmp(p, "..", 2) == 0)
			depth--;
		else if (len && !(len == 1 && *p == '.'))
			depth++;
		if (depth < 0)
			return false;
		p += len;
	}
	return depth > 0;
}

static void check_allowed(const struct policy *p, const struct launch *l)
{
	bool has_command = l->kind == LAUNCH_START || l->kind == LAUNCH_EXEC;

	FUZZ_MUST(!l->refusal);
	if (has_command || l->kind == LAUNCH_OPEN || l->kind == LAUNCH_MPS_START) {
		FUZZ_MUST(l->has_account);
		FUZZ_MUST(l->uid == 0 ? p->allow_root : l->uid >= p->min_uid);
		FUZZ_MUST(l->uid != p->server_uid);
	}
	if (l->kind >= LAUNCH_MPS_START) {
		FUZZ_MUST(l->has_account && l->uid != 0 && l->place < LAUNCH_PLACES);
		FUZZ_MUST(strncmp(l->device, "GPU-", 4) == 0 && strlen(l->device) == 40);
		FUZZ_MUST(!strpbrk(l->device, "/., \n"));
	}
	if (l->kind == LAUNCH_FORGET || l->kind >= LAUNCH_OPEN)
		return;
	FUZZ_MUST(l->kind == LAUNCH_ROTATE || (l->epoch && l->epoch <= SPOOL_EPOCH_MAX));
	FUZZ_MUST(!l->path || stays_below(l->path, DATA "/spool"));
	FUZZ_MUST(!l->index_path || stays_below(l->index_path, DATA "/logs"));
	FUZZ_MUST(!l->console_path || stays_below(l->console_path, DATA "/run"));
	FUZZ_MUST(!l->out_internal || !l->out_path || stays_below(l->out_path, DATA "/logs"));
	FUZZ_MUST(!l->make_cwd || !l->cwd || stays_below(l->cwd, DATA "/work"));
	if (has_command) {
		FUZZ_MUST(l->argv[0] && *l->argv[0]);
		FUZZ_MUST(!l->out_path || *l->out_path == '/');
		FUZZ_MUST(!l->cwd || *l->cwd == '/');
	}
}

static void check_policy(struct launch *l, uint8_t options)
{
	struct policy p;
	struct err err;
	int rc;

	policy_init(&p, DATA);
	p.server_uid = 4000;
	p.allow_root = options & 1;
	if (options & 2)
		FUZZ_MUST(policy_set(&p, "users", "1000, 1001", &err) == 0);
	fuzz_err_init(&err);
	rc = policy_check(&p, l, 0, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	else
		check_allowed(&p, l);
	if (rc == 0 && (options & 2) && l->has_account && l->uid != 0)
		FUZZ_MUST(strcmp(l->user, "1000") == 0 || strcmp(l->user, "1001") == 0);
	policy_done(&p);
}

static bool has_entry(char *const *list, const char *entry)
{
	while (*list && strcmp(*list, entry) != 0)
		list++;
	return *list;
}

/* What would change what root's command does must be what was granted. */
static void check_grant(const struct launch *granted, const struct launch *l)
{
	struct err err;
	size_t n = 0;
	int rc;

	fuzz_err_init(&err);
	rc = grants_compare(granted, l, "/root", &err);
	if (rc) {
		fuzz_err_check(rc, &err);
		FUZZ_MUST(err.kind == ERR_FORBIDDEN);
		return;
	}
	FUZZ_MUST(granted->kind == l->kind && granted->tty == l->tty);
	for (; l->argv[n]; n++)
		FUZZ_MUST(granted->argv[n] && strcmp(granted->argv[n], l->argv[n]) == 0);
	FUZZ_MUST(!granted->argv[n]);
	FUZZ_MUST(!l->make_cwd && l->cwd);
	for (char *const *e = l->env; *e; e++)
		if (strncmp(*e, "LD_", 3) == 0 || strncmp(*e, "BASH_ENV", 8) == 0)
			FUZZ_MUST(has_entry(granted->env, *e));
	if (l->out_path && granted->out_path && strstr(l->out_path, "/../"))
		FUZZ_MUST(strcmp(l->out_path, granted->out_path) == 0);
}

static bool decode(const uint8_t *data, size_t size, struct launch *ret)
{
	struct err err;
	int rc;

	fuzz_err_init(&err);
	rc = launch_decode(data, size, ret, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	else
		check_round_trip(ret);
	return rc == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t options = fuzz_byte(&data, &size);
	const uint8_t *asked = NULL, *granted = NULL;
	size_t n_asked = 0, n_granted = 0;
	struct launch l, g;

	if (!fuzz_piece(&data, &size, &asked, &n_asked) || !decode(asked, n_asked, &l))
		return 0;
	if (l.user && fuzz_piece(&data, &size, &granted, &n_granted) &&
	        decode(granted, n_granted, &g)) {
		check_grant(&g, &l);
		launch_done(&g);
	}
	check_policy(&l, options);
	launch_done(&l);
	return 0;
}
