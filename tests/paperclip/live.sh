#!/usr/bin/env bash
# Runs the tests of the adapter against a real Paperclip server: installs it (about 1.6 GB, from npm), starts it, runs the tests, stops
# it, and removes it again. Needs npm, curl and cargo; as root it also needs setpriv, because the server's PostgreSQL refuses root.
#
#   tests/paperclip/live.sh             the tests
#   tests/paperclip/live.sh --record    and writes tests/paperclip/fixtures anew
#
# PAPERCLIP_DIR   where to install; what is there is used, and kept. Default: a new directory that is removed at the end.
# PAPERCLIP       which package. Default: paperclipai@latest
set -euo pipefail
cd "$(dirname "$0")/../.."

record=${1-}
dir=${PAPERCLIP_DIR-}
port=3100
[ -z "$record" ] || [ "$record" = --record ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
if curl -fs -o /dev/null -m 2 "http://127.0.0.1:$port/api/health"; then
  echo "something listens on port $port already: stop it first" >&2
  exit 1
fi

say() { printf '=== %s\n' "$*"; }

made=
if [ -z "$dir" ]; then
  dir=$(mktemp -d /var/tmp/paperclip.XXXXXX)
  made=$dir
fi
mkdir -p "$dir/home"
dir=$(cd "$dir" && pwd)
user=()
if [ "$(id -u)" = 0 ]; then
  user=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
  chown nobody "$dir" "$dir/home"
fi
# With the settings that npm has here.
install() {
  (cd "$dir" && exec "${user[@]}" env HOME="$dir/home" npm install --no-audit --no-fund --no-save --loglevel=error "$@")
}
# In an environment of its own: what is set here must not reach the server (DATABASE_URL would make it use another database).
own=("${user[@]}" env -i HOME="$dir/home" LANG=C.UTF-8 PATH="$dir/node_modules/.bin:$PATH")

server=
stop() {
  if [ -n "$server" ]; then
    say "stop"
    # The server and the PostgreSQL that it started are one group of processes.
    kill -TERM -- "-$server" 2> /dev/null || true
    for _ in $(seq 100); do kill -0 -- "-$server" 2> /dev/null || break; sleep 0.1; done
    kill -KILL -- "-$server" 2> /dev/null || true
    if curl -fs -o /dev/null -m 2 "http://127.0.0.1:$port/api/health"; then echo "it goes on: process $server" >&2; fi
  fi
  rm -rf "$dir/data"
  [ -z "$made" ] || rm -rf "$made"
}
trap stop EXIT

if [ ! -x "$dir/node_modules/.bin/paperclipai" ]; then
  say "install node 24 and ${PAPERCLIP:-paperclipai@latest}"
  install node@24 "${PAPERCLIP:-paperclipai@latest}"
fi
bin=$dir/node_modules/.bin
say "node $("${own[@]}" "$bin/node" --version), paperclipai $(sed -n 's/.*"version": "\(.*\)".*/\1/p' "$dir/node_modules/paperclipai/package.json")"

say "start"
rm -rf "$dir/data"
(cd "$dir" && exec "${own[@]}" setsid "$bin/paperclipai" onboard --yes --bind loopback --no-install-service --run -d data) \
  > "$dir/log" 2>&1 < /dev/null &
server=$!
for _ in $(seq 120); do
  curl -fs -o /dev/null -m 2 "http://127.0.0.1:$port/api/health" && break
  sleep 0.5
done
if ! curl -fs -o /dev/null -m 2 "http://127.0.0.1:$port/api/health"; then
  tail -n 20 "$dir/log" >&2
  exit 1
fi

say "test"
export PORTCULLIS_PAPERCLIP_URL="http://127.0.0.1:$port"
if [ -n "$record" ]; then export PORTCULLIS_PAPERCLIP_RECORD=1; fi
cargo test -p portcullis-tests --test paperclip --locked
