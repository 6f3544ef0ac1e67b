#include "rig.h"

#include <unistd.h>

int rig_start_as_root(struct rig *r, enum rig_mode mode)
{
	if (getuid() == 0)
		rig_start(r, mode);
	return 0;
}

int rig_stop_as_root(struct rig *r)
{
	if (getuid() == 0)
		rig_stop(r);
	return 0;
}
