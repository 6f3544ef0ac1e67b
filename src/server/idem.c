/* Idempotency keys as rows of the store, for those whose job has left memory. */
#include "server/batch.h"
#include "base/mem.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

char *idem_text(const char *user, const char *key)
{
	size_t n = strlen(user), k = strlen(key);
	char *text = mem_zalloc(n + k + 2);

	memcpy(text, user, n);
	text[n] = '\x1f';
	memcpy(text + n + 1, key, k);
	return text;
}

/* Keys are the users' choice, so a hash that can be bent would be bent. */
uint64_t idem_row_key(const char *text)
{
	uint8_t hash[16];
	uint64_t key;

	crypto_generichash(hash, sizeof(hash), (const unsigned char *)text, strlen(text), NULL, 0);
	memcpy(&key, hash, sizeof(key));
	return key;
}

void batch_add_idem(struct server *s, const struct request *r, uint64_t num)
{
	char *text;

	if (!r->idempotency_key)
		return;
	text = idem_text(r->user, r->idempotency_key);
	batch_add_bytes(s, ROW_IDEM, idem_row_key(text), (int64_t)num, text, strlen(text));
	free(text);
}

void batch_remove_idem(struct server *s, const struct request *r, uint64_t num)
{
	char *text;

	if (!r->idempotency_key)
		return;
	text = idem_text(r->user, r->idempotency_key);
	batch_remove_row(s, ROW_IDEM, idem_row_key(text), (int64_t)num);
	free(text);
}
