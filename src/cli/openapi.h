/*
 * The OpenAPI document of the HTTP interface, made from tables/routes.def, tables/shapes.def and the tables of words.
 * Nothing is borrowed; the caller owns the json. Any thread. Cannot fail.
 */
#pragma once

#include <jansson.h>

json_t *openapi_document(void);
