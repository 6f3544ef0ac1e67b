#include "fixture.h"

#include "sim.h"

static bool describe(struct sim *s, const char *text, char error[SIM_ERROR_SIZE])
{
	struct fixture f;
	bool ok;

	fixture_new(&f, text);
	ok = sim_describe(s, f.path, error);
	fixture_free(&f);
	return ok;
}

static const char all_keys[] = "# a comment\n"
                               "driver 535.129.03\n"
                               "cuda 12.2\n"
                               "seed lab-7\n"
                               "missing nvmlDeviceGetMigMode\n"
                               "slow 20 nvmlDeviceGetName\n"
                               "fail nvmlDeviceGetUUID 3 GPU_IS_LOST\n"
                               "\n"
                               "device\n"
                               "\tmodel NVIDIA A100-SXM4-40GB   # with a comment\n"
                               "\tuuid GPU-00000000-1111-2222-3333-444444444444\n"
                               "\tmemory 40GiB\n"
                               "\treserved 512MiB\n"
                               "\tcc 8.6\n"
                               "\tpci 0001:3b:02.0\n"
                               "\tnuma 1\n"
                               "\tgpu_numa 9\n"
                               "\tcpus 0-2,65\n"
                               "\tecc off\n"
                               "\tmig on\n"
                               "\tcompute_mode exclusive\n"
                               "\tlost after 7\n"
                               "\txid 79\n"
                               "\tcorrected 2\n"
                               "\tuncorrected 3\n"
                               "\trows failed\n"
                               "\trecovery reboot\n"
                               "\toutside 4242 1GiB graphics\n"
                               "device\n"
                               "memory 8589934592\n";

static struct sim *describe_all_keys(void)
{
	struct sim *s = malloc(sizeof(*s));
	char error[SIM_ERROR_SIZE] = "";

	assert_non_null(s);
	if (!describe(s, all_keys, error))
		fail_msg("%s", error);
	return s;
}

static void test_cards(void **state)
{
	struct sim *s = describe_all_keys();
	const struct sim_card *c = &s->cards[0];

	assert_string_equal(s->driver, "535.129.03");
	assert_int_equal(s->cuda_version, 12020);
	assert_int_equal(s->n_cards, 2);
	assert_string_equal(c->model, "NVIDIA A100-SXM4-40GB (simulated)");
	assert_string_equal(c->uuid, "GPU-00000000-1111-2222-3333-444444444444");
	assert_true(c->mem_bytes == UINT64_C(40) << 30);
	assert_true(c->reserved_bytes == UINT64_C(512) << 20);
	assert_int_equal(c->cc_major * 10 + c->cc_minor, 86);
	assert_int_equal(c->pci_domain, 1);
	assert_int_equal(c->pci_bus, 0x3b);
	assert_int_equal(c->pci_device, 2);
	assert_int_equal(c->numa_node, 1);
	assert_int_equal(c->gpu_numa_node, 9);
	assert_true(c->cpus[0] == 7 && c->cpus[1] == 2 && c->cpus[2] == 0);
	assert_false(c->ecc);
	assert_true(c->mig);
	assert_int_equal(c->compute_mode, 3);
	assert_string_equal(s->cards[1].model, "Simulated GPU");
	assert_true(s->cards[1].mem_bytes == UINT64_C(8) << 30);
	assert_true(s->cards[1].cpus[0] & 1);
	free(s);
}

static void test_first_state(void **state)
{
	struct sim *s = describe_all_keys();
	const struct sim_card_state *live = &s->initial.cards[0];

	assert_int_equal(live->lost, 0);
	assert_int_equal(live->lost_after, 7);
	assert_int_equal(live->ecc_corrected, 2);
	assert_int_equal(live->ecc_uncorrected, 3);
	assert_int_equal(live->rows_failed, 1);
	assert_int_equal(live->recovery_action, 2);
	assert_int_equal(s->initial.event_seq, 3);
	assert_int_equal(s->initial.events_early, 3);
	assert_int_equal(s->initial.processes[0].pid, 4242);
	assert_int_equal(s->initial.processes[0].lists, SIM_GRAPHICS);
	assert_int_equal(s->initial.rules[0].kind, SIM_RULE_MISSING);
	assert_int_equal(s->initial.rules[1].value, 20);
	assert_int_equal(s->initial.rules[2].nth, 3);
	assert_int_equal(s->initial.rules[2].value, 15);
	free(s);
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text;
		const char *says;
	} cases[] = {
	        {"wheels 4\n", ":1: unknown key 'wheels'"},
	        {"\n\nmodel X\n", ":3: 'model' stands before the first 'device'"},
	        {"device\n memory 8\n colour red\n", ":3: unknown key 'colour'"},
	        {"device\n memory 8 GiB\n", "'8 GiB' is not a size"},
	        {"device\n memory -1\n", "is not a size"},
	        {"device\n memory 99999999999999999999\n", "is not a size"},
	        {"device\n memory 9999999999G\n", "is not a size"},
	        {"device\n", "device 0 has no memory left to use"},
	        {"device\n memory 1G\n reserved 1G\n", "device 0 has no memory left to use"},
	        {"device 1\n", "'device' stands alone"},
	        {"device\n memory 1G\n cc 8\n", "is not of the form 8.0"},
	        {"device\n memory 1G\n cc 8.0x\n", "is not of the form 8.0"},
	        {"device\n memory 1G\n pci 1.0\n", "is not of the form 0000:01:00.0"},
	        {"device\n memory 1G\n numa 64\n", "is not a number from 0 to 63"},
	        {"device\n memory 1G\n cpus 0-1024\n", "is not a number from 0 to 1023"},
	        {"device\n memory 1G\n ecc maybe\n", "neither on nor off"},
	        {"device\n memory 1G\n compute_mode x\n",
	                "is not default, exclusive or prohibited"},
	        {"device\n memory 1G\n lost soon\n", "'lost' or 'lost after CALLS'"},
	        {"device\n memory 1G\n xid many\n", "is not a number"},
	        {"device\n memory 1G\n rows x\n", "neither pending nor failed"},
	        {"device\n memory 1G\n recovery x\n", "is not none, reset"},
	        {"device\n memory 1G\n outside 1 2 3\n", "neither graphics nor both"},
	        {"device\n memory 1G\n uuid 12345678\n", "a uuid begins with GPU-"},
	        {"device\n memory 1G\n uuid GPU-aaaa\ndevice\n memory 1G\n uuid GPU-aaaa\n",
	                "have the same uuid"},
	        {"instance 1g.10gb 9G\n", "'instance' stands before the first 'device'"},
	        {"device\n memory 80G\n instance 1g.10gb 9G\n", "is not in MIG mode"},
	        {"device\n memory 80G\n mig on\n instance g.10gb 9G\n", "is not a profile"},
	        {"device\n memory 80G\n mig on\n instance 4c.3g.40gb 9G\n", "has no compute"},
	        {"device\n memory 80G\n mig on\n instance 1g.10gb 9G GPU-a\n",
	                "is neither 'shared' nor a UUID"},
	        {"device\n memory 80G\n mig on\n instance 1g.10gb 9G shared\n",
	                "no instance before it"},
	        {"device\n memory 8G\n mig on\n instance 1g.10gb 9G\n", "more than it has"},
	        {"device\n memory 80G\n mig on\n instance 4g.40gb 9G\n instance 4g.40gb 9G\n",
	                "more than it has"},
	        {"device\n memory 80G\n mig on\n instance 1g.10gb 9G MIG-a\n"
	         " instance 1g.10gb 9G MIG-a\n",
	                "two devices have the uuid MIG-a"},
	        {"missing nvmlNothing\n", "is no function of the simulated drivers"},
	        {"fail nvmlInit_v2 1 SAD\n", "'SAD' is no return code of NVML"},
	        {"slow soon\n", "'soon' is not a number"},
	        {"driver\n", "a text of 1 to 79 characters"},
	};
	struct sim *s = malloc(sizeof(*s));

	assert_non_null(s);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char error[SIM_ERROR_SIZE] = "";

		assert_false(describe(s, cases[i].text, error));
		if (!strstr(error, cases[i].says))
			fail_msg("'%s' does not say '%s'", error, cases[i].says);
	}
	free(s);
}

static void test_too_many(void **state)
{
	struct sim *s = malloc(sizeof(*s));
	char error[SIM_ERROR_SIZE] = "", text[4096] = "";

	assert_non_null(s);
	for (int i = 0; i < SIM_CARDS_MAX; i++)
		strcat(text, "device\nmemory 1G\n");
	assert_true(describe(s, text, error));
	strcat(text, "device\nmemory 1G\n");
	assert_false(describe(s, text, error));
	assert_non_null(strstr(error, "more than 32 devices"));
	text[0] = '\0';
	for (int i = 0; i <= SIM_RULES_MAX; i++)
		strcat(text, "fail nvmlShutdown 1 UNKNOWN\n");
	assert_false(describe(s, text, error));
	assert_non_null(strstr(error, "more than 16 faults"));
	free(s);
}

static void test_not_a_file(void **state)
{
	struct sim *s = malloc(sizeof(*s));
	char error[SIM_ERROR_SIZE] = "";

	assert_non_null(s);
	assert_false(sim_describe(s, "/nowhere/at/all", error));
	assert_non_null(strstr(error, "No such file"));
	assert_false(sim_describe(s, "/", error));
	assert_false(sim_describe(s, "/dev/zero", error));
	free(s);
}

/* One seed gives the same UUIDs for ever, and every device another one. */
static void test_uuids(void **state)
{
	struct sim *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));
	char error[SIM_ERROR_SIZE];

	assert_true(a && b);
	assert_true(describe(a, "seed one\ndevice\nmemory 8G\ndevice\nmemory 8G\n", error));
	assert_true(describe(b,
	        "# more\nseed one\ndevice\nmemory 24G\ndevice\nmemory 8G\ndevice\nmemory 8G\n",
	        error));
	assert_string_equal(a->cards[0].uuid, b->cards[0].uuid);
	assert_string_equal(a->cards[1].uuid, b->cards[1].uuid);
	assert_string_not_equal(a->cards[0].uuid, a->cards[1].uuid);
	assert_int_equal(
	        strlen(a->cards[0].uuid), strlen("GPU-01234567-0123-0123-0123-0123456789ab"));
	assert_true(describe(b, "seed two\ndevice\nmemory 8G\n", error));
	assert_string_not_equal(a->cards[0].uuid, b->cards[0].uuid);
	free(a);
	free(b);
}

/* Without a seed the place of the file decides, by whichever way it was reached. */
static void test_uuid_of_place(void **state)
{
	struct sim *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));
	char error[SIM_ERROR_SIZE], detour[400];
	struct fixture f, g;

	assert_true(a && b);
	fixture_new(&f, "device\nmemory 8G\n");
	fixture_new(&g, "device\nmemory 8G\n");
	snprintf(detour, sizeof(detour), "%s/.././%s/d.sim", f.dir, strrchr(f.dir, '/') + 1);
	assert_true(sim_describe(a, f.path, error));
	assert_true(sim_describe(b, detour, error));
	assert_string_equal(a->cards[0].uuid, b->cards[0].uuid);
	assert_true(sim_describe(b, g.path, error));
	assert_string_not_equal(a->cards[0].uuid, b->cards[0].uuid);
	fixture_free(&f);
	fixture_free(&g);
	free(a);
	free(b);
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} cases[] = {
	        {"0", 0},
	        {"17", 17},
	        {"17B", 17},
	        {"2k", 2048},
	        {"2KiB", 2048},
	        {"3MB", 3 << 20},
	        {"8gib", UINT64_C(8) << 30},
	        {"1T", UINT64_C(1) << 40},
	};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(sim_parse_size(cases[i].text, &bytes));
		assert_true(bytes == cases[i].bytes);
	}
	assert_false(sim_parse_size("", &bytes));
	assert_false(sim_parse_size("G", &bytes));
	assert_false(sim_parse_size("1GiBs", &bytes));
	assert_false(sim_parse_size("1.5G", &bytes));
	assert_false(sim_parse_size("16777216T", &bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_cards),
	        cmocka_unit_test(test_first_state),
	        cmocka_unit_test(test_refusals),
	        cmocka_unit_test(test_too_many),
	        cmocka_unit_test(test_not_a_file),
	        cmocka_unit_test(test_uuids),
	        cmocka_unit_test(test_uuid_of_place),
	        cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
