#include "engine/host_priv.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/paths.h"
#include "plat/clock.h"
#include "plat/fs.h"

void host_news(struct host *h, enum log_level level, const char *event, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	h->o.on_news(h->o.data, level, event, text);
}

/* Callbacks of what the host is made of. */

static void on_spool(void *data, int events)
{
	host_read(data);
}

static const char *spool_path(void *data)
{
	struct host *h = data;

	return spools_path(h->spools, spools_current(h->spools));
}

static void on_launcher_news(void *data, enum log_level level, const char *event, const char *text)
{
	struct host *h = data;

	h->o.on_news(h->o.data, level, event, text);
}

/* Life */

static void make_prepare(struct host *h)
{
	const struct engine_options *o = &h->o;

	h->prepare = (struct prepare){
	        .data_dir = o->data_dir,
	        .node_name = o->node_name,
	        .fake_gpus = o->fake_gpus,
	        .lang = o->lang,
	        .uid = geteuid(),
	        /* Behind an address is root's helper. */
	        .has_accounts = geteuid() == 0 || o->address,
	        .is_resolver = geteuid() == 0 && !o->address,
	        .accounts = accounts_new(),
	};
}

static void make_launcher(struct host *h)
{
	struct launcher_options o = {
	        .program = h->o.address ? NULL : h->o.program,
	        .data_dir = h->o.data_dir,
	        .spool_path = spool_path,
	        .on_up = host_on_launcher_up,
	        .on_down = host_on_launcher_down,
	        .on_news = on_launcher_news,
	        .data = h,
	};

	if (h->o.address)
		h->socket_path = mem_strdup(h->o.address);
	else
		BUG_IF(asprintf(&h->socket_path, "%s/run/keeper.sock", h->o.data_dir) < 0);
	o.socket_path = h->socket_path;
	h->launcher = launcher_new(h->o.loop, &o);
}

static void host_close(struct engine *e)
{
	struct host *h = host_of(e);
	struct host_attempt *a, *next;

	while (!LIST_EMPTY(&h->attachments))
		host_detach(e, LIST_FIRST(&h->attachments));
	launcher_free(h->launcher);
	loop_poll_free(h->spool_poll);
	loop_timer_free(h->look);
	HASH_ITER (hh, h->by_epoch, a, next)
		host_forget(h, a);
	spools_close(h->spools);
	accounts_free(h->prepare.accounts);
	free(h->prepare.log_dir);
	free(h->socket_path);
	free(h->left);
	free(h);
}

static int host_open(const struct engine_options *o, struct engine **ret_engine, struct err *err)
{
	struct host *h = mem_zalloc(sizeof(*h));
	char dir[PATH_MAX];
	int rc;

	h->base.ops = &host_engine;
	h->o = *o;
	for (size_t i = 0; i < HOST_STATES; i++)
		TAILQ_INIT(&h->lists[i]);
	h->look = loop_timer_new(o->loop, host_on_look, h);
	make_prepare(h);
	make_launcher(h);
	snprintf(dir, sizeof(dir), "%s/run", o->data_dir);
	rc = fs_mkdir_p(dir, 0711, err);
	snprintf(dir, sizeof(dir), "%s/spool", o->data_dir);
	/* What a crash of the machine cut off must not be written behind. */
	if (rc == 0)
		rc = spools_open(dir, o->is_rebooted, &h->spools, err);
	if (rc == 0)
		rc = loop_poll_new(
		        o->loop, spools_fd(h->spools), LOOP_READ, on_spool, h, &h->spool_poll, err);
	if (rc < 0) {
		host_close(&h->base);
		return rc;
	}
	*ret_engine = &h->base;
	return 0;
}

static void host_resume(struct engine *e)
{
	struct host *h = host_of(e);

	host_read(h);
	if (h->o.is_rebooted)
		host_end_with_machine(h);
}

static void host_retire(struct engine *e)
{
	launcher_end_parent(host_of(e)->launcher);
}

/* Commands */

static int encode_start(
        struct host *h, const struct engine_request *r, struct host_attempt *ret, struct err *err)
{
	void *ctx = talloc_new(NULL);
	struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	struct launch l;
	int rc = prepare_launch(ctx, &h->prepare, r, clock_mono_ms(), &l, err);

	if (rc == 0) {
		launch_encode(&l, &b);
		if (b.overflow)
			rc = err_set(err, ERR_TOO_LARGE,
			        "command and environment are larger than %llu MiB",
			        (unsigned long long)(LAUNCH_MAX / MIB));
		ret->has_console = l.console;
	}
	talloc_free(ctx);
	if (rc < 0) {
		buf_done(&b);
		return rc;
	}
	ret->launch = b.data;
	ret->launch_len = b.len;
	return 0;
}

static int host_prepare(struct engine *e, const struct engine_request *r, struct err *err)
{
	struct host *h = host_of(e);
	struct host_attempt made = {0}, *a;
	int rc;

	/* What an earlier engine had sent may just have begun. */
	if (r->again)
		host_read(h);
	if (host_find(h, r->start->epoch))
		return err_set(err, ERR_CONFLICT, "attempt %llu is here already",
		        (unsigned long long)r->start->epoch);
	rc = encode_start(h, r, &made, err);
	if (rc < 0)
		return rc;
	a = host_add(h, r->start->epoch, r->start->id, r->start->attempt, HOST_PREPARED);
	a->launch = made.launch;
	a->launch_len = made.launch_len;
	a->has_console = made.has_console;
	return 0;
}

static int get_attempt(
        const struct host *h, uint64_t epoch, struct host_attempt **ret, struct err *err)
{
	*ret = host_find(h, epoch);
	return *ret ? 0
	            : err_set(err, ERR_NOT_FOUND, "there is no attempt %llu here",
	                      (unsigned long long)epoch);
}

static int host_start(struct engine *e, uint64_t epoch, struct err *err)
{
	struct host *h = host_of(e);
	struct host_attempt *a;
	int rc = get_attempt(h, epoch, &a, err);

	if (rc < 0)
		return rc;
	if (a->state != HOST_PREPARED)
		return err_set(err, ERR_CONFLICT, "attempt %llu was started already",
		        (unsigned long long)epoch);
	host_set_state(h, a, HOST_WAITING);
	host_pump(h);
	return 0;
}

static int host_signal(struct engine *e, const struct engine_signal *s, struct err *err)
{
	struct host *h = host_of(e);
	struct host_attempt *a = host_find(h, s->epoch);

	if (!a) {
		/* Its START may still stand in the line of a connection that an earlier engine left behind. */
		a = host_add(h, s->epoch, s->id, 0, HOST_SENT);
		a->since_ms = clock_mono_ms();
	}
	if (a->state != HOST_ENDED)
		host_end(h, a, s->cause, s->force);
	host_pump(h);
	return 0;
}

static int host_clean(struct engine *e, uint64_t epoch, struct err *err)
{
	struct host *h = host_of(e);
	struct host_attempt *a;
	int rc = get_attempt(h, epoch, &a, err);

	if (rc < 0)
		return rc;
	if (a->state != HOST_ENDED && a->state != HOST_PREPARED)
		return err_set(
		        err, ERR_CONFLICT, "attempt %llu has not ended", (unsigned long long)epoch);
	if (a->state == HOST_ENDED)
		host_sweep_directory(h, a);
	host_hold_file(h, a, 0);
	host_forget(h, a);
	host_rotate_quiet(h);
	return 0;
}

/* An attempt that is about to start has found its directory. */
static bool is_wanted_by(const struct host *h, struct job_id id)
{
	static const enum host_state early[] = {HOST_PREPARED, HOST_WAITING, HOST_SENT};
	const struct host_attempt *a;

	for (size_t i = 0; i < ARRAY_LEN(early); i++)
		TAILQ_FOREACH (a, &h->lists[early[i]], link)
			if (paths_share_log_dir(a->id, id))
				return true;
	return false;
}

static void host_remove(struct engine *e, struct job_id id, uint32_t attempt)
{
	static const char *const kinds[] = {"out", "err", "idx"};
	struct host *h = host_of(e);
	void *ctx = talloc_new(NULL);

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		(void)!unlink(paths_log(ctx, h->o.data_dir, id, attempt, kinds[i]));
	/* Refused while there is something in it; else the next one there makes it again. */
	if (!is_wanted_by(h, id) && rmdir(paths_log_dir(ctx, h->o.data_dir, id)) == 0) {
		free(h->prepare.log_dir);
		h->prepare.log_dir = NULL;
	}
	/* Only a helper keeps something of a job. Should it not hear this, that stays. */
	if (h->o.address)
		(void)!launcher_send(h->launcher,
		        &(struct launch){.kind = LAUNCH_FORGET, .job = id.num, .task = -1});
	talloc_free(ctx);
}

const struct engine_ops host_engine = {
        .name = "host",
        .open = host_open,
        .close = host_close,
        .resume = host_resume,
        .retire = host_retire,
        .prepare = host_prepare,
        .start = host_start,
        .signal = host_signal,
        .attach = host_attach,
        .detach = host_detach,
        .inspect = host_inspect,
        .clean = host_clean,
        .remove = host_remove,
};
