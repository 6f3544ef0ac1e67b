/* Shared by record_job.c and record_request.c. */
#pragma once

#include "wire/record.h"

void record__put_request(struct buf *b, uint32_t tag, const struct request *r);
/* A new request with one reference, or NULL when the bytes are not one. */
struct request *record__get_request(const struct codec_field *from);
