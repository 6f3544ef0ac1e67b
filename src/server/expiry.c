/* Tokens that end: what their holders have open ends with them, as it does when they are revoked. */
#include "server/api.h"

/* The clock may be set meanwhile. */
#define LOOK_MS (60 * 1000)

void expiry_look(void *server)
{
	struct server *s = server;
	int64_t now_ms = server_now(s).wall_ms, next_ms = INT64_MAX;
	const struct token *t;

	TAILQ_FOREACH (t, &s->world->tokens, link) {
		if (t->expires_ms && t->expires_ms <= now_ms)
			api_drop_token(s, t->num, "the token has expired");
		else if (t->expires_ms)
			next_ms = MIN(next_ms, t->expires_ms);
	}
	if (next_ms != INT64_MAX)
		loop_timer_start(s->expiry_timer, (uint64_t)MIN(next_ms - now_ms, LOOK_MS), 0);
}
