#include "base/num.h"
