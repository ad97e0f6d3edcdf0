#!/bin/sh
# run.sh NAME... starts `sluice run NAME.yaml` for each name, one after the other, as soon as the one before is ready, and ends all of them on
# Ctrl-C. The name redis@ADDRESS starts a Redis there, if there is one to start. The program is $SLUICE, or bin/sluice of this repository.
set -u

sluice=${SLUICE:-../../../bin/sluice}
[ -x "$sluice" ] || { echo "there is no program $sluice: run make build, or set SLUICE" >&2; exit 1; }
logs=$(mktemp -d) || exit 1
pids=

# stop ends what was started, by its process ids, and the script with the given code.
stop() {
	trap '' INT TERM HUP
	for pid in $pids; do kill -TERM "$pid" 2>/dev/null; done
	wait
	rm -rf "$logs"
	exit "$1"
}
trap 'stop 0' INT TERM HUP

# begin NAME LINE COMMAND... starts a command and waits until it has written the line.
begin() {
	name=$1 line=$2
	shift 2
	: >"$logs/$name"
	"$@" >>"$logs/$name" 2>&1 &
	pid=$!
	pids="$pids $pid"
	until grep -q "$line" "$logs/$name"; do
		kill -0 "$pid" 2>/dev/null || { echo "$name has ended:" >&2; cat "$logs/$name" >&2; stop 1; }
		sleep 0.05 2>/dev/null || sleep 1 # POSIX knows whole seconds only
	done
	echo "$name is ready, process $pid"
}

for name in "$@"; do
	case $name in
	redis@*)
		port=${name##*:}
		if command -v redis-server >/dev/null; then
			begin redis 'Ready to accept connections' redis-server --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$logs"
		else
			echo "redis-server is missing: each gateway counts its part of a limit" >&2
		fi
		;;
	*) begin "$name" '^sluice: ready' "$sluice" run "$name.yaml" ;;
	esac
done

echo "all is ready at http://127.0.0.1:8080; Ctrl-C ends it"
wait
stop 0
