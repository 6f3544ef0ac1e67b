/*
 * A small nvidia-smi for simulated devices: asks NVML and nothing else, so that it shows what every user of NVML is shown.
 * What people and scripts use of the real one: the table, -L, --query-gpu and --query-compute-apps with --format=csv.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../tables/nvml_abi.h"

#define DEVICES_MAX   64
#define PROCESSES_MAX 1024
#define MIB           (1024 * 1024ULL)

#define NVML(need, since, ret, name, params) ret(*name) params;
static struct {
#include "../tables/nvml.def"
} nvml;

static struct {
	const char *gpu_fields, *app_fields; /* NULL: not asked for */
	const char *only;                    /* index or UUID */
	bool is_list, has_header, has_units;
} options = {.has_header = true, .has_units = true};

struct card {
	unsigned index;
	struct nvml_device *device;
	char name[NVML_NAME_SIZE], uuid[NVML_UUID_SIZE];
	struct nvml_pci pci;
	struct nvml_memory memory;
	struct nvml_utilization utilization;
	unsigned celsius, milliwatts;
	int major, minor, persistence, mode;
	unsigned mig;
};

static char driver[NVML_VERSION_SIZE];
static struct card cards[DEVICES_MAX];
static unsigned n_cards, n_all;

static bool load(void)
{
	void *library = dlopen("libnvidia-ml.so.1", RTLD_LAZY);

	if (!library)
		return false;
#define NVML(need, since, ret, name, params) *(void **)&nvml.name = dlsym(library, #name);
#include "../tables/nvml.def"
	return nvml.nvmlInit_v2 && nvml.nvmlDeviceGetCount_v2 && nvml.nvmlDeviceGetMemoryInfo;
}

static int fail(enum nvml_return code)
{
	printf("NVIDIA-SMI has failed: %s\n",
	        nvml.nvmlErrorString ? nvml.nvmlErrorString(code) : "no NVML");
	return (int)code & 0xff;
}

static bool is_wanted(unsigned index, const char *uuid)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", index);
	return !options.only || strcmp(options.only, number) == 0 ||
	       strcmp(options.only, uuid) == 0;
}

/* What a device does not tell stays 0. */
static void read_card(struct card *c)
{
	nvml.nvmlDeviceGetName(c->device, c->name, sizeof(c->name));
	nvml.nvmlDeviceGetPciInfo_v3(c->device, &c->pci);
	nvml.nvmlDeviceGetMemoryInfo(c->device, &c->memory);
	nvml.nvmlDeviceGetUtilizationRates(c->device, &c->utilization);
	nvml.nvmlDeviceGetTemperature(c->device, NVML_TEMPERATURE_GPU, &c->celsius);
	nvml.nvmlDeviceGetPowerUsage(c->device, &c->milliwatts);
	nvml.nvmlDeviceGetCudaComputeCapability(c->device, &c->major, &c->minor);
	nvml.nvmlDeviceGetPersistenceMode(c->device, &c->persistence);
	nvml.nvmlDeviceGetComputeMode(c->device, &c->mode);
	unsigned pending;
	nvml.nvmlDeviceGetMigMode(c->device, &c->mig, &pending);
}

static enum nvml_return read_cards(void)
{
	enum nvml_return code = nvml.nvmlDeviceGetCount_v2(&n_all);

	nvml.nvmlSystemGetDriverVersion(driver, sizeof(driver));
	for (unsigned i = 0; code == NVML_SUCCESS && i < n_all && n_cards < DEVICES_MAX; i++) {
		struct card *c = &cards[n_cards];

		*c = (struct card){.index = i};
		code = nvml.nvmlDeviceGetHandleByIndex_v2(i, &c->device);
		if (code != NVML_SUCCESS)
			break;
		nvml.nvmlDeviceGetUUID(c->device, c->uuid, sizeof(c->uuid));
		if (!is_wanted(i, c->uuid))
			continue;
		read_card(c);
		n_cards++;
	}
	return code;
}

/* -- queries -- */

static void text_of(const struct card *c, const char *field, char out[128])
{
	static const char *const modes[] = {
	        "Default", "Exclusive_Thread", "Prohibited", "Exclusive_Process"};
	const struct {
		const char *name;
		unsigned long long mib;
	} sizes[] = {{"memory.total", c->memory.total / MIB}, {"memory.used", c->memory.used / MIB},
	        {"memory.free", c->memory.free / MIB}};
	const char *unit = options.has_units ? " MiB" : "",
	           *percent = options.has_units ? " %" : "";

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		if (strcmp(field, sizes[i].name) == 0) {
			snprintf(out, 128, "%llu%s", sizes[i].mib, unit);
			return;
		}
	if (!strcmp(field, "index"))
		snprintf(out, 128, "%u", c->index);
	else if (!strcmp(field, "count"))
		snprintf(out, 128, "%u", n_all);
	else if (!strcmp(field, "name") || !strcmp(field, "gpu_name"))
		snprintf(out, 128, "%s", c->name);
	else if (!strcmp(field, "uuid") || !strcmp(field, "gpu_uuid"))
		snprintf(out, 128, "%s", c->uuid);
	else if (!strcmp(field, "driver_version"))
		snprintf(out, 128, "%s", driver);
	else if (!strcmp(field, "pci.bus_id") || !strcmp(field, "gpu_bus_id"))
		snprintf(out, 128, "%s", c->pci.bus_id);
	else if (!strcmp(field, "compute_cap"))
		snprintf(out, 128, "%d.%d", c->major, c->minor);
	else if (!strcmp(field, "utilization.gpu"))
		snprintf(out, 128, "%u%s", c->utilization.gpu, percent);
	else if (!strcmp(field, "utilization.memory"))
		snprintf(out, 128, "%u%s", c->utilization.memory, percent);
	else if (!strcmp(field, "temperature.gpu"))
		snprintf(out, 128, "%u", c->celsius);
	else if (!strcmp(field, "power.draw"))
		snprintf(out, 128, "%.2f%s", c->milliwatts / 1000.0, options.has_units ? " W" : "");
	else if (!strcmp(field, "persistence_mode"))
		snprintf(out, 128, "%s", c->persistence ? "Enabled" : "Disabled");
	else if (!strcmp(field, "mig.mode.current"))
		snprintf(out, 128, "%s", c->mig ? "Enabled" : "Disabled");
	else if (!strcmp(field, "compute_mode"))
		snprintf(out, 128, "%s", c->mode >= 0 && c->mode < 4 ? modes[c->mode] : "[N/A]");
	else
		snprintf(out, 128, "[N/A]");
}

/* Calls `one` for each name of a list with commas, and counts them. */
static unsigned each_field(
        const char *list, void (*one)(const char *field, unsigned n, void *arg), void *arg)
{
	char copy[2048], *rest = copy, *field;
	unsigned n = 0;

	snprintf(copy, sizeof(copy), "%s", list);
	while ((field = strsep(&rest, ","))) {
		field += strspn(field, " ");
		one(field, n++, arg);
	}
	return n;
}

static void print_head(const char *field, unsigned n, void *arg)
{
	const char *unit = strncmp(field, "memory.", 7) == 0 || strcmp(field, "used_memory") == 0
	                           ? " [MiB]"
	                   : strncmp(field, "utilization.", 12) == 0 ? " [%]"
	                   : strcmp(field, "power.draw") == 0        ? " [W]"
	                                                             : "";

	printf("%s%s%s", n ? ", " : "", field, unit);
}

static void print_field(const char *field, unsigned n, void *arg)
{
	char text[128];

	text_of(arg, field, text);
	printf("%s%s", n ? ", " : "", text);
}

static void query_gpus(void)
{
	if (options.has_header) {
		each_field(options.gpu_fields, print_head, NULL);
		putchar('\n');
	}
	for (unsigned i = 0; i < n_cards; i++) {
		each_field(options.gpu_fields, print_field, &cards[i]);
		putchar('\n');
	}
}

/* -- processes -- */

struct app {
	const struct card *card;
	struct nvml_process p;
	char name[256];
};

static unsigned read_apps(const struct card *c, struct nvml_process v[PROCESSES_MAX])
{
	unsigned n = PROCESSES_MAX;

	return nvml.nvmlDeviceGetComputeRunningProcesses_v3(c->device, &n, v) == NVML_SUCCESS ? n
	                                                                                      : 0;
}

static void name_app(struct app *a)
{
	if (nvml.nvmlSystemGetProcessName(a->p.pid, a->name, sizeof(a->name)) != NVML_SUCCESS)
		snprintf(a->name, sizeof(a->name), "[Not Found]");
}

static void print_app_field(const char *field, unsigned n, void *arg)
{
	const struct app *a = arg;

	printf("%s", n ? ", " : "");
	if (!strcmp(field, "pid"))
		printf("%u", a->p.pid);
	else if (!strcmp(field, "process_name") || !strcmp(field, "name"))
		printf("%s", a->name);
	else if (!strcmp(field, "gpu_uuid"))
		printf("%s", a->card->uuid);
	else if (!strcmp(field, "gpu_name"))
		printf("%s", a->card->name);
	else if ((!strcmp(field, "used_memory") || !strcmp(field, "used_gpu_memory")) &&
	         a->p.bytes != NVML_BYTES_UNKNOWN)
		printf("%llu%s", a->p.bytes / MIB, options.has_units ? " MiB" : "");
	else
		printf("[N/A]");
}

static void query_apps(void)
{
	static struct nvml_process v[PROCESSES_MAX];

	if (options.has_header) {
		each_field(options.app_fields, print_head, NULL);
		putchar('\n');
	}
	for (unsigned i = 0; i < n_cards; i++)
		for (unsigned k = 0, n = read_apps(&cards[i], v); k < n; k++) {
			struct app a = {.card = &cards[i], .p = v[k]};

			name_app(&a);
			each_field(options.app_fields, print_app_field, &a);
			putchar('\n');
		}
}

/* -- the table -- */

#define LINE \
	"+-----------------------------------------------------------------------------------------+\n"

static void print_processes(void)
{
	static struct nvml_process v[PROCESSES_MAX];
	unsigned n_apps = 0;

	printf("\n" LINE "| %-87s |\n| %-5s %10s   %-4s   %-40s %19s |\n", "Processes:", "GPU",
	        "PID", "Type", "Process name", "GPU Memory Usage");
	printf("|=========================================================================================|\n");
	for (unsigned i = 0; i < n_cards; i++)
		for (unsigned k = 0, n = read_apps(&cards[i], v); k < n; k++, n_apps++) {
			struct app a = {.card = &cards[i], .p = v[k]};

			name_app(&a);
			printf("| %3u   %10u   %-4s   %-40.40s %16lluMiB |\n", cards[i].index,
			        a.p.pid, "C", a.name,
			        a.p.bytes == NVML_BYTES_UNKNOWN ? 0 : a.p.bytes / MIB);
		}
	if (!n_apps)
		printf("| %-87s |\n", " No running processes found");
	printf(LINE);
}

static void print_table(void)
{
	char now[32], memory[40], power[24], title[100];
	time_t t = time(NULL);
	struct tm local;
	int cuda = 0;

	strftime(now, sizeof(now), "%a %b %e %H:%M:%S %Y", localtime_r(&t, &local));
	nvml.nvmlSystemGetCudaDriverVersion_v2(&cuda);
	snprintf(title, sizeof(title),
	        "NVIDIA-SMI (simulated)   Driver Version: %s   CUDA Version: %d.%d", driver,
	        cuda / 1000, cuda % 1000 / 10);
	printf("%s\n" LINE "| %-87s |\n" LINE, now, title);
	printf("| %-3s  %-30s %-17s | %-19s %11s |\n", "GPU", "Name", "Bus-Id", "Memory-Usage",
	        "GPU-Util");
	printf("| %-3s  %-30s %-17s | %-19s %11s |\n", "", "Temp   Pwr", "", "", "Compute M.");
	printf("|=========================================================================================|\n");
	for (unsigned i = 0; i < n_cards; i++) {
		const struct card *c = &cards[i];

		snprintf(memory, sizeof(memory), "%lluMiB / %lluMiB", c->memory.used / MIB,
		        c->memory.total / MIB);
		snprintf(power, sizeof(power), "%3uC   %uW", c->celsius, c->milliwatts / 1000);
		printf("| %3u  %-30.30s %-17.17s | %-19s %10u%% |\n", c->index, c->name,
		        c->pci.bus_id, memory, c->utilization.gpu);
		printf("| %-3s  %-30s %-17s | %-19s %11s |\n" LINE, "", power, "", "", "Default");
	}
	print_processes();
}

static void print_instances(const struct card *c)
{
	char name[NVML_NAME_SIZE], uuid[NVML_UUID_SIZE];
	struct nvml_device *mig;
	unsigned n = 0;

	nvml.nvmlDeviceGetMaxMigDeviceCount(c->device, &n);
	for (unsigned i = 0; i < n; i++) {
		const char *profile;

		if (nvml.nvmlDeviceGetMigDeviceHandleByIndex(c->device, i, &mig) != NVML_SUCCESS ||
		        nvml.nvmlDeviceGetUUID(mig, uuid, sizeof(uuid)) != NVML_SUCCESS ||
		        nvml.nvmlDeviceGetName(mig, name, sizeof(name)) != NVML_SUCCESS)
			continue;
		profile = strstr(name, " MIG ");
		printf("  MIG %-12s Device %2u: (UUID: %s)\n", profile ? profile + 5 : name, i,
		        uuid);
	}
}

static void print_list(void)
{
	for (unsigned i = 0; i < n_cards; i++) {
		printf("GPU %u: %s (UUID: %s)\n", cards[i].index, cards[i].name, cards[i].uuid);
		if (cards[i].mig)
			print_instances(&cards[i]);
	}
}

/* -- the command line -- */

static const char *value_of(const char *arg, const char *name)
{
	size_t len = strlen(name);

	return strncmp(arg, name, len) == 0 && arg[len] == '=' ? arg + len + 1 : NULL;
}

static bool take(const char *arg, const char *next, int *skip)
{
	const char *value;

	if (!strcmp(arg, "-L") || !strcmp(arg, "--list-gpus"))
		options.is_list = true;
	else if ((value = value_of(arg, "--query-gpu")))
		options.gpu_fields = value;
	else if ((value = value_of(arg, "--query-compute-apps")))
		options.app_fields = value;
	else if ((value = value_of(arg, "--id")))
		options.only = value;
	else if (!strcmp(arg, "-i") && next) {
		options.only = next;
		*skip = 1;
	} else if ((value = value_of(arg, "--format"))) {
		options.has_header = !strstr(value, "noheader");
		options.has_units = !strstr(value, "nounits");
		return strncmp(value, "csv", 3) == 0;
	} else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	enum nvml_return code;
	int skip = 0;

	for (int i = 1; i < argc; i += 1 + skip) {
		skip = 0;
		if (take(argv[i], argv[i + 1], &skip))
			continue;
		bool is_help = !strcmp(argv[i], "-h") || !strcmp(argv[i], "--help");
		fprintf(is_help ? stdout : stderr,
		        "usage: nvidia-smi [-L] [-i GPU] [--query-gpu=FIELDS | --query-compute-apps=FIELDS] "
		        "[--format=csv[,noheader][,nounits]]\nOf simulated devices; knows what NVML tells, and sets nothing.\n");
		return is_help ? 0 : 2;
	}
	if (!load())
		return fail(NVML_ERROR_LIBRARY_NOT_FOUND);
	code = nvml.nvmlInit_v2();
	if (code == NVML_SUCCESS)
		code = read_cards();
	if (code != NVML_SUCCESS)
		return fail(code);
	if (options.only && !n_cards) {
		printf("No devices were found\n");
		return 6;
	}
	if (options.is_list)
		print_list();
	else if (options.gpu_fields)
		query_gpus();
	else if (options.app_fields)
		query_apps();
	else
		print_table();
	return 0;
}
