#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "plat/cgroup_priv.h"

/*
 * Memory of devices (the dmem controller, version 2 only). Its files name regions: of a GPU of NVIDIA's, from driver r615
 * on, "nvidia/0000:3b:00.0/vidmem". Written from the documents of kernel and driver; not yet run on hardware.
 */
#define ROOT     "/sys/fs/cgroup" /* where the driver, too, expects version 2 */
#define TEXT_MAX 16384

static bool read_capacity(const char *root, char text[TEXT_MAX])
{
	char path[CGROUP_FILE];

	snprintf(path, sizeof(path), "%.*s/dmem.capacity", CGROUP_PATH, root ? root : ROOT);
	return cgroup_read_file(path, text, TEXT_MAX);
}

bool cgroup_dmem_is_there(void)
{
	return access(ROOT "/dmem.capacity", R_OK) == 0;
}

/* "00000000:3B:00.0" of NVML is "0000:3b:00.0" of the kernel. */
static bool is_same_pci(const char *a, size_t len, const char *b)
{
	char *end_a, *end_b;

	if (len >= 32 || !memchr(a, ':', len) || !strchr(b, ':'))
		return false;
	return strtoul(a, &end_a, 16) == strtoul(b, &end_b, 16) && *end_a == ':' && *end_b == ':' &&
	       strlen(end_b) == len - (size_t)(end_a - a) &&
	       strncasecmp(end_a, end_b, strlen(end_b)) == 0;
}

bool cgroup_dmem_find(const char *root, const char *pci, char ret_region[CGROUP_REGION])
{
	static const char maker[] = "nvidia/";
	char text[TEXT_MAX], *save = NULL;

	if (!read_capacity(root, text))
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t len = strcspn(line, " ");
		const char *address = line + strlen(maker), *kind;

		if (strncmp(line, maker, strlen(maker)) != 0 || len >= CGROUP_REGION)
			continue;
		kind = strchr(address, '/');
		if (!kind || !is_same_pci(address, (size_t)(kind - address), pci) ||
		        strncmp(kind, "/vidmem ", strlen("/vidmem ")) != 0)
			continue;
		snprintf(ret_region, CGROUP_REGION, "%.*s", (int)len, line);
		return true;
	}
	return false;
}

bool cgroup_dmem_set(struct cgroup *g, const char *limits)
{
	const struct cgroup_dir *d = cgroup_dir_of(g->tree, CGROUP_GPU);
	char path[CGROUP_FILE], line[CGROUP_REGION + 32];

	if (!d)
		return false;
	g->is_spent = true;
	cgroup_file(d, g->number, "dmem.max", path);
	/* One region at a time is what every kernel takes. */
	for (const char *at = limits; *at;) {
		size_t len = strcspn(at, "\n");

		if (len >= sizeof(line))
			return false;
		snprintf(line, sizeof(line), "%.*s", (int)len, at);
		if (!cgroup_write(path, line))
			return false;
		at += len + (at[len] == '\n');
	}
	g->held |= CGROUP_GPU;
	return true;
}
