#include "cli/jobspec.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/text.h"
#include "cli/args.h"
#include "cli/target.h"
#include "core/request.h"

enum {
	KEY_FGPU = 0x1000,
	KEY_GPU,
	KEY_GPU_MEM,
	KEY_GPU_SHARE,
	KEY_GPU_CC,
	KEY_GPU_CUDA,
	KEY_GPU_DRIVER,
	KEY_CONSTRAINT,
	KEY_MEM,
	KEY_ARRAY,
	KEY_AFTER,
	KEY_AFTER_OK,
	KEY_AFTER_ANY,
	KEY_RETRY,
	KEY_RETRY_ON,
	KEY_NO_RETRY,
	KEY_PRIORITY,
	KEY_HOLD,
	KEY_NAME,
	KEY_OUTPUT,
	KEY_ERROR,
	KEY_CHDIR,
	KEY_IDEMPOTENCY_KEY,
	KEY_USER,
	KEY_DRY_RUN,
	KEY_TTY,
	KEY_LABEL,
	KEY_FROM,
};

#define SHARED_OPTIONS                                                                             \
	{"queue", 'q', "QUEUE", 0, "the queue that it waits in", 1},                               \
	        {"gpu", KEY_GPU, "N|0.N|N%[:MODEL]", 0, "whole GPUs, or a part of one", 1},        \
	        {"fgpu", KEY_FGPU, "N", 0, "GPUs in the unit that the administrator set", 1},      \
	        {"gpu-mem", KEY_GPU_MEM, "SIZE", 0, "memory of a GPU: 12G", 1},                    \
	        {"gpu-share", KEY_GPU_SHARE, "N%", 0, "share of a GPU's compute", 1},              \
	        {"gpu-cc", KEY_GPU_CC, "X.Y+", 0, "least compute capability", 1},                  \
	        {"gpu-cuda", KEY_GPU_CUDA, "X.Y+", 0, "least version of CUDA that the driver has", \
	                1},                                                                        \
	        {"gpu-driver", KEY_GPU_DRIVER, "X.Y+", 0, "least version of the driver", 1},       \
	        {"constraint", KEY_CONSTRAINT, "LABEL,...", 0, "labels that the node must have",   \
	                1},                                                                        \
	        {"cpus", 'c', "CPUS", 0, "CPUs, of each task; 0 reserves none", 1},                \
	        {"tasks", 'n', "TASKS", 0,                                                         \
	                "start the command so often, together on one node, each with a rank", 1},  \
	        {"label", KEY_LABEL, NULL, 0, "begin each line of output with its task: 0: ...",   \
	                3},                                                                        \
	        {"mem", KEY_MEM, "SIZE", 0, "memory of the machine: 8G", 1},                       \
	        {"time", 't', "TIME", 0, "time limit: 90m, 1-02:00:00", 1},                        \
	        {"array", KEY_ARRAY, "LIST[%N]", 0, "one job for each index: 0-99%8, 1,3,5-9:2",   \
	                2},                                                                        \
	        {"after", KEY_AFTER, "ID,...", 0, "not before these have started", 2},             \
	        {"after-ok", KEY_AFTER_OK, "ID,...", 0,                                            \
	                "not before these are COMPLETED; 17_%a: task by task", 2},                 \
	        {"after-any", KEY_AFTER_ANY, "ID,...", 0, "not before these have ended", 2},       \
	        {"retry", KEY_RETRY, "N", 0, "further attempts when the command fails", 2},        \
	        {"retry-on", KEY_RETRY_ON, "CODE|SIGNAL,...", 0,                                   \
	                "only when it ends with one of these: 75,SIGKILL", 2},                     \
	        {"no-retry", KEY_NO_RETRY, NULL, 0, "at most once, whatever happens", 2},          \
	        {"priority", KEY_PRIORITY, "N", 0, "higher goes first", 2},                        \
	        {"hold", KEY_HOLD, NULL, 0, "wait until released", 2},                             \
	        {"name", KEY_NAME, "NAME", 0, "what listings call it", 3},                         \
	        {"output", KEY_OUTPUT, "FILE", 0, "standard output, instead of kept by Berth", 3}, \
	        {"error", KEY_ERROR, "FILE", 0, "standard error, instead of with the output", 3},  \
	        {"chdir", KEY_CHDIR, "DIR", 0, "directory that it runs in, instead of this one",   \
	                3},                                                                        \
	        {"env", 'e', "K=V", 0, "set a variable; K alone takes it along whatever its name", \
	                3},                                                                        \
	        {"user", KEY_USER, "NAME", 0, "account that it runs as, for administrators", 3},   \
	        {"idempotency-key", KEY_IDEMPOTENCY_KEY, "K", 0,                                   \
	                "the same key again is the same job", 3},                                  \
	{                                                                                          \
		"dry-run", KEY_DRY_RUN, NULL, 0, "say where it would run, and keep nothing", 3     \
	}

const struct argp_option jobspec_run_options[] = {
        SHARED_OPTIONS,
        {"tty", KEY_TTY, NULL, 0, "in a terminal, connected to this one (also: -it)", 3},
        {0},
};

const struct argp_option jobspec_submit_options[] = {
        SHARED_OPTIONS,
        {"from", KEY_FROM, "FILE|-", 0,
                "one job per line as JSON; the other options are their defaults", 3},
        {0},
};

void jobspec_init(struct jobspec *s)
{
	*s = (struct jobspec){.job = json_object()};
	BUG_IF(!s->job);
}

void jobspec_done(struct jobspec *s)
{
	json_decref(s->job);
	s->job = NULL;
}

static int set_string(
        struct jobspec *s, const char *key, const char *option, const char *arg, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	if (json_object_set_new(s->job, key, json_string(arg)))
		return err_set(
		        err, ERR_INVALID, "%s: '%s' is not UTF-8", option, text_show(arg, shown));
	return 0;
}

static int set_integer(struct jobspec *s, const char *key, const char *option, const char *arg,
        int64_t min, int64_t max, struct err *err)
{
	int64_t value;

	if (num_parse_i64(arg, min, max, &value, err))
		return err_wrap(err, "%s", option);
	json_object_set_new(s->job, key, json_integer(value));
	return 0;
}

static int set_size(
        struct jobspec *s, const char *key, const char *option, const char *arg, struct err *err)
{
	uint64_t bytes;

	if (num_parse_size(arg, &bytes, err))
		return err_wrap(err, "%s", option);
	return set_string(s, key, option, arg, err);
}

static int set_share(struct jobspec *s, const char *arg, struct err *err)
{
	uint32_t milli;

	if (num_parse_milli(arg, &milli, err))
		return err_wrap(err, "--gpu-share");
	return set_string(s, "gpu_share", "--gpu-share", arg, err);
}

static int set_time(struct jobspec *s, const char *arg, struct err *err)
{
	uint64_t seconds;

	if (num_parse_duration(arg, &seconds, err))
		return err_wrap(err, "--time");
	return set_string(s, "time", "--time", arg, err);
}

/* Ids separated by commas, added to those that were named before. */
static int add_ids(
        struct jobspec *s, const char *key, const char *option, const char *arg, struct err *err)
{
	json_t *ids = json_object_get(s->job, key);

	if (!ids) {
		ids = json_array();
		json_object_set_new(s->job, key, ids);
	}
	while (*arg) {
		size_t len = strcspn(arg, ",");
		char shown[TEXT_SHOW_SIZE];
		if (len && json_array_append_new(ids, json_stringn(arg, len)))
			return err_set(err, ERR_INVALID, "%s: '%s' is no job id", option,
			        text_show(arg, shown));
		arg += len + (arg[len] == ',');
	}
	if (json_array_size(ids) == 0)
		return err_set(err, ERR_INVALID, "%s needs a job id", option);
	return 0;
}

static int add_env(struct jobspec *s, const char *arg, struct err *err)
{
	json_t *env = json_object_get(s->job, "env");
	size_t len = strcspn(arg, "=");
	const char *value = arg[len] ? arg + len + 1 : NULL;
	char shown[TEXT_SHOW_SIZE];

	if (len == 0)
		return err_set(err, ERR_INVALID, "-e: '%s' has no name before its '='",
		        text_show(arg, shown));
	if (!env) {
		env = json_object();
		json_object_set_new(s->job, "env", env);
	}
	if (!value) {
		value = getenv(arg);
		if (!value)
			return err_set(err, ERR_INVALID, "-e: '%s' is not set here; say %s=VALUE",
			        text_show(arg, shown), shown);
	}
	char *name = strndup(arg, len);
	int rc = json_object_set_new(env, name, json_string(value));
	free(name);
	return rc ? err_set(err, ERR_INVALID, "-e: '%s' is not UTF-8", text_show(arg, shown)) : 0;
}

static int set_command(struct jobspec *s, char **argv, int argc, struct err *err)
{
	json_t *command = json_array();

	json_object_set_new(s->job, "command", command);
	for (int i = 0; i < argc; i++) {
		char shown[TEXT_SHOW_SIZE];
		if (json_array_append_new(command, json_string(argv[i])))
			return err_set(err, ERR_INVALID, "the command's word '%s' is not UTF-8",
			        text_show(argv[i], shown));
	}
	return 0;
}

static int parse_request(int key, char *arg, struct jobspec *s, struct err *err)
{
	switch (key) {
	case 'q':
		return set_string(s, "queue", "--queue", arg, err);
	case KEY_GPU:
		return set_string(s, "gpu", "--gpu", arg, err);
	case KEY_FGPU:
		return set_string(s, "fgpu", "--fgpu", arg, err);
	case KEY_GPU_MEM:
		return set_size(s, "gpu_mem", "--gpu-mem", arg, err);
	case KEY_GPU_SHARE:
		return set_share(s, arg, err);
	case KEY_GPU_CC:
		return set_string(s, "gpu_cc", "--gpu-cc", arg, err);
	case KEY_GPU_CUDA:
		return set_string(s, "gpu_cuda", "--gpu-cuda", arg, err);
	case KEY_GPU_DRIVER:
		return set_string(s, "gpu_driver", "--gpu-driver", arg, err);
	case KEY_CONSTRAINT:
		return set_string(s, "constraint", "--constraint", arg, err);
	case 'c':
		return set_integer(s, "cpus", "--cpus", arg, 0, INT32_MAX, err);
	case 'n':
		return set_integer(s, "tasks", "--tasks", arg, 1, REQUEST_RANKS_MAX, err);
	case KEY_MEM:
		return set_size(s, "mem", "--mem", arg, err);
	case 't':
		return set_time(s, arg, err);
	}
	return ARGP_ERR_UNKNOWN;
}

static int parse_order(int key, char *arg, struct jobspec *s, struct err *err)
{
	switch (key) {
	case KEY_ARRAY:
		return set_string(s, "array", "--array", arg, err);
	case KEY_AFTER:
		return add_ids(s, "after", "--after", arg, err);
	case KEY_AFTER_OK:
		return add_ids(s, "after_ok", "--after-ok", arg, err);
	case KEY_AFTER_ANY:
		return add_ids(s, "after_any", "--after-any", arg, err);
	case KEY_RETRY:
		return set_integer(s, "retry", "--retry", arg, 0, INT32_MAX, err);
	case KEY_RETRY_ON:
		return set_string(s, "retry_on", "--retry-on", arg, err);
	case KEY_NO_RETRY:
		return json_object_set_new(s->job, "no_retry", json_true());
	case KEY_PRIORITY:
		return set_integer(s, "priority", "--priority", arg, INT32_MIN, INT32_MAX, err);
	case KEY_HOLD:
		return json_object_set_new(s->job, "hold", json_true());
	}
	return ARGP_ERR_UNKNOWN;
}

static int parse_process(int key, char *arg, struct jobspec *s, struct err *err)
{
	switch (key) {
	case KEY_NAME:
		return set_string(s, "name", "--name", arg, err);
	case KEY_OUTPUT:
		return set_string(s, "output", "--output", arg, err);
	case KEY_ERROR:
		return set_string(s, "error", "--error", arg, err);
	case KEY_CHDIR:
		return set_string(s, "chdir", "--chdir", arg, err);
	case 'e':
		return add_env(s, arg, err);
	case KEY_USER:
		return set_string(s, "user", "--user", arg, err);
	case KEY_IDEMPOTENCY_KEY:
		return set_string(s, "idempotency_key", "--idempotency-key", arg, err);
	case KEY_DRY_RUN:
		s->dry_run = true;
		return json_object_set_new(s->job, "dry_run", json_true());
	case KEY_TTY:
		s->tty = true;
		return json_object_set_new(s->job, "tty", json_true());
	case KEY_LABEL:
		return json_object_set_new(s->job, "label", json_true());
	case KEY_FROM:
		s->from = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int jobspec_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct jobspec *s = input;
	char **argv;
	int rc, argc;

	switch (key) {
	case ARGP_KEY_ARG:
		args_take_rest(state, &argv, &argc);
		return set_command(s, argv, argc, err);
	case ARGP_KEY_END:
		if (!s->from && !json_object_get(s->job, "command"))
			return err_set(err, ERR_INVALID, "no command was given")
			               ? err_hint(err, "put it behind the options: -- CMD...")
			               : 0;
		return 0;
	}
	rc = parse_request(key, arg, s, err);
	if (rc == ARGP_ERR_UNKNOWN)
		rc = parse_order(key, arg, s, err);
	if (rc == ARGP_ERR_UNKNOWN)
		rc = parse_process(key, arg, s, err);
	return rc;
}

static int make_absolute(struct jobspec *s, const char *key, bool is_remote, struct err *err)
{
	const char *path = json_string_value(json_object_get(s->job, key));
	char shown[TEXT_SHOW_SIZE];

	if (!path || path[0] == '/')
		return 0;
	if (!path[0])
		return err_set(err, ERR_INVALID, "--%s: an empty name", key);
	if (is_remote)
		return err_set(err, ERR_INVALID,
		        "--%s: '%s' is relative, and the server is another machine", key,
		        text_show(path, shown));
	char *whole = target_absolute(path);
	int rc = set_string(s, key, key, whole, err);
	free(whole);
	return rc;
}

int jobspec_finish(struct jobspec *s, bool is_remote, struct err *err)
{
	int rc;

	if (!is_remote && !json_object_get(s->job, "chdir")) {
		rc = set_string(s, "chdir", "--chdir", ".", err);
		if (rc)
			return rc;
	}
	rc = make_absolute(s, "chdir", is_remote, err);
	if (rc == 0)
		rc = make_absolute(s, "output", is_remote, err);
	if (rc == 0)
		rc = make_absolute(s, "error", is_remote, err);
	return rc;
}

/* The default of job.env_exclude, as tables/config.def has it: words in single quotes. */
static const char *excluded_patterns(void)
{
	static const struct {
		const char *key, *def;
	} settings[] = {
#define CONF(type, key, member, def, limits, help) {key, def},
#include "../../tables/config.def"
	};

	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		if (strcmp(settings[i].key, "job.env_exclude") == 0)
			return settings[i].def;
	BUG_IF(true);
}

bool jobspec_excludes_env(const char *name)
{
	const char *p = excluded_patterns();
	char pattern[64];

	while ((p = strchr(p, '\''))) {
		size_t len = strcspn(p + 1, "'");
		BUG_IF(len >= sizeof(pattern));
		memcpy(pattern, p + 1, len);
		pattern[len] = '\0';
		if (fnmatch(pattern, name, FNM_CASEFOLD) == 0)
			return true;
		p += len + 2;
	}
	return false;
}

json_t *jobspec_environment(char *const *environ_, const char *chdir)
{
	json_t *env = json_object();

	for (; *environ_; environ_++) {
		size_t len = strcspn(*environ_, "=");
		const char *value = *environ_ + len + 1;
		char shown[TEXT_SHOW_SIZE];
		/* `_` names this program; with it, no two environments were alike. */
		if (!(*environ_)[len] || len == 0 || strncmp(*environ_, "_=", 2) == 0)
			continue;
		char *name = strndup(*environ_, len);
		if (chdir && strcmp(name, "PWD") == 0)
			value = chdir;
		if (!jobspec_excludes_env(name) &&
		        json_object_set_new(env, name, json_string(value)))
			cli_say("the variable %s is not UTF-8 and stays behind",
			        text_show(name, shown));
		free(name);
	}
	return env;
}

void jobspec_add_defaults(json_t *line, const struct jobspec *s)
{
	const char *key, *name;
	json_t *value, *variable;

	json_object_foreach(s->job, key, value)
	{
		json_t *own = json_object_get(line, key);
		if (!own) {
			json_object_set(line, key, value);
			continue;
		}
		if (strcmp(key, "env") != 0 || !json_is_object(own))
			continue;
		json_object_foreach(value, name, variable)
		{
			if (!json_object_get(own, name))
				json_object_set(own, name, variable);
		}
	}
}
