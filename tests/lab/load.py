"""load.py URL: keeps a few connections busy, new and kept, until its standard input ends; prints what was lost."""

from __future__ import annotations

import http.client
import json
import ssl
import sys
import threading
from urllib.parse import urlsplit

CONNECTIONS = 4
REQUESTS_PER_CONNECTION = 20

url = urlsplit(sys.argv[1])
assert url.hostname
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE
over = threading.Event()
counted = {"answered": 0, "lost": 0}
reasons: set[str] = set()
lock = threading.Lock()


def work() -> None:
    while not over.is_set():
        connection = http.client.HTTPSConnection(url.hostname or "", url.port or 443, timeout=10, context=trusting)
        try:
            for _ in range(REQUESTS_PER_CONNECTION):
                connection.request("GET", url.path)
                answer = connection.getresponse()
                answer.read()
                with lock:
                    counted["answered" if answer.status == 200 else "lost"] += 1
                over.wait(0.01)
                if answer.will_close or over.is_set():
                    break
        except (OSError, http.client.HTTPException) as error:
            with lock:
                counted["lost"] += 1
                reasons.add(repr(error))
        finally:
            connection.close()


threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
print(json.dumps({**counted, "reasons": sorted(reasons)}))
