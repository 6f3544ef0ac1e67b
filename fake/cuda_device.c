/*
 * Devices as the fake libcuda shows them: the cards of the description that CUDA_VISIBLE_DEVICES lets through.
 */
#include "cuda.h"

#include <stdio.h>
#include <string.h>

#define MULTIPROCESSORS 108

enum cu_result cuDeviceGetCount(int *count)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!count)
		return CU_ERROR_INVALID_VALUE;
	*count = (int)driver.n_devs;
	return CU_SUCCESS;
}

enum cu_result cuDeviceGet(int *device, int ordinal)
{
	enum cu_result code = call_ready(__func__);

	if (code)
		return code;
	if (!device)
		return CU_ERROR_INVALID_VALUE;
	if (ordinal < 0 || ordinal >= (int)driver.n_devs)
		return CU_ERROR_INVALID_DEVICE;
	*device = ordinal;
	return CU_SUCCESS;
}

/* The card, of a device whose loss shows only where it is used. */
static enum cu_result card_of(const char *function, int dev, const struct sim_card **ret_card)
{
	enum cu_result code = call_ready(function);

	if (code)
		return code;
	if (dev < 0 || dev >= (int)driver.n_devs)
		return CU_ERROR_INVALID_DEVICE;
	*ret_card = &driver.sim->cards[driver.cards[dev]];
	return CU_SUCCESS;
}

enum cu_result cuDeviceGetName(char *name, int len, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(__func__, dev, &card);

	if (code)
		return code;
	if (!name || len <= 0)
		return CU_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)len, "%s", card->model);
	return CU_SUCCESS;
}

enum cu_result cuDeviceTotalMem_v2(size_t *bytes, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(__func__, dev, &card);

	if (code)
		return code;
	if (!bytes)
		return CU_ERROR_INVALID_VALUE;
	*bytes = card->mem_bytes - card->reserved_bytes;
	return CU_SUCCESS;
}

enum cu_result cuDeviceTotalMem(unsigned *bytes, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(__func__, dev, &card);
	uint64_t usable;

	if (code)
		return code;
	if (!bytes)
		return CU_ERROR_INVALID_VALUE;
	usable = card->mem_bytes - card->reserved_bytes;
	*bytes = usable < UINT32_MAX ? (unsigned)usable : UINT32_MAX;
	return CU_SUCCESS;
}

/* "GPU-xxxxxxxx-xxxx-...": its 32 digits; one that has not so many is filled up with its characters. */
static void put_uuid(const char *text, struct cu_uuid *uuid)
{
	unsigned digits = 0;

	memset(uuid, 0, sizeof(*uuid));
	for (const char *c = text + strlen("GPU-"); *c && digits < 32; c++) {
		static const char hex[] = "0123456789abcdef";
		const char *at = strchr(hex, *c | 32);

		if (*c == '-')
			continue;
		uuid->bytes[digits / 2] |=
		        (unsigned char)((at ? at - hex : *c & 15) << (digits % 2 ? 0 : 4));
		digits++;
	}
}

static enum cu_result get_uuid(const char *function, struct cu_uuid *uuid, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(function, dev, &card);

	if (code)
		return code;
	if (!uuid)
		return CU_ERROR_INVALID_VALUE;
	put_uuid(card->uuid, uuid);
	return CU_SUCCESS;
}

enum cu_result cuDeviceGetUuid(struct cu_uuid *uuid, int dev)
{
	return get_uuid(__func__, uuid, dev);
}

enum cu_result cuDeviceGetUuid_v2(struct cu_uuid *uuid, int dev)
{
	return get_uuid(__func__, uuid, dev);
}

enum cu_result cuDeviceGetPCIBusId(char *pci_bus_id, int len, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(__func__, dev, &card);

	if (code)
		return code;
	if (!pci_bus_id || len <= 0)
		return CU_ERROR_INVALID_VALUE;
	snprintf(pci_bus_id, (size_t)len, "%04X:%02X:%02X.0", card->pci_domain, card->pci_bus,
	        card->pci_device);
	return CU_SUCCESS;
}

enum cu_result cuDeviceGetByPCIBusId(int *dev, const char *pci_bus_id)
{
	enum cu_result code = call_ready(__func__);
	unsigned domain = 0, bus, slot;

	if (code)
		return code;
	if (!dev || !pci_bus_id)
		return CU_ERROR_INVALID_VALUE;
	if (sscanf(pci_bus_id, "%8x:%2x:%2x", &domain, &bus, &slot) != 3) {
		domain = 0;
		if (sscanf(pci_bus_id, "%2x:%2x", &bus, &slot) != 2)
			return CU_ERROR_INVALID_VALUE;
	}
	for (unsigned i = 0; i < driver.n_devs; i++) {
		const struct sim_card *c = &driver.sim->cards[driver.cards[i]];

		if (c->pci_domain == domain && c->pci_bus == bus && c->pci_device == slot) {
			*dev = (int)i;
			return CU_SUCCESS;
		}
	}
	return CU_ERROR_INVALID_DEVICE;
}

enum cu_result cuDeviceComputeCapability(int *major, int *minor, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(__func__, dev, &card);

	if (code)
		return code;
	if (!major || !minor)
		return CU_ERROR_INVALID_VALUE;
	*major = card->cc_major;
	*minor = card->cc_minor;
	return CU_SUCCESS;
}

enum cu_result cuDeviceCanAccessPeer(int *can_access_peer, int dev, int peer_dev)
{
	const struct sim_card *card, *peer;
	enum cu_result code = card_of(__func__, dev, &card);

	if (!code)
		code = card_of(__func__, peer_dev, &peer);
	if (code)
		return code;
	if (!can_access_peer)
		return CU_ERROR_INVALID_VALUE;
	*can_access_peer = dev != peer_dev;
	return CU_SUCCESS;
}

/* {attribute, value} of a card of compute capability 8.0; what is not here is 0: it has it not. */
static const int constant[][2] = {
        {1, 1024},
        {2, 1024},
        {3, 1024},
        {4, 64},
        {5, INT32_MAX},
        {6, 65535},
        {7, 65535},
        {8, 48 << 10},
        {9, 64 << 10},
        {10, 32},
        {11, INT32_MAX},
        {12, 65536},
        {13, 1410000},
        {14, 512},
        {15, 1},
        {19, 1},
        {21, 131072},
        {22, 131072},
        {23, 65536},
        {24, 16384},
        {25, 16384},
        {26, 16384},
        {30, 512},
        {31, 1},
        {36, 1215000},
        {37, 5120},
        {38, 40 << 20},
        {39, 2048},
        {40, 3},
        {41, 1},
        {78, 1},
        {79, 1},
        {80, 1},
        {81, 167936},
        {82, 65536},
        {83, 1},
        {86, 1},
        {88, 1},
        {89, 1},
        {90, 1},
        {91, 1},
        {94, 1},
        {95, 1},
        {97, 166912},
        {99, 1},
        {102, 1},
        {103, 1},
        {106, 32},
        {109, 1},
        {111, 1024},
        {115, 1},
        {119, 1},
        {121, 1},
};

/* Rounded up; all of them without MPS. */
static int multiprocessors(void)
{
	double part = MULTIPROCESSORS * driver.mps_percent / 100;

	return (int)part + ((int)part < part);
}

/* Attributes by the vendor's numbers. */
static int attribute_of(const struct sim_card *card, int attribute)
{

	switch (attribute) {
	case 16: /* multiprocessors; what no instance can have is not in use */
		return card->parent < 0 ? multiprocessors() : 14 * (int)card->slices;
	case 20: /* compute mode */
		return card->compute_mode;
	case 32:
		return card->ecc;
	case 33:
		return (int)card->pci_bus;
	case 34:
		return (int)card->pci_device;
	case 50:
		return (int)card->pci_domain;
	case 75:
		return card->cc_major;
	case 76:
		return card->cc_minor;
	case 134: /* the NUMA node that it is */
		return card->gpu_numa_node;
	default:
		break;
	}
	for (size_t i = 0; i < sizeof(constant) / sizeof(constant[0]); i++)
		if (constant[i][0] == attribute)
			return constant[i][1];
	return 0;
}

enum cu_result cuDeviceGetAttribute(int *pi, int attrib, int dev)
{
	const struct sim_card *card;
	enum cu_result code = card_of(__func__, dev, &card);

	if (code)
		return code;
	if (!pi || attrib <= 0 || attrib > 200)
		return CU_ERROR_INVALID_VALUE;
	*pi = attribute_of(card, attrib);
	return CU_SUCCESS;
}
