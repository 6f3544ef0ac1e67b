/*
 * What is looked at before anybody's request is: under which name he asks, from where his page comes, and how often he asks.
 * It belongs to the server. Loop thread. Who is refused gets FORBIDDEN, or LIMIT with the header Retry-After.
 */
#pragma once

#include "server/api.h"

struct guard;

/* host: that is listened on, cert_path: the certificate there, whose names are ours, too; NULL, NULL without TCP. */
MUST_CHECK int guard_new(const struct conf *c, const char *host, const char *cert_path,
        struct guard **ret_guard, struct err *err);
void guard_free(struct guard *g); /* NULL is fine */

/* Host, and Origin where a cookie makes a write. Over TCP only: nobody's page reaches the socket. */
MUST_CHECK int guard_check_origin(
        const struct guard *g, const struct net_request *r, struct err *err);
/* auth_identify(), with how often: whoever he is, and where it fails, from where. */
MUST_CHECK int guard_identify(
        const struct server *s, struct net_request *r, struct caller *ret, struct err *err);
/* Who was let in had an answer of so many rows, which count, too. */
void guard_count_rows(const struct server *s, const struct caller *who, size_t n);
