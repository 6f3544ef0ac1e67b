/* Nodes, queues, tokens, blobs, counters. Jobs: record_job.c. */
#include "wire/record.h"
#include "wire/field.h"

#include <string.h>

enum {
	NODE_NUM = 1,
	NODE_NAME,
	NODE_BOOT,
	NODE_DRAINED,
	NODE_LOCAL,
	NODE_CPUS,
	NODE_MEM,
	NODE_DEVICE,
	NODE_KEY_HASH
};

static const struct field device_fields[] = {
        FIELD_OF_FIXED(device_info, 1, uuid),
        FIELD_OF_FIXED(device_info, 2, model),
        FIELD(device_info, 3, FIELD_U32, index),
        FIELD(device_info, 4, FIELD_U64, mem_bytes),
        FIELD(device_info, 5, FIELD_U32, cc),
        FIELD(device_info, 6, FIELD_U32, cuda),
        FIELD_OF_FIXED(device_info, 7, driver),
        FIELD(device_info, 8, FIELD_I32, numa_node),
        FIELD(device_info, 9, FIELD_CPUS, cpus),
        FIELD(device_info, 10, FIELD_BOOL, simulated),
        FIELD_OF_ENUM(device_info, 11, health, DEVICE_OK, DEVICE_LOST),
        FIELD_OF_FIXED(device_info, 12, health_text),
        FIELD(device_info, 13, FIELD_U64, withheld_bytes),
        FIELD_OF_ENUM(device_info, 14, held_by, HELD_BY_NONE, HELD_BY_MIG),
        FIELD(device_info, 15, FIELD_U32, card_milli),
};
static const struct field_table device_table = FIELD_TABLE(device_info, device_fields);

/* A node as it is stored. */
struct node_record {
	uint64_t num;
	char name[64];
	char boot_id[40];
	char key_hash[65];
	bool drained, is_local;
	struct cpu_set cpus;
	uint64_t mem_bytes;
	struct device_info *devices;
	uint32_t n_devices;
};

static const struct field node_fields[] = {
        FIELD(node_record, NODE_NUM, FIELD_U64, num),
        FIELD_OF_FIXED(node_record, NODE_NAME, name),
        FIELD_OF_FIXED(node_record, NODE_BOOT, boot_id),
        FIELD(node_record, NODE_DRAINED, FIELD_BOOL, drained),
        FIELD(node_record, NODE_LOCAL, FIELD_BOOL, is_local),
        FIELD(node_record, NODE_CPUS, FIELD_CPUS, cpus),
        FIELD(node_record, NODE_MEM, FIELD_U64, mem_bytes),
        FIELD_OF_LIST(node_record, NODE_DEVICE, devices, n_devices, NODE_DEVICES_MAX, device_table),
        FIELD_OF_FIXED(node_record, NODE_KEY_HASH, key_hash),
};
static const struct field_table node_table = FIELD_TABLE(node_record, node_fields);

void record_put_node(struct buf *b, const struct node *n)
{
	struct device_info devices[NODE_DEVICES_MAX];
	struct node_record r = {.num = n->num,
	        .drained = n->drained,
	        .is_local = n->is_local,
	        .cpus = n->cpus,
	        .mem_bytes = n->mem_bytes,
	        .devices = devices,
	        .n_devices = MIN(n->n_devices, NODE_DEVICES_MAX)};

	memcpy(r.name, n->name, sizeof(r.name));
	memcpy(r.boot_id, n->boot_id, sizeof(r.boot_id));
	memcpy(r.key_hash, n->key_hash, sizeof(r.key_hash));
	for (uint32_t i = 0; i < r.n_devices; i++)
		devices[i] = n->devices[i].info;
	field_table_put(&node_table, &r, b);
}

static int corrupt(struct err *err, const char *what)
{
	return err_set(err, ERR_CORRUPT, "a stored %s is damaged", what);
}

int record_get_node(const void *data, size_t len, void *ctx, struct node *ret_node,
        struct device_info **ret_devices, uint32_t *ret_n, struct err *err)
{
	struct node_record r = {0};

	if (!field_table_get(&node_table, data, len, ctx, &r) || !r.num || r.num > UINT64_MAX / 2 ||
	        !r.name[0])
		return corrupt(err, "node");
	*ret_node = (struct node){.num = r.num,
	        .drained = r.drained,
	        .is_local = r.is_local,
	        .cpus = r.cpus,
	        .mem_bytes = r.mem_bytes};
	memcpy(ret_node->name, r.name, sizeof(r.name));
	memcpy(ret_node->boot_id, r.boot_id, sizeof(r.boot_id));
	memcpy(ret_node->key_hash, r.key_hash, sizeof(r.key_hash));
	*ret_devices = r.devices;
	*ret_n = r.n_devices;
	return 0;
}

static const struct field queue_fields[] = {
        FIELD_OF_FIXED(queue, 1, name),
        FIELD(queue, 2, FIELD_BOOL, paused),
        FIELD(queue, 3, FIELD_TEXT, overlay),
};
static const struct field_table queue_table = FIELD_TABLE(queue, queue_fields);

void record_put_queue(struct buf *b, const struct queue *q)
{
	field_table_put(&queue_table, q, b);
}

int record_get_queue(
        const void *data, size_t len, void *ctx, struct queue *ret_queue, struct err *err)
{
	struct queue q = {0};

	if (!field_table_get(&queue_table, data, len, ctx, &q) || !q.name[0])
		return corrupt(err, "queue");
	*ret_queue = q;
	return 0;
}

enum {
	TOKEN_NUM = 1,
	TOKEN_NAME,
	TOKEN_HASH,
	TOKEN_ROLE,
	TOKEN_USER,
	TOKEN_MADE,
	TOKEN_EXPIRES,
	TOKEN_NODE
};

void record_put_token(struct buf *b, const struct token *t)
{
	codec_put_u64(b, TOKEN_NUM, t->num);
	codec_put_str(b, TOKEN_NAME, t->name);
	codec_put_bytes(b, TOKEN_HASH, t->hash, sizeof(t->hash));
	codec_put_u64(b, TOKEN_ROLE, t->role);
	codec_put_str(b, TOKEN_USER, t->user);
	codec_put_i64(b, TOKEN_MADE, t->made_ms);
	codec_put_i64(b, TOKEN_EXPIRES, t->expires_ms);
	codec_put_str(b, TOKEN_NODE, t->node);
}

int record_get_token(const void *data, size_t len, struct token *ret_token, struct err *err)
{
	struct codec_reader r = codec_read(data, len);
	struct codec_field f;
	struct token t = {0};
	bool has_hash = false;

	while (codec_next(&r, &f)) {
		switch (f.tag) {
		case TOKEN_NUM:
			t.num = f.u;
			break;
		case TOKEN_NAME:
			codec_strcpy(t.name, sizeof(t.name), &f);
			break;
		case TOKEN_HASH:
			has_hash = f.is_bytes && f.len == sizeof(t.hash);
			if (has_hash)
				memcpy(t.hash, f.data, sizeof(t.hash));
			break;
		case TOKEN_ROLE:
			t.role = f.u <= ROLE_AGENT ? (enum role)f.u : ROLE_USER;
			break;
		case TOKEN_USER:
			codec_strcpy(t.user, sizeof(t.user), &f);
			break;
		case TOKEN_NODE:
			codec_strcpy(t.node, sizeof(t.node), &f);
			break;
		case TOKEN_MADE:
			t.made_ms = codec_i64(&f);
			break;
		case TOKEN_EXPIRES:
			t.expires_ms = codec_i64(&f);
			break;
		default:
			break;
		}
	}
	if (r.bad || !has_hash || !t.name[0] || t.num > UINT64_MAX / 2)
		return corrupt(err, "token");
	*ret_token = t;
	return 0;
}

enum { BLOB_HASH = 1, BLOB_USED, BLOB_DATA };

void record_put_blob(struct buf *b, const struct record_blob *r)
{
	codec_put_bytes(b, BLOB_HASH, r->hash, 16);
	codec_put_i64(b, BLOB_USED, r->used_ms);
	codec_put_bytes(b, BLOB_DATA, r->data, r->len);
}

int record_get_blob(const void *data, size_t len, struct record_blob *ret_blob, struct err *err)
{
	struct codec_reader r = codec_read(data, len);
	struct codec_field f;
	struct record_blob out = {0};

	while (codec_next(&r, &f)) {
		if (f.tag == BLOB_HASH && f.is_bytes && f.len == 16)
			out.hash = f.data;
		else if (f.tag == BLOB_USED)
			out.used_ms = codec_i64(&f);
		else if (f.tag == BLOB_DATA && f.is_bytes) {
			out.data = f.data;
			out.len = f.len;
		}
	}
	if (r.bad || !out.hash)
		return corrupt(err, "blob");
	*ret_blob = out;
	return 0;
}

enum { META_JOB = 1, META_EPOCH, META_ORDER, META_BLOB, META_NODE, META_TOKEN };

void record_put_meta(struct buf *b, const struct world *w)
{
	codec_put_u64(b, META_JOB, w->next_job);
	codec_put_u64(b, META_EPOCH, w->next_epoch);
	codec_put_u64(b, META_ORDER, w->next_order);
	codec_put_u64(b, META_BLOB, w->next_blob);
	codec_put_u64(b, META_NODE, w->next_node);
	codec_put_u64(b, META_TOKEN, w->next_token);
}

int record_get_meta(const void *data, size_t len, struct world *w, struct err *err)
{
	uint64_t *const counters[] = {NULL, &w->next_job, &w->next_epoch, &w->next_order,
	        &w->next_blob, &w->next_node, &w->next_token};
	struct codec_reader r = codec_read(data, len);
	struct codec_field f;

	while (codec_next(&r, &f)) {
		if (f.tag < META_JOB || f.tag > META_TOKEN)
			continue;
		if (f.is_bytes || f.u > UINT64_MAX / 2)
			return corrupt(err, "counter");
		*counters[f.tag] = MAX(*counters[f.tag], f.u);
	}
	return r.bad ? corrupt(err, "counter") : 0;
}

void record_put_history(struct buf *b, const struct job *j)
{
	const struct transition *t =
	        j->n_transitions ? &j->transitions[j->n_transitions - 1] : NULL;

	codec_put_u64(b, 1, j->state);
	codec_put_str(b, 2, reason_code(j->reason));
	codec_put_u64(b, 3, j->epoch);
	if (t)
		codec_put_str(b, 4, t->text);
}
