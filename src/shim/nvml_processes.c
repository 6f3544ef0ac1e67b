#include "shim/nvml.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the driver tells of processes, as far as they are the job's. */

#define PROCESSES_MAX 1024
#define PROC_SIZE     4096 /* of a file of /proc, as far as it is read */

static bool read_proc(unsigned pid, const char *name, char text[PROC_SIZE])
{
	char path[40];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, PROC_SIZE - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* As the process has written it into its slot: its number in its own namespace, and since when it lives. */
static bool own_view(unsigned pid, struct nvml_user *ret)
{
	char text[PROC_SIZE], *at, *end;

	if (!read_proc(pid, "status", text) || !(at = strstr(text, "\nNSpid:")))
		return false;
	at += strlen("\nNSpid:");
	end = at + strcspn(at, "\n");
	while (at < end)
		ret->pid = (uint32_t)strtoul(at, &at, 10);
	if (!read_proc(pid, "stat", text))
		return false;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	ret->started = at ? strtoull(at + 1, NULL, 10) : 0;
	return at;
}

/*
 * The driver numbers processes as its caller sees them, and a slot as its owner sees itself: that differs for a process in a
 * namespace below the caller's.
 */
static bool is_ours(const struct nvml_reading *r, unsigned pid)
{
	struct nvml_user seen = {0};

	for (unsigned i = 0; i < r->n_users; i++)
		if (r->users[i].pid == pid)
			return true;
	if (!own_view(pid, &seen) || seen.pid == pid)
		return false;
	for (unsigned i = 0; i < r->n_users; i++)
		if (r->users[i].pid == seen.pid && r->users[i].started == seen.started)
			return true;
	return false;
}

/* Of `n` entries that were found, those of the job are kept: as many as there is room for; *ret_kept: how many there are. */
struct list {
	const char *found;
	unsigned n;
	size_t size, pid_at; /* of an entry */
	void *room;          /* NULL: none */
	unsigned n_room;
};

static enum nvml_return keep_ours(int place, const struct list *l, unsigned *ret_kept)
{
	struct nvml_reading r;
	unsigned kept = 0;

	if (!nvml_read_ledger(place, &r))
		return NVML_ERROR_UNKNOWN;
	for (unsigned i = 0; i < l->n; i++) {
		const char *entry = l->found + i * l->size;
		unsigned pid;

		memcpy(&pid, entry + l->pid_at, sizeof(pid));
		if (!is_ours(&r, pid))
			continue;
		if (kept < l->n_room)
			memcpy((char *)l->room + kept * l->size, entry, l->size);
		kept++;
	}
	*ret_kept = kept;
	return kept > l->n_room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

#define LIST(name, type)                                                                    \
	enum nvml_return name(struct nvml_device *device, unsigned *count, type *processes) \
	{                                                                                   \
		type found[PROCESSES_MAX];                                                  \
		struct list l = {.found = (const char *)found,                              \
		        .n = PROCESSES_MAX,                                                 \
		        .size = sizeof(type),                                               \
		        .pid_at = offsetof(type, pid),                                      \
		        .room = processes};                                                 \
		int place;                                                                  \
		enum nvml_return code = nvml_enter(device, &place);                         \
                                                                                            \
		if (code != NVML_SUCCESS || place < 0)                                      \
			return code ? code : CALL(name, device, count, processes);          \
		if (!count || (*count && !processes))                                       \
			return NVML_ERROR_INVALID_ARGUMENT;                                 \
		l.n_room = *count;                                                          \
		code = CALL(name, device, &l.n, found);                                     \
		return code == NVML_SUCCESS ? keep_ours(place, &l, count) : code;           \
	}

LIST(nvmlDeviceGetComputeRunningProcesses, struct nvml_process_v1)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, struct nvml_process)
LIST(nvmlDeviceGetComputeRunningProcesses_v3, struct nvml_process)
LIST(nvmlDeviceGetGraphicsRunningProcesses, struct nvml_process_v1)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, struct nvml_process)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, struct nvml_process)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, struct nvml_process)

/* How busy they keep a device, in per cent of all of it: there is nothing to change in what is the job's own. */

/* A device that nobody of the job has used is to the job one that nobody has used. */
static enum nvml_return keep_our_uses(int place, const struct list *l, unsigned *ret_kept)
{
	enum nvml_return code = keep_ours(place, l, ret_kept);

	return code == NVML_SUCCESS && !*ret_kept ? NVML_ERROR_NOT_FOUND : code;
}

enum nvml_return nvmlDeviceGetProcessUtilization(struct nvml_device *device,
        struct nvml_process_use *uses, unsigned *count, unsigned long long since_us)
{
	struct nvml_process_use found[PROCESSES_MAX];
	struct list l = {.found = (const char *)found,
	        .n = PROCESSES_MAX,
	        .size = sizeof(*uses),
	        .pid_at = offsetof(struct nvml_process_use, pid),
	        .room = uses};
	int place;
	enum nvml_return code = nvml_enter(device, &place);

	if (code != NVML_SUCCESS || place < 0)
		return code ? code
		            : CALL(nvmlDeviceGetProcessUtilization, device, uses, count, since_us);
	if (!count)
		return NVML_ERROR_INVALID_ARGUMENT;
	l.n_room = uses ? *count : 0;
	code = CALL(nvmlDeviceGetProcessUtilization, device, found, &l.n, since_us);
	return code == NVML_SUCCESS ? keep_our_uses(place, &l, count) : code;
}

enum nvml_return nvmlDeviceGetProcessesUtilizationInfo(
        struct nvml_device *device, struct nvml_processes_use *uses)
{
	struct nvml_process_use_v1 found[PROCESSES_MAX];
	struct nvml_processes_use asked = {
	        .version = NVML_STRUCT_VERSION(struct nvml_processes_use, 1),
	        .count = PROCESSES_MAX,
	        .uses = found};
	struct list l = {.found = (const char *)found,
	        .size = sizeof(*found),
	        .pid_at = offsetof(struct nvml_process_use_v1, pid)};
	int place;
	enum nvml_return code = nvml_enter(device, &place);

	if (code != NVML_SUCCESS || place < 0)
		return code ? code : CALL(nvmlDeviceGetProcessesUtilizationInfo, device, uses);
	if (!uses)
		return NVML_ERROR_INVALID_ARGUMENT;
	/* Of what is laid out in another way nobody here knows what it says. */
	if (uses->version != asked.version)
		return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
	asked.since_us = uses->since_us;
	code = CALL(nvmlDeviceGetProcessesUtilizationInfo, device, &asked);
	l.n = asked.count;
	l.room = uses->uses;
	l.n_room = uses->uses ? uses->count : 0;
	return code == NVML_SUCCESS ? keep_our_uses(place, &l, &uses->count) : code;
}
