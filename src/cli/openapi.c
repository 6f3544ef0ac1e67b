#include "cli/openapi.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cc.h"
#include "base/version.h"

/*
 * DESIGN. Everything stands in tables: routes.def (what there is), shapes.def (what goes in and comes out), states.def,
 * reasons.def and errors.def (the words). What is here turns rows into the words of OpenAPI 3.0. A route without a
 * row of an answer, and a shape that does not exist, are bugs, found by the unit test that makes the document.
 */
struct route {
	const char *method, *path, *name, *who, *summary;
};

static const struct route routes[] = {
#define ROUTE(method, path, handler, who, summary) {#method, path, #handler, #who, summary},
#include "../../tables/routes.def"
#undef ROUTE
};

static const struct shape {
	const char *name, *fields, *text;
} shapes[] = {
#define SHAPE(name, fields, text) {#name, fields, text},
#include "../../tables/shapes.def"
};

static const struct param {
	const char *route, *place, *name, *type, *text;
} params[] = {
#define PARAM(handler, place, name, type, text) {#handler, place, name, type, text},
#include "../../tables/shapes.def"
};

static const struct body {
	const char *route, *media, *shape, *text;
} bodies[] = {
#define BODY(handler, shape, text)  {#handler, "application/json", shape, text},
#define LINES(handler, shape, text) {#handler, "application/x-ndjson", shape, text},
#include "../../tables/shapes.def"
};

static const struct answer {
	const char *route;
	int status;
	const char *media, *type, *text;
} answers[] = {
#define ANSWER(handler, status, media, type, text) {#handler, status, media, type, text},
#include "../../tables/shapes.def"
};

static const char *const state_words[] = {
#define STATE(name, is_final, holds) #name,
#include "../../tables/states.def"
#undef STATE
};

static const char *const reason_words[] = {
#define REASON(name, code, text) code,
#include "../../tables/reasons.def"
#undef REASON
};

static const struct {
	const char *code;
	int status;
} errors[] = {
#define ERR(name, code, http, exit) {code, http},
#include "../../tables/errors.def"
#undef ERR
};

/* Types */

static json_t *words_type(const char *const *words, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(words[i]));
	return json_pack("{s:s, s:o}", "type", "string", "enum", list);
}

static json_t *error_type(void)
{
	json_t *list = json_array(), *statuses = json_object();

	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		json_array_append_new(list, json_string(errors[i].code));
		json_object_set_new(statuses, errors[i].code, json_integer(errors[i].status));
	}
	return json_pack("{s:s, s:o, s:o}", "type", "string", "enum", list, "x-status", statuses);
}

static json_t *ref_type(const char *name, size_t len)
{
	char path[96];
	size_t i = 0;

	while (i < ARRAY_LEN(shapes) &&
	        (strlen(shapes[i].name) != len || memcmp(shapes[i].name, name, len) != 0))
		i++;
	BUG_IF(i == ARRAY_LEN(shapes));
	snprintf(path, sizeof(path), "#/components/schemas/%s", shapes[i].name);
	return json_pack("{s:s}", "$ref", path);
}

/* Of "a|b|c": one of the words, or one of the shapes. */
static json_t *choice_type(const char *text, size_t len)
{
	bool of_shapes = isupper((unsigned char)text[0]);
	json_t *list = json_array();

	for (size_t at = 0; at < len; at++) {
		size_t n = strcspn(text + at, "|?[!");
		n = MIN(n, len - at);
		json_array_append_new(
		        list, of_shapes ? ref_type(text + at, n) : json_stringn(text + at, n));
		at += n;
	}
	return of_shapes ? json_pack("{s:o}", "oneOf", list)
	                 : json_pack("{s:s, s:o}", "type", "string", "enum", list);
}

static json_t *simple_type(const char *name, size_t len)
{
	static const struct {
		const char *name, *json;
	} simple[] = {
	        {"string", "{\"type\":\"string\"}"},
	        {"int", "{\"type\":\"integer\",\"format\":\"int64\"}"},
	        {"number", "{\"type\":\"number\"}"},
	        {"bool", "{\"type\":\"boolean\"}"},
	        {"time", "{\"type\":\"string\",\"format\":\"date-time\"}"},
	        {"bytes", "{\"type\":\"string\",\"format\":\"binary\"}"},
	        {"any", "{}"},
	        {"map", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\",\"nullable\":true}}"},
	        {"counts", "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}"},
	        {"size",
	                "{\"description\":\"bytes, or a size like 12G\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
	        {"span",
	                "{\"description\":\"seconds, or a time like 90m or 1-02:00:00\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
	        {"share",
	                "{\"description\":\"thousandths, or a share like 30%\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
	        {"fgpus",
	                "{\"description\":\"whole fGPU, or a number like 1.5\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
	        {"gpus",
	                "{\"description\":\"whole devices, or as typed: 2, 0.5, 50%, 0.5:a100\",\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}"},
	};

	for (size_t i = 0; i < ARRAY_LEN(simple); i++)
		if (strlen(simple[i].name) == len && memcmp(simple[i].name, name, len) == 0)
			return json_loads(simple[i].json, 0, NULL);
	BUG_IF(true);
}

static bool is_word(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* text: up to the end of the field, like "Reason[]" or "int?". */
static json_t *type_of(const char *text, size_t len)
{
	size_t n = 0;
	json_t *t;

	while (n < len && !strchr("?[!", text[n]))
		n++;
	if (is_word(text, n, "state"))
		t = words_type(state_words, ARRAY_LEN(state_words));
	else if (is_word(text, n, "reason"))
		t = words_type(reason_words, ARRAY_LEN(reason_words));
	else if (is_word(text, n, "error"))
		t = error_type();
	else if (memchr(text, '|', n))
		t = choice_type(text, n);
	else if (isupper((unsigned char)text[0]))
		t = ref_type(text, n);
	else
		t = simple_type(text, n);
	if (n + 1 < len && text[n] == '[')
		t = json_pack("{s:s, s:o}", "type", "array", "items", t);
	if (text[len - 1] != '?')
		return t;
	/* Beside a reference nothing else may stand. */
	if (json_object_get(t, "$ref"))
		t = json_pack("{s:[o]}", "allOf", t);
	json_object_set_new(t, "nullable", json_true());
	return t;
}

static json_t *shape_type(const struct shape *s)
{
	json_t *properties = json_object(), *required = json_array();

	for (const char *at = s->fields; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " "), name = strcspn(at, ":?"), colon = strcspn(at, ":");
		BUG_IF(colon + 1 >= len);
		json_object_setn_new(
		        properties, at, name, type_of(at + colon + 1, len - colon - 1));
		if (at[name] != '?')
			json_array_append_new(required, json_stringn(at, name));
		at += len;
	}
	json_t *o = json_pack("{s:s, s:s, s:o}", "type", "object", "description", s->text,
	        "properties", properties);
	/* An empty list is not allowed there. */
	if (json_array_size(required))
		json_object_set(o, "required", required);
	json_decref(required);
	return o;
}

/* Routes */

static json_t *parameters_of(const struct route *r)
{
	json_t *list = json_array();

	for (const char *p = strchr(r->path, '{'); p; p = strchr(p + 1, '{'))
		json_array_append_new(list,
		        json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", p + 1, strcspn(p + 1, "}"),
		                "in", "path", "required", 1, "schema", "type", "string"));
	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		const struct param *p = &params[i];
		size_t len = strlen(p->type);
		if (strcmp(p->route, r->name) == 0)
			json_array_append_new(list,
			        json_pack("{s:s, s:s, s:b, s:s, s:o}", "name", p->name, "in",
			                p->place, "required", p->type[len - 1] == '!',
			                "description", p->text, "schema", type_of(p->type, len)));
	}
	return list;
}

/* NULL: it takes none. */
static json_t *body_of(const struct route *r)
{
	json_t *content = NULL, *o;
	const char *text = NULL;

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		const struct body *b = &bodies[i];
		if (strcmp(b->route, r->name) != 0)
			continue;
		content = content ? content : json_object();
		text = text ? text : b->text;
		json_object_set_new(content, b->media,
		        json_pack("{s:o}", "schema", ref_type(b->shape, strlen(b->shape))));
	}
	if (!content)
		return NULL;
	o = json_pack("{s:s, s:o}", "description", text, "content", content);
	return o;
}

static void add_answer(json_t *responses, const struct answer *a)
{
	char status[8];

	snprintf(status, sizeof(status), "%d", a->status);
	json_t *r = json_object_get(responses, status);
	if (r) {
		/* Another kind of answer with the same status. */
		json_t *both = json_sprintf(
		        "%s. %s", json_string_value(json_object_get(r, "description")), a->text);
		json_object_set_new(r, "description", both);
	} else {
		r = json_pack("{s:s}", "description", a->text);
		json_object_set_new(responses, status, r);
	}
	if (!a->media[0])
		return;
	if (!json_object_get(r, "content"))
		json_object_set_new(r, "content", json_object());
	json_object_set_new(json_object_get(r, "content"), a->media,
	        json_pack("{s:o}", "schema", type_of(a->type, strlen(a->type))));
}

static json_t *responses_of(const struct route *r, bool takes_anything, bool is_open)
{
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_LEN(answers); i++)
		if (strcmp(answers[i].route, r->name) == 0)
			add_answer(o, &answers[i]);
	BUG_IF(json_object_size(o) == 0);
	static const struct {
		const char *status;
		bool for_input, for_path, for_closed;
	} usual[] = {{"400", true, false, false}, {"401", false, false, true},
	        {"403", false, false, true}, {"404", false, true, false}};
	for (size_t i = 0; i < ARRAY_LEN(usual); i++)
		if ((usual[i].for_input && takes_anything) ||
		        (usual[i].for_path && strchr(r->path, '{')) ||
		        (usual[i].for_closed && !is_open))
			json_object_set_new(o, usual[i].status,
			        json_pack("{s:s}", "$ref", "#/components/responses/Error"));
	json_object_set_new(
	        o, "default", json_pack("{s:s}", "$ref", "#/components/responses/Error"));
	return o;
}

static json_t *operation(const struct route *r)
{
	bool is_open = strcmp(r->who, "ANYONE") == 0;
	json_t *parameters = parameters_of(r), *body = body_of(r);
	bool takes_anything = json_array_size(parameters) || body;
	const char *tag = strncmp(r->path, "/v1/", 4) == 0 ? r->path + 4 : "health";

	json_t *o = json_pack("{s:s, s:[s%], s:s, s:o}", "operationId", r->name, "tags", tag,
	        strcspn(tag, "/"), "summary", r->summary, "parameters", parameters);
	if (body)
		json_object_set_new(o, "requestBody", body);
	json_object_set_new(o, "responses", responses_of(r, takes_anything, is_open));
	json_object_set_new(o, "security", is_open ? json_array() : json_pack("[{s:[]}]", "token"));
	json_object_set_new(o, "x-who", json_string(r->who));
	return o;
}

static json_t *components(void)
{
	json_t *schemas = json_object();

	for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
		json_object_set_new(schemas, shapes[i].name, shape_type(&shapes[i]));
	/* The server refuses keys that it does not know. */
	for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
		json_object_set_new(json_object_get(schemas, bodies[i].shape),
		        "additionalProperties", json_false());
	return json_pack("{s:{s:{s:s, s:s, s:s}}, s:{s:{s:s, s:{s:{s:o}}}}, s:o}",
	        "securitySchemes", "token", "type", "http", "scheme", "bearer", "description",
	        "Over TCP; berth token create makes one. The Unix socket knows its callers by their account",
	        "responses", "Error", "description",
	        "What is wrong, and often the next step; each code has one status", "content",
	        "application/json", "schema", ref_type("Error", strlen("Error")), "schemas",
	        schemas);
}

json_t *openapi_document(void)
{
	json_t *paths = json_object();

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		json_t *path = json_object_get(paths, routes[i].path);
		char method[16] = "";
		if (!path) {
			path = json_object();
			json_object_set_new(paths, routes[i].path, path);
		}
		for (size_t c = 0; routes[i].method[c] && c + 1 < sizeof(method); c++)
			method[c] = (char)tolower(routes[i].method[c]);
		json_object_set_new(path, method, operation(&routes[i]));
	}
	return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:o, s:o}", "openapi", "3.0.3",
	        "info", "title", "Berth", "version", berth_version, "description",
	        "Work on the GPUs of machines: jobs, their output, devices, nodes and queues. Times are RFC 3339 in UTC, sizes bytes, intervals seconds. Keys are added to answers over time; schema is raised when one changes its meaning.",
	        "servers", "url", "/", "paths", paths, "components", components());
}
