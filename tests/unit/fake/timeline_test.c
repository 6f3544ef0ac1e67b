#include "fixture.h"

#include "sim.h"
#include "timeline.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

/* Two cards, no processes: the simulation alone. */
static struct {
	struct sim_pace pace;
	uint64_t at_ns;
	uint32_t ready[SIM_PROCESSES_MAX + 1];
	struct tl tl;
	uint32_t dead;
} box;

static bool lives(uint32_t place)
{
	return place != box.dead;
}

static int setup(void **state)
{
	memset(&box, 0, sizeof(box));
	box.pace = (struct sim_pace){
	        .slice_ns = 2 * MS, .switch_ns = 150 * US, .mark_ns = US, .teardown_ns = MS};
	box.tl = (struct tl){.pace = &box.pace,
	        .cards = calloc(2, sizeof(struct tl_card)),
	        .n_cards = 2,
	        .at_ns = &box.at_ns,
	        .host_ready = box.ready,
	        .lives = lives};
	assert_non_null(box.tl.cards);
	return 0;
}

static int teardown(void **state)
{
	free(box.tl.cards);
	return 0;
}

static uint64_t put(unsigned card, uint32_t stream, uint64_t ns)
{
	return tl_put(&box.tl, card, stream, (struct tl_op){.kind = TL_KERNEL, .ns = ns});
}

static uint64_t head(unsigned card, uint32_t stream)
{
	return box.tl.cards[card].streams[stream].head;
}

/* When the operation is done, to the nanosecond. */
static uint64_t done_at(unsigned card, uint32_t stream, uint64_t number)
{
	box.tl.cards[card].streams[stream].wake_at = number + 1;
	while (head(card, stream) <= number)
		tl_advance(&box.tl, box.at_ns + 10000 * MS);
	return box.at_ns;
}

/* Contexts take turns by slices; a kernel keeps its progress; who is alone is not switched. */
static void test_slices(void **state)
{
	uint32_t a = tl_stream_new(&box.tl, 0, tl_ctx_new(&box.tl, 0, 1), TL_BLOCKING);
	uint32_t b = tl_stream_new(&box.tl, 0, tl_ctx_new(&box.tl, 0, 2), TL_BLOCKING);

	put(0, a, 5 * MS);
	put(0, b, 3 * MS);
	/* C a2 C b2 C a2 C b1 C a1 */
	assert_true(done_at(0, b, 0) == 7 * MS + 4 * 150 * US);
	assert_true(done_at(0, a, 0) == 8 * MS + 5 * 150 * US);
	put(0, a, 9 * MS);
	assert_true(done_at(0, a, 1) == 17 * MS + 5 * 150 * US);
	assert_true(box.tl.cards[0].busy_ns == 17 * MS);
	assert_true(box.tl.cards[0].ctxs[0].busy_ns == 14 * MS);
	tl_advance(&box.tl, 100 * MS);
	assert_true(box.at_ns == 100 * MS);
	put(0, b, MS); /* from idle too */
	assert_true(done_at(0, b, 1) == 101 * MS + 150 * US);
}

/* Streams of a context take turns kernel by kernel; the legacy one waits for all before it, and holds up all behind it. */
static void test_streams(void **state)
{
	uint32_t ctx = tl_ctx_new(&box.tl, 0, 1);
	uint32_t a = tl_stream_new(&box.tl, 0, ctx, TL_BLOCKING);
	uint32_t b = tl_stream_new(&box.tl, 0, ctx, TL_BLOCKING);
	uint32_t n = tl_stream_new(&box.tl, 0, ctx, TL_NON_BLOCKING);
	uint32_t d = tl_stream_new(&box.tl, 0, ctx, TL_LEGACY);

	box.pace.switch_ns = 0;
	put(0, a, MS);
	put(0, a, MS);
	put(0, b, MS);
	assert_true(done_at(0, b, 0) <= 2 * MS);
	assert_true(done_at(0, a, 1) == 3 * MS);
	put(0, a, MS);
	put(0, d, MS);
	put(0, b, MS);
	put(0, n, MS);
	assert_true(done_at(0, d, 0) >= 5 * MS);
	assert_int_equal(head(0, a), 3);
	assert_int_equal(head(0, b), 1);
	done_at(0, b, 1);
	assert_int_equal(head(0, n), 1);
	assert_true(box.at_ns == 7 * MS);
}

/* Events are stamped when they are reached, waits hold a stream until then, copies run beside kernels. */
static void test_events(void **state)
{
	uint32_t ctx = tl_ctx_new(&box.tl, 0, 1);
	uint32_t a = tl_stream_new(&box.tl, 0, ctx, TL_NON_BLOCKING);
	uint32_t b = tl_stream_new(&box.tl, 0, ctx, TL_NON_BLOCKING);
	uint32_t e = tl_event_new(&box.tl, 0, 1);

	put(0, a, 2 * MS);
	tl_put(&box.tl, 0, a, (struct tl_op){.kind = TL_EVENT, .event = e, .key = 1});
	tl_put(&box.tl, 0, b, (struct tl_op){.kind = TL_COPY, .ns = MS});
	tl_put(&box.tl, 0, b, (struct tl_op){.kind = TL_WAIT, .event = e, .key = 1});
	put(0, b, MS);
	assert_true(done_at(0, b, 0) == MS);
	assert_true(done_at(0, b, 2) == 150 * US + 3 * MS + US);
	assert_true(box.tl.cards[0].events[e].at_ns == 150 * US + 2 * MS + US);
}

/* A collective runs only while its peer does on the other card. */
static void test_collective(void **state)
{
	uint32_t a = tl_stream_new(&box.tl, 0, tl_ctx_new(&box.tl, 0, 1), TL_BLOCKING);
	uint32_t b = tl_stream_new(&box.tl, 1, tl_ctx_new(&box.tl, 1, 1), TL_BLOCKING);
	struct tl_op op = {.kind = TL_COLLECTIVE, .ns = MS, .key = 7};

	tl_put(&box.tl, 0, a, op);
	tl_advance(&box.tl, 50 * MS);
	assert_int_equal(head(0, a), 0);
	put(1, b, 3 * MS);
	op.key = 8; /* of others */
	tl_put(&box.tl, 1, b, op);
	tl_advance(&box.tl, 100 * MS);
	assert_int_equal(head(0, a) + head(1, b), 1);
	op.key = 7;
	uint32_t c = tl_stream_new(&box.tl, 1, tl_ctx_new(&box.tl, 1, 2), TL_BLOCKING);
	tl_put(&box.tl, 1, c, op);
	done_at(0, a, 0);
	assert_int_equal(head(1, c), 1);
	assert_true(box.at_ns > 101 * MS && box.at_ns < 106 * MS);
}

/* The dead are cleared away when their turn comes, and that takes its time. */
static void test_dead(void **state)
{
	uint32_t a = tl_stream_new(&box.tl, 0, tl_ctx_new(&box.tl, 0, 1), TL_BLOCKING);
	uint32_t b = tl_stream_new(&box.tl, 0, tl_ctx_new(&box.tl, 0, 2), TL_BLOCKING);

	put(0, a, 500 * MS);
	put(0, b, 5 * MS);
	tl_advance(&box.tl, MS);
	box.dead = 1;
	/* the rest of its slice, b's first, the clearing, the switch, b's rest */
	assert_true(done_at(0, b, 0) <= 2 * MS + 5 * MS + MS + 3 * 150 * US);
	assert_int_equal(box.tl.cards[0].ctxs[0].place, 0);
	assert_int_equal(head(0, a), 1);
}

/* A function of the host stops its stream until it was called; who would call it is told. */
static void test_host(void **state)
{
	uint32_t a = tl_stream_new(&box.tl, 0, tl_ctx_new(&box.tl, 0, 3), TL_BLOCKING);

	tl_put(&box.tl, 0, a, (struct tl_op){.kind = TL_HOST});
	put(0, a, MS);
	tl_advance(&box.tl, 10 * MS);
	tl_advance(&box.tl, 10 * MS);
	assert_int_equal(box.ready[3], 1);
	assert_int_equal(head(0, a), 0);
	tl_host_done(&box.tl, 0, a, 0);
	assert_true(done_at(0, a, 1) == box.at_ns);
	assert_int_equal(head(0, a), 2);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_slices),
	        TEST(test_streams),
	        TEST(test_events),
	        TEST(test_collective),
	        TEST(test_dead),
	        TEST(test_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
