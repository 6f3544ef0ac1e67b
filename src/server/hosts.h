/*
 * The names under which this server may be asked over TCP. A page from elsewhere can have its own name lead to our address, and its
 * visitor's browser then asks us in that name: so a Host that is none of ours is refused.
 * The caller owns it. Pure but for memory; any thread. Nothing fails.
 */
#pragma once

#include "conf/conf.h"

struct hosts;

/* listen: the host that is listened on. localhost and the addresses of loopback are always ours; so is every address (that is no name)
 * when listening on all of them. */
struct hosts *hosts_new(const char *listen, const struct conf_list *patterns);
void hosts_free(struct hosts *h);                     /* NULL is fine */
void hosts_add(struct hosts *h, const char *pattern); /* "berth.example", "*.example", "10.1.2.3" */

/* header: of Host, with or without a port. */
bool hosts_has(const struct hosts *h, const char *header);
/* Is the page that an Origin names served under this Host? */
bool hosts_is_same(const char *origin, const char *header);
