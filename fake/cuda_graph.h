/*
 * Inside of graphs: nodes, what instances of them are made of, and captures. All under the driver's lock. A graph owns its
 * nodes; memory of an allocation node lives as long as some graph or instance knows it. Failures are CUDA's result codes.
 */
#pragma once

#include "cuda.h"

/* What an allocation node allots: its address is known from the beginning, the card's memory is taken at a launch. */
struct graph_memory {
	struct block *block;
	unsigned n_users; /* nodes, in graphs and instances */
	unsigned card;
	uint64_t bytes; /* whole granules */
	bool live;      /* allotted, and not freed since */
};

struct cu_graph_node {
	struct object o;
	struct cu_graph_node *next; /* in the order that they were added */
	struct cu_graph *graph;
	int type; /* enum cu_node_type; NODE_... */
	struct cu_func *func;
	struct work work;
	cu_host_fn fn;
	void *data;
	struct graph_memory *memory;
	struct cu_alloc_node alloc;
	struct cu_graph *child; /* CU_NODE_GRAPH */
};

enum { NODE_MEMCPY = 1, NODE_HOST = 3, NODE_EMPTY = 5 };

struct cu_graph {
	struct object o;
	struct cu_graph_node *nodes, **end;
	size_t n_nodes;
	bool is_child; /* of a node, with which it ends */
};

struct cu_graph_exec {
	struct object o;
	struct cu_graph *graph; /* its own copy */
	unsigned long long flags;
};

struct capture {
	struct capture *next;
	struct cu_graph *graph;
	struct cu_stream *origin;
	pthread_t owner;
	int mode; /* 0: global, 1: of its thread, 2: relaxed */
	uint64_t id;
	bool spoilt;
	bool keeps_graph; /* it is the caller's, captured into */
};

struct cu_graph *graph_new(void);
void graph_end(struct cu_graph *g);
struct cu_graph_node *node_new(struct cu_graph *g, int type);
enum cu_result node_alloc(
        struct cu_graph *g, unsigned card, uint64_t bytes, struct cu_graph_node **ret_node);
enum cu_result node_free(struct cu_graph *g, cu_ptr at, struct cu_graph_node **ret_node);
/* With the nodes of child graphs in the places of these. */
enum cu_result graph_copy(const struct cu_graph *from, struct cu_graph **ret_graph);
