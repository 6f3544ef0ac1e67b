#include "agent/agent_priv.h"

#include <talloc.h>

#include "plat/clock.h"
#include "plat/log.h"
#include "base/version.h"

#define AGAIN_MS 1000 /* after the first WELCOME: STARTs that an earlier agent may have had */
#define SERVER_MIN_MS \
	10000 /* a server that is silent for so long, and for three heartbeats, is tried anew */
#define SHUTDOWN_ACK_MS 5000 /* after the last end: for the server to make it durable */
#define GONE_MS         1000 /* for the link to close in good order */

static void say_hello(void *data)
{
	struct agent *a = data;
	void *ctx = talloc_new(NULL);
	struct link_hello m = {
	        .version = LINK_VERSION,
	        .program = (char *)(uintptr_t)berth_version,
	        .name = (char *)(uintptr_t)a->node_name,
	        .boot_id = a->machine.boot_id,
	        .key = a->key[0] ? a->key : NULL,
	        .cpus = a->machine.cpus,
	        .mem_bytes = a->machine.mem_bytes,
	};

	m.devices = (struct device_info *)(uintptr_t)inventory_devices(a->inventory, &m.n_devices);
	attempts_list(a->attempts, ctx, &m.attempts, &m.n_attempts);
	link_put_hello(outbox_buf(&a->outbox), &m);
	talloc_free(ctx);
	a->heard_ms = loop_mono_ms(a->loop);
}

static void on_welcome(struct agent *a, const struct link_welcome *m)
{
	uint64_t now_ms = clock_mono_ms();

	log_info("link.welcome", "node=%llu server=\"%s\"", (unsigned long long)m->node,
	        m->server_program ? m->server_program : "");
	uplink_welcomed(a->uplink);
	attempts_set_limits(a->attempts, m->grace_ms, m->output_max);
	attempts_set_holds(a->attempts, &(struct engine_holds){.max_processes = m->max_processes,
	                                        .cap_cpus = m->cap_cpus,
	                                        .io_weight = m->io_weight,
	                                        .group_parent = m->group_parent});
	a->beat_ms = m->heartbeat_ms ? m->heartbeat_ms : AGENT_BEAT_MS;
	loop_timer_start(a->beat, a->beat_ms, a->beat_ms);
	if (!a->again_until_ms)
		a->again_until_ms = now_ms + AGAIN_MS;
	watchdog_set_mode(a->watchdog, (enum link_watchdog)m->watchdog);
	slicing_set_wish(a->slicing, m->mechanism, m->models, m->n_models, m->cap_compute);
	inventory_refresh(a->inventory);
	attempts_set_burst(a->attempts, m->start_burst);
	attempts_resend(a->attempts);
	watchdog_say_again(a->watchdog);
}

void agent_on_start(void *data, const struct link_start *m)
{
	struct agent *a = data;
	const struct agent_blob *blob = m->env_blob ? blobs_find(a->blobs, m->env_blob) : NULL;
	bool is_early = !a->again_until_ms || clock_mono_ms() < a->again_until_ms;

	if (m->env_blob && !blob) {
		uplink_restart(a->uplink, "a START names bytes that are not here");
		return;
	}
	/* What an earlier agent had sent may just have begun. */
	if (is_early)
		attempts_look(a->attempts, m->epoch);
	if (!a->is_shutdown && !attempts_find(a->attempts, m->epoch) &&
	        !slicing_prepare(a->slicing, m)) {
		waiting_put(a->waiting, m);
		return;
	}
	attempts_start(a->attempts, m, blob ? blob->data : NULL, blob ? blob->len : 0, is_early);
}

static void on_stream_open(struct agent *a, const struct link_stream_open *m)
{
	if (m->kind == LINK_STREAM_LOG)
		outputs_open(a->outputs, m);
	else
		consoles_open(a->consoles, m);
}

static void on_shutdown(struct agent *a)
{
	if (!a->is_shutdown)
		log_info(
		        "agent.shutdown", "living=%u", attempts_count(a->attempts, ATTEMPT_LIVING));
	a->is_shutdown = true;
	attempts_shutdown(a->attempts);
	waiting_retry(a->waiting);
}

static void on_remove(struct agent *a, const struct link_remove *m)
{
	for (uint32_t i = 0; i < m->n_attempts; i++)
		engine_remove(a->engine, m->attempts[i].id, m->attempts[i].attempt);
	log_debug("output.remove", "attempts=%u", m->n_attempts);
	link_put_removed(outbox_buf(&a->outbox), m->number);
}

static void on_message(void *data, const struct link_message *m)
{
	struct agent *a = data;

	a->heard_ms = loop_mono_ms(a->loop);
	switch (m->type) {
	case LINK_WELCOME:
		on_welcome(a, &m->welcome);
		break;
	case LINK_BLOB:
		blobs_put(a->blobs, m->blob.num, m->blob.data, m->blob.len);
		break;
	case LINK_START:
		agent_on_start(a, &m->start);
		break;
	case LINK_STOP:
		attempts_stop(a->attempts, &m->stop);
		break;
	case LINK_ACK:
		attempts_ack(a->attempts, m->ack_epoch);
		break;
	case LINK_REMOVE:
		on_remove(a, &m->remove);
		break;
	case LINK_DROP:
		blobs_drop(a->blobs, m->drop_blob);
		break;
	case LINK_STREAM_OPEN:
		on_stream_open(a, &m->stream_open);
		break;
	/* Of a stream that has just ended here: nobody's, and no harm. */
	case LINK_STREAM_DATA:
		(void)!consoles_data(a->consoles, &m->stream_data);
		break;
	case LINK_STREAM_WINDOW:
		(void)!(outputs_window(a->outputs, &m->stream_window) ||
		        consoles_window(a->consoles, &m->stream_window));
		break;
	case LINK_STREAM_CLOSE:
		(void)!(outputs_close(a->outputs, m->stream_close.stream) ||
		        consoles_close(a->consoles, m->stream_close.stream));
		break;
	case LINK_SHUTDOWN:
		on_shutdown(a);
		break;
	default:
		break;
	}
}

static void on_link_closed(void *data)
{
	struct agent *a = data;

	loop_timer_stop(a->beat);
	blobs_clear(a->blobs);
	waiting_clear(a->waiting);
	outputs_close_all(a->outputs);
	consoles_close_all(a->consoles);
}

void agent_on_beat(void *data)
{
	struct agent *a = data;
	uint64_t silent_ms = loop_mono_ms(a->loop) - a->heard_ms;

	if (silent_ms > SERVER_MIN_MS && silent_ms > 3 * a->beat_ms)
		uplink_restart(a->uplink, "the server is silent");
	else
		link_put_empty(outbox_buf(&a->outbox), LINK_BEAT);
}

/* The end */

static void on_gone(void *data)
{
	struct agent *a = data;

	loop_stop(a->loop);
}

void agent_leave(struct agent *a)
{
	if (a->is_leaving)
		return;
	a->is_leaving = true;
	loop_timer_start(a->ending, GONE_MS, 0);
	if (a->uplink)
		uplink_finish(a->uplink);
	else
		loop_stop(a->loop);
}

/* Of a shutdown: once nothing lives, and the server has what it must know, or cannot be reached. */
static bool may_leave(struct agent *a)
{
	static const enum attempt_state busy[] = {
	        ATTEMPT_QUEUED, ATTEMPT_STARTING, ATTEMPT_LIVING, ATTEMPT_ENDED};
	uint64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < ARRAY_LEN(busy); i++)
		if (attempts_count(a->attempts, busy[i]))
			return false;
	if (!a->idle_since_ms) {
		a->idle_since_ms = now_ms;
		loop_timer_start(a->ending, SHUTDOWN_ACK_MS, 0);
	}
	return (a->outbox.is_open && !attempts_count(a->attempts, ATTEMPT_TOLD)) ||
	       now_ms - a->idle_since_ms >= SHUTDOWN_ACK_MS;
}

void agent_on_turn_end(void *data)
{
	struct agent *a = data;

	if (!a->is_shutdown || a->is_leaving || !may_leave(a))
		return;
	log_info("agent.bye", "unacknowledged=%u", attempts_count(a->attempts, ATTEMPT_TOLD));
	link_put_empty(outbox_buf(&a->outbox), LINK_BYE);
	engine_retire(a->engine);
	agent_leave(a);
}

/* The link does not close; or, of a shutdown, the turn that this makes looks again. */
void agent_on_ending(void *data)
{
	struct agent *a = data;

	if (a->is_leaving)
		loop_stop(a->loop);
}

/* Connecting */

void agent_connect(struct agent *a)
{
	struct uplink_options o = {
	        .url = a->o.server_url,
	        .token_file = a->o.token_file,
	        .ca_path = a->o.ca_path,
	        .pin_hex = a->o.pin_hex,
	        .on_open = say_hello,
	        .on_message = on_message,
	        .on_close = on_link_closed,
	        .on_gone = on_gone,
	        .data = a,
	};

	if (a->uplink)
		uplink_restart(a->uplink, "there are more devices");
	else if (!a->is_leaving)
		a->uplink = uplink_new(a->loop, &a->outbox, &o);
}
