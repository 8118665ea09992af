/* SPDX-License-Identifier: BSD-2-Clause */
#include <stddef.h>

#include <json-c/json_object.h>

#include "json.h"

struct json_object *kat_json_member(struct json_object *object, const char *member)
{
	struct json_object *value;

	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, member, &value))
		return NULL;
	return value;
}

const char *kat_json_string(struct json_object *object, const char *member)
{
	struct json_object *value = kat_json_member(object, member);

	return json_object_is_type(value, json_type_string)
		       ? json_object_get_string(value)
		       : NULL;
}

int64_t kat_json_int(struct json_object *object, const char *member, int64_t fallback)
{
	struct json_object *value = kat_json_member(object, member);

	return json_object_is_type(value, json_type_int) ? json_object_get_int64(value)
							 : fallback;
}

bool kat_json_bool(struct json_object *object, const char *member, bool fallback)
{
	struct json_object *value = kat_json_member(object, member);

	return json_object_is_type(value, json_type_boolean)
		       ? json_object_get_boolean(value)
		       : fallback;
}
