/* SPDX-License-Identifier: BSD-2-Clause */
/* Members of JSON objects that may be missing or of another type than expected. */
#ifndef KAT_JSON_H
#define KAT_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json_object.h>

static inline void kat_cleanup_json(struct json_object **json)
{
	json_object_put(*json); /* accepts NULL */
}
#define cleanup_json __attribute__((__cleanup__(kat_cleanup_json)))

/* Members of a reply that may be missing: NULL, or `fallback`. */
const char *kat_json_string(struct json_object *object, const char *member);
int64_t kat_json_int(struct json_object *object, const char *member, int64_t fallback);
bool kat_json_bool(struct json_object *object, const char *member, bool fallback);
struct json_object *kat_json_member(struct json_object *object, const char *member);

#endif /* KAT_JSON_H */
