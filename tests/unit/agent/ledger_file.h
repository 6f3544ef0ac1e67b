/* A ledger as a process of the job writes it, apart from what the core calls a slice. Each fails with false or -1. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Opens dir/slice-0 and takes slot 0 of it, for as long as the descriptor is open. */
int ledger_file_open(const char *dir);
/* The kernel says of slot 0 that it is this process's, until that ends. */
bool ledger_file_sign(const char *dir);
/* This process stands in the slot, with so much. */
bool ledger_file_use(int fd, uint64_t bytes);
/* What the agent wrote. */
bool ledger_file_beyond(int fd, uint64_t *ret_bytes);
