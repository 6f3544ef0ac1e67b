/*
 * CUDA_VISIBLE_DEVICES. A process has cards that are not in MIG mode, or one MIG instance and nothing else: it is named, or it is
 * the first of a card that is named, or of all where no other card is there.
 */
#include "cuda.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* One word: an index, or a UUID or its beginning. -1: no such device. */
static int device_of(const struct sim *s, const char *word)
{
	int found = -1;
	uint64_t index;

	if (sim_parse_u64(word, SIM_CARDS_MAX, &index))
		return index < s->n_gpus ? (int)index : -1;
	if (strncmp(word, "GPU-", 4) != 0 && strncmp(word, "MIG-", 4) != 0)
		return -1;
	for (unsigned i = 0; i < s->n_cards; i++) {
		if (strncasecmp(s->cards[i].uuid, word, strlen(word)) != 0)
			continue;
		if (found >= 0)
			return -1;
		found = (int)i;
	}
	return found;
}

/* What a card shows: itself, or in MIG mode its first instance; -1: nothing. */
static int shown(const struct sim *s, const struct sim_state *st, int card)
{
	if (card < 0 || sim_is_gone(s, st, (unsigned)card))
		return -1;
	return sim_is_mig(s, st, (unsigned)card) ? sim_instance(s, st, (unsigned)card, 0) : card;
}

static unsigned all(const struct sim *s, const struct sim_state *st, unsigned cards[SIM_CARDS_MAX])
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->n_gpus; i++)
		if (!sim_is_mig(s, st, i))
			cards[n++] = i;
	for (unsigned i = 0; i < s->n_gpus && !n; i++) {
		int instance = shown(s, st, (int)i);

		if (instance >= 0)
			cards[n++] = (unsigned)instance;
	}
	return n;
}

/* The first word that names no device ends the list; a card named twice makes it empty. */
static unsigned named(
        const struct sim *s, const struct sim_state *st, char *list, unsigned cards[SIM_CARDS_MAX])
{
	char *save = NULL;
	unsigned n = 0;

	for (char *w = strtok_r(list, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
		int card = shown(s, st, device_of(s, w));
		bool is_instance = card >= 0 && s->cards[card].parent >= 0;

		if (card < 0 || (is_instance && n))
			break;
		for (unsigned i = 0; i < n; i++)
			if (cards[i] == (unsigned)card)
				return 0;
		cards[n++] = (unsigned)card;
		if (is_instance)
			break;
	}
	return n;
}

unsigned visible_devices(struct sim *s, unsigned cards[SIM_CARDS_MAX])
{
	const char *list = getenv("CUDA_VISIBLE_DEVICES");
	char *words = list ? strdup(list) : NULL;
	struct sim_state st;
	unsigned n = 0;

	if (sim_begin(s, &st) == 0) {
		n = words ? named(s, &st, words, cards) : all(s, &st, cards);
		sim_end(s, NULL);
	}
	free(words);
	return n;
}
