/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "util.h"

static const char *type_name(uint32_t type)
{
	switch (type) {
	case KATAMARAN_STRING:
		return "a string";
	case KATAMARAN_INT:
		return "an integer";
	case KATAMARAN_BOOL:
		return "true or false";
	case KATAMARAN_LIST:
		return "a list of strings";
	}
	return "something unknown";
}

/* A default list: words separated by commas. */
static int split_list(struct kat_value *value, const char *text)
{
	char *save = NULL;
	char *word;

	value->split = strdup(text);
	value->items = calloc(strlen(text) + 2, sizeof(*value->items));
	if (!value->split || !value->items)
		return -1;
	for (word = strtok_r(value->split, ",", &save); word;
	     word = strtok_r(NULL, ",", &save))
		value->items[value->n_items++] = word;
	return 0;
}

static int take_default(struct kat_value *value)
{
	const char *dflt = value->option->dflt;

	switch (value->option->type) {
	case KATAMARAN_STRING:
		value->string = dflt;
		return 0;
	case KATAMARAN_INT:
		value->integer = dflt ? strtoll(dflt, NULL, 0) : 0;
		return 0;
	case KATAMARAN_BOOL:
		value->integer = dflt && !strcmp(dflt, "true");
		return 0;
	default:
		return split_list(value, dflt ? dflt : "");
	}
}

static int check_range(const struct kat_step *step, const struct kat_setting *setting,
		       const struct katamaran_option *option, struct kat_error **err)
{
	if (option->type != KATAMARAN_INT || (!option->min && !option->max))
		return 0;
	if (setting->integer >= option->min && setting->integer <= option->max)
		return 0;
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "%s: %s: %s = %" PRId64 " is out of range: %" PRId64
			     " to %" PRId64 " is allowed",
			     setting->where, step->name, option->name, setting->integer,
			     option->min, option->max);
}

static int take_setting(const struct kat_step *step, struct kat_value *value,
			const struct kat_setting *setting, struct kat_error **err)
{
	const struct katamaran_option *option = value->option;

	if (setting->type != option->type)
		return kat_error_set(err, KAT_EXIT_USAGE, "%s: %s: %s must be %s, not %s",
				     setting->where, step->name, option->name,
				     type_name(option->type), type_name(setting->type));
	if (check_range(step, setting, option, err) < 0)
		return -1;
	value->string = setting->string;
	value->integer = setting->integer;
	if (option->type != KATAMARAN_LIST)
		return 0;
	value->items = calloc(setting->n_items + 1, sizeof(*value->items));
	if (!value->items)
		return kat_error_set(err, KAT_EXIT_FAILED, "no memory for the plan");
	for (size_t i = 0; i < setting->n_items; i++)
		value->items[i] = setting->items[i];
	value->n_items = setting->n_items;
	return 0;
}

static const struct kat_setting *find_setting(const struct kat_plugin_config *config,
					      const char *name)
{
	for (size_t i = 0; i < config->n_settings; i++)
		if (!strcmp(config->settings[i].name, name))
			return &config->settings[i];
	return NULL;
}

/* An unknown key names what would have been known. */
static int unknown_setting(const struct kat_step *step, const struct kat_setting *setting,
			   struct kat_error **err)
{
	char known[512] = "";
	size_t len = 0;

	for (size_t i = 0; i < step->n_values && len < sizeof(known); i++)
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
					i ? ", " : "", step->values[i].option->name);
	return kat_error_set(err, KAT_EXIT_USAGE,
			     "%s: %s has no option \"%s\" (it has: %s)", setting->where,
			     step->name, setting->name, len ? known : "none");
}

static int check_unknown(const struct kat_step *step,
			 const struct kat_plugin_config *config, struct kat_error **err)
{
	for (size_t i = 0; i < config->n_settings; i++) {
		const struct kat_setting *setting = &config->settings[i];
		bool known = false;

		for (size_t j = 0; j < step->n_values && !known; j++)
			known = !strcmp(step->values[j].option->name, setting->name);
		if (!known)
			return unknown_setting(step, setting, err);
	}
	return 0;
}

static int take_options(struct kat_step *step, const struct kat_plugin_config *config,
			struct kat_error **err)
{
	const struct katamaran_option *option = step->plugin->options;
	size_t n = 0;

	while (option && option[n].name)
		n++;
	step->values = calloc(n + 1, sizeof(*step->values));
	if (!step->values)
		return kat_error_set(err, KAT_EXIT_FAILED, "no memory for the plan");
	step->n_values = n;
	for (size_t i = 0; i < n; i++)
		step->values[i].option = &option[i];
	if (check_unknown(step, config, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		const struct kat_setting *setting = find_setting(config, option[i].name);

		if (setting && take_setting(step, &step->values[i], setting, err) < 0)
			return -1;
		if (!setting && (option[i].flags & KATAMARAN_REQUIRED))
			return kat_error_set(err, KAT_EXIT_USAGE,
					     "%s: %s needs the option \"%s\": %s",
					     config->where, step->name, option[i].name,
					     option[i].help ? option[i].help : "");
		if (!setting && take_default(&step->values[i]) < 0)
			return kat_error_set(err, KAT_EXIT_FAILED,
					     "no memory for the plan");
	}
	return 0;
}

static void free_step(struct kat_step *step)
{
	for (size_t i = 0; i < step->n_values; i++) {
		free(step->values[i].items);
		free(step->values[i].split);
	}
	free(step->values);
	memset(step, 0, sizeof(*step));
}

static int add_step(struct kat_plan *plan, const struct kat_config *config,
		    const struct kat_plugin_config *entry, kat_plan_load *load,
		    struct kat_error **err)
{
	struct kat_step *step = &plan->steps[plan->n_steps];

	step->plugin = load(config->plugin_dir, entry->kind, entry->plugin, NULL, err);
	if (!step->plugin)
		return kat_error_wrap(err, "%s", entry->where);
	snprintf(step->name, sizeof(step->name), "%s-%s",
		 kat_loader_kind_name(step->plugin->kind), step->plugin->name);
	plan->n_steps++; /* from here kat_plan_free() sees it */
	if (take_options(step, entry, err) < 0)
		return -1;
	if (!(step->plugin->roles & config->role)) {
		free_step(step); /* checked, but it has no part on this end */
		plan->n_steps--;
	}
	return 0;
}

int kat_plan_make(struct kat_plan *plan, const struct kat_config *config,
		  kat_plan_load *load, struct kat_error **err)
{
	memset(plan, 0, sizeof(*plan));
	plan->steps = calloc(config->n_plugins + 1, sizeof(*plan->steps));
	if (!plan->steps)
		return kat_error_set(err, KAT_EXIT_FAILED, "no memory for the plan");
	for (uint32_t kind = KATAMARAN_STORAGE; kind <= KATAMARAN_ANNOUNCE; kind++)
		for (size_t i = 0; i < config->n_plugins; i++)
			if (config->plugins[i].kind == kind &&
			    add_step(plan, config, &config->plugins[i], load, err) < 0)
				return -1;
	return 0;
}

void kat_plan_free(struct kat_plan *plan)
{
	for (size_t i = 0; i < plan->n_steps; i++)
		free_step(&plan->steps[i]);
	free(plan->steps);
	memset(plan, 0, sizeof(*plan));
}

const struct kat_value *kat_plan_value(const struct kat_step *step, const char *name,
				       uint32_t type)
{
	for (size_t i = 0; i < step->n_values; i++)
		if (!strcmp(step->values[i].option->name, name) &&
		    step->values[i].option->type == type)
			return &step->values[i];
	return NULL;
}
