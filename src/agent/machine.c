#include "agent/inventory.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "plat/fs.h"

/* The CPUs that we may use: a node in a container has those of the container. */
static int read_cpus(struct machine *m, struct err *err)
{
	cpu_set_t set;

	_Static_assert(CPU_SETSIZE <= NODE_CPUS_MAX, "every CPU of a set fits");
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return err_sys(err, errno, "asking for the CPUs of this machine");
	for (uint32_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &set))
			continue;
		cpu_set_add(&m->cpus, cpu);
		m->n_cpus++;
	}
	return 0;
}

int machine_read(struct machine *ret, struct err *err)
{
	CLEANUP_BUF struct buf text = BUF_INIT(256);
	struct machine m = {0};
	int rc = read_cpus(&m, err);

	if (rc == 0)
		rc = fs_read("/proc/sys/kernel/random/boot_id", &text, err);
	if (rc < 0)
		return rc;
	snprintf(m.boot_id, sizeof(m.boot_id), "%.*s", (int)strcspn(buf_str(&text), "\n"),
	        buf_str(&text));
	if (gethostname(m.hostname, sizeof(m.hostname) - 1) < 0 || !m.hostname[0])
		return err_sys(err, errno, "asking for the name of this machine");
	m.mem_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	*ret = m;
	return 0;
}
