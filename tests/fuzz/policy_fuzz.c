/* The helper's configuration, which only root writes, and which nevertheless must not be misread. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "helper/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	struct policy p;
	struct err err;
	int rc;

	policy_init(&p, "/data");
	fuzz_err_init(&err);
	rc = policy_parse(&p, text, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(p.n_users <= POLICY_USERS && p.min_uid < UINT32_MAX);
	for (size_t i = 0; i < p.n_users; i++)
		FUZZ_MUST(*p.users[i] && !strpbrk(p.users[i], ", \n#"));
	/* Root is allowed by one setting only. */
	FUZZ_MUST(!p.allow_root || memmem(data, size, "allow_root", 10));
	policy_done(&p);
	free(text);
	return 0;
}
