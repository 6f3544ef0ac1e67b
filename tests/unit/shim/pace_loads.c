/* What processes do. */
#include "pace_model_priv.h"

#include <stdlib.h>

static uint64_t vary(struct model *m, uint64_t ns)
{
	return ns * model_draw(m, 950, 1050) / 1000;
}

static void kernel(struct proc *p, uint64_t key, uint64_t ns)
{
	p->launch = (struct pace_launch){.key = key};
	p->kernel_ns = ns;
	p->op_type = OP_KERNEL;
	p->stream = (p->stream + 1) % p->n_streams;
	p->stage = TRY;
}

static void mix(struct model *m, struct proc *p)
{
	uint64_t r = model_draw(m, 0, 99);
	unsigned i = r < 60 ? 0 : r < 90 ? 1 : r < 99 ? 2 : 3;
	static const uint64_t of[] = {10 * US, 100 * US, 1000 * US, 4500 * US};

	kernel(p, 1 + i, vary(m, of[i]));
}

static uint64_t unknown_ns(struct model *m)
{
	uint64_t ns =
	        50 * US << model_draw(m, 0,
	                5); /* near to log-uniform: 50 us to 3.2 ms, and up to 1.6 times that */

	return ns + model_draw(m, 0, ns * 6 / 10);
}

/* Sets the stage; where it is neither TRY nor SYNCED, a time to go on is scheduled. */
static void begin_sync(struct model *m, struct proc *p)
{
	pace_sync_begin(&p->pace, NULL, true, &p->sync);
	p->stage = SYNCED;
	if (!p->n_ops)
		model_schedule(m, p, false, m->now + 5 * US);
}

static void pause_host(struct model *m, struct proc *p, uint64_t ns)
{
	p->stage = ASK;
	model_schedule(m, p, false, m->now + ns);
}

static void ask_cycle(struct model *m, struct proc *p)
{
	switch (p->load) {
	case LOAD_TRAIN:
		if (p->step < 300)
			kernel(p, 1 + p->step % 50, vary(m, (10 + (p->step % 50) * 10) * US));
		else if (p->step == 300)
			begin_sync(m, p);
		else
			pause_host(m, p, MS);
		p->step = p->step == 301 ? 0 : p->step + 1;
		break;
	case LOAD_PEER:
		kernel(p, p->step < 20 ? 1 : 2, p->step < 20 ? vary(m, 200 * US) : 500 * US);
		if (p->step == 20)
			p->op_type = OP_PEER;
		p->step = (p->step + 1) % 21;
		break;
	case LOAD_INFER:
		if (p->step == 0) {
			p->began_at = m->now;
			kernel(p, 1, 2 * MS);
		} else if (p->step == 1) {
			begin_sync(m, p);
		} else {
			if (p->n_latencies < LATENCIES)
				p->latencies[p->n_latencies++] = (uint32_t)(m->now - p->began_at);
			pause_host(m, p, model_draw(m, 4 * MS, 6 * MS));
		}
		p->step = (p->step + 1) % 3;
		break;
	case LOAD_SYNC:
	case LOAD_GAP:
		if (p->step == 0)
			kernel(p, 1, vary(m, p->load == LOAD_SYNC ? p->ns : 500 * US));
		else if (p->step == 1)
			begin_sync(m, p);
		else
			pause_host(m, p, p->load == LOAD_SYNC ? US : p->ns);
		p->step = (p->step + 1) % 3;
		break;
	default:
		abort();
	}
}

void model_ask(struct model *m, struct proc *p)
{
	switch (p->load) {
	case LOAD_KERNELS:
		kernel(p, 1, vary(m, p->ns));
		break;
	case LOAD_MIX:
		mix(m, p);
		break;
	case LOAD_JUMP:
		kernel(p, 1, vary(m, 100 * US * (p->step++ / 100 % 2 ? 10 : 1)));
		break;
	case LOAD_RJUMP:
		kernel(p, 1, vary(m, 100 * US * (model_draw(m, 0, 9) < 3 ? 10 : 1)));
		break;
	case LOAD_UNKNOWN:
		kernel(p, ++p->key, unknown_ns(m));
		break;
	case LOAD_SLEEPY:
		if (m->now - p->cycle_at > S / 2 && !p->n_ops) {
			p->cycle_at = m->now + S * 7 / 10;
			pause_host(m, p, S * 7 / 10);
		} else if (m->now - p->cycle_at > S / 2) {
			begin_sync(m, p);
		} else {
			kernel(p, 1, vary(m, 100 * US));
		}
		break;
	case LOAD_IDLE:
		p->host.is_asleep = false;
		p->stage = SYNCED;
		break;
	default:
		ask_cycle(m, p);
	}
}
