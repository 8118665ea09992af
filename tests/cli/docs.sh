#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# What is written about the program against what it says of itself: every setting of it and of
# its plugins is explained in katamaran.conf and in the manual, with its default and its range;
# every option of -help has its place; every example of README, manual and conf/ gets past all
# checks of form, to the socket or the sandbox that is not there.
# Needs no privilege and no guest.
set -euo pipefail

tree=$(cd "$(dirname "$0")/../.." && pwd)
katamaran=$(realpath "${KATAMARAN:-./katamaran}")
built=$(realpath "${KATAMARAN_PLUGIN_DIR:-./.libs}")
work=$(mktemp -d "${TMPDIR:-/tmp}/kat-docs-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
umask 022
# A build tree may be writable by a group, and the loader refuses that: a copy is not.
mkdir plugins sandboxes
install -m 644 "$built"/{storage,cutover,announce}-*.so plugins

passed=0 failed=0 rc=0 said=''

# verdict WHAT [COMPLAINT]
verdict() {
	if [[ -z ${2-} ]]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED: %s: %s\n' "$1" "$2"
	fi
}

run() {
	rc=0
	"$katamaran" --plugin-dir "$work/plugins" "$@" >out 2>&1 </dev/null || rc=$?
	said=$(<out)
}

# ready WHAT ARGUMENT...: nothing is wrong with them but that no guest is there.
ready() {
	local what=$1
	run "${@:2}"
	case "$rc ${said##*$'\n'}" in
	'1 katamaran: cannot connect to QMP socket '*': No such file or directory') verdict "$what" ;;
	'2 katamaran: no sandbox '*) verdict "$what" ;;
	*) verdict "$what" "exit code $rc, $said" ;;
	esac
}

# ---- what the program says ---------------------------------------------------------------

# told GROUP KEY: what it says of a value that is wrong for most keys.
told() {
	if [[ $1 ]]; then
		echo "$1: { $2 = -1; };" >k.conf
	else
		echo "$2 = -1;" >k.conf
	fi
	run -c k.conf
}

# Lines of all there is, tab-separated: path, default ("-": none), least and most ("-": no range).
of_core() {
	local group key path default
	local -A defaults=()
	run -help
	while IFS=$'\t' read -r path default; do
		defaults[$path]=$default
	done < <(sed -n 's/.*\[\([a-z_.]*\) = \(.*\)\]$/\1\t\2/p' out)
	for group in '' destination nics ram timeouts peer; do
		told "$group" no_such_key
		while read -r key; do
			case $key in
			destination | nics | ram | timeouts | peer | storage | cutover | announce) continue ;;
			esac
			path=${group:+$group.}$key
			told "$group" "$key"
			printf '%s\t%s\t%s\n' "$path" "${defaults[$path]:--}" \
				"$(range 'from \([0-9]*\) to \([0-9]*\)$' out)"
		done < <(sed 's/.*: allowed are //' out | tr -d ',' | tr ' ' '\n')
	done
}

# range PATTERN FILE: its two groups, with a tab between.
range() {
	local found
	found=$(sed -n "s/.*$1.*/\1\t\2/p" "$2")
	printf '%s' "${found:--$'\t'-}"
}

of_plugins() {
	local so kind line default
	for so in plugins/*.so; do
		kind=${so#plugins/} kind=${kind%.so}
		run --dump-plugin "$kind"
		while read -r line; do
			[[ ${line%%=*} != *.help ]] || continue
			default=${line#*default=}
			[[ $default != "$line" && $default ]] || default=-
			printf '%s\t%s\t%s\n' "${kind/-/.}.${line%%=*}" "${default%,range=*}" \
				"$(range 'range=\(-\?[0-9]*\)\.\.\([0-9]*\)' <(echo "$line"))"
		done < <(sed -n 's/^option\.//p' out)
	done
}

of_core >core
of_plugins >options
(($(wc -l <core) >= 20 && $(wc -l <options) >= 60)) || verdict 'what the program declares' \
	"only $(wc -l <core) settings, and $(wc -l <options) of plugins"

# ---- katamaran.conf ----------------------------------------------------------------------

# Path, value and the prose above it, for each setting of the file, whether it has a mark or not.
# shellcheck disable=SC2016	# perl's own
settings='
	my (@at, @prose, $name, $had);
	while (<>) {
		chomp;
		s/^\s+//;
		if (/^$/) { @prose = (); next }
		if (/^#(\s.*|)$/) { @prose = () if $had; $had = 0; push @prose, $1; next }
		s/^#//;
		s/^, *//;
		if (/^([a-z_]+):$/) { $name = $1 }
		elsif (/^[({]( plugin = "(?:[a-z]+-)?([a-z]+)";)?$/) { push @at, $2 // $name // ""; undef $name }
		elsif (/^[)}]/) { pop @at }
		elsif (/^([a-z_]+) = ([^;]*)/) {
			my $prose = join " ", @prose;
			my $path = join ".", grep { length } @at, $1;
			my $value = $2;
			$value =~ tr/[]" //d;
			$prose =~ s/\s+/ /g;
			$value = "-" unless length $value;
			print "$path\t$value\t $prose\n";
			$had = 1;
		}
	}'

# lacking FILE: what it does not explain, a line each.
lacking() {
	local path value text default least most place
	local -A values=() texts=()
	while IFS=$'\t' read -r path value text; do
		values[$path]=$value texts[$path]=$text
	done < <(perl -e "$settings" "$1")
	while IFS=$'\t' read -r path default least most; do
		place=$path
		case $path in # explained once
		cutover.gre.key | cutover.nftables.devices) ;;
		cutover.script.* | announce.script.*) place=storage.${path#*.} ;;
		cutover.gre.* | cutover.nftables.*) place=cutover.ipip.${path##*.} ;;
		esac
		if [[ ! ${texts[$place]-} ]]; then
			echo "$path is not there"
			continue
		fi
		[[ $default = - || $path = plugin_dir || ${values[$place]} = "$default" ]] ||
			echo "$path is ${values[$place]}, its default $default"
		[[ $most = - || (${texts[$place]} =~ [^0-9-]"$least"[^0-9] &&
			${texts[$place]} = *"to $most"[!0-9]*) ]] ||
			echo "$path: nothing of $least to $most"
	done < <(cat core options)
}

conf=$tree/conf/katamaran.conf
verdict 'katamaran.conf explains everything' "$(lacking "$conf")"
# Or would this notice nothing?
mutant() {
	sed "$1" "$conf" >mutant.conf
	[[ $(lacking mutant.conf) = "$2" ]] || verdict "katamaran.conf after $1" "$(lacking mutant.conf)"
}
mutant '/#stall_s/d' 'storage.nbd.stall_s is not there'
mutant 's/#step_ms = 100/#step_ms = 99/' 'announce.garp.step_ms is 99, its default 100'
mutant 's/same on both ends, 1 to 65535/same on both ends/' 'destination.port: nothing of 1 to 65535'
mutant '/#local =/d' $'cutover.gre.local is not there\ncutover.ipip.local is not there'

# As it is, and with the marks taken from every setting, but not from those that cannot stand
# beside others, or that name folders of a node.
end=(-qmp "$work/none.sock" -dest-ip 192.0.2.1 -vm-ip 10.0.0.5)
for mode in source dest; do
	ready "katamaran.conf, $mode" -c "$conf" -mode $mode "${end[@]}"
done
ready 'katamaran.conf and -drive-id' -c "$conf" -mode source "${end[@]}" -drive-id drive0
ready 'katamaran.conf and -tunnel-mode' -c "$conf" -mode source "${end[@]}" -tunnel-mode gre
sed -E '/^#(sandbox|pod_ip|plugin_dir|summary) =/d; s/^([[:blank:]]*)#([^[:blank:]])/\1\2/' \
	"$conf" >all.conf
ready 'katamaran.conf without its marks' -c all.conf
(($(grep -c ' = ' all.conf) > 60)) || verdict 'katamaran.conf without its marks' 'is short'

run -help
sed -n 's/^  \(-[a-z-]*\).*/\1/p' out >flags
echo -h >>flags
while read -r flag; do
	case $flag in
	-c | -v | -h | -version | -help | -dump-plugin | -list-plugins | -recover | \
		-confirm-other-stopped | -status | -json | -cancel) continue ;;
	esac
	grep -qw -e "$flag" "$conf" || verdict 'katamaran.conf' "does not mention $flag"
done <flags

# ---- the manual --------------------------------------------------------------------------

# item FILE: path and text of each item of the settings or options in a page.
# shellcheck disable=SC2016	# perl's own
items='
	my ($on, $group, $name, $text) = (0, "");
	sub done { print "$name\t $text\n" if defined $name; undef $name }
	while (<>) {
		chomp;
		if (/^=head1 (.*)/) { main::done(); $on = $1 =~ /^(SETTINGS|OPTIONS)$/; next }
		next unless $on;
		if (/^=head2 (.*)/) { main::done(); $group = /^=head2 ([a-z]+)$/ ? "$1." : ""; next }
		if (/^=item B<([a-z_]+)>(.*)/) { main::done(); ($name, $text) = ("$group$1", $2); next }
		if (/^=back/) { main::done(); next }
		$text .= " $_";
	}'

# in_page PAGE DECLARED: what the page does not say.
in_page() {
	local path text default least most
	local -A texts=()
	while IFS=$'\t' read -r path text; do
		texts[$path]=$text
	done < <(perl -e "$items" "$tree/man/$1.pod")
	while IFS=$'\t' read -r path default least most; do
		text=${texts[$path]-}
		unset "texts[$path]"
		if [[ ! $text ]]; then
			echo "nothing of $path"
			continue
		fi
		[[ $default = - || $default = *[/,]* || $text =~ [Dd]efault.*[^0-9a-z]"$default"[^0-9a-z] ]] ||
			echo "$path: nothing of the default $default"
		[[ $most = - || ($text =~ [^0-9-]"$least"[^0-9] && $text = *"to $most"[!0-9]*) ]] ||
			echo "$path: nothing of $least to $most"
	done <"$2"
	# What kinds of plugin share is declared nowhere.
	unset 'texts[plugin]' 'texts[storage]' 'texts[cutover]' 'texts[announce]'
	[[ ${#texts[@]} = 0 ]] || echo "says something of ${!texts[*]}, which is not there"
}

verdict 'katamaran.conf(5)' "$(in_page katamaran.conf.5 core)"
for so in plugins/*.so; do
	plugin=${so#plugins/}
	plugin=${plugin%.so}
	page="katamaran-${plugin/#*-script/script}.7"
	sed -n "s/^${plugin/-/\\.}\.//p" options >declared
	verdict "${page%.7}(7)" "$(in_page "$page" declared)"
done
sed 's/^stall_s\t30\t/stall_s\t31\t/' <(sed -n 's/^storage\.nbd\.//p' options) >declared
echo $'speed\t-\t-\t-' >>declared
[[ $(in_page katamaran-storage-nbd.7 declared) = \
	$'stall_s: nothing of the default 31\nnothing of speed' ]] ||
	verdict 'a page that is wrong' 'is not noticed'

# The options of katamaran(8) are those of -help, no more and no less.
sed -n '/^=head1 OPTIONS/,/^=head1 SUMMARY/p' "$tree/man/katamaran.8.pod" |
	grep -o 'B<--\?[a-z-]*' | sed 's/B<-*/-/' | sort -u >in_page
verdict 'katamaran(8) and -help' "$(sort -u flags | diff - in_page)"
# And nothing else is in its synopsis, or beside a setting of the file.
{
	sed -n '/^=head1 SYNOPSIS/,/^=head1 DESC/p' "$tree/man/katamaran.8.pod" | grep -o 'B<--\?[a-z-]*'
	grep '^=item' "$tree/man/katamaran.conf.5.pod" | grep -o 'B<-[a-z-]*'
} | sed 's/B<-*/-/' | sort -u >in_page
verdict 'flags of SYNOPSIS and katamaran.conf(5)' "$(sort -u flags | comm -13 - in_page)"

# The forms of use are the same in both, with what each of them needs.
run -help
sed '/^$/,$d' out | grep -oE '[ []--?[a-z][a-z-]*' | tr -d ' [' | sed 's/^-*/-/' | sort -u >in_usage
sed -n '/^=head1 SYNOPSIS/,/^=head1 DESC/p' "$tree/man/katamaran.8.pod" |
	grep -o 'B<--\?[a-z-]*' | sed 's/B<-*/-/' | sort -u >in_page
verdict 'the usage of -help and SYNOPSIS' "$(diff in_usage in_page)"
verdict 'SYNOPSIS' "$(printf '%s\n' -c -check -mode -qmp -sandbox | comm -23 - in_page)"

# bash completes all values of a flag that has but a few.
# shellcheck source=conf/katamaran.bash
. "$tree/conf/katamaran.bash"
tried=0
while read -r flag values; do
	tried=$((tried + 1))
	COMP_WORDS=(katamaran "$flag" '') COMP_CWORD=2 COMPREPLY=()
	_katamaran
	verdict "the completion of $flag" "$(diff <(tr '|' '\n' <<<"$values") <(printf '%s\n' "${COMPREPLY[@]}"))"
done < <(sed -n 's/^  \(-[a-z-]*\) \([a-z-]*|[a-z|-]*\)$/\1 \2/p' out)
((tried >= 4)) || verdict 'the completion' "was tried for $tried flags only"

if command -v pod2man >/dev/null && command -v groff >/dev/null; then
	for page in "$tree"/man/*.pod; do
		pod2man --utf8 "$page" page.roff
		verdict "${page##*/}" "$(grep -n 'POD ERRORS' page.roff)$(groff -k -man -Tutf8 -ww -z page.roff 2>&1)"
	done
else
	echo '# no pod2man, or no groff: how the pages look is not tried'
fi

# ---- examples ----------------------------------------------------------------------------

# Each command "katamaran -..." of a block, and each piece of configuration, as a file of its own.
# shellcheck disable=SC2016	# perl's own
blocks='
	my ($page, $out, $n, $on, $text) = (shift, shift, 0, 0);
	open(my $f, "<", $page) or die "$page: $!";
	sub done {
		my $kind = $text =~ /^\s*(#.*\n\s*)*(storage|cutover|announce|peer|mode|nics)\b[^\n]*[:=]/ ? "conf" : "sh";
		$n++;
		open(my $o, ">", sprintf("%s.%02d.%s", $out, $n, $kind)) or die;
		print $o $text;
		close $o;
		$text = "";
	}
	while (<$f>) {
		my $in = $page =~ /\.md$/ ? $on : /^ /;
		if ($page =~ /\.md$/ && /^```/) { $on = !$on; $in = 0 }
		if ($in) { $text .= $_ } elsif (length $text) { main::done() }
	}
	main::done() if length $text'

mkdir blocks
for page in "$tree/README.md" "$tree"/man/*.pod; do
	name=${page##*/}
	perl -e "$blocks" "$page" "blocks/${name%.pod}"
done
pieces=0 commands=0
for block in blocks/*.conf; do
	[[ $block != *katamaran-plugin.3* ]] || continue # an example of no plugin that is here
	pieces=$((pieces + 1))
	# Where a script's path is looked at, there has to be one.
	sed 's|"/etc/katamaran/[a-z-]*"|"/bin/true"|' "$block" >block.conf
	given=("${end[@]}")
	! grep -q '^ *qmp =' block.conf || given=()
	ready "${block##*/}" -c block.conf -mode source "${given[@]}"
done
for block in blocks/*.sh; do
	sed -n -e ':more' -e '/\\$/{N;s/\\\n//;b more' -e '}' -e 's/^ *katamaran -/-/p' "$block" >lines
	while read -r line; do
		[[ $line = *-mode* && $line != *...* ]] || continue
		commands=$((commands + 1))
		line=${line%% #*}
		line=${line//\/etc\/katamaran.conf/$conf}
		[[ $line != *-sandbox* && $line != *-pod-ip* ]] || line+=" -sandbox-dir $work/sandboxes"
		# shellcheck disable=SC2086	# words on purpose
		ready "${block##*/}: $line" $line
	done <lines
done
((pieces >= 11 && commands >= 9)) ||
	verdict 'README and manual' "only $pieces pieces of configuration and $commands commands"
for file in "$tree"/conf/examples/*.conf; do
	ready "${file##*/}" -c "$file"
done

echo "$passed passed, $failed failed"
((failed == 0))
