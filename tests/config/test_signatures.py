"""Requests to S3 are signed as AWS computes it: the lab's S3 looks at no signature, so a wrong one would pass there.

What the host runs is taken from its program: curl of Debian 13, with credentials from a metadata service, all of it
inside the image. The signature is computed a second time here, as AWS describes it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import pytest

from cluster import host_files
from tests.config.conftest import ProgramRunner

KEY, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session/token+with=signs"
BUCKET = "my-backups"

SERVER = """
import http.server, json, subprocess, sys, threading

answers = {"/latest/api/token": "token", "/latest/meta-data/placement/region": "us-east-1",
           "/latest/meta-data/iam/security-credentials/": "role",
           "/latest/meta-data/iam/security-credentials/role": sys.argv[1]}
seen = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path not in answers:
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen.append([self.command, self.path, headers, body.decode()])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answers.get(self.path, "").encode())
    do_PUT = do_GET
    def log_message(self, *_):
        pass

subprocess.run("ip link set lo up; ip addr add 169.254.169.254/32 dev lo", shell=True, check=True)
server = http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
subprocess.run(["bash", "-c", sys.argv[2]], check=True)
print(json.dumps(seen))
"""


def signature(method: str, target: str, headers: dict[str, str]) -> str:
    """AWS's own computation. Source: Signature Version 4 signing process, in the manual of IAM."""
    path, _, query = target.partition("?")
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\S+?), ?SignedHeaders=(\S+?), ?Signature=\S+", headers["authorization"]
    )
    assert found
    scope, signed = found[1].removeprefix(KEY + "/"), found[2].split(";")
    assert {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"} <= set(signed)
    pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(query, keep_blank_values=True))
    canonical = [
        method,
        quote(unquote(path), safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in pairs),
        *(f"{name}:{' '.join(headers[name].split())}" for name in signed),
        "",
        ";".join(signed),
        headers["x-amz-content-sha256"],
    ]
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{headers['x-amz-date']}\n{scope}\n{digest}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def sent(run_on_debian: ProgramRunner, request: str) -> list[Any]:
    """The one request that a command of the program makes of S3."""
    program = host_files.database_program().text
    functions = "".join(
        program[(start := program.index(f"\n{name}() {{")) : program.index(end, start + 1) + 2]
        for end, names in (("\n}", ("s3", "aws_request")), ("\n", ("metadata", "encoded")))
        for name in names
    )
    script = "\n".join(
        [
            "set -euo pipefail",
            f"echo 127.0.0.1 {BUCKET}.s3.us-east-1.amazonaws.com >>/etc/hosts",
            functions.replace("https://", "http://"),
            f"bucket={BUCKET} prefix=antmedia/my-stack/",
            "echo hello >/tmp/file",
            request,
        ]
    )
    credentials = json.dumps({"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": SESSION})
    done = run_on_debian(["python3", "-", credentials, script], stdin=SERVER)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout.splitlines()[-1])
    request_line: list[Any] = found
    return request_line


@pytest.mark.parametrize(
    ("request_", "method", "target", "body"),
    [
        (
            's3 "${prefix}2026-11-25T03-00-00Z.gz" --upload-file /tmp/file',
            "PUT",
            "/antmedia/my-stack/2026-11-25T03-00-00Z.gz",
            "hello\n",
        ),
        (
            's3 "${prefix}2026-11-25T03-00-00Z.gz" --output /tmp/got',
            "GET",
            "/antmedia/my-stack/2026-11-25T03-00-00Z.gz",
            "",
        ),
        (
            's3 "?list-type=2&prefix=$(encoded "$prefix")"',
            "GET",
            "/?list-type=2&prefix=antmedia%2Fmy-stack%2F",
            "",
        ),
        (
            's3 "?list-type=2&prefix=$(encoded "$prefix")&start-after=$(encoded "${prefix}2026-11-25T03-00-00Z.gz")"',
            "GET",
            "/?list-type=2&prefix=antmedia%2Fmy-stack%2F&start-after=antmedia%2Fmy-stack%2F2026-11-25T03-00-00Z.gz",
            "",
        ),
    ],
    ids=["backup", "restore", "list", "next page of the list"],
)
def test_requests_to_s3_have_the_signature_that_aws_computes(
    run_on_debian: ProgramRunner, request_: str, method: str, target: str, body: str
) -> None:
    found = sent(run_on_debian, request_)
    assert (found[0], found[1], found[3]) == (method, target, body)
    assert found[2]["authorization"].endswith("Signature=" + signature(method, target, found[2]))
    assert found[2]["x-amz-security-token"] == SESSION
