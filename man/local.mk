# SPDX-License-Identifier: BSD-2-Clause
# The manual is written in POD.
KAT_PODS = \
	man/katamaran.8.pod \
	man/katamaran-qemu.8.pod \
	man/katamaran.conf.5.pod \
	man/katamaran-plugin.3.pod \
	man/katamaran-announce-garp.7.pod \
	man/katamaran-announce-self.7.pod \
	man/katamaran-cutover-gre.7.pod \
	man/katamaran-cutover-ipip.7.pod \
	man/katamaran-cutover-nftables.7.pod \
	man/katamaran-script.7.pod \
	man/katamaran-storage-nbd.7.pod \
	man/katamaran-storage-none.7.pod \
	man/katamaran-storage-shared.7.pod
EXTRA_DIST += $(KAT_PODS)

if HAVE_POD2MAN
man_MANS = \
	man/katamaran.8 \
	man/katamaran-qemu.8 \
	man/katamaran.conf.5 \
	man/katamaran-plugin.3 \
	man/katamaran-announce-garp.7 \
	man/katamaran-announce-self.7 \
	man/katamaran-cutover-gre.7 \
	man/katamaran-cutover-ipip.7 \
	man/katamaran-cutover-nftables.7 \
	man/katamaran-script.7 \
	man/katamaran-storage-nbd.7 \
	man/katamaran-storage-none.7 \
	man/katamaran-storage-shared.7
CLEANFILES += $(man_MANS)
endif

# Two builds of one release make the same pages: a page's date is that of
# SOURCE_DATE_EPOCH, and without it the version stands there.
KAT_POD_DATE = \
	if test -n "$$SOURCE_DATE_EPOCH"; then \
		date -u -d "@$$SOURCE_DATE_EPOCH" +%Y-%m-%d; \
	else \
		echo "$(PACKAGE_VERSION)"; \
	fi

# "KATAMARAN.CONF" and "5" for man/katamaran.conf.5.
KAT_POD_NAME = basename $@ | sed 's/\.[0-9]$$//' | tr a-z A-Z
KAT_POD_SECTION = echo $@ | sed 's/.*\.//'

SUFFIXES = .pod
.pod:
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(POD2MAN) --errors=die --utf8 --center=katamaran --release="$(PACKAGE_STRING)" \
		--name="`$(KAT_POD_NAME)`" --section="`$(KAT_POD_SECTION)`" \
		--date="`$(KAT_POD_DATE)`" $< $@.tmp && mv $@.tmp $@
