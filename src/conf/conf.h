/*
 * The configuration: berth.yaml and its overrides as one struct, driven by tables/config.def. Pure: text in, values out.
 * The caller owns a struct conf and everything in it; conf_free() releases it. One thread at a time; const may be shared.
 * What fails names the key and its line, says the limit, and leaves the configuration as it was.
 *
 * Order of use: conf_parse() (or conf_defaults() without a file), then conf_override_all(), then conf_set() for flags,
 * then conf_check(), which looks at settings that depend on each other. Each overrides what was there before.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define CONF_TEXT_MAX   (1 * MIB)
#define CONF_ENV_PREFIX "BERTH_CONF_"
#define CONF_NAME_MAX   63   /* bytes of the name of a queue */
#define CONF_NODES_MAX  4000 /* bytes of all that queues.X.nodes names */
#define CONF_MODEL_MAX  95   /* bytes of a model's name */

enum conf_source {
	CONF_FROM_DEFAULT,
	CONF_FROM_FILE,
	CONF_FROM_ENVIRONMENT,
	CONF_FROM_FLAG,
	CONF_FROM_RUN_TIME /* of a queue: set while the server ran */
};

/* In the order of the words in config.def. */
enum conf_watchdog { CONF_WATCHDOG_OFF, CONF_WATCHDOG_REPORT, CONF_WATCHDOG_END };
enum conf_mechanism {
	CONF_MECHANISM_AUTO,
	CONF_MECHANISM_INTERPOSER,
	CONF_MECHANISM_NONE,
	CONF_MECHANISM_MPS,
	CONF_MECHANISM_KERNEL
};
enum conf_model_mechanism {
	CONF_MODEL_MECHANISM_SAME,
	CONF_MODEL_MECHANISM_AUTO,
	CONF_MODEL_MECHANISM_INTERPOSER,
	CONF_MODEL_MECHANISM_NONE,
	CONF_MODEL_MECHANISM_MPS,
	CONF_MODEL_MECHANISM_KERNEL
};
enum conf_policy { CONF_POLICY_FRAGMENT, CONF_POLICY_PACK, CONF_POLICY_SPREAD, CONF_POLICY_FGD };
enum conf_order { CONF_ORDER_BACKFILL, CONF_ORDER_STRICT };
enum conf_tls { CONF_TLS_1_2, CONF_TLS_1_3 };
enum conf_cpu_limit { CONF_CPU_SHARE, CONF_CPU_CAP };
enum conf_gpu_compute { CONF_GPU_COMPUTE_SHARE, CONF_GPU_COMPUTE_CAP };
enum conf_log { CONF_LOG_ERROR, CONF_LOG_WARN, CONF_LOG_INFO, CONF_LOG_DEBUG };

struct conf_list {
	char **v;
	size_t n;
};

/* The C type of each type of the table. Strings are never NULL. */
#define CONF_C_STRING   char *
#define CONF_C_ADDRESS  char * /* "HOST:PORT", "[V6]:PORT" or "" */
#define CONF_C_CHOICE   uint32_t
#define CONF_C_BOOL     bool
#define CONF_C_UINT     uint32_t
#define CONF_C_INT      int32_t
#define CONF_C_SIZE     uint64_t
#define CONF_C_DURATION int64_t /* milliseconds */
#define CONF_C_MODE     uint32_t
#define CONF_C_LIST     struct conf_list
#define CONF_C_QUEUES   struct conf_queues
#define CONF_C_MODELS   struct conf_models

enum conf_queue_field {
#define CONF_QUEUE(type, key, member, def, limits, help) CONF_QUEUE_##member,
#include "../../tables/config.def"
	CONF_QUEUE_N
};

struct conf_queue {
	char name[CONF_NAME_MAX + 1];
#define CONF_QUEUE(type, key, member, def, limits, help) CONF_C_##type member;
#include "../../tables/config.def"
	uint8_t source[CONF_QUEUE_N]; /* enum conf_source */
};

struct conf_queues {
	struct conf_queue *v; /* "default" first, the others as they stand in the file */
	size_t n;
};

enum conf_model_field {
#define CONF_MODEL(type, key, member, def, limits, help) CONF_MODEL_##member,
#include "../../tables/config.def"
	CONF_MODEL_N
};

struct conf_model {
	char name[CONF_MODEL_MAX + 1]; /* part of the model's name, in any case of letters */
#define CONF_MODEL(type, key, member, def, limits, help) CONF_C_##type member;
#include "../../tables/config.def"
	uint8_t source[CONF_MODEL_N];
};

struct conf_models {
	struct conf_model *v; /* as they stand in the file */
	size_t n;
};

enum conf_key {
#define CONF(type, key, member, def, limits, help) CONF_KEY_##member,
#include "../../tables/config.def"
	CONF_KEY_N
};

struct conf {
#define CONF(type, key, member, def, limits, help) CONF_C_##type member;
#include "../../tables/config.def"
	uint8_t source
	        [CONF_KEY_N]; /* enum conf_source; of `queues` and `gpu.models` their fields know better */
};

/* Life cycle */
struct conf *conf_defaults(void);
/* text: YAML of at most CONF_TEXT_MAX bytes, need not end in NUL. The caller puts the file's name before the error. */
MUST_CHECK int conf_parse(const char *text, size_t len, struct conf **ret_conf, struct err *err);
void conf_free(struct conf *c); /* NULL is fine */
void conf_freep(struct conf **c);
#define CLEANUP_CONF CLEANUP(conf_freep)

/* Commands */
/*
 * value: as in the file, without quotes. A list may be separated by commas; `queues` and `gpu.models` take a YAML map,
 * which replaces what was there.
 */
MUST_CHECK int conf_set(
        struct conf *c, const char *key, const char *value, enum conf_source from, struct err *err);
/* name: "BERTH_CONF_SERVER_JOB_USER". */
MUST_CHECK int conf_override(struct conf *c, const char *name, const char *value, struct err *err);
/* Everything in environ ("K=V", NULL-terminated) that begins with CONF_ENV_PREFIX. */
MUST_CHECK int conf_override_all(struct conf *c, char *const *environ_, struct err *err);

/*
 * Queues at run time: what is set lies over the configuration, key by key. `overlay` is the map of what was set, as
 * conf_queue_overlay() writes it; NULL: nothing was. A queue that the configuration does not name begins with the defaults.
 */
MUST_CHECK int conf_queue_make(const struct conf *c, const char *name, const char *overlay,
        struct conf_queue **ret_queue, struct err *err);
void conf_queue_free(struct conf_queue *q); /* NULL is fine */
void conf_queue_freep(struct conf_queue **q);
/* value: as conf_set() takes it; "" takes back what was set at run time. On failure q is as it was. */
MUST_CHECK int conf_queue_set(struct conf_queue *q, const struct conf *c, const char *key,
        const char *value, struct err *err);
/* What conf_check() asks of each queue. */
MUST_CHECK int conf_queue_check(const struct conf_queue *q, struct err *err);
/* "{}" when nothing is set. */
void conf_queue_overlay(const struct conf_queue *q, struct buf *out);
const char *conf_queue_key(enum conf_queue_field field);
bool conf_queue_is_duration(const char *key);

/* Queries */
MUST_CHECK int conf_check(const struct conf *c, struct err *err);
const struct conf_queue *conf_find_queue(const struct conf *c, const char *name);
/* Its entries with commas between them; the caller's to free. */
char *conf_join(const struct conf_list *list);
/* The word of a setting that is one of several. */
const char *conf_policy_name(const struct conf *c);
/* Is this variable left behind at submit? */
bool conf_excludes_env(const struct conf *c, const char *name);

/* One setting in force. Everything is borrowed for the call. */
struct conf_row {
	const char *path[4]; /* {"gpu", "models", "A100", "fgpu_per_device"} */
	size_t n_path;
	const char *key;   /* the path, joined by dots */
	const char *value; /* as YAML on one line */
	size_t entry;      /* its place among the queues or the models; 0 elsewhere */
	enum conf_source source;
	const char *def, *limits, *help; /* from the table; limits may be "" */
};
/* Every setting in the order of the table; conf_each() of conf_defaults() is the reference. */
void conf_each(const struct conf *c, void (*fn)(const struct conf_row *row, void *arg), void *arg);
/* The configuration in force as YAML that conf_parse() takes; each line says where it comes from, and with `explain` what it is. */
void conf_show(const struct conf *c, bool explain, struct buf *out);
const char *conf_source_name(
        enum conf_source source); /* "default", "file", "environment", "flag", "run time" */
