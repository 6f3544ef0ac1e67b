#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "plat/cgroup_priv.h"

/*
 * DESIGN. Files of GPUs are one range of minors, those by which MIG instances are opened another. Version 2 has no controller
 * for devices, but asks a small program: it is made for each set of minors, and
 * takes the place of the one that the group's last user had. Version 1 knows lists: every minor is denied
 * once, when the group is made, because only what was denied alone can be allowed alone.
 */
enum { INSNS = 32 + CGROUP_MINORS + CGROUP_CAPS, IS_CHAR = BPF_DEVCG_DEV_CHAR };

struct filter {
	struct bpf_insn insns[INSNS];
	unsigned n;
};

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static void put(struct filter *f, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	f->insns[f->n++] = (struct bpf_insn){
	        .code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

static bool has_bit(const uint64_t *bits, unsigned i)
{
	return bits[i / 64] >> i % 64 & 1;
}

/* Lets the minors of this major through that have their bit, up to the last one; goes on behind itself with others. */
static void put_range(struct filter *f, uint32_t major, uint32_t last, const uint64_t *bits)
{
	enum { JNE = BPF_JMP | BPF_JNE | BPF_K };
	unsigned other = f->n;

	put(f, JNE, BPF_REG_3, 0, 0, (int32_t)major);
	put(f, BPF_JMP | BPF_JGT | BPF_K, BPF_REG_4, 0, 0, (int32_t)last);
	for (unsigned i = 0; i <= last; i++)
		if (has_bit(bits, i))
			put(f, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_4, 0, 0, (int32_t)i);
	put(f, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
	put(f, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	f->insns[other].off = (int16_t)(f->n - other - 1);
}

/* Jumps with offset 0 go to the end that allows. */
static int load(const struct cgroup_limits *l)
{
	enum { LOAD = BPF_LDX | BPF_MEM | BPF_W, JNE = BPF_JMP | BPF_JNE | BPF_K };
	struct filter f = {.n = 0};
	union bpf_attr attr;
	unsigned allow;

	put(&f, LOAD, BPF_REG_2, BPF_REG_1, 0, 0); /* access in the high half, type in the low */
	put(&f, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	put(&f, JNE, BPF_REG_2, 0, 0, IS_CHAR);
	put(&f, LOAD, BPF_REG_3, BPF_REG_1, 4, 0);
	put(&f, LOAD, BPF_REG_4, BPF_REG_1, 8, 0);
	put_range(&f, l->device_major, l->device_last, l->minors);
	if (l->caps_major)
		put_range(&f, l->caps_major, CGROUP_CAPS - 1, l->caps);
	allow = f.n;
	put(&f, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1);
	put(&f, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (unsigned i = 0; i < allow; i++)
		if (BPF_CLASS(f.insns[i].code) == BPF_JMP && !f.insns[i].off &&
		        f.insns[i].code != (BPF_JMP | BPF_EXIT))
			f.insns[i].off = (int16_t)(allow - i - 1);
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)f.insns;
	attr.insn_cnt = f.n;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	return (int)bpf(BPF_PROG_LOAD, &attr);
}

bool cgroup_devices_work(void)
{
	int fd = load(&(struct cgroup_limits){0});

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* The program that is attached to this very group; -1: none. */
static int attached(int group)
{
	union bpf_attr attr;
	uint32_t ids[8];

	memset(&attr, 0, sizeof(attr));
	attr.query.target_fd = (uint32_t)group;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
	attr.query.prog_cnt = ARRAY_LEN(ids);
	if (bpf(BPF_PROG_QUERY, &attr) < 0 || attr.query.prog_cnt == 0)
		return -1;
	memset(&attr, 0, sizeof(attr));
	attr.prog_id = ids[0];
	return (int)bpf(BPF_PROG_GET_FD_BY_ID, &attr);
}

static bool set_filter(const struct cgroup_dir *d, unsigned number, const struct cgroup_limits *l)
{
	char path[CGROUP_FILE];
	union bpf_attr attr;
	int group, program, old;
	bool is_set = false;

	cgroup_file(d, number, "", path);
	group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	program = group < 0 ? -1 : load(l);
	old = group < 0 ? -1 : attached(group);
	if (program >= 0) {
		memset(&attr, 0, sizeof(attr));
		attr.target_fd = (uint32_t)group;
		attr.attach_bpf_fd = (uint32_t)program;
		attr.attach_type = BPF_CGROUP_DEVICE;
		attr.attach_flags = BPF_F_ALLOW_MULTI;
		if (old >= 0) {
			attr.attach_flags |= BPF_F_REPLACE;
			attr.replace_bpf_fd = (uint32_t)old;
		}
		is_set = bpf(BPF_PROG_ATTACH, &attr) == 0;
	}
	if (program >= 0)
		close(program);
	if (old >= 0)
		close(old);
	if (group >= 0)
		close(group);
	return is_set;
}

/* One write for each minor whose turn changes; NULL: all may be opened. */
static bool set_range(const struct cgroup_dir *d, unsigned number, uint32_t major, uint32_t last,
        const uint64_t *is, const uint64_t *was)
{
	char allow[CGROUP_FILE], deny[CGROUP_FILE], line[32];
	bool is_set = true;

	cgroup_file(d, number, "devices.allow", allow);
	cgroup_file(d, number, "devices.deny", deny);
	for (unsigned i = 0; i <= last && is_set; i++) {
		bool may = !is || has_bit(is, i), might = !was || has_bit(was, i);

		if (may == might)
			continue;
		snprintf(line, sizeof(line), "c %u:%u rwm", major, i);
		is_set = cgroup_write(may ? allow : deny, line);
	}
	return is_set;
}

static bool set_list(const struct cgroup_dir *d, unsigned number, const struct cgroup_limits *l,
        const struct cgroup_limits *before)
{
	uint32_t caps = l->caps_major ? l->caps_major : before->caps_major;

	return set_range(d, number, l->device_major, l->device_last, l->minors,
	               before->has_devices ? before->minors : NULL) &&
	       (!caps || set_range(d, number, caps, CGROUP_CAPS - 1, l->caps_major ? l->caps : NULL,
	                         before->has_devices && before->caps_major == caps ? before->caps
	                                                                           : NULL));
}

bool cgroup_devices_set(const struct cgroup_tree *t, unsigned number, const struct cgroup_limits *l,
        const struct cgroup_limits *before)
{
	const struct cgroup_dir *d = cgroup_dir_of(t, CGROUP_DEVICES);

	if (!d)
		return false;
	return d->is_v2 ? set_filter(d, number, l) : set_list(d, number, l, before);
}
