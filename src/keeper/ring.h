/*
 * Puts a file whose second half was used as a ring in order, and its index with it. Nothing is owned. One thread.
 * What cannot be read or written stays as it is: then the file still has every kept byte, tail in two pieces.
 */
#pragma once

#include "keeper/output.h"

/* Where byte number n of the output stands. */
uint64_t ring_position(const struct output_file *f, uint64_t n);
bool ring_is_used(const struct output_file *f);
/* Before any file is touched: tells who reads them meanwhile. What the disk does not take is not told. */
void ring_mark_index(const struct output *o);
/* Turns the ring, writes the line; returns how many bytes are left out, 0 when it could not be done. */
uint64_t ring_put_in_order(struct output_file *f, uint32_t *ret_line_len);
/* Replaces the index by one that fits; line_len: of each file that was put in order, else 0. */
void ring_rewrite_index(struct output *o, const uint32_t line_len[2]);
