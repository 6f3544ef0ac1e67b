#include "plat/library.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "plat/fs.h"

/*
 * DESIGN. The cache is what ldconfig wrote: a head, `n` entries, then their strings; offsets count from the head. The old
 * form may stand before it, and is passed over by searching for the magic word. Every offset is checked: the file is
 * root's, but a broken one must not break a node.
 */
#define CACHE_MAGIC "glibc-ld.so.cache1.1"
#define CACHE_MAX   (64 * MIB)

struct cache_head {
	char magic[20];
	uint32_t n;
	uint32_t strings_len;
	uint32_t unused[5];
};

struct cache_entry {
	uint32_t flags;
	uint32_t name, path;
	uint32_t os;
	uint64_t hardware;
};

_Static_assert(sizeof(struct cache_head) == 48 && sizeof(struct cache_entry) == 24, "ld.so.cache");

static const char *const places[] = {"/run/opengl-driver/lib", "/usr/lib/wsl/lib",
#if defined(__x86_64__)
        "/usr/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
        "/usr/lib/aarch64-linux-gnu",
#endif
        "/usr/lib64", "/lib64", "/usr/lib", "/lib", "/usr/local/nvidia/lib64"};

/* Of the kind of this program itself. */
static bool is_loadable(const char *path)
{
	static const char self[] = "/proc/self/exe";
	unsigned char head[2][20] = {{0}};

	for (size_t i = 0; i < 2; i++) {
		int fd = open(i ? path : self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		ssize_t n = fd < 0 ? -1 : read(fd, head[i], sizeof(head[i]));

		if (fd >= 0)
			close(fd);
		if (n != sizeof(head[i]) || memcmp(head[i], ELFMAG, SELFMAG) != 0)
			return false;
	}
	/* Its class, its order of bytes, its machine. */
	return head[0][EI_CLASS] == head[1][EI_CLASS] && head[0][EI_DATA] == head[1][EI_DATA] &&
	       memcmp(head[0] + 18, head[1] + 18, 2) == 0;
}

static bool try(const char *path, char ret_path[LIBRARY_PATH])
{
	return is_loadable(path) && realpath(path, ret_path);
}

static bool find_in_environment(const char *name, char ret_path[LIBRARY_PATH])
{
	const char *at = getenv("LD_LIBRARY_PATH");
	char path[LIBRARY_PATH];

	while (at && *at) {
		size_t len = strcspn(at, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)len, at, name);
		if (len && try(path, ret_path))
			return true;
		at += len + (at[len] == ':');
	}
	return false;
}

/* A string of the cache, NULL when it does not end in it. */
static const char *text_at(const char *cache, size_t len, uint32_t at)
{
	return at < len && memchr(cache + at, 0, len - at) ? cache + at : NULL;
}

static bool find_in_cache(const char *cache, size_t len, const char *name, const char *root,
        char ret_path[LIBRARY_PATH])
{
	const char *begin = memmem(cache, len, CACHE_MAGIC, strlen(CACHE_MAGIC));
	struct cache_head head;
	char full[LIBRARY_PATH];

	if (!begin || (len -= (size_t)(begin - cache)) < sizeof(head))
		return false;
	memcpy(&head, begin, sizeof(head));
	for (size_t i = 0; i < head.n && sizeof(head) + (i + 1) * sizeof(struct cache_entry) <= len;
	        i++) {
		struct cache_entry e;
		const char *key, *path;

		memcpy(&e, begin + sizeof(head) + i * sizeof(e), sizeof(e));
		key = text_at(begin, len, e.name);
		path = text_at(begin, len, e.path);
		if (!key || !path || strcmp(key, name) != 0)
			continue;
		snprintf(full, sizeof(full), "%s%s", root, path);
		if (try(full, ret_path))
			return true;
	}
	return false;
}

bool library_find(const char *name, const char *root, char ret_path[LIBRARY_PATH])
{
	CLEANUP_BUF struct buf cache = BUF_INIT(CACHE_MAX);
	char path[LIBRARY_PATH];
	struct err ignored;

	if (find_in_environment(name, ret_path))
		return true;
	snprintf(path, sizeof(path), "%s/etc/ld.so.cache", root);
	if (fs_read(path, &cache, &ignored) == 0 &&
	        find_in_cache((const char *)cache.data, cache.len, name, root, ret_path))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		snprintf(path, sizeof(path), "%s%s/%s", root, places[i], name);
		if (try(path, ret_path))
			return true;
	}
	return false;
}
