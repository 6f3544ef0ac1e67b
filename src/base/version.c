#include "base/version.h"

const char berth_version[] = BERTH_VERSION;
