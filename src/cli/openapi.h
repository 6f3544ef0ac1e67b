/*
 * The OpenAPI document of the HTTP interface, made from tables/routes.def and tables/errors.def.
 * Nothing is borrowed; the caller owns the json. Any thread. Cannot fail.
 */
#pragma once

#include <jansson.h>

json_t *openapi_document(void);
