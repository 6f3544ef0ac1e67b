/*
 * For tests of a start that fails: a keeper's child tells why through memory that vfork shares.
 * The thread sanitizer makes a fork of it, in which that memory is the child's own, so such a test has nothing to see there, and ends at once.
 */
#pragma once

#ifdef __SANITIZE_THREAD__
#define NEEDS_VFORK() return
#else
#define NEEDS_VFORK() ((void)0)
#endif
