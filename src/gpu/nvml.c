#include "gpu/nvml.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum need { REQUIRED, OPTIONAL, TOOLS, FAKE };

static const struct {
	enum need need;
	const char *name;
	size_t offset;
} symbols[] = {
#define NVML(need, since, ret, name, params) {need, #name, offsetof(struct nvml, name)},
#include "../../tables/nvml.def"
#undef NVML
};

int nvml_load(struct nvml *n, const char *library, struct err *err)
{
	const char *name = library ? library : "libnvidia-ml.so.1";

	memset(n, 0, sizeof(*n));
	n->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!n->library) {
		const char *why = dlerror();

		return err_set(err, ERR_NOT_FOUND, "%s", why ? why : name);
	}
	for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
		void *symbol = dlsym(n->library, symbols[i].name);

		if (!symbol && symbols[i].need == REQUIRED) {
			nvml_unload(n);
			return err_set(err, ERR_UNSUPPORTED, "%s has no %s", name, symbols[i].name);
		}
		/* a pointer to a function and one to data have one form here: POSIX asks for that */
		memcpy((char *)n + symbols[i].offset, &symbol, sizeof(symbol));
	}
	return 0;
}

void nvml_unload(struct nvml *n)
{
	if (n->library)
		dlclose(n->library);
	memset(n, 0, sizeof(*n));
}

static enum err_kind kind_of(enum nvml_return code)
{
	switch (code) {
	case NVML_ERROR_NO_PERMISSION:
	case NVML_ERROR_OPERATING_SYSTEM:
		return ERR_FORBIDDEN;
	case NVML_ERROR_TIMEOUT:
		return ERR_TIMEOUT;
	case NVML_ERROR_NOT_SUPPORTED:
	case NVML_ERROR_FUNCTION_NOT_FOUND:
		return ERR_UNSUPPORTED;
	default:
		return ERR_UNAVAILABLE;
	}
}

const char *nvml_text(const struct nvml *n, enum nvml_return code, char out[TEXT_SHOW_SIZE])
{
	const char *text = n->nvmlErrorString(code);

	return text_show(text ? text : "?", out);
}

int nvml_fail(const struct nvml *n, enum nvml_return code, const char *what, struct err *err)
{
	char text[TEXT_SHOW_SIZE];

	return err_set(
	        err, kind_of(code), "%s: %s (NVML %d)", what, nvml_text(n, code, text), (int)code);
}
