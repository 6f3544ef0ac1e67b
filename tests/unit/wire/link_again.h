/*
 * A message of the link that was read, written again as it is: for tests that compare the bytes.
 * Everything is borrowed. Any thread. Cannot fail; what does not fit is b->overflow.
 */
#pragma once

#include "wire/link.h"

void link_put_again(struct buf *b, const struct link_message *m);
