# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# bash completion for katamaran(8): it asks the program itself what there is.

_katamaran() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=''
	# bash takes "=" for a word of its own.
	[[ $word != = ]] || word=''
	[[ $before != = ]] || before=${COMP_WORDS[COMP_CWORD - 2]}
	case ${before#-} in
	mode | -mode) words='source dest' ;;
	tunnel-mode | -tunnel-mode) words='ipip gre nftables none' ;;
	order | -order) words='redirect-first salvage' ;;
	auto-converge | -auto-converge) words='true false' ;;
	tap | -tap) words=$(ls /sys/class/net) ;;
	sandbox | -sandbox) words=$(ls /run/vc/vm 2>/dev/null) ;;
	dump-plugin | -dump-plugin)
		words=$("${COMP_WORDS[0]}" --list-plugins 2>/dev/null | sed 's/ .*//')
		;;
	c | -c | qmp | -qmp | summary | -summary | plugin-dir | -plugin-dir | run-dir | -run-dir | \
		sandbox-dir | -sandbox-dir)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	*)
		words=$("${COMP_WORDS[0]}" -help 2>/dev/null | sed -n 's/^  \(-[a-z-]*\).*/\1/p')
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o filenames -F _katamaran katamaran
