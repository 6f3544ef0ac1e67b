#include "engine/engine.h"

#include "engine/host.h"

const struct engine_ops *const engine_all[] = {&host_engine, NULL};

/* What no engine has to look at again. */

static int check_epoch(uint64_t epoch, struct err *err)
{
	return epoch && epoch <= SPOOL_EPOCH_MAX
	               ? 0
	               : err_set(err, ERR_INVALID, "%llu is no epoch", (unsigned long long)epoch);
}

static int check_command(char *const *argv, struct err *err)
{
	return argv && argv[0] ? 0 : err_set(err, ERR_INVALID, "there is no command");
}

static int check_start(const struct link_start *s, struct err *err)
{
	int rc = check_epoch(s->epoch, err);

	if (rc == 0)
		rc = check_command(s->argv, err);
	if (rc == 0 && s->chdir && s->chdir[0] != '/')
		return err_set(err, ERR_INVALID, "'%s' is no absolute directory", s->chdir);
	return rc;
}

static int check_cause(enum spool_cause cause, struct err *err)
{
	switch (cause) {
	case SPOOL_STOPPED:
	case SPOOL_TIMEOUT:
	case SPOOL_SHUTDOWN:
	case SPOOL_GPU_MEMORY:
	case SPOOL_GPU_AROUND:
		return 0;
	default:
		return err_set(err, ERR_INVALID, "nobody asks for an end of cause %d", (int)cause);
	}
}

/* Life */

int engine_open(const struct engine_ops *ops, const struct engine_options *o,
        struct engine **ret_engine, struct err *err)
{
	if (!o->data_dir || o->data_dir[0] != '/')
		return err_set(err, ERR_INVALID, "an engine works in an absolute directory");
	return ops->open(o, ret_engine, err);
}

void engine_close(struct engine *e)
{
	if (e)
		e->ops->close(e);
}

void engine_resume(struct engine *e)
{
	e->ops->resume(e);
}

void engine_retire(struct engine *e)
{
	e->ops->retire(e);
}

/* Commands */

int engine_prepare(struct engine *e, const struct engine_request *r, struct err *err)
{
	int rc = check_start(r->start, err);

	return rc < 0 ? rc : e->ops->prepare(e, r, err);
}

int engine_start(struct engine *e, uint64_t epoch, struct err *err)
{
	return e->ops->start(e, epoch, err);
}

int engine_signal(struct engine *e, const struct engine_signal *s, struct err *err)
{
	int rc = check_epoch(s->epoch, err);

	if (rc == 0)
		rc = check_cause(s->cause, err);
	return rc < 0 ? rc : e->ops->signal(e, s, err);
}

int engine_attach(struct engine *e, const struct engine_attach *a,
        struct engine_attachment **ret_attachment, struct err *err)
{
	int rc = a->is_exec ? check_command(a->argv, err) : 0;

	return rc < 0 ? rc : e->ops->attach(e, a, ret_attachment, err);
}

void engine_detach(struct engine *e, struct engine_attachment *at)
{
	e->ops->detach(e, at);
}

int engine_clean(struct engine *e, uint64_t epoch, struct err *err)
{
	return e->ops->clean(e, epoch, err);
}

void engine_remove(struct engine *e, struct job_id id, uint32_t attempt)
{
	e->ops->remove(e, id, attempt);
}

int engine_inspect(struct engine *e, void *ctx, uint64_t epoch, struct engine_state *ret_state,
        struct err *err)
{
	return e->ops->inspect(e, ctx, epoch, ret_state, err);
}
