#include "server/recorder.h"
#include "base/mem.h"
#include "plat/fs.h"
#include "plat/log.h"
#include "wire/recording.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct recorder {
	int fd; /* -1: it took no more */
	off_t len;
	struct buf lines; /* not written yet; bounded by what one turn does */
};

static void add_queues(struct recorder *r, const struct world *w, int64_t now_ms)
{
	struct queue *q, *next;

	HASH_ITER (hh, w->queues, q, next) {
		struct event e = {.kind = EVENT_QUEUE_SET, .queue = q};
		recording_put_event(&r->lines, now_ms, &e, w);
		e = (struct event){.kind = EVENT_QUEUE_PAUSE, .name = q->name};
		if (q->paused)
			recording_put_event(&r->lines, now_ms, &e, w);
	}
}

static void add_nodes(struct recorder *r, const struct world *w, int64_t now_ms)
{
	const struct node *n;

	TAILQ_FOREACH (n, &w->nodes, link) {
		struct device_info devices[NODE_DEVICES_MAX];
		struct event e = {.kind = EVENT_NODE_UP,
		        .node = n,
		        .devices = devices,
		        .n_devices = n->n_devices,
		        .force = true};
		for (uint32_t i = 0; i < n->n_devices; i++)
			devices[i] = n->devices[i].info;
		recording_put_event(&r->lines, now_ms, &e, w);
	}
}

/* In the order in which they are loaded: those that live, their tasks, and who has ended, the earliest first. */
static void add_jobs(struct recorder *r, const struct world *w, int64_t now_ms)
{
	const struct job *j;

	for (int tasks = 0; tasks <= 1; tasks++)
		for (j = world_next_job(w, NULL); j; j = world_next_job(w, j))
			if ((j->id.task != TASK_NONE) == tasks && !job_state_is_final(j->state))
				recording_put_job(&r->lines, now_ms, j);
	TAILQ_FOREACH (j, &w->ended, by_end)
		recording_put_job(&r->lines, now_ms, j);
}

int recorder_open(const char *path, const struct world *w, int64_t now_ms, const char *placement,
        struct recorder **ret_recorder, struct err *err)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct recorder *r;

	if (fd < 0)
		return err_sys(err, errno, "server.record: '%s'", path);
	r = mem_zalloc(sizeof(*r));
	r->fd = fd;
	r->len = lseek(fd, 0, SEEK_END);
	r->lines = BUF_INIT(SIZE_MAX / 2);
	recording_put_begin(&r->lines, now_ms, w, placement);
	add_queues(r, w, now_ms);
	add_nodes(r, w, now_ms);
	add_jobs(r, w, now_ms);
	recorder_flush(r);
	log_info("record", "file=\"%s\"", path);
	*ret_recorder = r;
	return 0;
}

void recorder_close(struct recorder *r)
{
	if (!r)
		return;
	recorder_flush(r);
	if (r->fd >= 0)
		close(r->fd);
	buf_done(&r->lines);
	free(r);
}

size_t recorder_event(
        struct recorder *r, int64_t now_ms, const struct event *e, const struct world *w)
{
	size_t mark = r ? r->lines.len : 0;

	if (r)
		recording_put_event(&r->lines, now_ms, e, w);
	return mark;
}

void recorder_take_back(struct recorder *r, size_t mark)
{
	if (r)
		r->lines.len = mark;
}

void recorder_job(struct recorder *r, int64_t now_ms, const struct job *j)
{
	if (r)
		recording_put_job(&r->lines, now_ms, j);
}

void recorder_plan(
        struct recorder *r, int64_t now_ms, size_t max, const struct placement *v, size_t n)
{
	if (r)
		recording_put_plan(&r->lines, now_ms, max, v, n);
}

void recorder_learn(struct recorder *r, int64_t now_ms)
{
	if (r)
		recording_put_learn(&r->lines, now_ms);
}

void recorder_adopt(struct recorder *r, int64_t now_ms, const double *settings, size_t n)
{
	if (r)
		recording_put_adopt(&r->lines, now_ms, settings, n);
}

void recorder_flush(struct recorder *r)
{
	struct err err;

	if (!r || !r->lines.len)
		return;
	if (r->fd >= 0 && fs_write_all(r->fd, r->lines.data, r->lines.len, &err)) {
		log_error("record", "text=\"%s\" nothing more is recorded", err.text);
		(void)!ftruncate(r->fd, r->len);
		close(r->fd);
		r->fd = -1;
	}
	r->len += (off_t)r->lines.len;
	buf_reset(&r->lines);
}
