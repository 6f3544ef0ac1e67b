/* Why a job waits, and what would start it, as JSON. */
#include "server/view.h"

static json_t *time_or_null(int64_t wall_ms)
{
	return wall_ms == INT64_MAX ? json_null() : view_time(wall_ms);
}

static json_t *reasons_of(const struct sched_why *y)
{
	json_t *list = json_array();

	for (size_t i = 0; i < y->n_reasons; i++)
		json_array_append_new(
		        list, json_pack("{s:s, s:s}", "code", reason_code(y->reasons[i].code),
		                      "text", y->reasons[i].text));
	return list;
}

static json_t *nodes_of(const struct sched_why *y)
{
	json_t *list = json_array();

	for (size_t i = 0; i < y->n_nodes; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "node", y->nodes[i].node->name,
		                                    "missing", y->nodes[i].missing));
	return list;
}

static void add_why(json_t *o, const struct sched_why *y, int64_t now_ms)
{
	json_object_set_new(o, "position", json_integer((json_int_t)y->position));
	json_object_set_new(o, "ahead", json_integer((json_int_t)y->ahead));
	json_object_set_new(o, "reasons", reasons_of(y));
	json_object_set_new(o, "nodes", nodes_of(y));
	json_object_set_new(o, "earliest_start", time_or_null(y->earliest_ms));
	json_object_set_new(
	        o, "smallest_change", y->change[0] ? json_string(y->change) : json_null());
	json_object_set_new(o, "computed_at", view_time(now_ms));
}

json_t *view_why(const struct server *s, const struct world *w, const struct job *j)
{
	int64_t now_ms = server_now(s).wall_ms;
	struct sched_why y;
	char id[48];
	json_t *o = json_pack("{s:i, s:s, s:s}", "schema", 1, "id", job_id_format(j->id, id),
	        "state", strtab_name(job_state_names, j->state));

	sched_why(s->sched, w, now_ms, j, &y);
	add_why(o, &y, now_ms);
	if (!y.position)
		json_object_set_new(o, "reasons", view_reasons(s, w, j));
	sched_why_done(&y);
	return o;
}

json_t *view_dry_run(const struct server *s, const struct request *r)
{
	int64_t now_ms = server_now(s).wall_ms;
	struct sched_why y;
	const struct node *n;
	json_t *slices = json_array(), *o;

	sched_why_request(s->sched, s->world, now_ms, r, &y);
	n = y.starts ? world_find_node_num(s->world, y.at.node) : NULL;
	for (uint32_t i = 0; n && i < y.at.n_slices; i++)
		json_array_append_new(
		        slices, json_pack("{s:s, s:s, s:I, s:i}", "node", n->name, "device",
		                        n->devices[y.at.slices[i].device].info.uuid, "mem_bytes",
		                        (json_int_t)y.at.slices[i].mem_bytes, "share_milli",
		                        (int)y.at.slices[i].share_milli));
	o = json_pack("{s:i, s:b, s:s?, s:o, s:s, s:o}", "schema", 1, "dry_run", 1, "node",
	        n ? n->name : NULL, "slices", slices, "starts", n ? "now" : "later", "resolved",
	        view_resolved(s->world, &r->gpu));
	add_why(o, &y, now_ms);
	sched_why_done(&y);
	return o;
}
