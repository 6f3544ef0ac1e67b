/* Descriptions of simulated devices, in a file of memory's own; and the words that fake-gpu's command line shares with them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "sim.h"

static void check_card(const struct sim *s, unsigned k)
{
	const struct sim_card *c = &s->cards[k];

	FUZZ_MUST(memchr(c->model, '\0', sizeof(c->model)));
	FUZZ_MUST(*c->uuid && memchr(c->uuid, '\0', sizeof(c->uuid)));
	FUZZ_MUST(c->mem_bytes > c->reserved_bytes);
	(void)sim_used(&s->initial, k);
	FUZZ_MUST(sim_find_card(s, c->uuid) >= 0);
	for (unsigned i = 0; i < k; i++)
		FUZZ_MUST(strcmp(s->cards[i].uuid, c->uuid) != 0);
}

static void check_words(const char *text)
{
	enum sim_list lists = SIM_COMPUTE;
	uint64_t bytes = 0, number = 0;
	uint32_t code = 0, action = 0;

	FUZZ_MUST(!sim_parse_size(text, &bytes) || bytes <= INT64_MAX);
	FUZZ_MUST(!sim_parse_u64(text, 1000, &number) || number <= 1000);
	FUZZ_MUST(!sim_parse_code("nvmlInit_v2", text, &code) || code <= 999);
	FUZZ_MUST(!sim_parse_code("cuInit", text, &code) || code <= 999);
	FUZZ_MUST(!sim_parse_recovery(text, &action) || action <= 4);
	FUZZ_MUST(!sim_parse_lists(text, &lists) || (lists >= SIM_COMPUTE && lists <= SIM_BOTH));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("description", MFD_CLOEXEC);
	char path[64], error[SIM_ERROR_SIZE], *text = fuzz_text(data, size);
	static struct sim s;

	FUZZ_MUST(fd >= 0);
	FUZZ_MUST(!size || write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(error, 'Z', sizeof(error));
	if (sim_describe(&s, path, error)) {
		FUZZ_MUST(s.n_cards <= SIM_CARDS_MAX && s.state_fd == -1);
		FUZZ_MUST(memchr(s.driver, '\0', sizeof(s.driver)));
		for (unsigned k = 0; k < s.n_cards; k++)
			check_card(&s, k);
	} else {
		FUZZ_MUST(*error && memchr(error, '\0', sizeof(error)));
	}
	close(fd);
	text[strcspn(text, "\n")] = '\0';
	check_words(text);
	free(text);
	return 0;
}
