#include "store_scene.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX (256 * 1024)

static char text[TEXT_MAX];
static size_t text_len;

void scene_open(struct scene *sc)
{
	if (store_open(sc->url, &sc->s, &sc->err) < 0 ||
	        store_lead(sc->s, &sc->epoch, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	sc->seq = store_last_seq(sc->s);
}

void scene_close(struct scene *sc)
{
	store_close(sc->s);
	sc->s = NULL;
}

static struct scene *new_scene(enum make make, void **state)
{
	struct scene *sc = calloc(1, sizeof(*sc));

	sc->make = make;
	strcpy(sc->dir, "/tmp/berth-store-XXXXXX");
	if (!mkdtemp(sc->dir))
		return NULL;
	signal(SIGXFSZ, SIG_IGN);
	*state = sc;
	return sc;
}

int scene_setup_memory(void **state)
{
	struct scene *sc = new_scene(MAKE_MEMORY, state);

	if (!sc)
		return -1;
	strcpy(sc->url, "memory:test");
	if (store_open(sc->url, &sc->anchor, &sc->err) < 0)
		return -1;
	scene_open(sc);
	return 0;
}

int scene_setup_sqlite(void **state)
{
	struct scene *sc = new_scene(MAKE_SQLITE, state);

	if (!sc)
		return -1;
	snprintf(sc->path, sizeof(sc->path), "%s/berth.db", sc->dir);
	snprintf(sc->url, sizeof(sc->url), "sqlite:%s", sc->path);
	scene_open(sc);
	return 0;
}

int scene_teardown(void **state)
{
	struct scene *sc = *state;
	struct rlimit limit;
	char command[128];
	int rc;

	/* What a failed case left behind must not fail the next. */
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	store_close(sc->s);
	store_close(sc->anchor);
	snprintf(command, sizeof(command), "%s/mnt", sc->dir);
	umount2(command, MNT_DETACH);
	snprintf(command, sizeof(command), "rm -rf '%s'", sc->dir);
	rc = system(command);
	free(sc);
	return rc;
}

bool has_file(struct scene *sc, const char *suffix)
{
	char path[160];

	snprintf(path, sizeof(path), "%s%s", sc->path, suffix);
	return access(path, F_OK) == 0;
}

bool mount_small(struct scene *sc, unsigned mib)
{
	char path[80], options[32];

	snprintf(path, sizeof(path), "%s/mnt", sc->dir);
	snprintf(options, sizeof(options), "size=%um", mib);
	assert_int_equal(mkdir(path, 0700), 0);
	return mount("none", path, "tmpfs", 0, options) == 0;
}

void scene_move(struct scene *sc, const char *name)
{
	scene_close(sc);
	snprintf(sc->path, sizeof(sc->path), "%s/%s", sc->dir, name);
	snprintf(sc->url, sizeof(sc->url), "sqlite:%s", sc->path);
	scene_open(sc);
}

struct store_row row_of(
        enum row_kind kind, uint64_t key, int64_t sub, int64_t ended_ms, int version)
{
	static char data[16][96];
	static unsigned next;
	char *d = data[next++ % 16];

	snprintf(d, sizeof(data[0]), "%" PRIu64 ".%" PRId64 "=%d", key, sub, version);
	return (struct store_row){
	        .kind = kind,
	        .key = key,
	        .sub = sub,
	        .ended_ms = ended_ms,
	        .data = version < 0 ? NULL : d,
	        .len = version < 0 ? 0 : strlen(d),
	};
}

int commit_rows(struct scene *sc, const struct store_row *rows, size_t n)
{
	int rc = store_commit(sc->s, sc->epoch, sc->seq + 1, NULL, 0, rows, n, &sc->err);

	if (rc == 0)
		sc->seq++;
	return rc;
}

void commit_ok(struct scene *sc, const struct store_row *rows, size_t n)
{
	if (commit_rows(sc, rows, n) < 0)
		fail_msg("%s", sc->err.text);
}

void put(struct scene *sc, enum row_kind kind, uint64_t key, int64_t sub, int64_t ended_ms,
        int version)
{
	struct store_row row = row_of(kind, key, sub, ended_ms, version);

	commit_ok(sc, &row, 1);
}

static void begin_text(void)
{
	text_len = 0;
	text[0] = '\0';
}

static void add_text(const char *more)
{
	size_t len = strlen(more);

	assert_true(text_len + len < TEXT_MAX);
	memcpy(text + text_len, more, len + 1);
	text_len += len;
}

static int note_row(void *data, const struct store_row *row, struct err *err)
{
	char out[160], want[96], value[96] = "";
	const char *equals;
	int version = -1;

	assert_int_equal(row->kind, *(enum row_kind *)data);
	assert_non_null(row->data);
	assert_true(row->len < sizeof(value));
	memcpy(value, row->data, row->len);
	equals = strchr(value, '=');
	if (equals)
		sscanf(equals + 1, "%d", &version);
	snprintf(want, sizeof(want), "%" PRIu64 ".%" PRId64 "=%d", row->key, row->sub, version);
	if (strlen(want) != row->len || memcmp(want, row->data, row->len) != 0)
		add_text("!");
	snprintf(out, sizeof(out), "%" PRIu64 ".%" PRId64 "@%" PRId64 "=%d ", row->key, row->sub,
	        row->ended_ms, version);
	add_text(out);
	return 0;
}

const char *list(struct scene *sc, enum row_kind kind, enum store_which which)
{
	begin_text();
	if (store_each(sc->s, kind, which, note_row, &kind, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	return text;
}

const char *list_of_key(
        struct scene *sc, enum row_kind kind, uint64_t key, int64_t from_sub, size_t limit)
{
	begin_text();
	if (store_each_of_key(sc->s, kind, key, from_sub, limit, note_row, &kind, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	return text;
}

const char *list_ended(struct scene *sc, enum row_kind kind, int64_t before_ms, uint64_t before_key,
        int64_t before_sub, size_t limit)
{
	begin_text();
	if (store_each_ended(sc->s, kind, before_ms, before_key, before_sub, limit, note_row, &kind,
	            &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	return text;
}

const char *list_oldest(struct scene *sc, enum row_kind kind, int64_t after_ms, uint64_t after_key,
        int64_t after_sub, int64_t before_ms, size_t limit)
{
	begin_text();
	if (store_each_oldest(sc->s, kind, after_ms, after_key, after_sub, before_ms, limit,
	            note_row, &kind, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	return text;
}

const char *get(struct scene *sc, enum row_kind kind, uint64_t key, int64_t sub)
{
	int rc;

	begin_text();
	rc = store_get(sc->s, kind, key, sub, note_row, &kind, &sc->err);
	if (rc == -ERR_NOT_FOUND)
		return "none";
	if (rc < 0)
		fail_msg("%s", sc->err.text);
	return text;
}

static int note_event(void *data, uint64_t seq, const struct store_event *event, struct err *err)
{
	char out[200];

	snprintf(out, sizeof(out), "%" PRIu64 ":%" PRIu64 ".%" PRId64 "@%" PRId64 "=%.*s ", seq,
	        event->key, event->sub, event->time_ms, (int)event->len, (const char *)event->data);
	add_text(out);
	return 0;
}

const char *list_events(struct scene *sc, uint64_t after_seq, size_t limit)
{
	begin_text();
	if (store_each_event(sc->s, after_seq, limit, note_event, NULL, &sc->err) < 0)
		fail_msg("%s", sc->err.text);
	return text;
}
