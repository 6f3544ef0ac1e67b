/*
 * Memory in the state of those who have a place in the mapped file, and what several of them hold together.
 */
#include "share.h"

#include <unistd.h>

static struct sim_process *entry_of(struct sim_state *st, uint32_t place, unsigned card, bool make)
{
	struct sim_process *empty = NULL;

	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		struct sim_process *p = &st->processes[i];

		if (p->pid && p->place == place && p->card == card)
			return p;
		if (!p->pid && !empty)
			empty = p;
	}
	if (!make || !empty)
		return NULL;
	*empty = (struct sim_process){
	        .pid = getpid(), .card = card, .lists = SIM_COMPUTE, .place = place};
	return empty;
}

static bool fits(const struct sim *s, const struct sim_state *st, unsigned card, uint64_t bytes)
{
	uint64_t usable = s->cards[card].mem_bytes - s->cards[card].reserved_bytes;
	uint64_t used = sim_used(st, card);

	return used <= usable && bytes <= usable - used;
}

bool sim_take(
        const struct sim *s, struct sim_state *st, uint32_t place, unsigned card, uint64_t bytes)
{
	struct sim_process *p;

	if (!fits(s, st, card, bytes)) {
		sim_drop_dead(s, st);
		if (!fits(s, st, card, bytes))
			return false;
	}
	p = entry_of(st, place, card, true);
	if (!p) {
		sim_drop_dead(s, st);
		p = entry_of(st, place, card, true);
	}
	if (p)
		p->bytes += bytes;
	return p;
}

void sim_give(struct sim_state *st, uint32_t place, unsigned card, uint64_t bytes)
{
	struct sim_process *p = entry_of(st, place, card, false);

	if (!p)
		return;
	p->bytes -= bytes < p->bytes ? bytes : p->bytes;
	if (!p->bytes)
		*p = (struct sim_process){0};
}

uint64_t sim_held(const struct sim_state *st, uint32_t place, unsigned card)
{
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++)
		if (st->processes[i].pid && st->processes[i].place == place &&
		        st->processes[i].card == card)
			return st->processes[i].bytes;
	return 0;
}

static uint64_t bit_of(uint32_t place)
{
	return UINT64_C(1) << ((place - 1) % 64);
}

static uint64_t *word_of(struct sim_shared *m, uint32_t place)
{
	return &m->holders[(place - 1) / 64];
}

static struct sim_shared *shared_of(struct sim_state *st, uint64_t id)
{
	for (unsigned i = 0; i < SIM_SHARED_MAX; i++)
		if (st->shared[i].id == id)
			return &st->shared[i];
	return NULL;
}

uint64_t sim_share(struct sim_state *st, uint32_t place, unsigned card, uint64_t bytes)
{
	struct sim_shared *m = shared_of(st, 0);

	if (!m)
		return 0;
	*m = (struct sim_shared){
	        .id = ++st->shared_seq, .bytes = bytes, .card = card, .payer = place};
	*word_of(m, place) |= bit_of(place);
	return m->id;
}

bool sim_join(struct sim_state *st, uint32_t place, uint64_t id, unsigned *ret_card)
{
	struct sim_shared *m = id ? shared_of(st, id) : NULL;

	if (!m)
		return false;
	*word_of(m, place) |= bit_of(place);
	*ret_card = m->card;
	return true;
}

/* Another holder pays from here on; false: there is none. */
static bool pass_on(struct sim_state *st, struct sim_shared *m)
{
	for (uint32_t place = 1; place <= SHARE_PLACES; place++) {
		struct sim_process *p;

		if (!(*word_of(m, place) & bit_of(place)))
			continue;
		m->payer = place;
		p = entry_of(st, place, m->card, true);
		if (p)
			p->bytes += m->bytes;
		return true;
	}
	return false;
}

static void leave(struct sim_state *st, struct sim_shared *m, uint32_t place)
{
	*word_of(m, place) &= ~bit_of(place);
	if (m->payer != place)
		return;
	sim_give(st, place, m->card, m->bytes);
	if (!pass_on(st, m))
		*m = (struct sim_shared){0};
}

void sim_leave(struct sim_state *st, uint32_t place, uint64_t id)
{
	struct sim_shared *m = id ? shared_of(st, id) : NULL;

	if (m)
		leave(st, m, place);
}

void sim_drop_place(struct sim_state *st, uint32_t place)
{
	for (unsigned i = 0; i < SIM_SHARED_MAX; i++)
		if (st->shared[i].id)
			leave(st, &st->shared[i], place);
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++)
		if (st->processes[i].place == place)
			st->processes[i] = (struct sim_process){0};
}
