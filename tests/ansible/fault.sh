#!/bin/sh
# Stands before a program on a node, in a directory that comes first in the module's search path, and makes one command
# of a run go wrong. /etc/faults/at has the command's number, /etc/faults/how what becomes of it; log has them all.
# What others run (keepalived's scripts, a shell of the module's own) passes through.
name=${0##*/}
real=$(PATH=/usr/sbin:/usr/bin:/sbin:/bin command -v "$name")
tr '\0' ' ' <"/proc/$PPID/cmdline" | grep -q 'plugins[.]modules[.]apply ' || exec "$real" "$@"
cd /etc/faults || exit 99
echo "$name $*" >>log
[ "$(wc -l <log)" = "$(cat at)" ] || exec "$real" "$@"
case $(cat how) in
fail)
  echo "it failed on purpose" >&2
  exit 1
  ;;
half) # killed after half of what it was to do
  cat >input
  lines=$(wc -l <input)
  head -n $((lines / 2)) input | "$real" "$@" >/dev/null 2>&1
  kill -KILL $$
  ;;
hang) exec sleep 600 ;;
module-before)
  kill -KILL "$PPID"
  exit 1
  ;;
module-after)
  "$real" "$@"
  kill -KILL "$PPID"
  ;;
esac
