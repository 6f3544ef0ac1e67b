/*
 * NVML, loaded when it is there: one pointer per row of tables/nvml.def, NULL when this driver does not have it.
 * A struct nvml belongs to its opener. One thread at a time; every call of a pointer may take long.
 * nvml_load fails with NOT_FOUND when there is no library, UNSUPPORTED when it lacks something that is required.
 */
#pragma once

#include "base/err.h"
#include "base/text.h"
#include "../../tables/nvml_abi.h"

struct nvml {
	void *library; /* NULL: not loaded */
#define NVML(need, since, ret, name, params) ret(*name) params;
#include "../../tables/nvml.def"
#undef NVML
};

MUST_CHECK int nvml_load(struct nvml *n, const char *library, struct err *err);
void nvml_unload(struct nvml *n);

/* Calls what may be missing: n is a struct nvml *. */
#define NVML_TRY(n, name, ...) ((n)->name ? (n)->name(__VA_ARGS__) : NVML_ERROR_FUNCTION_NOT_FOUND)

/* What NVML calls a return code, fit to be shown. */
const char *nvml_text(const struct nvml *n, enum nvml_return code, char out[TEXT_SHOW_SIZE]);
/* Fills err from a return code of NVML. */
MUST_CHECK int nvml_fail(
        const struct nvml *n, enum nvml_return code, const char *what, struct err *err);
