from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import ConfigurationErrors, Problem
from smtpproxy.config.values import Configuration, EmbeddedServer, Gateway, ResolverSettings, SpoolSettings
from smtpproxy.endpoint import Endpoint
from smtpproxy.policy.entries import Entries
from smtpproxy.policy.model import (
    ESMTP_KEYWORDS,
    ActionKind,
    BareNewline,
    CertificateValidation,
    Direction,
    General,
    Pfs,
    PortKind,
    TlsSupport,
    UpstreamHost,
)
from smtpproxy.policy.rules import (
    Audience,
    EncryptionRule,
    Failure,
    Offer,
    OnFailure,
    RecipientEncryption,
    SenderEncryption,
)
from smtpproxy.tls.facts import TlsVersion

POLICY = "policies:\n  - {name: Out, direction: outbound, source: [10.0.0.0/8], upstream: {host: mx.example.net}}\n"


def load(home: Path, text: str = POLICY, **files: str) -> Configuration:
    """Load ``text``; of ``files`` a key such as ``actions_Mine`` stands for ``proxy-actions/Mine.yaml``."""
    folders = {"actions": "proxy-actions/{}.yaml", "profiles": "tls-profiles/{}.yaml", "lists": "lists/{}.txt"}
    written = {folders[key.split("_")[0]].format(key.split("_")[1]): content for key, content in files.items()}
    for name, content in {"smtpproxy.yaml": text, **written}.items():
        path = home / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return load_configuration(home / "config" / "smtpproxy.yaml")


UNUSED = "no policy uses this proxy action"


def notices(home: Path, text: str = POLICY, **files: str) -> list[str]:
    """Notices, but for those of port 465 and of files that no policy uses, which come with nearly every test."""
    found = (notice.removeprefix(f"{home}/config/") for notice in load(home, text, **files).notices)
    return [notice for notice in found if " on port 465 " not in notice and UNUSED not in notice]


def test_defaults(home: Path) -> None:
    load(home)
    configuration = load_configuration(home / "config" / "smtpproxy.yaml", host_name="GW.example.net")
    assert configuration.home == home
    assert configuration.gateway == Gateway("gw.example.net", None, 30)
    assert configuration.interception.listen == ("0.0.0.0", "::")  # noqa: S104  # the default that is tested
    assert dict(configuration.interception.ports) == {PortKind.SMTP: (25,), PortKind.SMTPS: (465,)}
    assert configuration.records == home / "var" / "records.jsonl"
    assert configuration.spool == SpoolSettings(home / "var" / "spool", 256 * 1024, 2 * 10**9)
    assert configuration.resolver == ResolverSettings(((Endpoint("127.0.0.1", 53), True),), 5)
    assert configuration.embedded is None
    assert not configuration.private_policy_hosts
    assert configuration.tlsrpt is None
    assert configuration.certificates.trusted.source == "system"
    assert [each.certificate.subject.rfc4514_string() for each in configuration.certificates.proxy_server] == [
        "CN=gw.example.net"
    ]


@pytest.mark.parametrize(("written", "seconds"), [("0s", 0), ("90s", 90), ("10m", 600)])
def test_how_long_a_stop_may_take(home: Path, written: str, seconds: int) -> None:
    assert load(home, f"{POLICY}gateway: {{drain_timeout: {written}}}\n").gateway.drain_timeout_s == seconds


def test_default_policy_and_action(home: Path) -> None:
    (policy,) = load(home).policies
    assert (policy.name, policy.direction, policy.enabled) == ("Out", Direction.OUTBOUND, True)
    assert policy.tls_support is TlsSupport.ENABLED
    assert policy.source == (ip_network("10.0.0.0/8"),)
    assert policy.destination == (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert policy.upstream == UpstreamHost("mx.example.net", 25, 465)
    action = policy.action
    assert (action.name, action.kind) == ("SMTP-Outgoing.Standard", ActionKind.CLIENT)
    assert action.implicit_profile.name == action.starttls.profile.name == "TLS-Client.Standard"
    assert action.general == General()
    assert action.esmtp.allow == ESMTP_KEYWORDS
    assert action.starttls.on_failure == OnFailure()


def test_a_bare_action_file_equals_the_predefined_one(home: Path) -> None:
    text = POLICY + "  - {name: In, direction: inbound, proxy_action: Mine, upstream: {host: a.example}}\n"
    policy = load(home, text, actions_Mine="kind: server\n").policies[1]
    predefined = load(home, text.replace(", proxy_action: Mine", "")).policies[1].action
    assert predefined.name == "SMTP-Incoming.Standard"
    forced, *others = predefined.starttls.rules
    assert replace(policy.action.starttls, rules=(forced, *others)) == predefined.starttls
    assert policy.action.starttls.rules == tuple(others)
    assert policy.action.implicit_profile == predefined.implicit_profile
    assert policy.action.general == predefined.general
    assert policy.action.esmtp == predefined.esmtp


def test_offer_follows_the_kind(home: Path) -> None:
    text = POLICY + "  - {name: In, direction: inbound, upstream: {host: a.example}}\n"
    outbound, inbound = load(home, text).policies
    assert outbound.action.starttls.rules[-1] == EncryptionRule("default", offer=Offer.HONEST)
    assert inbound.action.starttls.rules[-1] == EncryptionRule("default", offer=Offer.ALWAYS)


@pytest.mark.parametrize("entries", [None, "", "bank.example\n198.51.100.0/24\n"])
def test_force_encrypt_is_wired_in_both_directions(home: Path, entries: str | None) -> None:
    text = POLICY + "  - {name: In, direction: inbound, upstream: {host: a.example}}\n"
    files = {} if entries is None else {"lists_force-encrypt": entries}
    configuration = load(home, text, **files)
    named = configuration.lists["force-encrypt"]
    assert named == Entries.of((entries or "").split())
    (outbound, _), (inbound, _) = (policy.action.starttls.rules for policy in configuration.policies)
    assert (outbound.name, inbound.name) == ("force encrypt", "force encrypt")
    assert outbound.audience == Audience(to=named)
    assert inbound.audience == Audience(from_=named)
    assert (outbound.sender, outbound.recipient) == (SenderEncryption.OPTIONAL, RecipientEncryption.REQUIRED)
    assert (inbound.sender, inbound.recipient) == (SenderEncryption.REQUIRED, RecipientEncryption.PREFERRED)


def test_every_key_of_an_action(home: Path) -> None:
    action = """
kind: client
tls: {action: inspect, profile: Strict}
starttls:
  enabled: true
  profile: TLS-Legacy
  rules:
    - {name: all, enabled: true, to: ["*"], sender: none, recipient: required, offer: always}
  on_failure: {not_offered: tempfail, handshake: reject, certificate: reject}
general: {idle_timeout: 30s, max_session_age: 2d, max_sessions: 7, max_sessions_per_source: 3, max_recipients: 100,
          max_address_length: 128, max_message_size: 10MiB, bare_newline: reject}
esmtp: {enabled: true, allow: [size, 8bitmime], log_denied: false}
"""
    profile = "minimum_protocol: tls1.3\npfs: required\ncertificate_validation: enforce\n"
    text = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    found = load(home, text, actions_Mine=action, profiles_Strict=profile).policies[0].action
    strict = found.implicit_profile
    assert (strict.minimum_version, strict.pfs, strict.certificate_validation) == (
        TlsVersion.TLS1_3,
        Pfs.REQUIRED,
        CertificateValidation.ENFORCE,
    )
    assert found.starttls.profile.minimum_version is TlsVersion.TLS1_0
    assert found.starttls.rules == (
        EncryptionRule("all", SenderEncryption.NONE, RecipientEncryption.REQUIRED, Offer.ALWAYS),
    )
    assert found.starttls.on_failure == OnFailure(Failure.TEMPFAIL, Failure.REJECT, Failure.REJECT)
    assert found.general == General(30, 172_800, 7, 3, 100, 128, 10_485_760, BareNewline.REJECT)
    assert found.esmtp.allow == {"SIZE", "8BITMIME"}
    assert not found.esmtp.log_denied


def test_every_key_of_the_main_file(home: Path) -> None:
    text = """
gateway: {name: Gw1.Example.NET, workers: 1}
interception: {mode: explicit, listen: [127.0.0.1, "::1"], ports: {smtp: [2525, 587], smtps: []}}
policies:
  - name: A
    enabled: false
    direction: outbound
    source: [10.0.0.0/8, 192.0.2.7, any]
    destination: ["2001:db8::/32"]
    tls_support: disabled
    proxy_action: SMTP-Outgoing.Standard
    upstream: embedded
    source_address: gateway
certificates:
  proxy_server:
    - {certificate: certs/other-server.pem, key: certs/other-server.key}
    - {certificate: certs/proxy-server.pem, key: certs/proxy-server.key}
  trusted: certs/proxy-authority.pem
records: {file: null}
stores: {spool: {directory: /srv/spool, memory: 1MiB, limit: 10GB}}
embedded: {host: 127.0.0.2, smtp: 2600, smtps: 2601, maildir: /srv/mail}
"""
    configuration = load(home, text)
    assert configuration.gateway.name == "gw1.example.net"
    assert dict(configuration.interception.ports) == {PortKind.SMTP: (2525, 587), PortKind.SMTPS: ()}
    (policy,) = configuration.policies
    assert not policy.enabled
    assert [str(network) for network in policy.source] == ["10.0.0.0/8", "192.0.2.7/32", "0.0.0.0/0", "::/0"]
    assert policy.upstream == UpstreamHost("127.0.0.2", 2600, 2601)
    assert len(configuration.certificates.proxy_server) == 2
    assert configuration.certificates.trusted.source == str(home / "certs" / "proxy-authority.pem")
    assert configuration.records is None
    assert configuration.spool == SpoolSettings(home.joinpath("/srv/spool"), 1024 * 1024, 10 * 10**9)
    assert configuration.embedded == EmbeddedServer(
        host="127.0.0.2",
        smtp=2600,
        smtps=2601,
        certificate=home / "certs" / "demo-upstream.pem",
        key=home / "certs" / "demo-upstream.key",
        maildir=home.joinpath("/srv/mail"),
    )


def test_what_domains_publish(home: Path) -> None:
    configuration = load(home, POLICY + "mta_sts: {private_addresses: true}\ntlsrpt: {socket: var/tlsrpt}\n")
    assert configuration.private_policy_hosts
    assert configuration.tlsrpt == home / "var" / "tlsrpt"


def test_a_path_may_be_as_long_as_a_socket_takes(home: Path) -> None:
    path = "/" + 106 * "a"
    assert load(home, POLICY + f"tlsrpt: {{socket: {path}}}\n").tlsrpt == Path(path)


def test_sections_with_everything_commented_out_are_their_defaults(home: Path) -> None:
    text = POLICY + "gateway:\ninterception:\n  ports:\ncertificates:\nrecords:\n"
    assert load(home, text).interception.ports[PortKind.SMTP] == (25,)


def test_a_profile_is_shared_by_many_actions(home: Path) -> None:
    text = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    action = load(
        home, text, actions_Mine="kind: client\ntls: {profile: P}\nstarttls: {profile: P}\n", profiles_P=""
    ).policies
    assert action[0].action.implicit_profile is action[0].action.starttls.profile


def test_esmtp_off_switches_starttls_off(home: Path) -> None:
    text = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    action = "kind: client\nesmtp: {enabled: false}\nstarttls: {rules: [{recipient: none}]}\n"
    assert not load(home, text, actions_Mine=action).policies[0].action.starttls.enabled
    (notice,) = notices(home, text, actions_Mine=action)
    assert notice == (
        "proxy-actions/Mine.yaml:2:18: esmtp.enabled: no ESMTP, no STARTTLS: false switches starttls.enabled off on "
        "both legs"
    )


def test_a_host_name_that_is_none_must_be_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "my gateway")
    with pytest.raises(
        ConfigurationErrors, match=r"smtpproxy.yaml:1:1: gateway.name: this machine's host name is no DNS"
    ):
        load(home)


def test_the_main_file_may_be_named_from_its_own_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(home)
    monkeypatch.chdir(home / "config")
    assert load_configuration(Path("smtpproxy.yaml")).home == home


OUT = "direction: outbound, upstream: {host: a.example}"


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        (
            [f"{{name: A, {OUT}}}"],
            (
                "2:5: policies[0].source: any client may send as if it were inside; name the inside networks, such as "
                "[10.0.0.0/8]"
            ),
        ),
        (
            ["{name: A, direction: inbound, source_address: gateway, upstream: {host: a.example}}"],
            (
                "2:51: policies[0].source_address: upstream sees the gateway's address for every client, so switch its "
                "SPF and DNSBL checks off"
            ),
        ),
        (
            [f"{{name: A, source: [10.0.0.0/8], tls_support: disabled, {OUT}}}"],
            (
                "2:50: policies[0].tls_support: disabled leaves port 465 unbound, so what tls.action of "
                "SMTP-Outgoing.Standard inspects never comes"
            ),
        ),
        (
            [f"{{name: A, enabled: false, source: [10.0.0.0/8], {OUT}}}"],
            "2:3: policies: no policy is enabled, so no port is bound",
        ),
        (
            [f"{{name: A, source: [10.0.0.0/8], {OUT}}}", f"{{name: B, source: [10.1.0.0/16], {OUT}}}"],
            "3:12: policies[1].name: never matches, since 'A' before it takes all of its traffic; move it up",
        ),
    ],
    ids=["outbound from anywhere", "inbound", "465 unbound", "all disabled", "shadowed"],
)
def test_notice_of_a_policy(home: Path, policies: list[str], expected: str) -> None:
    text = "policies:\n" + "".join(f"  - {policy}\n" for policy in policies)
    assert notices(home, text) == [f"smtpproxy.yaml:{expected}"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("127.0.0.1:9125", Endpoint("127.0.0.1", 9125)), ("'[0::1]:25'", Endpoint("::1", 25)), ("null", None)],
)
def test_where_prometheus_may_ask(home: Path, written: str, meant: Endpoint | None) -> None:
    text = f"{POLICY}interception: {{listen: [192.0.2.1]}}\nadmin: {{metrics: {written}}}\n"
    assert load(home, text).metrics == meant
    assert notices(home, text) == []


def test_a_resolver_is_trusted_on_this_machine_or_by_name(home: Path) -> None:
    text = "resolver: {servers: ['[::1]:5300', '192.0.2.53:53'], trusted: [192.0.2.53], timeout: 2s}\n"
    servers = ((Endpoint("::1", 5300), True), (Endpoint("192.0.2.53", 53), True))
    assert load(home, POLICY + text).resolver == ResolverSettings(servers, 2)
    assert notices(home, POLICY + text) == []


def test_notice_of_a_resolver_that_is_not_trusted(home: Path) -> None:
    text = "resolver: {servers: ['127.0.0.1:53', '192.0.2.53:53']}\n"
    (notice,) = notices(home, POLICY + text)
    assert notice == (
        "smtpproxy.yaml:3:38: resolver.servers[1]: no answer counts as secured by DNSSEC, for 192.0.2.53 is neither on "
        "this machine nor in resolver.trusted; add it there if nobody can meddle with the way"
    )


@pytest.mark.parametrize("address", ["192.0.2.7:9125", "0.0.0.0:9125", "[::]:9125"])
def test_notice_that_strangers_may_read_the_metrics(home: Path, address: str) -> None:
    (notice,) = notices(home, f"{POLICY}admin: {{metrics: '{address}'}}\n")
    assert notice == (
        f"smtpproxy.yaml:3:18: admin.metrics: whoever reaches {address} reads the metrics, for there is no "
        "authentication; a firewall keeps strangers out, or a loopback address does"
    )


def test_notice_that_465_reads_ones_own_rules_as_required(home: Path) -> None:
    text = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    rule = "kind: client\nstarttls: {{rules: [{{name: r, sender: {}, recipient: required}}]}}\n"
    (notice,) = load(home, text, actions_Mine=rule.format("optional")).notices
    assert notice.endswith(
        "policies[0].proxy_action: on port 465 rule 'r' (sender optional, recipient required) is read as required on "
        "both sides"
    )
    assert load(home, text, actions_Mine=rule.format("required")).notices == ()


def test_no_notice_of_rules_that_nobody_can_change(home: Path) -> None:
    assert load(home).notices == ()


def test_notice_of_a_kind_of_port_that_is_not_there(home: Path) -> None:
    text = POLICY.replace("outbound,", "outbound, tls_support: required,") + "interception: {ports: {smtps: []}}\n"
    assert notices(home, text) == [
        "smtpproxy.yaml:2:51: policies[0].tls_support: never matches, since interception.ports has no port of this kind"
    ]


@pytest.mark.parametrize(
    ("rule", "key"),
    [
        ("{offer: always}", "offer"),
        ("{sender: required}", "sender"),
        ("{sender: required, recipient: none}", "sender"),
        ("{sender: required, recipient: required}", None),
        ("{offer: always, recipient: required}", None),
        ("{sender: optional}", None),
        ("{recipient: none}", None),
    ],
)
def test_notice_that_honesty_is_lifted(home: Path, rule: str, key: str | None) -> None:
    found = notices(home, actions_Mine=f"kind: client\nstarttls:\n  rules:\n    - {rule}\n")
    assert [line.split(": ")[1] for line in found] == ([f"starttls.rules[0].{key}"] if key else [])


def test_inbound_honesty_is_no_matter(home: Path) -> None:
    assert notices(home, actions_Mine="kind: server\nstarttls: {rules: [{offer: always, sender: required}]}\n") == []


def test_notice_of_a_key_that_others_may_read(home: Path) -> None:
    (home / "certs" / "proxy-server.key").chmod(0o644)
    (line,) = notices(home)
    assert line.startswith("smtpproxy.yaml:1:1: certificates.proxy_server[0]: ")
    assert "chmod 0600" in line


def test_notice_of_a_proxy_action_that_no_policy_uses(home: Path) -> None:
    prefix = f"{home}/config/proxy-actions/Mine.yaml:1:7: kind: "
    text = "no policy uses this proxy action, so nothing in it is in force; name it in a policy's proxy_action"
    assert f"{prefix}{text}" in load(home, actions_Mine="kind: client\n").notices
    used = POLICY.replace("outbound,", "outbound, proxy_action: Mine,")
    assert not any(UNUSED in notice for notice in load(home, used, actions_Mine="kind: client\n").notices)


def test_notices_come_with_errors_too(home: Path) -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        load(home, POLICY + "interception: {mode: explicit, trusted_balancers: [192.0.2.4]}\nrecords: {file: 7}\n")
    assert [notice.split(": ")[1] for notice in caught.value.notices] == ["interception.trusted_balancers"]


def test_lists_are_kept_in_canonical_form(home: Path) -> None:
    domains = "# all\nExample.NET\n*.Example.net # below\n\nme@Example.NET\nexample.net\n"
    others = "192.0.2.1\n10.0.0.0/8\n2001:DB8::/32\nbücher.example\nme@[192.0.2.1]\n"
    assert load(home, lists_partners=domains + others).lists["partners"] == Entries.of(
        (
            "example.net",
            "*.example.net",
            "me@example.net",
            "192.0.2.1",
            "10.0.0.0/8",
            "2001:db8::/32",
            "xn--bcher-kva.example",
            "me@[192.0.2.1]",
        )
    )


_PIECES = st.sampled_from(
    [
        "policies:", "gateway:", "interception:", "certificates:", "records:", "embedded:", "name:", "direction:",
        "upstream:", "source:", "outbound", "embedded", "any", "\n", "\n  ", "\n    - ", "- ", "[", "]", "{", "}", ", ",
        ": ", "'", '"', "*a", "&a ", "!!int ", "|", ">", "#", "---", "...", "? ", "\t", "\\x00", "1", "10:25", "\u0085",
        "\ufeff", "%YAML 1.1\n", "<<: ", "null", "\\ud800", "\U0001f600", "ports: {smtp: [", "host: ",
    ]
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(_PIECES | st.text(max_size=5), max_size=30))
def test_any_text_is_a_configuration_or_configuration_errors(home: Path, pieces: list[str]) -> None:
    text = "".join(pieces).encode("utf-8", "replace").decode()
    for main, action in ((text, text), (POLICY + text, "kind: client\n" + text)):
        problems: tuple[Problem, ...] = ()
        try:
            load(home, main, actions_Mine=action, profiles_Mine=text, lists_mine=text)
        except ConfigurationErrors as errors:
            problems = errors.problems
        assert all(problem.line >= 1 and problem.column >= 1 and str(problem).isprintable() for problem in problems)
