#include "runner_priv.h"

#include "base/mem.h"
#include "base/num.h"
#include "wire/job_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

static void apply(struct scene *s, struct event e)
{
	if (box_try(&s->b, e))
		FAIL(s, "refused: %s", s->b.err.text);
}

static void add_cpus(struct scene *s, const char *range, struct cpu_set *out)
{
	unsigned first, last;

	if (sscanf(range, "%u-%u", &first, &last) != 2)
		FAIL(s, "'%s' is no range of CPUs", range);
	for (; first <= last; first++)
		cpu_set_add(out, first);
}

/* The labels of the next node, as the configuration would have them. */
static void add_labels(struct scene *s, const char *node, const char *list)
{
	struct policy *p = &s->b.w->policy;

	p->labels = s->labels;
	while (list && *list) {
		struct policy_label *l = &s->labels[p->n_labels++];
		int n = (int)strcspn(list, ",");
		if (p->n_labels > ARRAY_LEN(s->labels))
			FAIL(s, "too many labels");
		snprintf(l->node, sizeof(l->node), "%s", node);
		snprintf(l->label, sizeof(l->label), "%.*s", n, list);
		list += n + (list[n] == ',');
	}
}

/* The piece of A/B/C that *list points to, which moves on; false behind the last. */
static bool next_piece(const char **list, char out[32])
{
	size_t n = *list ? strcspn(*list, "/") : 0;

	if (n == 0)
		return false;
	snprintf(out, 32, "%.*s", (int)n, *list);
	*list += n + ((*list)[n] == '/');
	return true;
}

static struct device_info device_of(
        struct scene *s, const char *node, uint32_t index, uint64_t bytes)
{
	const char *model = scene_value(s, "model"), *cc = scene_value(s, "cc"),
	           *driver = scene_value(s, "driver");
	struct device_info d = {.index = index,
	        .mem_bytes = bytes,
	        .cc = cc ? (uint32_t)scene_number(s, cc) : 80,
	        .cuda = scene_count(s, "cuda"),
	        .numa_node = -1};

	snprintf(d.uuid, sizeof(d.uuid), "%s:%u", node, index);
	snprintf(d.model, sizeof(d.model), "%s", model ? model : BOX_MODEL);
	snprintf(d.driver, sizeof(d.driver), "%s", driver ? driver : "");
	return d;
}

static void on_node(struct scene *s)
{
	const char *gpus = scene_value(s, "gpus"), *near = scene_value(s, "near"),
	           *numa = scene_value(s, "numa");
	struct node n = {.is_local = true, .boot_id = "boot"};
	struct device_info v[NODE_DEVICES_MAX] = {0};
	struct event e = {.kind = EVENT_NODE_UP, .node = &n, .devices = v};
	char piece[32];

	snprintf(n.name, sizeof(n.name), "%s", scene_word(s, 1));
	add_labels(s, n.name, scene_value(s, "labels"));
	n.mem_bytes = scene_value(s, "mem") ? scene_size(s, scene_value(s, "mem")) : 64 * GIB;
	for (uint32_t i = 0; scene_value(s, "cpus") && i < scene_number(s, scene_value(s, "cpus"));
	        i++)
		cpu_set_add(&n.cpus, i);
	while (gpus && *gpus) {
		/* 2x8G or 2x8G,1x16G */
		char one[32];
		uint64_t count;
		snprintf(one, sizeof(one), "%.*s", (int)strcspn(gpus, ","), gpus);
		gpus += strcspn(gpus, ",") + (strchr(gpus, ',') ? 1 : 0);
		count = strtoull(one, NULL, 10);
		for (uint64_t k = 0; k < count; k++) {
			struct device_info *d = &v[e.n_devices];
			*d = device_of(
			        s, n.name, e.n_devices++, scene_size(s, strchr(one, 'x') + 1));
			if (next_piece(&near, piece))
				add_cpus(s, piece, &d->cpus);
			if (next_piece(&numa, piece))
				d->numa_node = (int32_t)scene_number(s, piece);
		}
	}
	apply(s, e);
}

static void on_queue(struct scene *s)
{
	const char *priority = scene_value(s, "priority"), *order = scene_value(s, "order"),
	           *patience = scene_value(s, "patience");
	struct queue q = {.configured = true, .default_cpus = 1};

	q.strict = order && strcmp(order, "strict") == 0;
	q.patience_ms = patience ? (uint64_t)scene_ms(s, patience) : 0;
	snprintf(q.name, sizeof(q.name), "%s", scene_word(s, 1));
	q.priority = priority ? atoi(priority) : 0;
	q.max_running = scene_count(s, "max_running");
	q.max_running_per_user = scene_count(s, "max_running_per_user");
	q.max_gpus = scene_count(s, "max_gpus");
	q.nodes = (char *)(uintptr_t)scene_value(s, "nodes");
	apply(s, (struct event){.kind = EVENT_QUEUE_SET, .queue = &q});
}

static json_t *ids_as_json(struct scene *s, const char *list)
{
	json_t *a = json_array();
	char copy[256], *at = copy, *one, id[48];

	snprintf(copy, sizeof(copy), "%s", list);
	while ((one = strsep(&at, ",")) != NULL)
		json_array_append_new(a, json_string(job_id_format(scene_id(s, one), id)));
	return a;
}

/* The words from `first` on as keys of a job; K= takes back what was said. */
static void add_keys(struct scene *s, int first, json_t *json)
{
	static const char *const integers[] = {"cpus", "tasks", "priority", "retry", "gpu_milli"};

	for (int i = first; i < s->n && s->words[i][0] != '"'; i++) {
		char *eq = strchr(s->words[i], '=');
		json_t *v = eq ? NULL : json_true();
		if (eq)
			*eq++ = '\0';
		if (eq && !*eq)
			v = json_null();
		for (size_t k = 0; eq && *eq && k < ARRAY_LEN(integers); k++)
			if (strcmp(s->words[i], integers[k]) == 0)
				v = json_integer(atoi(eq));
		if (eq && strncmp(s->words[i], "after", 5) == 0)
			v = ids_as_json(s, eq);
		json_object_set_new(json, s->words[i], v ? v : json_string(eq));
	}
}

/* The request that people would send. */
static struct request request_of(struct scene *s, int first, void *ctx, json_t *json)
{
	struct job_spec spec;
	struct err err;

	json_object_set_new(json, "command", json_pack("[s]", "/bin/true"));
	add_keys(s, first, json);
	if (job_spec_from_json(json, ctx, &spec, &err))
		FAIL(s, "%s", err.text);
	spec.request.user = spec.user ? (char *)(uintptr_t)spec.user : "ada";
	if (!spec.request.queue)
		spec.request.queue = "default";
	if (spec.from_queue & BY_QUEUE_CPUS)
		spec.request.cpus = 1;
	return spec.request;
}

static void on_submit(struct scene *s)
{
	void *ctx = talloc_new(NULL);
	json_t *json = json_object();
	struct request r = request_of(s, 2, ctx, json);

	apply(s, (struct event){.kind = EVENT_SUBMIT, .request = &r});
	if (s->n_names == NAMES_MAX)
		FAIL(s, "too many jobs");
	s->names[s->n_names++] = mem_strdup(scene_word(s, 1));
	json_decref(json);
	talloc_free(ctx);
}

static void on_refuse(struct scene *s)
{
	void *ctx = talloc_new(NULL);
	json_t *json = json_object();
	struct request r = request_of(s, 1, ctx, json);
	struct err err;

	if (sched_check_possible(s->b.w, &r, &err) != -(int)ERR_IMPOSSIBLE)
		FAIL(s, "some node could take it");
	if (!strstr(err.text, scene_word(s, s->n - 1) + 1))
		FAIL(s, "it says: %s", err.text);
	json_decref(json);
	talloc_free(ctx);
}

static void on_plan(struct scene *s)
{
	size_t most = s->n > 1 ? scene_number(s, s->words[1]) : ARRAY_LEN(s->starts);

	sched_plan_make(s->sched, s->b.w, s->b.now.wall_ms, most, &s->plan);
	for (size_t i = 0; i < s->plan.n; i++) {
		apply(s, (struct event){.kind = EVENT_START, .placement = &s->plan.v[i]});
		s->starts[i] = s->b.out.job->id;
	}
}

static void on_starts(struct scene *s)
{
	char name[80];

	for (size_t i = 0; i < s->plan.n; i++)
		if (i + 1 >= (size_t)s->n ||
		        strcmp(scene_name(s, s->starts[i], name), s->words[i + 1]) != 0)
			FAIL(s, "start %zu of %zu was that of %s", i + 1, s->plan.n,
			        scene_name(s, s->starts[i], name));
	if (s->plan.n != (size_t)s->n - 1)
		FAIL(s, "only %zu started", s->plan.n);
}

static const char *head_of(const struct scene *s, const struct sched_head *h, char out[240])
{
	const struct node *n = world_find_node_num(s->b.w, h->node);
	char name[80], when[40];

	snprintf(when, sizeof(when), "%llds", (long long)(h->at_ms - s->b.now.wall_ms) / 1000);
	snprintf(out, 240, "%s:%s:%s", scene_name(s, h->id, name), n ? n->name : "none",
	        h->at_ms == INT64_MAX ? h->is_kept ? "kept" : "unknown" : when);
	return out;
}

static void on_heads(struct scene *s)
{
	const struct sched_head *v;
	size_t n = sched_heads(s->sched, &v);
	char is[240];

	for (size_t i = 0; i < n; i++)
		if (i + 1 >= (size_t)s->n || strcmp(head_of(s, &v[i], is), s->words[i + 1]) != 0)
			FAIL(s, "head %zu of %zu is %s", i + 1, n, head_of(s, &v[i], is));
	if (n != (size_t)s->n - 1)
		FAIL(s, "there are only %zu heads", n);
}

static void on_run(struct scene *s)
{
	for (int i = 1; i < s->n; i++)
		box_started(&s->b, scene_job(s, s->words[i]));
}

static void on_end(struct scene *s)
{
	box_exit(&s->b, scene_job(s, scene_word(s, 1)),
	        s->n > 2 ? (int32_t)scene_number(s, s->words[2]) : 0);
}

static void on_lose(struct scene *s)
{
	box_lose(&s->b, scene_job(s, scene_word(s, 1)), REASON_NODE_LOST);
}

/* Commands about one job. */
static void on_job(struct scene *s, enum event_kind kind)
{
	struct event e = {.kind = kind,
	        .id = scene_id(s, scene_word(s, 1)),
	        .reason = REASON_CANCELLED,
	        .actor = "ada"};

	apply(s, e);
}

static void on_edit(struct scene *s)
{
	const struct job *j = scene_job(s, scene_word(s, 1));
	void *ctx = talloc_new(NULL);
	json_t *json = json_object();
	struct event e = {.kind = EVENT_EDIT, .id = j->id, .actor = "ada"};
	struct job_spec spec;
	struct err err;

	add_keys(s, 2, json);
	if (job_spec_edit(json, ctx, j->req, &spec, &err))
		FAIL(s, "%s", err.text);
	e.set_priority = json_object_get(json, "priority") != NULL;
	e.priority = spec.request.priority;
	if (json_object_size(json) > (e.set_priority ? 1 : 0))
		e.request = &spec.request;
	apply(s, e);
	json_decref(json);
	talloc_free(ctx);
}

static void on_device(struct scene *s, const char *verb)
{
	int k;
	const struct node *n = scene_node(s, scene_word(s, 1), &k);
	struct device_info info = n->devices[k].info;

	if (strcmp(verb, "withhold") == 0)
		info.withheld_bytes = scene_size(s, scene_word(s, 2));
	else
		info.health = strcmp(verb, "lost") == 0 ? DEVICE_LOST : DEVICE_OK;
	apply(s, (struct event){
	                 .kind = EVENT_DEVICE, .name = n->name, .devices = &info, .n_devices = 1});
}

static void on_up(struct scene *s)
{
	int none;
	const struct node *n = scene_node(s, scene_word(s, 1), &none);
	struct device_info v[NODE_DEVICES_MAX];

	for (uint32_t i = 0; i < n->n_devices; i++)
		v[i] = n->devices[i].info;
	apply(s,
	        (struct event){
	                .kind = EVENT_NODE_UP, .node = n, .devices = v, .n_devices = n->n_devices});
}

static void on_pass(struct scene *s)
{
	box_pass(&s->b, scene_ms(s, scene_word(s, 1)));
}

static void expect_place(struct scene *s, const struct job *j, const char *text)
{
	char where[256];
	size_t n = 0;

	if (!j->node)
		FAIL(s, "it is nowhere");
	n += (size_t)snprintf(where, sizeof(where), "%s", j->node->name);
	for (uint32_t i = 0; i < j->n_slices; i++)
		n += (size_t)snprintf(
		        where + n, sizeof(where) - n, "%c%u", i ? ',' : ':', j->slices[i].device);
	if (strcmp(where, text) != 0)
		FAIL(s, "it is on %s", where);
}

static void expect_cpus(struct scene *s, const struct job *j, const char *text)
{
	char cpus[256] = "";
	size_t n = 0;

	for (uint32_t c = 0; j->cpus && c < 64; c++)
		if (cpu_set_has(j->cpus, c))
			n += (size_t)snprintf(cpus + n, sizeof(cpus) - n, "%s%u", n ? "," : "", c);
	if (strcmp(cpus, text) != 0)
		FAIL(s, "its CPUs are %s", cpus);
}

static void expect_reason(struct scene *s, const struct job *j, const char *code, const char *text)
{
	struct sched_reason v[SCHED_REASONS_MAX];
	size_t n = sched_reasons(s->sched, s->b.w, s->b.now.wall_ms, j, v);
	const char *is = n ? reason_code(v[0].code) : reason_code(j->reason);

	if (code && strcmp(is, code) != 0)
		FAIL(s, "its reason is %s (%s)", is, n ? v[0].text : "");
	if (text && (!n || strcmp(v[0].text, text) != 0))
		FAIL(s, "it says: %s", n ? v[0].text : "nothing");
}

static void on_expect(struct scene *s)
{
	const struct job *j = scene_job(s, scene_word(s, 1));
	const char *state = strtab_name(job_state_names, j->state);

	if (strcmp(state, scene_word(s, 2)) != 0)
		FAIL(s, "it is %s", state);
	for (int i = 3; i < s->n; i++) {
		const char *key = s->words[i];
		if (key[0] == '"')
			expect_reason(s, j, NULL, key + 1);
		else if (strcmp(key, "on") == 0)
			expect_place(s, j, scene_word(s, ++i));
		else if (strcmp(key, "cpus") == 0)
			expect_cpus(s, j, scene_word(s, ++i));
		else if (strcmp(key, "reason") == 0)
			expect_reason(s, j, scene_word(s, ++i), NULL);
		else if (strcmp(key, "mem") == 0 && (++i, j->n_slices) &&
		         j->slices[0].mem_bytes != scene_size(s, scene_word(s, i)))
			FAIL(s, "it has %llu bytes", (unsigned long long)j->slices[0].mem_bytes);
		else if (strcmp(key, "share") == 0 && (++i, j->n_slices) &&
		         j->slices[0].share_milli != scene_number(s, scene_word(s, i)))
			FAIL(s, "it has %u thousandths", j->slices[0].share_milli);
	}
}

/* When time limits prove a start: from now on, or never. */
static void expect_earliest(struct scene *s, const struct sched_why *y, const char *text)
{
	uint64_t seconds = 0;
	struct err err;
	int64_t at_ms = INT64_MAX;

	if (strcmp(text, "never") != 0) {
		if (num_parse_duration(text, &seconds, &err))
			FAIL(s, "%s", err.text);
		at_ms = s->b.now.wall_ms + (int64_t)seconds * 1000;
	}
	if (y->earliest_ms != at_ms)
		FAIL(s, "its earliest start is in %lld ms",
		        (long long)(y->earliest_ms - s->b.now.wall_ms));
}

static void on_why(struct scene *s)
{
	struct sched_why y;

	sched_why(s->sched, s->b.w, s->b.now.wall_ms, scene_job(s, scene_word(s, 1)), &y);
	for (int i = 2; i < s->n; i++) {
		const char *key = s->words[i], *value = scene_word(s, ++i);
		if (strcmp(key, "position") == 0 && y.position != scene_number(s, value))
			FAIL(s, "it is number %llu", (unsigned long long)y.position);
		else if (strcmp(key, "ahead") == 0 && y.ahead != scene_number(s, value))
			FAIL(s, "%llu are ahead", (unsigned long long)y.ahead);
		else if (strcmp(key, "earliest") == 0)
			expect_earliest(s, &y, value);
		else if (strcmp(key, "change") == 0 &&
		         strcmp(y.change, strcmp(value, "none") == 0 ? "" : value + 1) != 0)
			FAIL(s, "the smallest change is '%s'", y.change);
		else if (strcmp(key, "missing") == 0 && !strstr(y.nodes[0].missing, value + 1))
			FAIL(s, "the first node lacks: %s", y.nodes[0].missing);
	}
	sched_why_done(&y);
}

struct step {
	const char *verb;
	void (*fn)(struct scene *s);
	void (*fn_verb)(struct scene *s, const char *verb);
	int kind; /* of an event about a job, node or queue; 0: none */
	char about;
};

static const struct step steps[] = {
        {"node", on_node},
        {"queue", on_queue},
        {"submit", on_submit},
        {"refuse", on_refuse},
        {"plan", on_plan},
        {"starts", on_starts},
        {"heads", on_heads},
        {"run", on_run},
        {"end", on_end},
        {"lose", on_lose},
        {"up", on_up},
        {"pass", on_pass},
        {"expect", on_expect},
        {"why", on_why},
        {"lost", .fn_verb = on_device},
        {"well", .fn_verb = on_device},
        {"withhold", .fn_verb = on_device},
        {"cancel", .kind = EVENT_CANCEL, .about = 'j'},
        {"hold", .kind = EVENT_HOLD, .about = 'j'},
        {"release", .kind = EVENT_RELEASE, .about = 'j'},
        {"retry", .kind = EVENT_RETRY, .about = 'j'},
        {"edit", on_edit},
        {"drain", .kind = EVENT_NODE_DRAIN, .about = 'n'},
        {"resume", .kind = EVENT_NODE_RESUME, .about = 'n'},
        {"down", .kind = EVENT_NODE_DOWN, .about = 'n'},
        {"pause", .kind = EVENT_QUEUE_PAUSE, .about = 'n'},
        {"unpause", .kind = EVENT_QUEUE_RESUME, .about = 'n'},
};

static void play_line(struct scene *s)
{
	if (strcmp(s->words[0], "fgpu") == 0) {
		s->b.w->policy.fgpu_per_device = (uint32_t)scene_number(s, scene_word(s, 1));
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		const struct step *t = &steps[i];
		if (strcmp(t->verb, s->words[0]) != 0)
			continue;
		if (t->fn)
			t->fn(s);
		else if (t->fn_verb)
			t->fn_verb(s, t->verb);
		else if (t->about == 'j')
			on_job(s, (enum event_kind)t->kind);
		else
			apply(s, (struct event){.kind = (enum event_kind)t->kind,
			                 .name = scene_word(s, 1)});
		return;
	}
	FAIL(s, "'%s' is no step of a scene", s->words[0]);
}

void scene_play(const char *path)
{
	FILE *f = fopen(path, "re");
	struct scene s = {.path = path};
	char line[1024];
	int n_expected = 0;

	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	box_init(&s.b);
	s.sched = sched_new("pack");
	while (fgets(line, sizeof(line), f)) {
		s.line++;
		scene_split(&s, line);
		if (s.n == 0)
			continue;
		n_expected += strcmp(s.words[0], "expect") == 0 ||
		              strcmp(s.words[0], "starts") == 0 || strcmp(s.words[0], "why") == 0 ||
		              strcmp(s.words[0], "heads") == 0 || strcmp(s.words[0], "refuse") == 0;
		play_line(&s);
	}
	fclose(f);
	if (n_expected == 0)
		fail_msg("%s expects nothing", path);
	for (uint32_t i = 0; i < s.n_names; i++)
		free(s.names[i]);
	sched_plan_done(&s.plan);
	sched_free(s.sched);
	box_done(&s.b);
}
