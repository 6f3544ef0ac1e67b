#include "plat/net_priv.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "plat/clock.h"
#include "plat/loop_priv.h"

/* A timer that is later than that says that we did not run. */
#define LATE_MS     1000
#define CATCH_UP_MS 100

static void on_check(uv_check_t *check)
{
	struct net_hub *hub = check->data;
	struct conn_list now = TAILQ_HEAD_INITIALIZER(now);
	struct net_server *s;
	struct conn *c;

	/* What is touched again while settling waits for the next turn, which comes at once: idle runs. */
	TAILQ_CONCAT(&now, &hub->dirty, dirty_link);
	while ((c = TAILQ_FIRST(&now))) {
		TAILQ_REMOVE(&now, c, dirty_link);
		c->is_dirty = false;
		conn_settle(c);
	}
	LIST_FOREACH (s, &hub->servers, link)
		server_turn(s);
	if (TAILQ_EMPTY(&hub->dirty))
		uv_idle_stop(&hub->idle);
}

static void on_idle(uv_idle_t *idle)
{
}

static void on_timer(uv_timer_t *timer)
{
	struct net_hub *hub = timer->data;
	uint64_t late_ms = hub_now_ms(hub) - hub->timer_at_ms;
	uint64_t next_ms = 0;
	uint64_t now_ms;
	struct conn *c;

	if (late_ms > LATE_MS)
		hub->lost_ms += late_ms + CATCH_UP_MS; /* what lies in the sockets comes first */
	now_ms = hub_now_ms(hub);
	hub->timer_at_ms = 0;
	TAILQ_FOREACH (c, &hub->conns, link) {
		if (c->deadline_ms && c->deadline_ms <= now_ms)
			conn_on_deadline(c);
		if (c->deadline_ms && (!next_ms || c->deadline_ms < next_ms))
			next_ms = c->deadline_ms;
	}
	if (next_ms)
		hub_arm(hub, next_ms);
}

static void ignore_sigpipe(void)
{
	struct sigaction sa;

	/* libuv writes to sockets without MSG_NOSIGNAL. A handler that somebody set stays. */
	if (sigaction(SIGPIPE, NULL, &sa) == 0 && !(sa.sa_flags & SA_SIGINFO) &&
	        sa.sa_handler == SIG_DFL) {
		sa.sa_handler = SIG_IGN;
		sigaction(SIGPIPE, &sa, NULL);
	}
}

struct net_hub *hub_use(struct loop *loop)
{
	uv_loop_t *uv = loop_uv(loop);
	struct net_hub *hub = uv->data;

	if (hub) {
		hub->n_users++;
		hub->n_refs++;
		return hub;
	}
	ignore_sigpipe();
	hub = mem_zalloc(sizeof(*hub));
	hub->loop = loop;
	hub->uv = uv;
	hub->n_users = 1;
	hub->n_refs = 1;
	hub->spare = BUF_INIT(SIZE_MAX / 4);
	hub->read_bytes = mem_realloc(NULL, NET_READ_BYTES, 1);
	TAILQ_INIT(&hub->conns);
	TAILQ_INIT(&hub->dirty);
	LIST_INIT(&hub->servers);
	uv_check_init(uv, &hub->check);
	uv_check_start(&hub->check, on_check);
	uv_unref((uv_handle_t *)&hub->check);
	uv_idle_init(uv, &hub->idle);
	uv_timer_init(uv, &hub->timer);
	hub->check.data = hub->idle.data = hub->timer.data = hub;
	uv->data = hub;
	return hub;
}

void hub_unref(struct net_hub *hub)
{
	if (--hub->n_refs)
		return;
	buf_done(&hub->spare);
	free(hub->read_bytes);
	free(hub);
}

static void on_closed(uv_handle_t *handle)
{
	hub_unref(handle->data);
}

void hub_leave(struct net_hub *hub)
{
	if (--hub->n_users)
		return;
	hub->uv->data = NULL;
	hub->n_refs += 3;
	uv_close((uv_handle_t *)&hub->check, on_closed);
	uv_close((uv_handle_t *)&hub->idle, on_closed);
	uv_close((uv_handle_t *)&hub->timer, on_closed);
}

uint64_t hub_now_ms(const struct net_hub *hub)
{
	return uv_now(hub->uv) - hub->lost_ms;
}

const char *hub_date(struct net_hub *hub)
{
	time_t now_s = (time_t)(clock_wall_ms() / 1000);

	if (now_s != hub->date_s) {
		struct tm tm;

		hub->date_s = now_s;
		gmtime_r(&now_s, &tm);
		/* The programs never leave the C locale for times, so the names are English. */
		strftime(hub->date, sizeof(hub->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return hub->date;
}

void hub_arm(struct net_hub *hub, uint64_t at_ms)
{
	uint64_t now_ms = hub_now_ms(hub);

	if (hub->timer_at_ms && hub->timer_at_ms <= at_ms)
		return;
	hub->timer_at_ms = at_ms;
	/* Never 0: a timer that is due at once, again and again, would keep the loop from its descriptors. */
	uv_timer_start(&hub->timer, on_timer, at_ms > now_ms ? at_ms - now_ms : 1, 0);
}

void hub_touch(struct net_hub *hub, struct conn *c)
{
	if (TAILQ_EMPTY(&hub->dirty))
		uv_idle_start(&hub->idle, on_idle);
	TAILQ_INSERT_TAIL(&hub->dirty, c, dirty_link);
	c->is_dirty = true;
}
