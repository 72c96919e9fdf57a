"""What a person is told about a stack file."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.instance_types import InstanceType
from cluster.settings import Mistake, Settings, SettingsError, load, secrets_in_the_clear
from tests import stack_files
from tests.unit.cluster.conftest import NOW, VALID


def mistakes(values: dict[str, Any], *, secret: tuple[str, ...] = ()) -> dict[str, Mistake]:
    with pytest.raises(SettingsError) as caught:
        load(values, now=NOW, secret=secret)
    return {mistake.key: mistake for mistake in caught.value.mistakes}


def load_file(file: Path) -> Settings:
    values, secret, elsewhere = stack_files.StackFile(file).configuration()
    return load(values, now=datetime.now(UTC), secret=secret, elsewhere=elsewhere)


REFUSED = [file for file in stack_files.BAD if stack_files.told_by_the_program(file)]


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_a_bad_stack_file_is_answered_word_for_word(file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_file(file)
    assert str(caught.value) == stack_files.expected(file)
    shown = [text for text in stack_files.StackFile(file).secrets if text in str(caught.value)]
    assert not shown, "a secret is shown"


@pytest.mark.parametrize("file", stack_files.GOOD, ids=lambda file: file.stem)
def test_an_unusual_stack_file_is_taken_with_a_warning_where_one_is_due(file: Path) -> None:
    values, secret, _ = stack_files.StackFile(file).configuration()
    warnings = (*secrets_in_the_clear(values, secret), *load_file(file).warnings)
    assert "\n".join(warnings) == stack_files.expected(file).strip()


def test_what_is_left_out_has_safe_defaults(valid: dict[str, Any]) -> None:
    settings = load(valid, now=NOW)
    assert settings.network.cidr == "172.30.0.0/16"
    assert settings.network.zones == 2
    assert (settings.media.origins.count, settings.media.edges.count) == (1, 1)
    assert settings.media.apps == ("LiveApp",)
    assert settings.tls.mode == "letsencrypt"


def test_every_mistake_is_reported_at_once(valid: dict[str, Any]) -> None:
    valid |= {
        "domian": "live.example.com",
        "domain": "https://live.example.com",
        "adminCidrs": ["0.0.0.0/0", "203.0.113.0/24"],
        "network": {"cidr": "172.30.0.1/16", "zones": "2"},
    }
    valid["media"]["edges"] = {"count": 0}
    found = mistakes(valid)
    assert set(found) == {
        "antmedia:domian",
        "antmedia:domain",
        "antmedia:adminCidrs[0]",
        "antmedia:network.cidr",
        "antmedia:network.zones",
        "antmedia:media.edges.count",
    }


@pytest.mark.parametrize(
    ("section", "wrong", "key", "held", "may_hold"),
    [
        ("domain", "localhost", "domain", "localhost", "a domain name"),
        ("domain", "UPPER.example.com", "domain", "UPPER.example.com", "small letters"),
        ("domain", "10.0.0.1", "domain", "10.0.0.1", "a domain name"),
        ("adminCidrs", [], "adminCidrs", "[]", "1 to 20"),
        ("adminCidrs", ["::/0"], "adminCidrs[0]", "::/0", "an IPv4 network"),
        ("adminCidrs", ["203.0.113.7"], "adminCidrs[0]", "203.0.113.7", "in CIDR notation"),
        ("adminCidrs", "203.0.113.7/32", "adminCidrs", "203.0.113.7/32", "a list"),
        ("network", {"cidr": "172.30.0.0/24"}, "network.cidr", "172.30.0.0/24", "from /16 to /20"),
        ("network", {"cidr": "8.8.0.0/16"}, "network.cidr", "8.8.0.0/16", "private"),
        ("network", {"zones": 7}, "network.zones", "7", "from 1 to 6"),
        ("network", {"zones": "2"}, "network.zones", '"2"', "a whole number"),
        ("network", "172.30.0.0/16", "network", "172.30.0.0/16", "the keys cidr, zones and flowLogDays"),
        ("tls", {"mode": "letsencript"}, "tls.mode", "letsencript", "letsencrypt, provided, self-signed or none"),
        ("loadBalancer", {"ami": "debian-13-amd64-*"}, "loadBalancer.ami", "debian-13-amd64-*", "exact name"),
        ("loadBalancer", {"instanceType": "t9.huge"}, "loadBalancer.instanceType", "t9.huge", "t3.small"),
        (
            "loadBalancer",
            {"timeouts": {"tunnelMinutes": 0}},
            "loadBalancer.timeouts.tunnelMinutes",
            "0",
            "from 1 to 1440",
        ),
        ("loadBalancer", {"count": 2}, "loadBalancer.count", "2", "1: more than one load balancer is not possible yet"),
        ("loadBalancer", {"clearHttp": "both"}, "loadBalancer.clearHttp", "both", "redirect or serve"),
        ("loadBalancer", {"stickiness": "yes"}, "loadBalancer.stickiness", "yes", "true or false"),
        ("loadBalancer", {"limits": True}, "loadBalancer.limits", "true", "or false for no limits"),
        (
            "loadBalancer",
            {"limits": {"connections": 1}},
            "loadBalancer.limits.connections",
            "1",
            "from 10 to 1000000",
        ),
        (
            "loadBalancer",
            {"instanceType": "t3.small", "maxConnections": 50000},
            "loadBalancer.maxConnections",
            "50000",
            "at most 13000: what the memory of a t3.small carries",
        ),
        (
            "loadBalancer",
            {"publishName": "live.example.com"},
            "loadBalancer.publishName",
            "live.example.com",
            "not domain's",
        ),
        (
            "loadBalancer",
            {"publishName": "a.example.com", "playName": "a.example.com"},
            "loadBalancer.playName",
            "a.example.com",
            "not loadBalancer.publishName's",
        ),
        ("media", {"ami": "ami-0123456789abcdef0", "apps": ["rest"]}, "media.apps[0]", "rest", "names of applications"),
        ("media", {"ami": "latest"}, "media.ami", "latest", "the id of an Ant Media Server image"),
        ("media", {"ami": "ami-0123456789abcdef0", "apps": []}, "media.apps", "[]", "a list of names"),
        ("database", {"mode": "mongo"}, "database.mode", "mongo", "managed, external or none"),
        ("database", {"onDestroy": "keep"}, "database.onDestroy", "keep", "refuse, snapshot or delete"),
        ("database", {"members": 3}, "database.members", "3", "1: a managed database is one host"),
        ("database", {"backup": {"hour": 3}}, "database.backup.bucket", "nothing", "an S3 bucket that exists"),
        (
            "database",
            {"backup": {"bucket": "my.bucket"}},
            "database.backup.bucket",
            "my.bucket",
            "without dots",
        ),
        ("database", {"packageSource": {"key": "abc"}}, "database.packageSource.key", "abc", "BEGIN PGP PUBLIC KEY"),
        ("database", {"packageSource": {"url": "ftp://x"}}, "database.packageSource.url", "ftp://x", "https://"),
        ("databaseLogin", {}, "databaseLogin.password", "nothing", "12 to 128 letters"),
        ("databaseLogin", {"password": "has/a+slash:and@"}, "databaseLogin.password", "[secret]", "12 to 128 letters"),
        (
            "databaseLogin",
            {"password": "horse-battery-correct", "uri": "mongodb://a:b@c"},
            "databaseLogin.uri",
            "[secret]",
            "whose address the program knows",
        ),
        ("stats", {"user": "x y", "password": "correct-horse-battery"}, "stats.user", "x y", "a login name"),
    ],
)
def test_a_mistake_names_key_value_and_what_it_may_hold(
    valid: dict[str, Any], section: str, wrong: Any, key: str, held: str, may_hold: str
) -> None:
    found = mistakes(valid | {section: wrong})
    assert list(found) == [f"antmedia:{key}"]
    mistake = found[f"antmedia:{key}"]
    assert mistake.held == held
    assert may_hold in mistake.may_hold
    assert mistake.remedy


def test_keys_that_do_not_go_together_are_named_beside_those_that_are_wrong(valid: dict[str, Any]) -> None:
    del valid["domain"], valid["databaseLogin"], valid["adminCidrs"]
    valid["media"]["edges"] = {"instanceType": "t3.large"}
    valid |= {"network": {"zones": 7}, "loadBalancer": {"instanceType": "t9.huge"}, "domian": "x"}
    assert set(mistakes(valid)) == {
        f"antmedia:{key}"
        for key in (
            *("adminCidrs", "network.zones", "loadBalancer.instanceType", "domian"),
            *("domain", "databaseLogin.password", "media.edges.instanceType"),
        )
    }


def test_a_nodes_type_is_told_beside_a_wrong_load_balancer(valid: dict[str, Any]) -> None:
    valid["media"]["edges"] = {"instanceType": "t3.large"}
    assert set(mistakes(valid | {"loadBalancer": {"count": 2}})) == {
        "antmedia:loadBalancer.count",
        "antmedia:media.edges.instanceType",
    }


def test_nothing_is_said_of_keys_that_depend_on_a_wrong_one(valid: dict[str, Any]) -> None:
    """With tls.mode letsencrypt, the default, a domain would be needed; what was meant is not known."""
    del valid["domain"]
    valid["tls"] = {"mode": "self-singed"}
    assert set(mistakes(valid)) == {"antmedia:tls.mode"}


@pytest.mark.parametrize("key", ["adminCidrs", "media", "ssh", "stats", "administrator"])
def test_a_required_key_that_is_missing_is_named(valid: dict[str, Any], key: str) -> None:
    del valid[key]
    assert mistakes(valid)[f"antmedia:{key}"].held == "nothing"


def test_nodes_that_are_no_cluster_are_warned_of(valid: dict[str, Any]) -> None:
    assert load(valid, now=NOW).warnings == ()
    (warning,) = load(valid | {"database": {"mode": "none"}}, now=NOW).warnings
    assert "the 2 media nodes form no cluster" in warning


def test_a_type_that_the_table_does_not_know_needs_its_figures(valid: dict[str, Any]) -> None:
    valid["media"]["origins"] = {"instanceType": "c8i.xlarge"}
    found = mistakes(valid)
    assert found.keys() == {"antmedia:media.origins.instanceType"}
    assert "instanceTypes: { c8i.xlarge: { vcpus" in found["antmedia:media.origins.instanceType"].remedy
    valid["instanceTypes"] = {"c8i.xlarge": {"vcpus": 4, "memoryGib": 8}}
    assert load(valid, now=NOW).figures("c8i.xlarge") == InstanceType(4, 8)
    valid["instanceTypes"] = {"c8i.xlarge": {"vcpus": 4}}
    assert mistakes(valid).keys() == {"antmedia:instanceTypes.c8i.xlarge.memoryGib"}


@pytest.mark.parametrize("name", ["t3.large", "c5.large"])
def test_a_node_smaller_than_the_server_asks_for_is_refused_unless_it_is_wanted(
    valid: dict[str, Any], name: str
) -> None:
    valid["media"]["edges"] = {"instanceType": name}
    found = mistakes(valid)["antmedia:media.edges.instanceType"]
    assert found.held.startswith(f"{name}, which has 2 vCPU")
    assert "at least 4 vCPU and 8 GiB" in found.may_hold
    valid["media"]["allowBelowMinimum"] = True
    assert load(valid, now=NOW).media.edges.instance_type == name


def test_the_community_edition_is_one_node(valid: dict[str, Any]) -> None:
    valid["media"] |= {"edition": "community"}
    assert load(valid, now=NOW).media.edge_group is None
    valid["media"] |= {"origins": {"count": 2}, "edges": {"count": 1}}
    found = mistakes(valid)
    assert found.keys() == {"antmedia:media.origins.count", "antmedia:media.edges"}
    assert found["antmedia:media.origins.count"].held == "2"
    for mistake in found.values():
        assert "cannot form a cluster" in mistake.may_hold
        assert "set media.edition to enterprise" in mistake.remedy


def test_the_community_edition_has_no_database(valid: dict[str, Any]) -> None:
    valid["media"] |= {"edition": "community"}
    assert load(valid, now=NOW).database_mode == "none"
    found = mistakes(valid | {"database": {"mode": "none"}})
    assert found.keys() == {"antmedia:database"}
    assert "cannot form a cluster" in found["antmedia:database"].may_hold


@pytest.mark.parametrize(
    "uri",
    [
        "db.example.com",
        "db.example.com:27017",
        "mongodb://db.example.com",
        "mongodb://user@db.example.com",
        "mongodb://user:password@",
        "mongodb://user:pass word@db.example.com",
        "mongodb://user:pass@word@db.example.com",
        "mysql://user:password@db.example.com",
        "mongodb://user:password@db.example.com/'; reboot",
    ],
)
def test_a_uri_that_would_leave_the_nodes_alone_is_refused_and_not_shown(valid: dict[str, Any], uri: str) -> None:
    found = mistakes(valid | {"database": {"mode": "external"}, "databaseLogin": {"uri": uri}})
    mistake = found["antmedia:databaseLogin.uri"]
    assert "stays alone without saying so" in mistake.may_hold
    assert uri not in str(mistake)


def test_an_external_database_needs_its_uri_and_no_password(valid: dict[str, Any]) -> None:
    valid["database"] = {"mode": "external"}
    assert mistakes(valid)["antmedia:databaseLogin.uri"].held == "nothing"
    valid["databaseLogin"] = {"uri": "mongodb+srv://user:p%40ss@cluster0.example.com/?retryWrites=true"}
    assert load(valid, now=NOW).database_mode == "external"


def test_where_mongodbs_packages_come_from_by_default(valid: dict[str, Any]) -> None:
    source = load(valid, now=NOW).database.package_source
    assert (source.url, source.suite) == ("https://repo.mongodb.org/apt/debian", "trixie/mongodb-org/8.0")
    assert source.key.splitlines()[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"


def test_a_misspelt_key_in_a_group_that_may_be_left_out_is_answered_too(valid: dict[str, Any]) -> None:
    found = mistakes(valid | {"loadBalancer": {"limits": {"conections": 5}}})
    assert found["antmedia:loadBalancer.limits.conections"].remedy == "did you mean connections?"


@pytest.mark.parametrize(
    ("key", "value", "hidden"),
    [
        ("password", "hunter2", True),
        ("stats", {"pasword": "hunter2"}, True),
        ("stats", [{"password": "hunter2"}], True),
        ("stats", "hunter2", True),
        ("sttas", "hunter2", True),
        ("apiToken", "hunter2", True),
        ("databaseUri", "hunter2", True),
        ("domian", "hunter2", False),
        ("tls", {"domain": "hunter2"}, False),
    ],
)
def test_a_misplaced_value_is_shown_only_where_it_can_be_no_secret(
    valid: dict[str, Any], key: str, value: Any, hidden: bool
) -> None:
    """Also when the stack file has it in the clear, so that the engine does not know it for a secret."""
    with pytest.raises(SettingsError) as caught:
        load(valid | {key: value}, now=NOW)
    assert ("hunter2" in str(caught.value)) != hidden


@pytest.mark.parametrize(
    ("section", "wrong", "remedy"),
    [
        ("adminCidrs", "203.0.113.7/32 198.51.100.1/32", "write it as a list: [203.0.113.7/32, 198.51.100.1/32]"),
        ("domain", "live.example.com:5443", "did you mean live.example.com?"),
        ("network", {"cidr": "10.0.0.0/8"}, "choose a /16 or a smaller one: AWS makes no larger VPC"),
        ("network", {"cidr": "172.30.0.0"}, "did you mean 172.30.0.0/16?"),
        ("network", {"zones": 2.0}, "write it without a fraction: 2"),
        ("loadBalancer", {"maxConnections": "10k"}, "write all the digits: 10000"),
        ("loadBalancer", {"stickiness": 0}, "write false"),
        ("loadBalancer", {"stickiness": "True"}, "write it in small letters and without quotes: true"),
        ("loadBalancer", {"instanceType": "T3-Small"}, "did you mean t3.small?"),
        ("database", {"packageSource": {"suite": 8}}, 'put it into quotes: "8"'),
        ("database", {"backup": {"bucket": "s3://my-backups/"}}, "did you mean my-backups?"),
        ("media", {"ami": "ami-0123456789abcdef0", "apps": ["/LiveApp"]}, "did you mean LiveApp?"),
        ("stats", {"password": 123456789012}, "put it into quotes"),
        ("licenseKey", "x", "did you mean antmedia:license.key?"),
    ],
)
def test_what_is_nearly_right_is_answered_with_how_it_is_written(
    valid: dict[str, Any], section: str, wrong: Any, remedy: str
) -> None:
    (mistake,) = mistakes(valid | {section: wrong}).values()
    assert mistake.remedy == remedy


def test_secrets_in_the_clear_are_named_and_not_shown(valid: dict[str, Any]) -> None:
    values = {
        "stats": {"password": "hunter2"},
        "ssh": {"hostKey": "hunter2"},
        "license": "hunter2",
        "domain": "hunter2",
    }
    warnings = list(secrets_in_the_clear(values, ["ssh"]))
    assert len(warnings) == 1
    assert warnings[0].startswith("antmedia:stats.password is in the clear")
    assert "config set --secret --path 'antmedia:stats.password'" in warnings[0]
    assert "hunter2" not in warnings[0]


def test_a_misspelt_key_is_answered_with_the_nearest_one(valid: dict[str, Any]) -> None:
    assert mistakes(valid | {"loadBalancr": {}})["antmedia:loadBalancr"].remedy == "did you mean loadBalancer?"


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        ("ssh", {"privateKey": "hunter2-hunter2", "hostKey": "hunter2-hunter2"}),
        ("ssh", {"privatKey": "hunter2-hunter2"}),
        ("ssh", "hunter2-hunter2"),
        ("stats", {"password": "hunter2"}),
        ("stats", {"user": "hunter2 hunter2", "password": "hunter2"}),
        ("sttas", {"password": "hunter2"}),
        ("sttas", "hunter2"),
    ],
)
def test_no_value_under_a_key_that_holds_secrets_is_ever_shown(valid: dict[str, Any], section: str, wrong: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        load(valid | {section: wrong}, now=NOW, secret=["ssh", "stats", "sttas"])
    assert "hunter2" not in str(caught.value)
    assert "[secret]" in str(caught.value)


def test_a_secret_is_not_shown_even_if_the_stack_file_keeps_it_in_the_clear(valid: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(valid | {"stats": {"password": "hunter2"}}, now=NOW)
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_show_their_secrets(valid: dict[str, Any]) -> None:
    assert "correct" not in repr(load(valid, now=NOW))
    assert "OPENSSH PRIVATE" not in repr(load(valid, now=NOW))


def test_a_key_that_lost_its_last_newline_gets_it_back(valid: dict[str, Any]) -> None:
    valid["ssh"]["hostKey"] = valid["ssh"]["hostKey"].strip()
    assert load(valid, now=NOW).ssh.host_key.get_secret_value().endswith("-----END OPENSSH PRIVATE KEY-----\n")


@given(network=st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda p: f"{a}/{p}")))
def test_a_vpc_is_exactly_a_private_network_of_a_usable_size(network: str) -> None:
    wanted = ipaddress.ip_network(network, strict=False)
    private = any(
        wanted.subnet_of(ipaddress.ip_network(block))  # type: ignore[arg-type]
        for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
    )
    good = str(wanted) == network and 16 <= wanted.prefixlen <= 20 and private
    assert accepts("network", {"cidr": network}) == good


@given(address=st.ip_addresses(v=4), prefix=st.integers(0, 32))
def test_administrators_are_never_the_whole_internet(address: ipaddress.IPv4Address, prefix: int) -> None:
    network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
    assert accepts("adminCidrs", [str(network)]) == (prefix >= 8)


@given(
    text=st.text(max_size=20)
    | st.integers()
    | st.floats()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.text())
)
def test_whatever_a_key_holds_there_is_a_clear_answer(text: Any) -> None:
    for key in Settings.model_fields:
        accepts(key, text)


def accepts(key: str, value: Any) -> bool:
    try:
        load({**VALID, key: value}, now=NOW)
    except SettingsError as error:
        assert all(m.key.startswith("antmedia:") and m.may_hold and m.remedy for m in error.mistakes)
        return False
    return True
