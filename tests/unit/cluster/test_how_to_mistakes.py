"""The twenty mistakes of the how-to that this project replaces: none is made here, and each would be seen.

Every mistake has a check that finds it, and a way to make it: the check must be silent on what we generate and speak up
once the mistake is made. docs/from-the-how-to.md says what each does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cluster import render
from cluster.plan import ClusterPlan
from cluster.templates import TEMPLATES
from tests.unit.cluster.haproxy_text import of_kind, sections

Check = Callable[[str], bool]
Make = Callable[[str], str]


@dataclass(frozen=True)
class Mistake:
    """`file` is one of `render.HOST_FILES`."""

    number: int
    what: str
    is_made: Check
    make: Make
    file: str = "haproxy.cfg"


def has(pattern: str) -> Check:
    return lambda text: re.search(pattern, text, re.MULTILINE) is not None


def lacks(pattern: str) -> Check:
    return lambda text: not has(pattern)(text)


def replace(old: str, new: str) -> Make:
    def change(text: str) -> str:
        assert old in text, f"{old!r} is not there to be replaced"
        return text.replace(old, new)

    return change


def append(line: str) -> Make:
    return lambda text: text + line + "\n"


def an_address_is_in_a_pool_twice(text: str) -> bool:
    found = Counter((section, words[2].split(":")[0]) for section, words in of_kind(text, "server"))
    return max(found.values()) > 1


def a_server_is_in_a_pool_twice(text: str) -> bool:
    return max(Counter((section, words[1]) for section, words in of_kind(text, "server")).values()) > 1


def a_port_is_bound_twice(text: str) -> bool:
    return max(Counter(words[1] for _, words in of_kind(text, "bind")).values()) > 1


def a_redirect_leads_to_a_port_without_tls(text: str) -> bool:
    with_tls = {words[1].lstrip(":") for _, words in of_kind(text, "bind") if "ssl" in words}
    ports = [match[1] or "443" for match in re.finditer(r"https://%\[req\.hdr\(host\),host_only\](?::(\d+))?%", text)]
    return "redirect scheme" in text or len(ports) != 2 or not set(ports) <= with_tls


def an_answer_that_takes_long_is_cut(text: str) -> bool:
    return any(
        words[1] in ("client", "server") and int(words[2].rstrip("s")) < 30 for _, words in of_kind(text, "timeout")
    ) or lacks(r"^    timeout tunnel \d+m$")(text)


def a_claim_of_the_client_gets_through(text: str) -> bool:
    return has(r"reqadd|add-header X-Forw")(text) or lacks("set-header X-Forwarded-Proto")(text)


def the_statistics_are_open(text: str) -> bool:
    page = "\n".join(sections(text)["frontend stats from http"])
    return "stats auth" in page or "http-request auth" not in page or " ssl crt " not in page.split("\n")[0]


def one_pool_takes_publishers_and_players(text: str) -> bool:
    pools = sections(text)
    return not {"backend origins from node", "backend edges from node"} <= set(pools)


def all_connections_are_one_number(text: str) -> bool:
    most = int(next(words[1] for section, words in of_kind(text, "maxconn") if section == "global"))
    return most <= 2000 or lacks(r"reject if { act_conn gt \d+ }")(text)


MISTAKES = [
    Mistake(
        1,
        "the second node has the first one's address",
        an_address_is_in_a_pool_twice,
        replace("edge-1 172.30.0.132:5080", "edge-1 172.30.0.32:5080"),
    ),
    Mistake(
        2,
        "a client's own X-Forwarded-Proto gets through",
        a_claim_of_the_client_gets_through,
        replace("set-header X-Forwarded-Proto", "add-header X-Forwarded-Proto"),
    ),
    Mistake(3, "RTMPS binds a port that HTTPS has", a_port_is_bound_twice, replace("bind :1936 ", "bind :443 ")),
    Mistake(4, "two servers have one name", a_server_is_in_a_pool_twice, replace("server edge-1", "server origin-1")),
    Mistake(5, "a shell's variable stands in the file", has(r"\$[A-Z{]"), append("    bind $DOMAIN:443")),
    Mistake(
        6,
        "a redirect leads to a port that speaks no TLS",
        a_redirect_leads_to_a_port_without_tls,
        replace("host_only]:5443%", "host_only]:5080%"),
    ),
    Mistake(
        7,
        "5 s timeouts cut slow answers and silent streams",
        an_answer_that_takes_long_is_cut,
        replace("timeout server 60s", "timeout server 5s"),
    ),
    Mistake(
        8,
        "a header may trickle in for ever",
        lacks(r"^    timeout http-request 10s$"),
        replace("timeout http-request", "timeout check"),
    ),
    Mistake(
        9, "options for HTTP in proxies for TCP", has(r"option (httplog|forwardfor)"), append("    option httplog")
    ),
    Mistake(
        10,
        "packages of archives that are gone",
        has("ppa:|add-apt-repository"),
        append("add-apt-repository ppa:vbernat"),
        "install.sh",
    ),
    Mistake(
        11,
        "certbot needs the port that HAProxy has",
        lacks("--http-01-address 127.0.0.1 --http-01-port 8888"),
        replace("--http-01-port 8888", ""),
        "certbot.sh",
    ),
    Mistake(
        12,
        "without a certificate HAProxy cannot start for the first time",
        lacks("openssl req -x509"),
        replace("openssl req -x509", "true"),
        "placeholder.sh",
    ),
    Mistake(
        13,
        "each renewal is appended to the certificate",
        has(r">>\s*\S*(pem|\$certificate)"),
        append('cat "$new" >>"$certificate"'),
        "certbot.sh",
    ),
    Mistake(14, "a www name is taken for granted", has(r"www\."), append("-d www.$domain"), "certbot.sh"),
    Mistake(
        15, "a check that only connects", lacks(r"http-check expect status 200"), replace("http-check expect", "#")
    ),
    Mistake(
        16,
        "statistics in the clear, with their password in the file",
        the_statistics_are_open,
        replace("http-request auth realm statistics unless { http_auth(stats) }", "stats auth admin:admin"),
    ),
    Mistake(
        17,
        "publishers and players share a pool",
        one_pool_takes_publishers_and_players,
        replace("backend edges from node", "backend more from node"),
    ),
    Mistake(
        18,
        "2,000 idle sockets hold up everything",
        all_connections_are_one_number,
        replace("reject if { act_conn", "reject if { fe_conn"),
    ),
    Mistake(
        19,
        "http-server-close costs half of the throughput",
        has("http-server-close|httpclose"),
        append("    option http-server-close"),
    ),
    Mistake(
        20,
        "a restart cuts every connection",
        has("systemctl (restart|stop) haproxy"),
        append("systemctl restart haproxy"),
        "configure.sh",
    ),
]


def test_there_are_twenty() -> None:
    assert [mistake.number for mistake in MISTAKES] == list(range(1, 21))


def test_the_page_for_who_comes_from_the_how_to_has_each() -> None:
    page = (TEMPLATES.parent / "docs" / "from-the-how-to.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)
    assert rows == [(str(mistake.number), mistake.what) for mistake in MISTAKES]
    paths = set(re.findall(r"`([a-z]+/[a-z/_-]+\.[a-z0-9.]+)`", page))
    assert [path for path in sorted(paths) if not (TEMPLATES.parent / path).exists()] == []


def test_each_test_that_the_page_names_is_there() -> None:
    page = (TEMPLATES.parent / "docs" / "from-the-how-to.md").read_text()
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", page)
    assert len(named) == len(MISTAKES) - 1, "all but what is measured"
    assert [each for each in named if f"def {each[1]}(" not in (TEMPLATES.parent / each[0]).read_text()] == []


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake.number}: {mistake.what}")
def test_the_mistake_is_not_made_and_would_be_seen(mistake: Mistake, make_plan: Callable[..., ClusterPlan]) -> None:
    ours = render.HOST_FILES[mistake.file](make_plan())
    assert not mistake.is_made(ours)
    assert mistake.is_made(mistake.make(ours)), "the check would not have seen it"


@pytest.mark.parametrize("name", [name for name in render.HOST_FILES if name.endswith(".sh")])
def test_no_script_restarts_haproxy_or_appends_to_a_certificate(
    name: str, make_plan: Callable[..., ClusterPlan]
) -> None:
    by_number = {mistake.number: mistake for mistake in MISTAKES}
    for number in (10, 13, 20):
        assert not by_number[number].is_made(render.HOST_FILES[name](make_plan())), by_number[number].what
