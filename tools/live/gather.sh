#!/bin/bash
# gather.sh ADMIN MASTER CERTIFICATE STATUS: what HAProxy says about itself, for tools/live/answers.py. Changes nothing.
# ADMIN and MASTER are its sockets, CERTIFICATE is the file that it serves, STATUS has the last words of the certificate's
# renewal. Each answer follows a line with its name; one that cannot be had is empty.
set -euo pipefail

admin=$1 master=$2 certificate=$3 status=$4

main() {
  local processes worker old
  processes=$(ask "$master" "show proc")
  answer processes echo "$processes"
  answer information ask "$admin" "show info"
  answer statistics ask "$admin" "show stat"
  answer certificate ask "$admin" "show ssl cert $certificate"
  answer renewal cat "$status"
  mapfile -t old < <(sed -n '/^# old workers/,$ s/^\([0-9][0-9]*\) .*/\1/p' <<<"$processes")
  for worker in "${old[@]}"; do
    answer "statistics $worker" ask "$master" "@!$worker show stat"
  done
}

# answer NAME COMMAND…
answer() {
  printf '=== %s\n' "$1"
  "${@:2}" 2>/dev/null || true
}

# ask SOCKET COMMAND
ask() {
  socat -t 5 -T 5 - "UNIX-CONNECT:$1" <<<"$2" 2>/dev/null || true
}

main
