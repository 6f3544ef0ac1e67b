/* The ways to memory that have no plain address, against what the card says it gave: arrays, VMM, IPC, imports, pools, graphs. */
#include "shim_box.h"

#include <sys/socket.h>

static const struct cu_mem_prop here = {
        .type = 1, .handle_types = 1, .location = {CU_LOCATION_DEVICE, 0}};

/* -- arrays -- */
PART(arrays, CARD)
{
	struct cu_array *a, *b;
	struct cu_array_desc flat = {.width = 1000, .height = 1000, .format = 0x20, .channels = 4};
	struct cu_array3d_desc deep = {
	        .width = 100, .height = 100, .depth = 100, .format = 0x01, .channels = 1};
	shim_start(f);
	ok(cuArrayCreate_v2(&a, &flat));
	assert_int_equal(used(), physical());
	assert_true(used() >= CONTEXT + 16000000);
	ok(cuArray3DCreate_v2(&b, &deep));
	assert_int_equal(used(), physical());
	assert_int_equal(charged(SLICE_MEMORY), used() - CONTEXT);
	ok(cuArrayDestroy(a));
	ok(cuArrayDestroy(b));
	check(CONTEXT);
	flat.width = flat.height = 10000;
	fails(OUT_OF_MEMORY, cuArrayCreate_v2(&a, &flat));
	deep.width = deep.height = deep.depth = SIZE_MAX / 2;
	assert_int_not_equal(cu.cuArray3DCreate_v2(&a, &deep), CU_SUCCESS);
	check(CONTEXT);
}

PART(mipmaps, CARD)
{
	struct cu_mipmap *m;
	struct cu_array3d_desc desc = {
	        .width = 1024, .height = 1024, .format = 0x20, .channels = 4};
	shim_start(f);
	ok(cuMipmappedArrayCreate(&m, &desc, 11));
	assert_int_equal(used(), physical());
	assert_true(used() > CONTEXT + 16 * MIB);
	ok(cuMipmappedArrayDestroy(m));
	check(CONTEXT);
	desc.width = desc.height = 8192;
	fails(OUT_OF_MEMORY, cuMipmappedArrayCreate(&m, &desc, 1));
	check(CONTEXT);
}

/* Sparse arrays have nothing of their own. */
PART(sparse_arrays, CARD)
{
	struct cu_array *a;
	struct cu_array3d_desc desc = {
	        .width = 8192, .height = 8192, .format = 0x20, .channels = 4, .flags = 0x40};
	shim_start(f);
	ok(cuArray3DCreate_v2(&a, &desc));
	check(CONTEXT);
	ok(cuArrayDestroy(a));
	check(CONTEXT);
}

/* -- physical memory -- */
PART(physical_memory, CARD)
{
	cu_handle h, again;
	cu_ptr at;
	shim_start(f);
	ok(cuMemCreate(&h, 20 * MIB, &here, 0));
	check(CONTEXT + 20 * MIB);
	assert_int_equal(charged(SLICE_PHYSICAL), 20 * MIB);
	ok(cuMemAddressReserve(&at, 40 * MIB, 0, 0, 0));
	check(CONTEXT + 20 * MIB);
	ok(cuMemMap(at, 20 * MIB, 0, h, 0));
	ok(cuMemMap(at + 20 * MIB, 20 * MIB, 0, h, 0));
	check(CONTEXT + 20 * MIB);
	/* The handle goes, the memory stays as long as it is mapped. */
	ok(cuMemRelease(h));
	check(CONTEXT + 20 * MIB);
	ok(cuMemRetainAllocationHandle(&again, (void *)(uintptr_t)(at + 5)));
	ok(cuMemUnmap(at, 40 * MIB));
	check(CONTEXT + 20 * MIB);
	ok(cuMemRelease(again));
	check(CONTEXT);
	ok(cuMemAddressFree(at, 40 * MIB));
	fails(OUT_OF_MEMORY, cuMemCreate(&h, LIMIT, &here, 0));
	assert_int_not_equal(cu.cuMemRelease(123), CU_SUCCESS);
	check(CONTEXT);
}

PART(handles_given_again, CARD)
{
	cu_handle h, g;
	cu_ptr at;
	shim_start(f);
	ok(cuMemAddressReserve(&at, 64 * MIB, 0, 0, 0));
	/* Handles of the dead whose mappings live, and new ones that may have the same number. */
	for (unsigned i = 0; i < 8; i++) {
		ok(cuMemCreate(&h, 4 * MIB, &here, 0));
		ok(cuMemMap(at + i * 4 * MIB, 4 * MIB, 0, h, 0));
		ok(cuMemRetainAllocationHandle(&g, (void *)(uintptr_t)(at + i * 4 * MIB)));
		ok(cuMemRelease(h));
		ok(cuMemRelease(g));
		check(CONTEXT + (i + 1) * 4 * MIB);
	}
	for (unsigned i = 0; i < 8; i += 2) {
		ok(cuMemUnmap(at + i * 4 * MIB, 4 * MIB));
		check(CONTEXT + (8 - i / 2 - 1) * 4 * MIB);
	}
	ok(cuMemUnmap(at + 4 * MIB, 4 * MIB));
	ok(cuMemUnmap(at + 12 * MIB, 4 * MIB));
	ok(cuMemUnmap(at + 20 * MIB, 4 * MIB));
	ok(cuMemUnmap(at + 28 * MIB, 4 * MIB));
	check(CONTEXT);
}

PART(physical_memory_elsewhere, TWO)
{
	cu_handle h;
	struct cu_mem_prop there = here;
	there.location.id = 1;
	shim_start(f);
	fails(INVALID_DEVICE, cuMemCreate(&h, 4 * MIB, &there, 0));
	check(CONTEXT);
}

PART(memory_of_the_host_is_free, CARD)
{
	cu_handle h;
	struct cu_mem_prop host = here;
	host.location.type = CU_LOCATION_HOST;
	shim_start(f);
	if (cu.cuMemCreate(&h, 4 * MIB, &host, 0) == CU_SUCCESS)
		ok(cuMemRelease(h));
	check(CONTEXT);
}

/* -- sharing: the exporter pays -- */

/* What the importer's own job is charged. */
static void check_importer(uint64_t bytes)
{
	assert_int_equal(used(), bytes);
	assert_int_equal(physical(), 2 * CONTEXT + 14 * MIB);
}

static void import_all(const struct fixture *f, int from, int fd, uint64_t bytes)
{
	struct cu_ipc_mem handle;
	cu_ptr p;
	cu_handle h;
	struct cu_ctx *ctx;
	shim_load(f);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	assert_int_equal(read(from, &handle, sizeof handle), sizeof handle);
	ok(cuIpcOpenMemHandle_v2(&p, handle, 1));
	check_importer(bytes);
	ok(cuIpcCloseMemHandle(p));
	ok(cuMemImportFromShareableHandle(&h, (void *)(intptr_t)fd, 1));
	check_importer(bytes);
	ok(cuMemRelease(h));
	check_importer(bytes);
}

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* A descriptor that the driver made. */
static void send_file(int socket, int fd)
{
	union control control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
	                                 .cmsg_level = SOL_SOCKET,
	                                 .cmsg_type = SCM_RIGHTS}};
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	struct iovec part = {"x", 1};
	struct msghdr message = {.msg_iov = &part,
	        .msg_iovlen = 1,
	        .msg_control = control.bytes,
	        .msg_controllen = sizeof control.bytes};
	assert_int_equal(sendmsg(socket, &message, 0), 1);
}

static int receive_file(int socket)
{
	union control control;
	char byte;
	int fd;
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
	        .msg_iovlen = 1,
	        .msg_control = control.bytes,
	        .msg_controllen = sizeof control.bytes};
	assert_int_equal(recvmsg(socket, &message, 0), 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

static void share(struct fixture *f, bool is_same_job)
{
	int pipes[2], sockets[2], fd;
	struct fixture importer = *f;
	struct cu_ipc_mem handle;
	struct cu_ctx *ctx;
	cu_ptr p;
	cu_handle h;
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	if (!is_same_job) {
		snprintf(importer.dir, sizeof importer.dir, "%.100s/other", f->dir);
		assert_int_equal(mkdir(importer.dir, 0700), 0);
	}
	/* The importer is there before the driver is: a descriptor that the exporter makes comes by its number. */
	pid_t pid = fork();
	if (pid == 0) {
		slices[0] = shim_slice(&importer, 0, UUID, LIMIT);
		import_all(&importer, pipes[0], receive_file(sockets[1]),
		        is_same_job ? 2 * CONTEXT + 14 * MIB : CONTEXT);
		exit(0);
	}
	shim_load(f);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	ok(cuIpcGetMemHandle(&handle, p));
	ok(cuMemCreate(&h, 4 * MIB, &here, 0));
	ok(cuMemExportToShareableHandle(&fd, h, 1, 0));
	assert_int_equal(write(pipes[1], &handle, sizeof handle), sizeof handle);
	send_file(sockets[0], fd);
	assert_int_equal(fixture_wait(pid), 0);
	check(CONTEXT + 14 * MIB);
	ok(cuMemFree_v2(p));
	ok(cuMemRelease(h));
	close(fd);
	check(CONTEXT);
}

PART(importers_do_not_pay, CARD)
{
	share(f, true);
}

/* Two jobs that share memory have it once in their ledgers together, as the card has it once. */
PART(importers_of_another_job_do_not_pay, CARD)
{
	share(f, false);
}

/* Memory that a graphics API allocated: nobody else pays for it. */
PART(external_memory, CARD)
{
	struct cu_external *e;
	int fd = memfd_create("graphics", 0);
	struct cu_external_desc desc = {.type = 1, .handle.fd = fd, .size = 9 * MIB};
	assert_int_equal(ftruncate(fd, 9 * MIB), 0);
	shim_start(f);
	ok(cuImportExternalMemory(&e, &desc));
	check(CONTEXT + 10 * MIB);
	assert_int_equal(charged(SLICE_EXTERNAL), 10 * MIB);
	ok(cuDestroyExternalMemory(e));
	check(CONTEXT);
	desc.size = LIMIT;
	fails(OUT_OF_MEMORY, cuImportExternalMemory(&e, &desc));
	check(CONTEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_arrays),
	        cmocka_unit_test(test_mipmaps),
	        cmocka_unit_test(test_sparse_arrays),
	        cmocka_unit_test(test_physical_memory),
	        cmocka_unit_test(test_handles_given_again),
	        cmocka_unit_test(test_physical_memory_elsewhere),
	        cmocka_unit_test(test_memory_of_the_host_is_free),
	        cmocka_unit_test(test_importers_do_not_pay),
	        cmocka_unit_test(test_importers_of_another_job_do_not_pay),
	        cmocka_unit_test(test_external_memory),
	};
	return cmocka_run_group_tests_name("shim/kinds", tests, NULL, NULL);
}
