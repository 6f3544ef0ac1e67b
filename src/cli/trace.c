#include "cli/trace.h"
#include "base/mem.h"
#include "base/num.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS_MAX 64
#define CPUS_MOST  100000000 /* thousandths */
#define MIB_MOST   (UINT64_C(1) << 40)
#define DEVICE_MEM (16 * GIB) /* a trace tells compute only; memory goes along with it */
#define ROWS_MAX   10000000

struct column {
	const char *name;
	bool may_miss;
	int at;
};

struct reader {
	const char *path;
	FILE *f;
	char *line;
	size_t size;
	uint64_t number;
	char *fields[FIELDS_MAX];
	int n;
};

/* What stands between quotes, two of which stand for one, moved to the front of it. NULL: they do not close where a field ends. */
static char *take_quoted(char **rest)
{
	char *from = *rest + 1, *to = *rest, *field = to;

	for (; *from && (from[0] != '"' || from[1] == '"'); from++) {
		from += *from == '"';
		*to++ = *from;
	}
	if (*from != '"' || (from[1] && from[1] != ','))
		return NULL;
	*rest = from[1] ? from + 2 : NULL;
	*to = '\0';
	return field;
}

static int split(struct reader *r, struct err *err)
{
	char *rest = r->line;

	r->line[strcspn(r->line, "\r\n")] = '\0';
	for (r->n = 0; r->n < FIELDS_MAX && rest; r->n++) {
		r->fields[r->n] = *rest == '"' ? take_quoted(&rest) : strsep(&rest, ",");
		if (!r->fields[r->n])
			return err_set(err, ERR_INVALID,
			        "%s:%llu: a quoted field does not end in its line", r->path,
			        (unsigned long long)r->number);
	}
	return rest ? err_set(err, ERR_INVALID, "%s:%llu: more than %d columns", r->path,
	                      (unsigned long long)r->number, FIELDS_MAX)
	            : 0;
}

/* 1: a line with something in it; 0: the end. */
static int next_line(struct reader *r, struct err *err)
{
	do {
		r->number++;
		errno = 0;
		if (getline(&r->line, &r->size, r->f) < 0)
			return errno ? err_sys(err, errno, "cannot read %s", r->path) : 0;
	} while (r->line[strspn(r->line, " \t\r\n")] == '\0');
	return split(r, err) ? -1 : 1;
}

static int find_columns(struct reader *r, struct column *columns, size_t n, struct err *err)
{
	int rc = next_line(r, err);

	if (rc <= 0)
		return rc ? rc : err_set(err, ERR_INVALID, "%s is empty", r->path);
	for (size_t c = 0; c < n; c++) {
		columns[c].at = -1;
		for (int i = 0; i < r->n; i++)
			if (strcmp(r->fields[i], columns[c].name) == 0)
				columns[c].at = i;
		if (columns[c].at < 0 && !columns[c].may_miss)
			return err_set(err, ERR_INVALID, "%s has no column '%s'", r->path,
			        columns[c].name);
	}
	return 0;
}

static int get_number(const struct reader *r, const struct column *c, uint64_t most, uint64_t *ret,
        struct err *err)
{
	if (c->at >= r->n)
		return err_set(err, ERR_INVALID, "%s:%llu: '%s' is missing", r->path,
		        (unsigned long long)r->number, c->name);
	if (num_parse_u64(r->fields[c->at], most, ret, err))
		return err_wrap(
		        err, "%s:%llu: %s", r->path, (unsigned long long)r->number, c->name);
	return 0;
}

static int get_text(
        const struct reader *r, const struct column *c, char *out, size_t size, struct err *err)
{
	const char *text = c->at >= 0 && c->at < r->n ? r->fields[c->at] : "";

	if (strlen(text) >= size)
		return err_set(err, ERR_INVALID, "%s:%llu: '%s' is too long", r->path,
		        (unsigned long long)r->number, c->name);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

/* take() is called for each line behind the first, with columns found. */
static int read_csv(const char *path, struct column *columns, size_t n,
        int (*take)(struct reader *r, const struct column *c, struct trace *t, struct err *err),
        struct trace *t, struct err *err)
{
	struct reader r = {.path = path, .f = fopen(path, "re")};
	int rc;

	if (!r.f)
		return err_sys(err, errno, "cannot open %s", path);
	rc = find_columns(&r, columns, n, err);
	while (rc == 0 && (rc = next_line(&r, err)) > 0)
		rc = take(&r, columns, t, err);
	free(r.line);
	fclose(r.f);
	return rc;
}

static int take_node(struct reader *r, const struct column *c, struct trace *t, struct err *err)
{
	struct trace_node n = {0};
	uint64_t cpu = 0, mib = 0, gpu = 0;

	if (get_text(r, &c[0], n.name, sizeof(n.name), err) ||
	        get_number(r, &c[1], CPUS_MOST, &cpu, err) ||
	        get_number(r, &c[2], MIB_MOST, &mib, err) ||
	        get_number(r, &c[3], NODE_DEVICES_MAX, &gpu, err) ||
	        get_text(r, &c[4], n.model, sizeof(n.model), err))
		return -1;
	n.cpu_milli = (uint32_t)cpu;
	n.mem_bytes = mib * MIB;
	n.n_devices = (uint32_t)gpu;
	if (t->n_nodes == ROWS_MAX)
		return err_set(err, ERR_INVALID, "%s has too many lines", r->path);
	MEM_GROW(t->nodes, t->n_nodes, t->cap_nodes);
	t->nodes[t->n_nodes++] = n;
	t->n_devices += gpu;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct trace_node *)a)->name, ((const struct trace_node *)b)->name);
}

int trace_read_nodes(const char *path, struct trace *t, struct err *err)
{
	struct column columns[] = {{"sn", false, 0}, {"cpu_milli", false, 0},
	        {"memory_mib", false, 0}, {"gpu", false, 0}, {"model", true, 0}};
	int rc = read_csv(path, columns, ARRAY_LEN(columns), take_node, t, err);

	if (rc)
		return rc;
	if (!t->n_devices)
		return err_set(err, ERR_INVALID, "%s names no GPU", path);
	qsort(t->nodes, t->n_nodes, sizeof(*t->nodes), by_name);
	return 0;
}

static int take_task(struct reader *r, const struct column *c, struct trace *t, struct err *err)
{
	struct trace_task k = {0};
	uint64_t cpu = 0, mib = 0, gpu = 0, milli = 0;

	if (get_number(r, &c[0], CPUS_MOST, &cpu, err) ||
	        get_number(r, &c[1], MIB_MOST, &mib, err) ||
	        get_number(r, &c[2], NODE_DEVICES_MAX, &gpu, err) ||
	        get_number(r, &c[3], 1000, &milli, err) ||
	        get_text(r, &c[4], k.models, sizeof(k.models), err))
		return -1;
	if (gpu == 1 && milli == 0)
		return err_set(err, ERR_INVALID, "%s:%llu: gpu_milli of one GPU is 1 to 1000",
		        r->path, (unsigned long long)r->number);
	k.cpu_milli = (uint32_t)cpu;
	k.mem_bytes = mib * MIB;
	k.n_devices = (uint32_t)gpu;
	k.milli = gpu == 1 ? (uint32_t)milli : 0;
	if (t->n_tasks == ROWS_MAX)
		return err_set(err, ERR_INVALID, "%s has too many lines", r->path);
	MEM_GROW(t->tasks, t->n_tasks, t->cap_tasks);
	t->tasks[t->n_tasks++] = k;
	return 0;
}

int trace_read_tasks(const char *path, struct trace *t, struct err *err)
{
	struct column columns[] = {{"cpu_milli", false, 0}, {"memory_mib", false, 0},
	        {"num_gpu", false, 0}, {"gpu_milli", false, 0}, {"gpu_spec", true, 0}};
	int rc = read_csv(path, columns, ARRAY_LEN(columns), take_task, t, err);

	return rc || t->n_tasks ? rc : err_set(err, ERR_INVALID, "%s names no task", path);
}

void trace_done(struct trace *t)
{
	free(t->nodes);
	free(t->tasks);
	*t = (struct trace){0};
}

static void add_node(struct place *p, const struct trace_node *n)
{
	struct device d = {.info = {.mem_bytes = DEVICE_MEM}, .fgpu_per_device = 1};
	struct place_device devices[NODE_DEVICES_MAX];
	struct place_room room = {.is_open = true,
	        .cpu_milli = n->cpu_milli,
	        .free_cpu_milli = n->cpu_milli,
	        .mem_bytes = n->mem_bytes,
	        .free_mem_bytes = n->mem_bytes,
	        .n_devices = n->n_devices,
	        .devices = devices};

	memcpy(d.info.model, n->model, sizeof(d.info.model));
	for (uint32_t i = 0; i < n->n_devices; i++)
		devices[i] = (struct place_device){place_kind(p, &d), 1000, DEVICE_MEM, true};
	place_set_node(p, place_add_node(p), &room);
}

struct place *trace_place(struct trace *t, const char *policy)
{
	struct place *p = place_new(policy);

	if (!p)
		return NULL;
	for (uint32_t i = 0; i < t->n_nodes; i++)
		add_node(p, &t->nodes[i]);
	for (uint32_t i = 0; i < t->n_tasks; i++) {
		struct trace_task *k = &t->tasks[i];
		struct gpu_ask gpu = {.count = k->milli ? k->milli / 1000 : k->n_devices,
		        .milli = k->milli % 1000,
		        .model = k->models[0] ? k->models : NULL};
		struct place_ask ask = {&gpu, k->cpu_milli, k->mem_bytes};
		k->type = place_type(p, &ask);
		place_count(p, k->type, 1);
	}
	place_learn(p);
	return p;
}
