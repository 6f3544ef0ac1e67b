/*
 * The words that descriptions and fake-gpu share: numbers, sizes, codes, names of functions.
 */
#include "sim.h"

#include "../tables/cuda_abi.h"
#include "../tables/nvml_abi.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

bool sim_parse_u64(const char *text, uint64_t max, uint64_t *ret_value)
{
	char *end;
	unsigned long long v;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || *end || v > max)
		return false;
	*ret_value = v;
	return true;
}

bool sim_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	char *end;
	uint64_t v;
	const char *unit;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end && (unit = strchr(units, toupper((unsigned char)*end)))) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);

		if (v > UINT64_MAX >> shift)
			return false;
		v <<= shift;
		end++;
		if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0)
			end += strlen(end);
	} else if (strcasecmp(end, "B") == 0) {
		end++;
	}
	if (*end || v > INT64_MAX)
		return false;
	*ret_bytes = v;
	return true;
}

bool sim_parse_time(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
	unsigned long long v;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	for (size_t i = 0; !errno && i < LEN(units); i++)
		if (strcmp(end, units[i].name) == 0 && v <= INT64_MAX / units[i].ns) {
			*ret_ns = v * units[i].ns;
			return true;
		}
	return false;
}

void sim_kernel(const struct sim *s, const char *name, uint64_t ns[SIM_TIMES_MAX], unsigned *ret_n)
{
	const char *end = strrchr(name, '_');

	for (unsigned i = 0; i < s->n_kernels; i++) {
		if (strcmp(s->kernels[i].name, name) == 0) {
			memcpy(ns, s->kernels[i].ns, sizeof(s->kernels[i].ns));
			*ret_n = s->kernels[i].n_ns;
			return;
		}
	}
	*ret_n = 1;
	if (!end || !sim_parse_time(end + 1, &ns[0]))
		ns[0] = 10000;
}

struct code {
	const char *name;
	uint32_t value;
};

static bool find_code(const struct code *codes, size_t n, const char *text, uint32_t *ret_code)
{
	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(codes[i].name, text) == 0) {
			*ret_code = codes[i].value;
			return true;
		}
	}
	return false;
}

bool sim_parse_code(const char *function, const char *text, uint32_t *ret_code)
{
	static const struct code of_nvml[] = {
#define NVML_RETURN(name, value, text) {#name, value},
	        NVML_RETURNS(NVML_RETURN)
#undef NVML_RETURN
	};
	static const struct code of_cuda[] = {
#define CU_RESULT(name, value, text) {#name, value},
	        CU_RESULTS(CU_RESULT)
#undef CU_RESULT
	};
	uint64_t v;

	if (sim_parse_u64(text, 999, &v)) {
		*ret_code = (uint32_t)v;
		return true;
	}
	if (sim_is_cuda(function))
		return find_code(of_cuda, LEN(of_cuda), text, ret_code);
	return find_code(of_nvml, LEN(of_nvml), text, ret_code);
}

bool sim_parse_recovery(const char *text, uint32_t *ret_action)
{
	static const char *const names[] = {
	        [NVML_RECOVERY_NONE] = "none",
	        [NVML_RECOVERY_RESET] = "reset",
	        [NVML_RECOVERY_REBOOT] = "reboot",
	        [NVML_RECOVERY_DRAIN_P2P] = "drain",
	        [NVML_RECOVERY_DRAIN_AND_RESET] = "drain-and-reset",
	};

	for (uint32_t i = 0; i < LEN(names); i++) {
		if (strcmp(names[i], text) == 0) {
			*ret_action = i;
			return true;
		}
	}
	return false;
}

bool sim_parse_lists(const char *text, enum sim_list *ret_lists)
{
	if (*text == '\0')
		*ret_lists = SIM_COMPUTE;
	else if (strcmp(text, "graphics") == 0)
		*ret_lists = SIM_GRAPHICS;
	else if (strcmp(text, "both") == 0)
		*ret_lists = SIM_BOTH;
	else
		return false;
	return true;
}

static bool is_one_of(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

bool sim_is_cuda(const char *name)
{
	static const char *const names[] = {
	        "cu*",
#define CUDA(use, since, symbol, base, stream, params, args) #symbol,
#include "../tables/cuda.def"
#undef CUDA
	};

	return is_one_of(names, LEN(names), name);
}

bool sim_is_function(const char *name)
{
	static const char *const names[] = {
	        "*",
#define NVML(need, since, ret, symbol, params) #symbol,
#include "../tables/nvml.def"
#undef NVML
	};

	return is_one_of(names, LEN(names), name) || sim_is_cuda(name);
}
