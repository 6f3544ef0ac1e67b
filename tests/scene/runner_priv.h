/*
 * A scene while it is played, and the words of its line. Owned by scene_play(); what names point to lives as long as the scene.
 * One thread. A word that stands for nothing fails the test.
 */
#pragma once

#include "runner.h"

#include "box.h"
#include "sched/sched.h"

#define WORDS_MAX 32
#define NAMES_MAX 256

struct scene {
	const char *path;
	int line;
	struct box b;
	struct sched *sched;
	char *names[NAMES_MAX]; /* of job number i + 1 */
	uint32_t n_names;
	struct sched_plan plan; /* the last one */
	struct job_id starts[1000];
	char *words[WORDS_MAX]; /* of the line */
	int n;
	struct policy_label labels[32]; /* of nodes */
};

#define FAIL(s, ...)                                          \
	do {                                                  \
		print_error("%s:%d: ", (s)->path, (s)->line); \
		fail_msg(__VA_ARGS__);                        \
	} while (0)

void scene_split(struct scene *s, char *line);
const char *scene_word(struct scene *s, int i);
const char *scene_value(const struct scene *s, const char *key);
uint64_t scene_number(struct scene *s, const char *text);
uint64_t scene_size(struct scene *s, const char *text);
struct job_id scene_id(struct scene *s, const char *name);
const char *scene_name(const struct scene *s, struct job_id id, char out[80]);
struct job *scene_job(struct scene *s, const char *name);
struct node *scene_node(struct scene *s, const char *text, int *ret_device);
int64_t scene_ms(struct scene *s, const char *text);
uint32_t scene_count(struct scene *s, const char *key);
