/*
 * What went wrong in other interposers, each once, as a program would have met it. The names say whose it was: their trackers'
 * numbers, where there is one. What concerns pools, physical memory and pacing is tested where those are.
 */
#include "shim_box.h"

#include <link.h>
#include <sys/sendfile.h>

static void ask_600(const struct fixture *f, int go, int end, int said)
{
	struct cu_ctx *ctx;
	cu_ptr p;
	char byte;
	shim_load(f);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	assert_int_equal(write(said, "r", 1), 1);
	assert_int_equal(read(go, &byte, 1), 1);
	byte = (char)(cu.cuMemAlloc_v2(&p, 600 * MIB) == CU_SUCCESS);
	assert_int_equal(write(said, &byte, 1), 1);
	assert_int_equal(read(end, &byte, 1), 1);
}

/* Two of 600 MiB in a slice of 1024: both passed, as room was looked for before the driver's call and taken after it. */
PART(hami_core_273_two_pass_at_once, "slow 30 cuMemAlloc_v2\ndevice\nmemory 8GiB\nuuid " UUID "\n")
{
	slices[0] = shim_slice(f, 0, UUID, 1024 * MIB);
	for (int round = 0; round < 8; round++) {
		int go[2], said[2], end[2];
		char byte, given = 0;
		pid_t pids[2];
		assert_int_equal(pipe(go), 0);
		assert_int_equal(pipe(said), 0);
		assert_int_equal(pipe(end), 0);
		for (int i = 0; i < 2; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				ask_600(f, go[0], end[0], said[1]);
				_exit(0);
			}
		}
		for (int i = 0; i < 2; i++)
			assert_int_equal(read(said[0], &byte, 1), 1);
		assert_int_equal(write(go[1], "gg", 2), 2);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(read(said[0], &byte, 1), 1);
			given = (char)(given + byte);
		}
		assert_int_equal(given, 1);
		assert_int_equal(write(end[1], "gg", 2), 2);
		for (int i = 0; i < 2; i++)
			assert_int_equal(fixture_wait(pids[i]), 0);
		for (int i = 0; i < 2; i++) {
			close(go[i]);
			close(said[i]);
			close(end[i]);
		}
	}
}

/* A slot that another process took away while its owner lives on. */
PART(hami_core_241_stale_slot, CARD)
{
	cu_ptr p;
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	for (int lost = 1; lost < 4; lost++) {
		if (lost & 1)
			memset(&slices[0]->slots[0], 0, sizeof slices[0]->slots[0]);
		if (lost & 2)
			slices[0]->ledger.used_bytes = 0;
		ok(cuMemAlloc_v2(&p, 4 * MIB));
		assert_int_equal(used(), CONTEXT + 14 * MIB);
		assert_int_equal(slices[0]->slots[0].bytes[SLICE_MEMORY], 14 * MIB);
		check(CONTEXT + 14 * MIB);
		ok(cuMemFree_v2(p));
		check(CONTEXT + 10 * MIB);
		assert_int_equal(slices[0]->slots[0].pid, getpid());
	}
}

/* Slots were moved together when a process had died, and its neighbours wrote into the old ones. */
PART(hami_core_241_slots_stay, CARD)
{
	int said[2];
	char byte;
	cu_ptr p;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	assert_int_equal(pipe(said), 0);
	pid_t pid = fork();
	if (pid == 0) {
		shim_start(f);
		ok(cuMemAlloc_v2(&p, 20 * MIB));
		assert_int_equal(write(said[1], "x", 1), 1);
		pause();
	}
	close(said[1]);
	assert_int_equal(read(said[0], &byte, 1), 1);
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	assert_int_equal(used(), 2 * CONTEXT + 30 * MIB);
	kill(pid, SIGKILL);
	assert_int_equal(fixture_wait(pid), 128 + SIGKILL);
	check(CONTEXT + 10 * MIB);
	assert_int_equal(slices[0]->slots[0].pid, 0);
	assert_int_equal(slices[0]->slots[1].pid, getpid());
	assert_int_equal(charged(SLICE_MEMORY), 10 * MIB);
	ok(cuMemFree_v2(p));
	check(CONTEXT);
}

/* The second process saw an empty card. */
PART(hami_core_191_second_process_sees_the_first, CARD)
{
	cu_ptr p;
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	shim_place(f, "shim/libcuda.so.1", "fake/libcuda.so.1");
	int pipes[2];
	char byte;
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	if (pid == 0) {
		size_t left;
		assert_int_equal(read(pipes[0], &byte, 1), 1);
		shim_start(f);
		ok(cuMemGetInfo_v2(&left, NULL));
		assert_int_equal(left, LIMIT - 2 * CONTEXT - 50 * MIB);
		_exit(0);
	}
	shim_start(f);
	ok(cuMemAlloc_v2(&p, 50 * MIB));
	assert_int_equal(write(pipes[1], "x", 1), 1);
	assert_int_equal(fixture_wait(pid), 0);
	check(CONTEXT + 50 * MIB);
}

/* More used than there is: what is left was some 18 EB. */
PART(hami_core_200_underflow, CARD)
{
	size_t left = 1, all = 1;
	cu_ptr p;
	shim_start(f);
	slices[0]->watch.overhead_bytes = LIMIT;
	ok(cuMemGetInfo_v2(&left, &all));
	assert_int_equal(left, 0);
	assert_int_equal(all, LIMIT);
	fails(OUT_OF_MEMORY, cuMemAlloc_v2(&p, 1));
	slices[0]->watch.overhead_bytes = LIMIT - CONTEXT - 3 * MIB;
	ok(cuMemGetInfo_v2(&left, NULL));
	assert_int_equal(left, 2 * MIB);
}

/* Out of memory was another number than the driver's. */
PART(hami_core_55_code_of_out_of_memory, CARD)
{
	cu_ptr p;
	size_t pitch;
	shim_start(f);
	assert_int_equal(cu.cuMemAlloc_v2(&p, LIMIT), 2);
	assert_int_equal(cu.cuMemAllocManaged(&p, LIMIT, 1), 2);
	assert_int_equal(cu.cuMemAllocPitch_v2(&p, &pitch, LIMIT / 512, 1024, 4), 2);
}

/* With CUDA_VISIBLE_DEVICES=1 the account of device 0 grew. */
PART(hami_core_225_visible_devices, TWO)
{
	struct cu_ctx *ctx;
	cu_ptr p;
	setenv("CUDA_VISIBLE_DEVICES", "1", 1);
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	slices[1] = shim_slice(f, 1, UUID_B, LIMIT);
	shim_load(f);
	ok(cuInit(0));
	ok(cuCtxCreate_v2(&ctx, 0, 0));
	ok(cuMemAlloc_v2(&p, 10 * MIB));
	assert_int_equal(slices[0]->ledger.used_bytes, 0);
	assert_int_equal(slices[1]->ledger.used_bytes, CONTEXT + 10 * MIB);
}

/* So that an account which is kept out of the build has it. */
static void copy_built(const struct fixture *f, const char *from, const char *name)
{
	char path[512], to[256];
	struct stat st;
	int in = open(fixture_built(from, path), O_RDONLY | O_CLOEXEC), out;
	snprintf(to, sizeof to, "%s/%s", f->dir, name);
	out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(fstat(in, &st), 0);
	assert_int_equal(sendfile(out, in, NULL, (size_t)st.st_size), st.st_size);
	close(in);
	close(out);
}

/* A second account may not open the file: a crash. */
PART(hami_1090_second_account, CARD)
{
	char path[256];
	struct cu_ctx *ctx;
	if (getuid() != 0) {
		print_message("# only root can be somebody else\n");
		return;
	}
	slices[0] = shim_slice(f, 0, UUID, LIMIT);
	snprintf(path, sizeof path, "%s/slice-0", f->dir);
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_int_equal(chmod(path, 0600), 0);
	copy_built(f, "shim/libcuda.so.1", "libcuda.so.1");
	copy_built(f, "fake/libcuda.so.1", "libcuda.real.so.1");
	assert_int_equal(setgid(65534), 0);
	assert_int_equal(setuid(65534), 0);
	setenv(SLICE_VARIABLE, f->dir, 1);
	snprintf(path, sizeof path, "%s/libcuda.so.1", f->dir);
	cuda_fill(&cu, path);
	fails(SYSTEM_NOT_READY, cuInit(0));
	fails(SYSTEM_NOT_READY, cuCtxCreate_v2(&ctx, 0, 0));
}

/* Physical memory before there is any context: a device of nonsense, and a crash. */
PART(hami_core_169_create_before_a_context, CARD)
{
	cu_handle h = 0;
	struct cu_mem_prop prop = {.type = 1, .location = {CU_LOCATION_DEVICE, 0}};
	shim_init(f);
	assert_int_equal(cu.cuMemCreate(&h, 4 * MIB, &prop, 0),
	        driver.cuMemCreate(&h, 0, &prop, 0) == CU_ERROR_NOT_SUPPORTED
	                ? CU_ERROR_NOT_SUPPORTED
	                : CU_SUCCESS);
	assert_int_equal(used(), h != 0 ? 4 * MIB : 0);
	prop.location.id = 77;
	assert_int_not_equal(cu.cuMemCreate(&h, 4 * MIB, &prop, 0), CU_SUCCESS);
}

/* Programs of C++ were unlimited: they had the versions of symbols that the hook did not. */
PART(hami_core_74_every_version_is_held, CARD)
{
	void *function;
	cu_ptr p;
	shim_start(f);
	static const int versions[] = {3020, 4000, 7000, 11000, 12000};
	for (size_t i = 0; i < 5; i++) {
		ok(cuGetProcAddress_v2("cuMemAlloc", &function, versions[i],
		        i % 2 ? CU_PROC_PER_THREAD : 0, NULL));
		enum cu_result (*alloc)(cu_ptr *, size_t) = NULL;
		*(void **)&alloc = function;
		assert_int_equal(alloc(&p, LIMIT), CU_ERROR_OUT_OF_MEMORY);
	}
}

/* What says how large the card is did not agree. */
PART(hami_core_181_all_sizes_agree, CARD)
{
	size_t total = 0, all = 0, left = 0;
	shim_start(f);
	ok(cuDeviceTotalMem_v2(&total, 0));
	ok(cuMemGetInfo_v2(&left, &all));
	assert_int_equal(total, all);
	assert_int_equal(left, all - used());
}

/* Every wrapper, by its place in a struct cuda. */
static const struct {
	const char *name;
	size_t at;
} guards[] = {
#define NAME_GUARD(symbol) {#symbol, offsetof(struct cuda, symbol)},
#define NAME_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) NAME_##use(symbol)
#include "../../tables/cuda.def"
#undef CUDA
};
#define N_GUARDS (sizeof guards / sizeof guards[0])

typedef int any(size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t, size_t,
        size_t, size_t, size_t, size_t);

static any *any_of(const struct cuda *c, size_t at)
{
	any *call;
	memcpy(&call, (const char *)c + at, sizeof call);
	return call;
}

/*
 * Which of them end the process when all that they are given is 0, in children that have a driver of their own: one goes on where
 * the last one ended.
 */
static void call_with_nothing(const struct cuda *c, int ends[])
{
	size_t *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	while (*at < N_GUARDS) {
		pid_t pid = fork();
		if (pid == 0) {
			signal(SIGSEGV, SIG_DFL);
			for (; *at < N_GUARDS; ++*at) {
				any *call = any_of(c, guards[*at].at);
				alarm(10);
				if (call != NULL)
					call(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
			}
			_exit(0);
		}
		int end = fixture_wait(pid);
		if (end != 0)
			ends[(*at)++] = end;
	}
	munmap(at, 4096);
}

/* Outputs that a program does not want are NULL. Nothing that is wrapped crashes on NULL where the driver does not. */
PART(hami_core_333_null_arguments, CARD)
{
	int plainly[N_GUARDS] = {0}, guarded[N_GUARDS] = {0};
	shim_start(f);
	call_with_nothing(&driver, plainly);
	call_with_nothing(&cu, guarded);
	for (size_t i = 0; i < N_GUARDS; i++)
		if (guarded[i] != plainly[i])
			fail_msg("%s: %d, and %d without the interposer", guards[i].name,
			        guarded[i], plainly[i]);
	/* And with the driver at work. */
	ok(cuMemGetInfo_v2(NULL, NULL));
	static const size_t in_use[] = {offsetof(struct cuda, cuMemAlloc_v2),
	        offsetof(struct cuda, cuMemAllocPitch_v2), offsetof(struct cuda, cuMemAllocManaged),
	        offsetof(struct cuda, cuMemAllocAsync),
	        offsetof(struct cuda, cuMemAllocFromPoolAsync), offsetof(struct cuda, cuMemCreate),
	        offsetof(struct cuda, cuArrayCreate_v2), offsetof(struct cuda, cuArray3DCreate_v2),
	        offsetof(struct cuda, cuMipmappedArrayCreate),
	        offsetof(struct cuda, cuImportExternalMemory),
	        offsetof(struct cuda, cuMemPoolCreate), offsetof(struct cuda, cuGraphAddNode),
	        offsetof(struct cuda, cuGraphAddMemAllocNode),
	        offsetof(struct cuda, cuLaunchKernelEx),
	        offsetof(struct cuda, cuDeviceTotalMem_v2)};
	for (size_t i = 0; i < sizeof in_use / sizeof in_use[0]; i++) {
		assert_int_not_equal(
		        any_of(&cu, in_use[i])(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		        CU_SUCCESS);
	}
	check(CONTEXT);
}

/* -- ways in which symbols were found, or not -- */
struct seen {
	int n_private, n_needed;
};

static int look_at(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)size;
	struct seen *seen = data;
	if (strstr(info->dlpi_name, "/libcuda.so.1") != NULL)
		seen->n_needed++;
	return 0;
}

/* nvshare and Gemini: functions of the C library that are not for others (gone in glibc 2.34); HAMi #174. */
PART(gemini_private_functions_of_libc, CARD)
{
	char command[512], path[512], line[256];
	struct seen seen = {0};
	shim_init(f);
	dl_iterate_phdr(look_at, &seen);
	assert_int_equal(seen.n_needed, 1);
	snprintf(command, sizeof command, "nm -D --undefined-only %s 2>/dev/null",
	        fixture_built("shim/libcuda.so.1", path));
	FILE *symbols = popen(command, "re");
	assert_non_null(symbols);
	while (fgets(line, sizeof line, symbols) != NULL)
		if (strstr(line, "GLIBC_PRIVATE") != NULL || strstr(line, "__libc_dlsym") != NULL ||
		        strstr(line, " _dl_") != NULL)
			fail_msg("%s", line);
	pclose(symbols);
}

/* HAMi-core #279: the second look-up of a name was NULL. vgpu-manager #89: RTLD_NEXT went past the hook. #215: names that begin alike. */
PART(hami_core_279_215_look_ups, CARD)
{
	char path[512];
	shim_init(f);
	snprintf(path, sizeof path, "%s/libcuda.so.1", f->dir);
	for (int i = 0; i < 3; i++) {
		void *again = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
		assert_ptr_equal(again, cu.handle);
		assert_ptr_equal(dlsym(again, "cuMemAlloc_v2"), (void *)cu.cuMemAlloc_v2);
		again = dlopen(path, IS_SANITIZED ? RTLD_NOW : RTLD_NOW | RTLD_DEEPBIND);
		assert_ptr_equal(dlsym(again, "cuMemAlloc_v2"), (void *)cu.cuMemAlloc_v2);
	}
	static const char *const others[] = {
	        "cublasCreate_v2", "cudnnCreate", "curl_easy_init", "cuNothing", "dlsym"};
	void *own = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
	for (size_t i = 0; i < 4; i++)
		assert_null(dlsym(own, others[i]));
	/* And the C library's is its own. */
	assert_ptr_equal(dlsym(own, others[4]), dlsym(RTLD_DEFAULT, "dlsym"));
}

/* HAMi #2760: peer access was hooked, and NVLink was off. */
PART(hami_2760_peer_access_is_the_drivers, CARD)
{
	shim_init(f);
	assert_ptr_equal(cu.cuDeviceCanAccessPeer, driver.cuDeviceCanAccessPeer);
	assert_ptr_equal(cu.cuGetExportTable, driver.cuGetExportTable);
	assert_ptr_equal(cu.cuPointerGetAttribute, driver.cuPointerGetAttribute);
}

/* A second world of libraries has the interposer too, and is another user of the same slice. */
PART(second_namespace, CARD)
{
	struct cu_ctx *ctx;
	char path[512];
	shim_start(f);
	snprintf(path, sizeof path, "%s/libcuda.so.1", f->dir);
	/* valgrind knows the functions of one C library. */
	if (IS_SANITIZED || getenv("BERTH_SLOW") != NULL)
		return;
	void *other = dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
	assert_non_null(other);
	enum cu_result (*init)(unsigned) = NULL, (*create)(struct cu_ctx **, unsigned, int) = NULL;
	*(void **)&init = dlsym(other, "cuInit");
	*(void **)&create = dlsym(other, "cuCtxCreate_v2");
	assert_ptr_not_equal(init, cu.cuInit);
	assert_int_equal(init(0), CU_SUCCESS);
	assert_int_equal(create(&ctx, 0, 0), CU_SUCCESS);
	assert_int_equal(used(), 2 * CONTEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_hami_core_273_two_pass_at_once),
	        cmocka_unit_test(test_hami_core_241_stale_slot),
	        cmocka_unit_test(test_hami_core_241_slots_stay),
	        cmocka_unit_test(test_hami_core_191_second_process_sees_the_first),
	        cmocka_unit_test(test_hami_core_200_underflow),
	        cmocka_unit_test(test_hami_core_55_code_of_out_of_memory),
	        cmocka_unit_test(test_hami_core_225_visible_devices),
	        cmocka_unit_test(test_hami_1090_second_account),
	        cmocka_unit_test(test_hami_core_169_create_before_a_context),
	        cmocka_unit_test(test_hami_core_74_every_version_is_held),
	        cmocka_unit_test(test_hami_core_181_all_sizes_agree),
	        cmocka_unit_test(test_hami_core_333_null_arguments),
	        cmocka_unit_test(test_gemini_private_functions_of_libc),
	        cmocka_unit_test(test_hami_core_279_215_look_ups),
	        cmocka_unit_test(test_hami_2760_peer_access_is_the_drivers),
	        cmocka_unit_test(test_second_namespace),
	};
	return cmocka_run_group_tests_name("shim/rivals", tests, NULL, NULL);
}
