#include "core/ids.h"
#include "base/num.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

int job_id_parse(const char *text, struct job_id *ret_id, struct err *err)
{
	char num[24], shown[TEXT_SHOW_SIZE];
	const char *sep = strchr(text, '_');
	size_t len = sep ? (size_t)(sep - text) : strlen(text);
	struct job_id id = {.task = TASK_NONE};
	uint64_t task;
	struct err why;

	if (len == 0 || len >= sizeof(num))
		return err_set(err, ERR_INVALID, "'%s' is not a job id (like 17 or 17_3)",
		        text_show(text, shown));
	memcpy(num, text, len);
	num[len] = '\0';
	if (num_parse_u64(num, UINT64_MAX / 2, &id.num, &why) || id.num == 0)
		return err_set(err, ERR_INVALID, "'%s' is not a job id (like 17 or 17_3)",
		        text_show(text, shown));
	if (sep) {
		if (num_parse_u64(sep + 1, INT64_MAX / 2, &task, &why))
			return err_set(err, ERR_INVALID, "'%s' is not a task id (like 17_3)",
			        text_show(text, shown));
		id.task = (int64_t)task;
	}
	*ret_id = id;
	return 0;
}

const char *job_id_format(struct job_id id, char out[48])
{
	if (id.task == TASK_NONE)
		snprintf(out, 48, "%llu", (unsigned long long)id.num);
	else if (id.task == TASK_SAME)
		snprintf(out, 48, "%llu_%%a", (unsigned long long)id.num);
	else
		snprintf(out, 48, "%llu_%lld", (unsigned long long)id.num, (long long)id.task);
	return out;
}
