/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes of a monitor, through the client's own buffer and parser, in pieces
 * whose lengths are fuzzed as well.  What must hold: the queue and its count
 * agree, and nothing is read once the connection has failed.
 */
#include "../../core/qmp.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_queue(const struct kat_qmp *qmp)
{
	struct kat_qmp_event *const *link = &qmp->events;
	unsigned int n = 0;

	for (; *link; link = &(*link)->next)
		n++;
	if (n != qmp->n_events || link != qmp->events_tail)
		abort();
}

/* As receive(), without a socket. */
static void feed(struct kat_qmp *qmp, const uint8_t *data, size_t len)
{
	if (qmp->failure)
		return;
	make_room(qmp);
	memcpy(qmp->in + qmp->in_end, data, len);
	qmp->in_end += len;
	read_lines(qmp);
	check_queue(qmp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kat_qmp *qmp = calloc(1, sizeof(*qmp));

	qmp->fd = -1;
	qmp->path = strdup("fuzz");
	qmp->tokener = json_tokener_new_ex(JSON_DEPTH);
	json_tokener_set_flags(qmp->tokener, JSON_TOKENER_STRICT);
	qmp->events_tail = &qmp->events;
	if (size > 0) {
		qmp->greeted = data[0] & 1;
		qmp->awaited_id = data[0] & 2 ? 7 : 0;
		qmp->unanswered = data[0] >> 6;
	}
	for (size_t at = 1; at < size;) {
		size_t len = 1 + data[at] % 64;

		if (len > size - at)
			len = size - at;
		feed(qmp, data + at, len);
		at += len;
	}
	if (qmp->reply) {
		cleanup_error struct kat_error *err = NULL;
		cleanup_json struct json_object *result = NULL;

		if (read_result(qmp->reply, &result, &err) < 0 && !err)
			abort();
	}
	kat_qmp_close(&qmp);
	return 0;
}
