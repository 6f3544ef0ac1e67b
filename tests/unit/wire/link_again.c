#include "link_again.h"

static void put_stream_again(struct buf *b, const struct link_message *m)
{
	switch (m->type) {
	case LINK_STREAM_OPEN:
		link_put_stream_open(b, &m->stream_open);
		break;
	case LINK_STREAM_DATA:
		link_put_stream_data(b, &m->stream_data);
		break;
	case LINK_STREAM_WINDOW:
		link_put_stream_window(b, &m->stream_window);
		break;
	case LINK_STREAM_CLOSE:
		link_put_stream_close(b, &m->stream_close);
		break;
	default:
		link_put_empty(b, m->type);
	}
}

static void put_order_again(struct buf *b, const struct link_message *m)
{
	switch (m->type) {
	case LINK_WELCOME:
		link_put_welcome(b, &m->welcome);
		break;
	case LINK_BLOB:
		link_put_blob(b, &m->blob);
		break;
	case LINK_START:
		link_put_start(b, &m->start);
		break;
	case LINK_STOP:
		link_put_stop(b, &m->stop);
		break;
	case LINK_ACK:
		link_put_ack(b, m->ack_epoch);
		break;
	case LINK_REMOVE:
		link_put_remove(b, &m->remove);
		break;
	case LINK_DROP:
		link_put_drop(b, m->drop_blob);
		break;
	default:
		put_stream_again(b, m);
	}
}

void link_put_again(struct buf *b, const struct link_message *m)
{
	switch (m->type) {
	case LINK_HELLO:
		link_put_hello(b, &m->hello);
		break;
	case LINK_STARTED:
	case LINK_ENDED:
		link_put_record(b, &m->record);
		break;
	case LINK_DEVICES:
		link_put_devices(b, &m->devices);
		break;
	case LINK_REMOVED:
		link_put_removed(b, m->removed_number);
		break;
	case LINK_USE:
		link_put_use(b, &m->use);
		break;
	case LINK_NOTE:
		link_put_note(b, &m->note);
		break;
	default:
		put_order_again(b, m);
	}
}
