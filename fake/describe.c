/*
 * The description file: one key and its value per line; `device` begins a card, what stands before the first one is
 * of the driver. doc/simulate.md lists the keys; unknown ones are refused with their line.
 */
#include "describe.h"

#include "../tables/nvml_abi.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTION_MAX 65536
#define LEN(a)          (sizeof(a) / sizeof((a)[0]))

bool refuse(struct reader *r, const char *fmt, ...)
{
	int n = snprintf(r->error, SIM_ERROR_SIZE, "%.120s:%u: ", r->path, r->line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error + n, SIM_ERROR_SIZE - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

static struct sim_card *card_of(struct reader *r)
{
	return &r->s->cards[r->s->n_cards - 1];
}

static unsigned index_of(struct reader *r)
{
	return r->s->n_cards - 1;
}

char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t");
	char *end = word + strcspn(word, " \t");

	*rest = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

static bool take_text(struct reader *r, char *value, char *out, size_t size)
{
	if (!*value || strlen(value) >= size)
		return refuse(r, "a text of 1 to %zu characters is needed", size - 1);
	memcpy(out, value, strlen(value) + 1);
	return true;
}

bool take_size(struct reader *r, const char *value, uint64_t *ret_bytes)
{
	return sim_parse_size(value, ret_bytes) ||
	       refuse(r, "'%.40s' is not a size, such as 8GiB", value);
}

bool take_number(struct reader *r, const char *value, uint64_t max, uint64_t *ret_value)
{
	return sim_parse_u64(value, max, ret_value) ||
	       refuse(r, "'%.40s' is not a number from 0 to %llu", value, (unsigned long long)max);
}

static bool take_switch(struct reader *r, const char *value, bool *ret_on)
{
	*ret_on = strcmp(value, "on") == 0;
	return *ret_on || strcmp(value, "off") == 0 ||
	       refuse(r, "'%.40s' is neither on nor off", value);
}

/* "MAJOR.MINOR" */
static bool take_version(struct reader *r, const char *value, int *ret_major, int *ret_minor)
{
	char end;

	if (sscanf(value, "%2d.%2d%c", ret_major, ret_minor, &end) != 2 || *ret_major < 0 ||
	        *ret_minor < 0)
		return refuse(r, "'%.40s' is not of the form 8.0", value);
	return true;
}

static bool key_driver(struct reader *r, char *value)
{
	return take_text(r, value, r->s->driver, sizeof(r->s->driver));
}

static bool key_cuda(struct reader *r, char *value)
{
	int major, minor;

	if (!take_version(r, value, &major, &minor))
		return false;
	r->s->cuda_version = major * 1000 + minor * 10;
	return true;
}

static bool key_seed(struct reader *r, char *value)
{
	return take_text(r, value, r->seed, sizeof(r->seed));
}

static bool add_rule(
        struct reader *r, enum sim_rule_kind kind, const char *name, uint32_t nth, uint32_t value)
{
	if (!sim_is_function(name))
		return refuse(r, "'%.60s' is no function of the simulated drivers", name);
	return sim_rule(&r->s->initial, kind, name, nth, value) ||
	       refuse(r, "more than %d faults", SIM_RULES_MAX);
}

static bool key_missing(struct reader *r, char *value)
{
	return add_rule(r, SIM_RULE_MISSING, value, 0, 0);
}

/* fail NAME NTH CODE */
static bool key_fail(struct reader *r, char *value)
{
	char *name = next_word(&value), *nth = next_word(&value), *code = next_word(&value);
	uint64_t n;
	uint32_t c;

	if (!take_number(r, nth, UINT32_MAX, &n))
		return false;
	if (!sim_parse_code(name, code, &c))
		return refuse(r, "'%.40s' is no return code of %s", code,
		        sim_is_cuda(name) ? "CUDA" : "NVML");
	return add_rule(r, SIM_RULE_FAIL, name, (uint32_t)n, c);
}

/* slow MILLISECONDS [NAME] */
static bool key_slow(struct reader *r, char *value)
{
	char *ms = next_word(&value), *name = next_word(&value);
	uint64_t n;

	return take_number(r, ms, UINT32_MAX, &n) &&
	       add_rule(r, SIM_RULE_SLOW, *name ? name : "*", 0, (uint32_t)n);
}

static void all_cpus(uint64_t cpus[SIM_CPU_WORDS])
{
	long n = sysconf(_SC_NPROCESSORS_CONF);

	for (long i = 0; i < n && i < SIM_CPU_WORDS * 64; i++)
		cpus[i / 64] |= UINT64_C(1) << (i % 64);
}

static bool key_device(struct reader *r, char *value)
{
	unsigned index = r->s->n_cards;
	struct sim_card *c;

	if (*value)
		return refuse(r, "'device' stands alone; its keys follow, one on a line");
	if (index == SIM_CARDS_MAX)
		return refuse(r, "more than %d devices", SIM_CARDS_MAX);
	r->s->n_cards++;
	c = card_of(r);
	*c = (struct sim_card){.cc_major = 8,
	        .pci_bus = index + 1,
	        .numa_node = -1,
	        .gpu_numa_node = -1,
	        .ecc = true,
	        .context_bytes = UINT64_C(32) << 20,
	        .chunk_bytes = UINT64_C(32) << 20,
	        .parent = -1};
	snprintf(c->model, sizeof(c->model), "Simulated GPU");
	all_cpus(c->cpus);
	return true;
}

/* Whoever looks at the model sees what it is. */
static bool key_model(struct reader *r, char *value)
{
	struct sim_card *c = card_of(r);
	char text[sizeof(c->model) - sizeof(" (simulated)")];

	if (!take_text(r, value, text, sizeof(text)))
		return false;
	snprintf(c->model, sizeof(c->model), "%s%s", text,
	        strcasestr(text, "simulated") ? "" : " (simulated)");
	return true;
}

static bool key_uuid(struct reader *r, char *value)
{
	if (strncmp(value, "GPU-", 4) != 0 || strlen(value) < 8)
		return refuse(r, "a uuid begins with GPU-");
	r->uuid_given[index_of(r)] = true;
	return take_text(r, value, card_of(r)->uuid, sizeof(card_of(r)->uuid));
}

static bool key_memory(struct reader *r, char *value)
{
	return take_size(r, value, &card_of(r)->mem_bytes);
}

static bool key_reserved(struct reader *r, char *value)
{
	return take_size(r, value, &card_of(r)->reserved_bytes);
}

/* What a CUDA context takes of it. */
static bool key_context(struct reader *r, char *value)
{
	return take_size(r, value, &card_of(r)->context_bytes);
}

/* What a pool takes of it at a time. */
static bool key_chunk(struct reader *r, char *value)
{
	return take_size(r, value, &card_of(r)->chunk_bytes);
}

static bool key_cc(struct reader *r, char *value)
{
	return take_version(r, value, &card_of(r)->cc_major, &card_of(r)->cc_minor);
}

static bool key_pci(struct reader *r, char *value)
{
	struct sim_card *c = card_of(r);
	char end;

	if (sscanf(value, "%8x:%2x:%2x.0%c", &c->pci_domain, &c->pci_bus, &c->pci_device, &end) !=
	        3)
		return refuse(r, "'%.40s' is not of the form 0000:01:00.0", value);
	return true;
}

static bool key_numa(struct reader *r, char *value)
{
	uint64_t n;

	if (!take_number(r, value, 63, &n))
		return false;
	card_of(r)->numa_node = (int)n;
	return true;
}

static bool key_gpu_numa(struct reader *r, char *value)
{
	uint64_t n;

	if (!take_number(r, value, 63, &n))
		return false;
	card_of(r)->gpu_numa_node = (int)n;
	return true;
}

/* "0-3,8", or "none" */
static bool key_cpus(struct reader *r, char *value)
{
	struct sim_card *c = card_of(r);
	char *save = NULL;

	memset(c->cpus, 0, sizeof(c->cpus));
	if (strcmp(value, "none") == 0)
		return true;
	for (char *part = strtok_r(value, ",", &save); part; part = strtok_r(NULL, ",", &save)) {
		char *dash = strchr(part, '-');
		uint64_t first, last;

		if (dash)
			*dash++ = '\0';
		if (!take_number(r, part, SIM_CPU_WORDS * 64 - 1, &first) ||
		        !take_number(r, dash ? dash : part, SIM_CPU_WORDS * 64 - 1, &last))
			return false;
		for (uint64_t i = first; i <= last; i++)
			c->cpus[i / 64] |= UINT64_C(1) << (i % 64);
	}
	return true;
}

static bool key_ecc(struct reader *r, char *value)
{
	return take_switch(r, value, &card_of(r)->ecc);
}

static bool key_mig(struct reader *r, char *value)
{
	return take_switch(r, value, &card_of(r)->mig);
}

static bool key_compute_mode(struct reader *r, char *value)
{
	if (strcmp(value, "default") == 0)
		card_of(r)->compute_mode = NVML_COMPUTE_SHARED;
	else if (strcmp(value, "exclusive") == 0)
		card_of(r)->compute_mode = NVML_COMPUTE_EXCLUSIVE;
	else if (strcmp(value, "prohibited") == 0)
		card_of(r)->compute_mode = NVML_COMPUTE_PROHIBITED;
	else
		return refuse(r, "'%.40s' is not default, exclusive or prohibited", value);
	return true;
}

/* lost [after CALLS] */
static bool key_lost(struct reader *r, char *value)
{
	char *after = next_word(&value), *calls = next_word(&value);
	uint64_t n = 0;

	if (*after && strcmp(after, "after") != 0)
		return refuse(r, "'lost' or 'lost after CALLS'");
	if (*after && !take_number(r, calls, UINT32_MAX, &n))
		return false;
	sim_lose(&r->s->initial, index_of(r), (uint32_t)n);
	return true;
}

static bool key_xid(struct reader *r, char *value)
{
	uint64_t n;

	if (!take_number(r, value, UINT32_MAX, &n))
		return false;
	sim_xid(&r->s->initial, index_of(r), (uint32_t)n);
	return true;
}

static bool key_corrected(struct reader *r, char *value)
{
	uint64_t n;

	if (!take_number(r, value, INT64_MAX, &n))
		return false;
	sim_ecc(&r->s->initial, index_of(r), n, 0);
	return true;
}

static bool key_uncorrected(struct reader *r, char *value)
{
	uint64_t n;

	if (!take_number(r, value, INT64_MAX, &n))
		return false;
	sim_ecc(&r->s->initial, index_of(r), 0, n);
	return true;
}

/* rows pending | failed */
static bool key_rows(struct reader *r, char *value)
{
	struct sim_card_state *c = &r->s->initial.cards[index_of(r)];

	if (strcmp(value, "pending") == 0)
		c->rows_pending = 1;
	else if (strcmp(value, "failed") == 0)
		c->rows_failed = 1;
	else
		return refuse(r, "'%.40s' is neither pending nor failed", value);
	return true;
}

static bool key_recovery(struct reader *r, char *value)
{
	return sim_parse_recovery(value, &r->s->initial.cards[index_of(r)].recovery_action) ||
	       refuse(r, "'%.40s' is not none, reset, reboot, drain or drain-and-reset", value);
}

/* outside PID SIZE|unknown [graphics|both] */
static bool key_outside(struct reader *r, char *value)
{
	char *pid = next_word(&value), *size = next_word(&value), *word = next_word(&value);
	uint64_t p, bytes = SIM_BYTES_UNKNOWN;
	enum sim_list lists;

	if (!take_number(r, pid, INT32_MAX, &p) ||
	        (strcmp(size, "unknown") != 0 && !take_size(r, size, &bytes)))
		return false;
	if (!sim_parse_lists(word, &lists))
		return refuse(r, "'%.40s' is neither graphics nor both", word);
	return sim_use(&r->s->initial, (int32_t)p, index_of(r), bytes, 0, lists) ||
	       refuse(r, "more than %d processes", SIM_PROCESSES_MAX);
}

static const struct {
	const char *name;
	bool of_card;
	bool (*set)(struct reader *r, char *value);
} keys[] = {
        {"driver", false, key_driver},
        {"cuda", false, key_cuda},
        {"seed", false, key_seed},
        {"missing", false, key_missing},
        {"fail", false, key_fail},
        {"slow", false, key_slow},
        {"device", false, key_device},
        {"model", true, key_model},
        {"uuid", true, key_uuid},
        {"memory", true, key_memory},
        {"reserved", true, key_reserved},
        {"context", true, key_context},
        {"chunk", true, key_chunk},
        {"cc", true, key_cc},
        {"pci", true, key_pci},
        {"numa", true, key_numa},
        {"gpu_numa", true, key_gpu_numa},
        {"cpus", true, key_cpus},
        {"ecc", true, key_ecc},
        {"mig", true, key_mig},
        {"instance", true, mig_key_instance},
        {"compute_mode", true, key_compute_mode},
        {"lost", true, key_lost},
        {"xid", true, key_xid},
        {"corrected", true, key_corrected},
        {"uncorrected", true, key_uncorrected},
        {"rows", true, key_rows},
        {"recovery", true, key_recovery},
        {"outside", true, key_outside},
};

static bool read_line(struct reader *r, char *line)
{
	char *value, *end = line + strcspn(line, "#");
	const char *key;
	bool known = false;

	while (end > line && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	value = line;
	key = next_word(&value);
	if (!*key)
		return true;
	value += strspn(value, " \t");
	for (size_t i = 0; i < LEN(keys); i++) {
		if (strcmp(keys[i].name, key) != 0)
			continue;
		if (keys[i].of_card && r->s->n_cards == 0)
			return refuse(r, "'%s' stands before the first 'device'", key);
		return keys[i].set(r, value);
	}
	if (pace_key(r, key, value, &known))
		return true;
	return !known && refuse(r, "unknown key '%.40s'", key);
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

/* The same seed and place give the same UUID for ever. */
static void derive_uuid(struct reader *r, unsigned index)
{
	uint64_t a = hash_bytes(UINT64_C(0xcbf29ce484222325), r->seed, strlen(r->seed));
	uint64_t b;

	a = hash_bytes(a, &index, sizeof(index));
	b = hash_bytes(a, r->seed, strlen(r->seed));
	snprintf(r->s->cards[index].uuid, sizeof(r->s->cards[index].uuid),
	        "GPU-%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32),
	        (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xffff), (unsigned)(b >> 48),
	        (unsigned long long)(b & UINT64_C(0xffffffffffff)));
}

static bool check_cards(struct reader *r)
{
	for (unsigned i = 0; i < r->s->n_cards; i++) {
		struct sim_card *c = &r->s->cards[i];

		if (c->mem_bytes == 0 || c->reserved_bytes >= c->mem_bytes)
			return refuse(r, "device %u has no memory left to use", i);
		if (!r->uuid_given[i])
			derive_uuid(r, i);
		for (unsigned k = 0; k < i; k++)
			if (strcmp(r->s->cards[k].uuid, c->uuid) == 0)
				return refuse(r, "devices %u and %u have the same uuid", k, i);
	}
	return true;
}

static char *read_file(const char *path, size_t *ret_len, char error[SIM_ERROR_SIZE])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text = NULL;
	ssize_t n = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		errno = EINVAL;
	} else if (fd >= 0 && (text = malloc(DESCRIPTION_MAX + 1))) {
		n = read(fd, text, DESCRIPTION_MAX + 1);
		if (n > DESCRIPTION_MAX) {
			errno = EFBIG;
			n = -1;
		}
	}
	if (n < 0) {
		snprintf(error, SIM_ERROR_SIZE, "%.150s: %s", path, strerror(errno));
		free(text);
		text = NULL;
	} else {
		text[n] = '\0';
		*ret_len = (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	return text;
}

/* Of a description that names no seed: its own place, however it was called. The end tells places apart. */
static void seed_of_path(const char *path, char *seed, size_t size)
{
	char whole[PATH_MAX];
	size_t len;

	if (!realpath(path, whole))
		snprintf(whole, sizeof(whole), "%s", path);
	len = strlen(whole);
	if (len >= size)
		memmove(whole, whole + len - size + 1, size);
	memcpy(seed, whole, strlen(whole) + 1);
}

bool sim_describe(struct sim *s, const char *path, char error[SIM_ERROR_SIZE])
{
	struct reader r = {.s = s, .path = path, .error = error};
	size_t len;
	char *text, *line, *next;
	bool ok = true;

	memset(s, 0, sizeof(*s));
	s->state_fd = s->share_fd = -1;
	s->cuda_version = 12040;
	pace_begin(&s->pace);
	snprintf(s->driver, sizeof(s->driver), "550.54.15");
	seed_of_path(path, r.seed, sizeof(r.seed));
	text = read_file(path, &len, error);
	if (!text)
		return false;
	s->initial.description = hash_bytes(UINT64_C(0xcbf29ce484222325), text, len);
	for (line = text; ok && line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		r.line++;
		ok = read_line(&r, line);
	}
	free(text);
	s->initial.events_early =
	        s->initial.event_seq < SIM_EVENTS_MAX ? s->initial.event_seq : SIM_EVENTS_MAX;
	s->n_gpus = s->n_cards;
	return ok && check_cards(&r) && mig_end(&r);
}
