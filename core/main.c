/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "ask.h"
#include "config.h"
#include "engine.h"
#include "error.h"
#include "loader.h"
#include "log.h"
#include "recover.h"
#include "sandbox.h"
#include "status.h"
#include "util.h"

/*
 * Whoever started us may have closed a standard stream.  A socket that got its
 * number would have log lines written into it: takes the number with something
 * that fails as a closed descriptor does.
 */
static void keep_standard_streams(void)
{
	for (int fd = 0; fd <= 2; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
		    open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
			_exit(KAT_EXIT_FAILED);
	}
}

static int act(enum kat_action action, struct kat_config *config, const char *name,
	       struct kat_error **err)
{
	if (config->verbose)
		kat_log_level(KAT_DEBUG);
	switch (action) {
	case KAT_ACTION_HELP:
		fputs(kat_config_usage(), stdout);
		return 0;
	case KAT_ACTION_VERSION:
		printf("katamaran %s\n", PACKAGE_VERSION);
		return 0;
	case KAT_ACTION_DUMP_PLUGIN:
		return kat_loader_dump(config->plugin_dir, name, err);
	case KAT_ACTION_LIST_PLUGINS:
		return kat_loader_list(config->plugin_dir, err);
	case KAT_ACTION_RECOVER:
		return kat_recover(config, name, err);
	case KAT_ACTION_STATUS:
		return kat_status(config, name, err);
	case KAT_ACTION_CANCEL:
		return kat_cancel(config, name, err);
	case KAT_ACTION_MIGRATE:
		break;
	}
	if (config->guest_state)
		return kat_ask_answer(config, err);
	return kat_sandbox_find(config, err) < 0 ? -1 : kat_engine_run(config, err);
}

int main(int argc, char **argv)
{
	cleanup_error struct kat_error *err = NULL;
	struct kat_config config;
	enum kat_action action;
	char *name = NULL;
	bool loaded;
	int ret;

	keep_standard_streams();
	ret = kat_config_load(argc, argv, &config, &action, &name, &err);
	loaded = ret == 0;
	if (loaded)
		ret = act(action, &config, name, &err);
	if (ret == 0 && (fflush(stdout) || ferror(stdout)))
		ret = kat_error_set(&err, KAT_EXIT_FAILED, "standard output: %m");
	if (ret < 0 && err)
		kat_error_print(err, "katamaran");
	if (!loaded && action == KAT_ACTION_HELP)
		fprintf(stderr, "\n%s", kat_config_usage());
	kat_config_free(&config);
	free(name);
	if (ret == 0)
		return KAT_EXIT_OK;
	return err && err->exit_code ? (int)err->exit_code : KAT_EXIT_FAILED;
}
