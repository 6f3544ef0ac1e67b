#include "cli/openapi.h"

#include <ctype.h>
#include <string.h>

#include "base/cc.h"

struct route {
	const char *method, *path, *name, *who, *summary;
};

static const struct route routes[] = {
#define ROUTE(method, path, handler, who, summary) {#method, path, #handler, #who, summary},
#include "../../tables/routes.def"
#undef ROUTE
};

static const char *const error_codes[] = {
#define ERR(name, code, http, exit) code,
#include "../../tables/errors.def"
#undef ERR
};

/* Each {name} of the path, as the document wants it described. */
static json_t *parameters_of(const char *path)
{
	json_t *list = json_array();

	for (const char *p = strchr(path, '{'); p; p = strchr(p + 1, '{'))
		json_array_append_new(list,
		        json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", p + 1, strcspn(p + 1, "}"),
		                "in", "path", "required", 1, "schema", "type", "string"));
	return list;
}

static bool takes_body(const struct route *r)
{
	return strcmp(r->method, "POST") == 0 || strcmp(r->method, "PATCH") == 0;
}

static json_t *operation(const struct route *r)
{
	bool is_open = strcmp(r->who, "ANYONE") == 0;
	json_t *o = json_pack("{s:s, s:s, s:o, s:{s:{s:s}, s:{s:s}}}", "operationId", r->name,
	        "summary", r->summary, "parameters", parameters_of(r->path), "responses", "200",
	        "description", "as doc/http.md says", "default", "$ref",
	        "#/components/responses/Error");

	json_object_set_new(o, "security", is_open ? json_array() : json_pack("[{s:[]}]", "token"));
	json_object_set_new(o, "x-who", json_string(r->who));
	if (takes_body(r))
		json_object_set_new(o, "requestBody",
		        json_pack("{s:{s:{s:{s:s}}}}", "content", "application/json", "schema",
		                "type", "object"));
	if (strcmp(r->name, "jobs_submit") == 0)
		json_object_set_new(json_object_get(json_object_get(o, "requestBody"), "content"),
		        "application/x-ndjson", json_pack("{s:{s:s}}", "schema", "type", "string"));
	return o;
}

static json_t *components(void)
{
	json_t *codes = json_array();

	for (size_t i = 0; i < ARRAY_LEN(error_codes); i++)
		json_array_append_new(codes, json_string(error_codes[i]));
	json_t *error = json_pack("{s:s, s:[s,s], s:{s:{s:s, s:o}, s:{s:s}, s:{s:s}}}", "type",
	        "object", "required", "code", "message", "properties", "code", "type", "string",
	        "enum", codes, "message", "type", "string", "hint", "type", "string");
	json_t *schema = json_pack("{s:s, s:[s], s:{s:o}}", "type", "object", "required", "error",
	        "properties", "error", error);
	return json_pack("{s:{s:{s:s, s:s}}, s:{s:{s:s, s:{s:{s:o}}}}}", "securitySchemes", "token",
	        "type", "http", "scheme", "bearer", "responses", "Error", "description",
	        "what is wrong, and often the next step", "content", "application/json", "schema",
	        schema);
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
	return json_pack("{s:s, s:{s:s, s:s}, s:o, s:o}", "openapi", "3.0.3", "info", "title",
	        "Berth", "version", BERTH_VERSION, "paths", paths, "components", components());
}
