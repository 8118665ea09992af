# SPDX-License-Identifier: BSD-2-Clause
# What stands in front of QEMU; the real one is a link in the folder of settings.
sbin_PROGRAMS += katamaran-qemu

# All of it but main(), so that tests can link it.
noinst_LTLIBRARIES += core/qemu/libkatqemu.la
core_qemu_libkatqemu_la_SOURCES = \
	core/qemu/arguments.c core/qemu/arguments.h \
	core/qemu/machine.c core/qemu/machine.h \
	core/qemu/matching.c core/qemu/matching.h
core_qemu_libkatqemu_la_CPPFLAGS = $(AM_CPPFLAGS) $(JSON_C_CFLAGS)
core_qemu_libkatqemu_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden

katamaran_qemu_SOURCES = core/qemu/main.c
katamaran_qemu_CPPFLAGS = $(AM_CPPFLAGS) -DKAT_QEMU='"$(sysconfdir)/katamaran/qemu"' \
	$(JSON_C_CFLAGS)
katamaran_qemu_LDADD = core/qemu/libkatqemu.la core/libkatcore.la
