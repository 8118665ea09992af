/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What became of the guest on the other node: what a recovering source has to know
 * before its guest may go on.  It starts its peer command with -guest-state, which
 * changes nothing there, and over the link (peer.h) goes
 *
 *	source                        destination
 *	ask {qemu}                    state {qemu, guest, migration, uuid, phase, id, ran,
 *reason}
 *
 * where `qemu` of the question is which QEMU was to take the guest, as the
 * destination told when it was ready, and that of the answer "ended", "same",
 * "another" or "unknown" (nobody answers, and who it was cannot be compared).
 * `phase` and `id` are those of a katamaran that has that QEMU's monitor, and `ran`
 * stands where one was killed when the guest ran there already.
 * An older katamaran refuses the flag, and so does not answer.
 */
#ifndef KAT_ASK_H
#define KAT_ASK_H

#include "config.h"
#include "end.h"

enum kat_other {
	KAT_OTHER_UNKNOWN, /* or it may still come to run there */
	KAT_OTHER_HAS_IT,  /* the guest is there, and is not to go on here */
	KAT_OTHER_HAS_NOT, /* it is not, and will not be */
};

/* A process of a node, in one word: boot, pid namespace, pid, start. */
#define KAT_IDENTITY_BYTES 128

/* Which QEMU this end has; "" where it cannot be told from another one. */
void kat_ask_identity(pid_t qemu, char text[KAT_IDENTITY_BYTES]);

/* Whether the text can be one: it goes into the journal as it is. */
bool kat_ask_is_identity(const char *text);

/*
 * Asks the other end of a source that is being recovered; takes up to a minute.
 * `identity` is that of the other end's QEMU (NULL: not told), `uuid` the guest's
 * (or NULL), `over` whether no migration goes on here.  `told`, malloc'ed, gets
 * what is known in words.
 */
enum kat_other kat_ask(struct kat_end *end, const char *identity, const char *uuid,
		       bool over, char **told);

/* Its judgement; pure. */
enum kat_other kat_ask_judge(struct json_object *answer, const char *uuid, bool over,
			     char **told);

/* The other side of that: katamaran -guest-state -peer-stdio. */
int kat_ask_answer(struct kat_config *config, struct kat_error **err);

#endif /* KAT_ASK_H */
