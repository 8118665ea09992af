# SPDX-License-Identifier: BSD-2-Clause
# What a site has written into its configuration stays, also when a later release is
# installed: that one's own is among the examples in any case.
install-data-local:
	$(MKDIR_P) $(DESTDIR)$(sysconfdir)
	test -e $(DESTDIR)$(sysconfdir)/katamaran.conf || \
		$(INSTALL_DATA) $(srcdir)/conf/katamaran.conf $(DESTDIR)$(sysconfdir)/katamaran.conf
uninstall-local:
	if cmp -s $(srcdir)/conf/katamaran.conf $(DESTDIR)$(sysconfdir)/katamaran.conf; then \
		rm -f $(DESTDIR)$(sysconfdir)/katamaran.conf; \
	fi

examplesdir = $(docdir)/examples
dist_examples_DATA = conf/katamaran.conf conf/examples/source.conf \
	conf/examples/destination.conf conf/examples/site-script conf/examples/ovn-script

# A plugin that is built against the installed tree, with its own Makefile.
examplepluginsdir = $(examplesdir)/plugin
dist_exampleplugins_DATA = conf/examples/plugin/vip.c conf/examples/plugin/Makefile \
	conf/examples/plugin/README

kubernetesdir = $(examplesdir)/kubernetes
dist_kubernetes_DATA = conf/kubernetes/Containerfile conf/kubernetes/install.yaml \
	conf/kubernetes/source.yaml conf/kubernetes/destination.yaml

# configure's own substitutions would still have ${prefix} in them.
KAT_UNIT = conf/systemd/katamaran@.service
EXTRA_DIST += $(KAT_UNIT).in
CLEANFILES += $(KAT_UNIT)
$(KAT_UNIT): $(KAT_UNIT).in Makefile
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(SED) -e 's|[@]sbindir[@]|$(sbindir)|g' -e 's|[@]sysconfdir[@]|$(sysconfdir)|g' \
		$(top_srcdir)/$(KAT_UNIT).in >$@.tmp && mv $@.tmp $@
all-local: $(KAT_UNIT)

if WITH_SYSTEMD
systemdsystemunit_DATA = $(KAT_UNIT)
endif

# bash finds it by the program's name.
EXTRA_DIST += conf/katamaran.bash
if WITH_BASH_COMPLETION
install-data-hook:
	$(MKDIR_P) $(DESTDIR)$(bashcompletiondir)
	$(INSTALL_DATA) $(srcdir)/conf/katamaran.bash $(DESTDIR)$(bashcompletiondir)/katamaran
uninstall-hook:
	rm -f $(DESTDIR)$(bashcompletiondir)/katamaran
endif
