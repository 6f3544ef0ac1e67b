/* The words of a line of a scene, and what they stand for. A word that stands for nothing fails the test. */
#include "runner_priv.h"

#include "base/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Words are apart by blanks; one in quotes may hold blanks. */
void scene_split(struct scene *s, char *line)
{
	char *p = line;

	s->n = 0;
	for (;;) {
		p += strspn(p, " \t\n");
		if (!*p || *p == '#')
			return;
		if (s->n == WORDS_MAX)
			FAIL(s, "too many words");
		if (*p == '"') {
			s->words[s->n++] = p++;
			p += strcspn(p, "\"\n");
		} else {
			s->words[s->n++] = p;
			p += strcspn(p, " \t\n");
		}
		if (*p)
			*p++ = '\0';
	}
}

const char *scene_word(struct scene *s, int i)
{
	if (i >= s->n)
		FAIL(s, "a word is missing");
	return s->words[i];
}

/* The value of KEY=VALUE among the words, or NULL. */
const char *scene_value(const struct scene *s, const char *key)
{
	size_t n = strlen(key);

	for (int i = 1; i < s->n; i++)
		if (strncmp(s->words[i], key, n) == 0 && s->words[i][n] == '=')
			return s->words[i] + n + 1;
	return NULL;
}

uint64_t scene_number(struct scene *s, const char *text)
{
	char *end;
	uint64_t v = strtoull(text, &end, 10);

	if (!*text || *end)
		FAIL(s, "'%s' is no number", text);
	return v;
}

uint64_t scene_size(struct scene *s, const char *text)
{
	uint64_t v;
	struct err err;

	if (num_parse_size(text, &v, &err))
		FAIL(s, "%s", err.text);
	return v;
}

struct job_id scene_id(struct scene *s, const char *name)
{
	const char *sep = strrchr(name, '_');
	size_t n = sep ? (size_t)(sep - name) : strlen(name);

	for (uint32_t i = 0; i < s->n_names; i++)
		if (strncmp(s->names[i], name, n) == 0 && !s->names[i][n])
			return (struct job_id){i + 1, !sep ? TASK_NONE
			                              : strcmp(sep + 1, "%a") == 0
			                                      ? TASK_SAME
			                                      : (int64_t)scene_number(s, sep + 1)};
	FAIL(s, "no job is called '%s'", name);
	return (struct job_id){0};
}

const char *scene_name(const struct scene *s, struct job_id id, char out[80])
{
	if (id.task == TASK_NONE)
		snprintf(out, 80, "%s", s->names[id.num - 1]);
	else
		snprintf(out, 80, "%s_%lld", s->names[id.num - 1], (long long)id.task);
	return out;
}

struct job *scene_job(struct scene *s, const char *name)
{
	struct job *j = world_find_job(s->b.w, scene_id(s, name));

	if (!j)
		FAIL(s, "'%s' is no job of its own", name);
	return j;
}

/* "n1" or "n1:2"; *ret_device is -1 without one. */
struct node *scene_node(struct scene *s, const char *text, int *ret_device)
{
	const char *colon = strchr(text, ':');
	char name[64];
	struct node *n;

	snprintf(
	        name, sizeof(name), "%.*s", (int)(colon ? colon - text : (long)strlen(text)), text);
	*ret_device = colon ? (int)scene_number(s, colon + 1) : -1;
	n = world_find_node(s->b.w, name);
	if (!n || *ret_device >= (int)n->n_devices)
		FAIL(s, "there is no '%s'", text);
	return n;
}

int64_t scene_ms(struct scene *s, const char *text)
{
	uint64_t seconds;
	struct err err;

	if (num_parse_duration(text, &seconds, &err))
		FAIL(s, "%s", err.text);
	return (int64_t)seconds * 1000;
}

uint32_t scene_count(struct scene *s, const char *key)
{
	const char *text = scene_value(s, key);

	return text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}
