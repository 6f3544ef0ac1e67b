#include "engine/host_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <talloc.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/host_exec.h"
#include "plat/usock.h"

#define KNOCK_MS 5    /* how often a console that is about to be made is tried */
#define OPEN_MS  5000 /* and for how long */

struct engine_attachment {
	struct host *host;
	char *path;
	struct loop_timer *knock;
	uint64_t deadline_ms; /* monotonic */
	void (*on_open)(void *data, int fd, const struct err *why);
	void *data;
	LIST_ENTRY(engine_attachment) link;
};

void host_detach(struct engine *e, struct engine_attachment *at)
{
	LIST_REMOVE(at, link);
	loop_timer_free(at->knock);
	free(at->path);
	free(at);
}

static void on_knock(void *data)
{
	struct engine_attachment *at = data, gone = *at;
	struct err err;
	int fd, rc = usock_connect_now(at->path, &fd, &err);

	if (rc < 0 && loop_mono_ms(at->host->o.loop) < at->deadline_ms)
		return;
	host_detach(&at->host->base, at);
	gone.on_open(gone.data, rc < 0 ? -1 : fd, rc < 0 ? &err : NULL);
}

static struct engine_attachment *begin_knocking(
        struct host *h, const struct engine_attach *a, const char *path)
{
	struct engine_attachment *at = mem_zalloc(sizeof(*at));

	at->host = h;
	at->path = mem_strdup(path);
	at->on_open = a->on_open;
	at->data = a->data;
	at->knock = loop_timer_new(h->o.loop, on_knock, at);
	LIST_INSERT_HEAD(&h->attachments, at, link);
	loop_timer_start(at->knock, 0, KNOCK_MS);
	at->deadline_ms = loop_mono_ms(h->o.loop) + OPEN_MS;
	return at;
}

/* The path of its console, on ctx. */
static int begin_exec(struct host *h, struct host_attempt *a, const struct engine_attach *m,
        void *ctx, const char **ret_path, struct err *err)
{
	struct launch l;
	int rc = exec_prepare(ctx, &h->prepare, a, m, loop_mono_ms(h->o.loop), &l, err);

	if (rc < 0)
		return rc;
	do {
		if (getrandom(&l.console_id, sizeof(l.console_id), 0) != sizeof(l.console_id))
			return err_sys(err, errno, "choosing a name for the console");
	} while (l.console_id == 0);
	l.console_path = prepare_console_path(ctx, &h->prepare, a->epoch, l.console_id);
	rc = prepare_console_dir(&h->prepare, err);
	if (rc < 0)
		return rc;
	if (!host_send(h, a, &l))
		return err_set(err, ERR_UNAVAILABLE, "the keepers' parent cannot be reached now");
	*ret_path = l.console_path;
	return 0;
}

static int find_terminal(struct host *h, const struct host_attempt *a, void *ctx,
        const char **ret_path, struct err *err)
{
	const char *path = prepare_console_path(ctx, &h->prepare, a->epoch, 0);

	if (!a->has_console && access(path, F_OK) < 0)
		return err_set(err, ERR_CONFLICT, "it has no terminal; `logs -f` shows its output");
	*ret_path = path;
	return 0;
}

int host_attach(struct engine *e, const struct engine_attach *m,
        struct engine_attachment **ret_attachment, struct err *err)
{
	struct host *h = host_of(e);
	struct host_attempt *a = host_find(h, m->epoch);
	const char *path;
	void *ctx;
	int rc;

	if (!a)
		return err_set(err, ERR_NOT_FOUND, "there is no attempt %llu here",
		        (unsigned long long)m->epoch);
	if (a->state == HOST_ENDED)
		return err_set(err, ERR_CONFLICT, "it does not run any more");
	if (m->is_exec && a->state != HOST_LIVING)
		return err_set(err, ERR_CONFLICT, "it does not run yet");
	ctx = talloc_new(NULL);
	rc = m->is_exec ? begin_exec(h, a, m, ctx, &path, err)
	                : find_terminal(h, a, ctx, &path, err);
	if (rc == 0)
		*ret_attachment = begin_knocking(h, m, path);
	talloc_free(ctx);
	return rc;
}
