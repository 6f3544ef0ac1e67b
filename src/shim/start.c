#include "shim/shim.h"
#include "shim/charge.h"
#include "shim/pacing.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REAL_NAME "libcuda.real.so.1"

static const uint32_t no_mark;
struct real real;
static struct ledger ledgers[SLICE_MAX];
struct shim shim = {.mark = &no_mark, .ledgers = ledgers};

static pthread_mutex_t start_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *mark;                       /* a page that the kernel wipes in a child */
static char directory[LEDGER_PATH_MAX - 32]; /* empty: the variable was too long */
static bool is_talkative;

/* What the program does to its environment later is its own affair. */
__attribute__((constructor)) static void read_environment(void)
{
	const char *slices = getenv(SLICE_VARIABLE), *talk = getenv("BERTH_SHIM_LOG");
	is_talkative = talk != NULL && strcmp(talk, "1") == 0;
	if (snprintf(directory, sizeof directory, "%s",
	            slices != NULL && *slices != 0 ? slices : SLICE_DIR) >= (int)sizeof directory)
		directory[0] = 0;
}

void shim_log(const char *format, ...)
{
	if (!is_talkative)
		return;
	char text[512] = "berth: ";
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text + 7, sizeof text - 8, format, args);
	va_end(args);
	size_t length = n < 0                             ? 7
	                : (size_t)n + 7 < sizeof text - 1 ? (size_t)n + 7
	                                                  : sizeof text - 2;
	text[length] = '\n';
	ssize_t ignored = write(STDERR_FILENO, text, length + 1);
	(void)ignored;
}

enum cu_result shim_answer(int answer)
{
	return answer == LEDGER_OK     ? CU_SUCCESS
	       : answer == LEDGER_FULL ? CU_ERROR_OUT_OF_MEMORY
	                               : CU_ERROR_SYSTEM_NOT_READY;
}

/*
 * Without a lock of ours: the loader holds its own while the constructors of a library run, and these may call us. Several threads
 * may be here at the same time, and find the same.
 */
static int find_driver(struct real *found)
{
	*found = (struct real){0};
	void *handle = dlopen(REAL_NAME, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
	if (handle == NULL)
		handle = dlopen(REAL_NAME, RTLD_LAZY | RTLD_LOCAL);
	if (handle == NULL) {
		shim_log("the driver is not there: %s", dlerror());
		return -1;
	}
	/* Somebody put the interposer in the driver's place. */
	if (dlsym(handle, "cuInit") == (void *)cuInit) {
		shim_log("%s is the interposer itself", REAL_NAME);
		return -1;
	}
#define FIND(symbol)       *(void **)&found->symbol = dlsym(handle, #symbol);
#define FIND_GUARD(symbol) FIND(symbol)
#define FIND_PLAIN(symbol)
#define CUDA(use, since, symbol, name, stream, params, args) FIND_##use(symbol)
	REAL_USES(FIND)
#include "../../tables/cuda.def"
#undef CUDA
	FIND(berthFakeClock)
	if (found->cuInit == NULL) {
		shim_log("%s is no driver", REAL_NAME);
		return -1;
	}
	found->handle = handle;
	shim_route_complete(found);
	return 0;
}

static void find_slices(void)
{
	char path[LEDGER_PATH_MAX];
	shim.n_ledgers = 0;
	shim.why_not = directory[0] == 0 ? "its name is too long" : NULL;
	while (shim.why_not == NULL && shim.n_ledgers < SLICE_MAX) {
		snprintf(path, sizeof path, "%s/slice-%d", directory, shim.n_ledgers);
		int rc = ledger_open(&shim.ledgers[shim.n_ledgers], path, &shim.why_not);
		if (rc == LEDGER_ABSENT) {
			shim.why_not = shim.n_ledgers > 0 ? NULL : "there is none";
			break;
		}
		if (rc != 0)
			break;
		shim.why_not = NULL;
		shim.is_paced |=
		        (shim.ledgers[shim.n_ledgers].grant.flags & SLICE_HOLDS_COMPUTE) != 0;
		shim.n_ledgers++;
	}
	if (shim.why_not != NULL)
		shim_log("slice %d in %s: %s", shim.n_ledgers, directory, shim.why_not);
}

/* The child has neither contexts nor memory: the driver does not take them over a fork. */
static void begin_anew(void)
{
	for (int i = 0; i < shim.n_ledgers; i++)
		ledger_forked(&shim.ledgers[i]);
	charge_forked();
	pacing_forked();
	*mark = 1;
}

static void after_fork(void)
{
	pthread_mutex_init(&start_mutex, NULL);
	if (shim.state >= SHIM_HAS_DRIVER)
		begin_anew();
}

static enum cu_result start_driver(const struct real *found)
{
	if (shim.state >= SHIM_HAS_DRIVER)
		return CU_SUCCESS;
	if (found->cuInit == NULL)
		return CU_ERROR_SYSTEM_NOT_READY;
	if (mark == NULL) {
		void *page = mmap(
		        NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			return CU_ERROR_SYSTEM_NOT_READY;
		madvise(page, 4096, MADV_WIPEONFORK);
		mark = page;
		pthread_atfork(NULL, NULL, after_fork);
	}
	real = *found;
	*mark = 1;
	shim.mark = mark;
	__atomic_store_n(&shim.state, SHIM_HAS_DRIVER, __ATOMIC_RELEASE);
	return CU_SUCCESS;
}

enum cu_result shim_start(int state)
{
	int cancel;
	struct real found;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	if (__atomic_load_n(&shim.state, __ATOMIC_ACQUIRE) < SHIM_HAS_DRIVER &&
	        find_driver(&found) != 0)
		found.cuInit = NULL;
	pthread_mutex_lock(&start_mutex);
	enum cu_result rc = start_driver(&found);
	if (rc == CU_SUCCESS && *mark == 0)
		begin_anew();
	if (rc == CU_SUCCESS && state >= SHIM_READY && shim.state < SHIM_READY) {
		find_slices();
		if (shim.why_not != NULL)
			rc = CU_ERROR_SYSTEM_NOT_READY;
		else
			__atomic_store_n(&shim.state, SHIM_READY, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&start_mutex);
	pthread_setcancelstate(cancel, NULL);
	return rc;
}
