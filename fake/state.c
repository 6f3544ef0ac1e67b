/*
 * The state that all processes share: a file with one record, a lock on the whole of it, and what can be done to it.
 */
#include "share.h"
#include "sim.h"

#include "../tables/nvml_abi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STATE_MAGIC  UINT64_C(0x0003554d49534c41) /* the layout's number is in the top bytes */
#define LOCK_WAIT_US 1000000 /* an honest holder needs microseconds; hundreds may come at once */

static void sleep_us(long us)
{
	struct timespec ts = {us / 1000000, us % 1000000 * 1000};

	nanosleep(&ts, NULL);
}

/* A lock of the open file, so that two opens in one process exclude each other too. */
static int lock_state(struct sim *s)
{
	struct flock fl = {.l_type = s->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	long waited_us = 0, step_us = 20;

	while (fcntl(s->state_fd, F_OFD_SETLK, &fl) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EACCES)
			return errno;
		if (waited_us >= LOCK_WAIT_US)
			return ETIMEDOUT;
		sleep_us(step_us);
		waited_us += step_us;
		if (step_us < 2000)
			step_us *= 2;
	}
	return 0;
}

static void unlock_state(struct sim *s)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(s->state_fd, F_OFD_SETLK, &fl);
}

static int write_state(struct sim *s, const struct sim_state *st)
{
	ssize_t n = pwrite(s->state_fd, st, sizeof(*st), 0);

	if (n == (ssize_t)sizeof(*st)) {
		share_tell_faults(s, st);
		return 0;
	}
	return n < 0 ? errno : ENOSPC;
}

/* Anybody may have written the file: nothing in it is used as a place in a table, or as text, unchecked. */
static void make_sane(const struct sim *s, struct sim_state *st)
{
	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++)
		if (st->processes[i].pid < 0 || st->processes[i].card >= s->n_cards ||
		        st->processes[i].place > SHARE_PLACES)
			st->processes[i].pid = 0;
	for (unsigned i = 0; i < SIM_SHARED_MAX; i++)
		if (st->shared[i].card >= s->n_cards || st->shared[i].payer > SHARE_PLACES)
			st->shared[i].id = 0;
	for (unsigned i = 0; i < SIM_RULES_MAX; i++)
		st->rules[i].name[SIM_NAME_SIZE - 1] = '\0';
	if (st->events_early > SIM_EVENTS_MAX)
		st->events_early = 0;
}

/* fresh: a state that is missing, broken or of another description begins anew; else it is ESTALE. */
static int begin(struct sim *s, struct sim_state *ret_state, bool fresh)
{
	int error = lock_state(s);
	ssize_t n;

	if (error)
		return error;
	n = pread(s->state_fd, ret_state, sizeof(*ret_state), 0);
	if (n < 0) {
		error = errno;
	} else if (n == (ssize_t)sizeof(*ret_state) && ret_state->magic == STATE_MAGIC &&
	           ret_state->description == s->initial.description) {
		make_sane(s, ret_state);
	} else if (fresh) {
		*ret_state = s->initial;
		ret_state->magic = STATE_MAGIC;
		error = s->read_only ? EROFS : write_state(s, ret_state);
	} else {
		error = ESTALE;
	}
	if (!error && fresh)
		share_find(s, ret_state);
	if (error)
		unlock_state(s);
	return error;
}

int sim_begin(struct sim *s, struct sim_state *ret_state)
{
	return begin(s, ret_state, false);
}

int sim_end(struct sim *s, const struct sim_state *changed)
{
	int error = 0;

	if (changed && !s->read_only)
		error = write_state(s, changed);
	unlock_state(s);
	return error;
}

/* Simulated cards are open to every user, as the real ones' device files are. */
static bool open_state(struct sim *s, const char *path, char error[SIM_ERROR_SIZE])
{
	char state_path[4200];
	struct stat st;

	snprintf(state_path, sizeof(state_path), "%s.state", path);
	s->read_only = false;
	s->state_fd =
	        open(state_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
	if (s->state_fd < 0 && (errno == EACCES || errno == EROFS)) {
		s->read_only = true;
		s->state_fd = open(state_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	}
	if (s->state_fd < 0 || fstat(s->state_fd, &st) < 0) {
		snprintf(error, SIM_ERROR_SIZE, "%.150s: %s", state_path, strerror(errno));
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(error, SIM_ERROR_SIZE, "%.150s: not a regular file", state_path);
		return false;
	}
	if (!s->read_only && st.st_uid == geteuid() && (st.st_mode & 0666) != 0666)
		fchmod(s->state_fd, 0666);
	return true;
}

bool sim_open(struct sim *s, const char *path, char error[SIM_ERROR_SIZE])
{
	struct sim_state *st;
	int code;

	if (!sim_describe(s, path, error))
		return false;
	if (strlen(path) >= sizeof(s->path)) {
		snprintf(error, SIM_ERROR_SIZE, "%.150s: %s", path, strerror(ENAMETOOLONG));
		return false;
	}
	snprintf(s->path, sizeof(s->path), "%s", path);
	if (!open_state(s, path, error)) {
		sim_close(s);
		return false;
	}
	st = malloc(sizeof(*st));
	code = st ? begin(s, st, true) : ENOMEM;
	if (code == 0)
		code = sim_end(s, NULL);
	free(st);
	if (code) {
		snprintf(error, SIM_ERROR_SIZE, "%.150s.state: %s", path, strerror(code));
		sim_close(s);
	}
	return code == 0;
}

void sim_close(struct sim *s)
{
	if (s->state_fd >= 0)
		close(s->state_fd);
	s->state_fd = -1; /* share_fd stays open */
}

bool sim_use(struct sim_state *st, int32_t pid, unsigned card, uint64_t bytes, uint64_t started,
        enum sim_list lists)
{
	struct sim_process *slot = NULL;

	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		struct sim_process *p = &st->processes[i];

		if (p->pid == pid && p->card == card && !p->place) {
			slot = p;
			break;
		}
		if (p->pid == 0 && !slot)
			slot = p;
	}
	if (!slot)
		return bytes == 0;
	if (bytes == 0)
		*slot = (struct sim_process){0};
	else
		*slot = (struct sim_process){.pid = pid,
		        .card = card,
		        .bytes = bytes,
		        .started = started,
		        .lists = lists};
	return true;
}

bool sim_rule(struct sim_state *st, enum sim_rule_kind kind, const char *name, uint32_t nth,
        uint32_t value)
{
	struct sim_rule *slot = NULL;

	for (unsigned i = 0; i < SIM_RULES_MAX; i++) {
		struct sim_rule *r = &st->rules[i];

		if (r->kind == (uint32_t)kind && strcmp(r->name, name) == 0 &&
		        kind != SIM_RULE_FAIL) {
			slot = r;
			break;
		}
		if (r->kind == SIM_RULE_NONE && !slot)
			slot = r;
	}
	if (!slot)
		return false;
	*slot = (struct sim_rule){.kind = kind, .nth = nth, .value = value};
	snprintf(slot->name, sizeof(slot->name), "%s", name);
	if (kind == SIM_RULE_SLOW && value == 0)
		*slot = (struct sim_rule){0};
	return true;
}

void sim_event(struct sim_state *st, unsigned card, uint64_t type, uint64_t data)
{
	uint64_t seq = ++st->event_seq;

	st->events[seq % SIM_EVENTS_MAX] =
	        (struct sim_event){.seq = seq, .type = type, .data = data, .card = card};
}

void sim_xid(struct sim_state *st, unsigned card, uint32_t number)
{
	enum { APP, NOTE, WORN, RESET, GONE };
	static const struct {
		uint32_t number;
		int class;
	} xids[] = {
#define XID(number, class, text) {number, class},
#include "../tables/xid.def"
#undef XID
	};

	sim_event(st, card, NVML_EVENT_XID, number);
	for (size_t i = 0; i < sizeof(xids) / sizeof(xids[0]); i++)
		if (xids[i].number == number && xids[i].class == RESET)
			st->cards[card].recovery_action = NVML_RECOVERY_RESET;
}

void sim_lose(struct sim_state *st, unsigned card, uint32_t after_calls)
{
	st->cards[card].lost = after_calls == 0;
	st->cards[card].lost_after = after_calls;
}

void sim_restore(struct sim_state *st, unsigned card)
{
	struct sim_card_state *c = &st->cards[card];

	*c = (struct sim_card_state){
	        .rows_failed = c->rows_failed, .ecc_uncorrected_ever = c->ecc_uncorrected_ever};
}

void sim_ecc(struct sim_state *st, unsigned card, uint64_t corrected, uint64_t uncorrected)
{
	struct sim_card_state *c = &st->cards[card];

	c->ecc_corrected += corrected;
	c->ecc_uncorrected += uncorrected;
	c->ecc_uncorrected_ever += uncorrected;
	if (corrected)
		sim_event(st, card, NVML_EVENT_SINGLE_BIT_ECC, 0);
	if (uncorrected)
		sim_event(st, card, NVML_EVENT_DOUBLE_BIT_ECC, 0);
}

/* A user of the fake CUDA is known by its lock, which also tells its pid as this process sees it. */
static bool drop_dead_once(const struct sim *s, struct sim_state *st)
{
	bool shared = false;

	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		struct sim_process *p = &st->processes[i];
		int32_t pid = 0;

		if (!p->pid)
			continue;
		if (p->place && !share_holder(s, p->place, &pid)) {
			sim_drop_place(st, p->place);
			shared = true;
		} else if (p->place && pid > 0) {
			p->pid = pid;
		} else if (!p->place && p->started && sim_started(p->pid) != p->started) {
			*p = (struct sim_process){0};
		}
	}
	return shared;
}

void sim_drop_dead(const struct sim *s, struct sim_state *st)
{
	while (drop_dead_once(s, st)) /* who pays now may be dead too */
		;
}

uint64_t sim_used(const struct sim_state *st, unsigned card)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < SIM_PROCESSES_MAX; i++) {
		const struct sim_process *p = &st->processes[i];

		if (p->pid && p->card == card && p->bytes != SIM_BYTES_UNKNOWN &&
		        __builtin_add_overflow(sum, p->bytes, &sum))
			return UINT64_MAX;
	}
	return sum;
}

int sim_find_card(const struct sim *s, const char *index_or_uuid)
{
	uint64_t index;

	if (sim_parse_u64(index_or_uuid, SIM_CARDS_MAX, &index))
		return index < s->n_gpus ? (int)index : -1;
	for (unsigned i = 0; i < s->n_cards; i++)
		if (strcmp(s->cards[i].uuid, index_or_uuid) == 0)
			return (int)i;
	return -1;
}

bool sim_is_mig(const struct sim *s, const struct sim_state *st, unsigned card)
{
	return s->cards[card].mig && !st->cards[card].mig_off;
}

bool sim_is_gone(const struct sim *s, const struct sim_state *st, unsigned card)
{
	int whole = s->cards[card].parent;

	return whole >= 0 && (st->cards[card].removed || !sim_is_mig(s, st, (unsigned)whole));
}

int sim_instance(const struct sim *s, const struct sim_state *st, unsigned card, unsigned n)
{
	for (unsigned i = s->n_gpus; i < s->n_cards; i++)
		if (s->cards[i].parent == (int)card && !sim_is_gone(s, st, i) && n-- == 0)
			return (int)i;
	return -1;
}

unsigned sim_whole(const struct sim *s, unsigned card)
{
	return s->cards[card].parent < 0 ? card : (unsigned)s->cards[card].parent;
}

uint64_t sim_started(int32_t pid)
{
	char path[40], line[1024];
	unsigned long long started = 0;
	const char *p;
	char state;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = '\0';
	p = strrchr(line, ')'); /* the name before it may hold anything */
	if (!p ||
	        sscanf(p + 1,
	                " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
	                &state, &started) != 2)
		return 0;
	if (state == 'Z' || state == 'X')
		return 0;
	return started + 1;
}
