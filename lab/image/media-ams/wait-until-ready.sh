#!/bin/bash
# Ends when the server serves: its ports open one after another, and its applications load after them. systemd calls the
# service started then, or gives up after TimeoutStartSec.
set -euo pipefail

answer() { # PATH: the status code; 000 while nobody listens
    curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:5080$1" || true
}

until [ "$(answer /rest/v2/liveness)" = 200 ]; do sleep 0.2; done
# An application that is still loading refuses (403) what it does not have (404) once it runs.
until [ "$(answer /LiveApp/streams/none.m3u8)" = 404 ]; do sleep 0.2; done
until ss -Hltn 'sport = :1935' | grep -q .; do sleep 0.2; done
