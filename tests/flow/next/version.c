#include "base/version.h"

const char berth_version[] = "0.1.0+next";
