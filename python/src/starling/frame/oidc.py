"""Whose tokens are taken: OIDC_ISSUERS_FILE, or the keys of the one issuer, in the words of config_oidc.go."""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import yaml

ROLES = ("viewer", "operator", "admin", "robot", "service", "platform_admin")
DEV_ISSUER = "http://127.0.0.1:8080"
"""Where `starling dev` issues tokens."""

_MOST_ISSUERS = 50
_MOST_AUDIENCES = 20
_MOST_TENANTS = 1000
_LONGEST = 256
_TENANT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_WANT_URL = "want a URL https://host… (http:// leads no further than this machine)"

Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Issuer:
    """One whose tokens are taken."""

    url: str
    audiences: tuple[str, ...]
    jwks_url: str = ""
    """"" = from the issuer's discovery document."""
    client_ids: tuple[str, ...] = ()
    """Whose roles in resource_access are ours, besides the audiences."""
    tenants: tuple[str, ...] = ()
    """That it may name; empty = every one."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """Theirs: ours; ours need no entry."""
    platform: bool = False
    """Whether it may name platform administrators."""


def is_tenant(text: str) -> bool:
    """Whether a text is written as tenants' ids are: a UUID in small letters."""
    return _TENANT.fullmatch(text) is not None


def printable(text: str) -> bool:
    """Whether a text is there, of bounded length and without control characters."""
    return bool(text) and len(text.encode("utf-8", "surrogateescape")) <= _LONGEST and not has_controls(text)


def has_controls(text: str) -> bool:
    """Whether control characters are in a text."""
    return re.search(r"[\x00-\x1f\x7f]", text) is not None


def is_web(url: str) -> bool:
    """Whether a text is a URL http(s)://host…."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.netloc) and parts.port != 0
    except ValueError:
        return False


def trusted(url: str) -> bool:
    """Whether keys may be fetched from a URL: by HTTPS, or from this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not is_web(url) or "@" in parts.netloc or parts.fragment:
        return False
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return parts.scheme == "https" or local


def role_map(value: str) -> dict[str, str] | None:
    """The roles of OIDC_ROLE_MAP; None where it cannot be read."""
    roles: dict[str, str] = {}
    for part in value.split(","):
        theirs, equals, ours = (text.strip() for text in part.partition("="))
        if not equals or theirs in roles or not printable(theirs) or re.search(r"[ \t]", theirs) or ours not in ROLES:
            return None
        roles[theirs] = ours
    return roles


@dataclass(slots=True)
class Settings:
    """The keys that say whose tokens are taken."""

    env: str
    issuer: str
    audience: str
    jwks_url: str
    issuers_file: str
    role_map: Mapping[str, str]
    client_id: str
    dev_issuer: bool | None
    """None = not set."""


@dataclass(slots=True)
class _Told:
    missing: list[str]
    invalid: list[tuple[str, str]]

    def require(self, key: str, value: str) -> None:
        if not value and all(k != key for k, _ in self.invalid):
            self.missing.append(key)


def issuers(s: Settings, read: Read, missing: list[str], invalid: list[tuple[str, str]]) -> tuple[Issuer, ...]:
    """The issuers of a configuration; what is wrong with it is added to missing and invalid."""
    told = _Told(missing, invalid)
    dev = s.env == "dev" and not s.issuer and not s.issuers_file if s.dev_issuer is None else s.dev_issuer
    if dev:
        if s.env != "dev":
            invalid.append(("DEV_ISSUER_ENABLED", "the development issuer is refused outside ENV=dev"))
        elif s.issuer or s.issuers_file:
            problem = "either OIDC_ISSUER, OIDC_ISSUERS_FILE or the development issuer"
            invalid.append(("DEV_ISSUER_ENABLED", problem))
        return (Issuer(DEV_ISSUER, (s.audience or "starling",), platform=True),)
    if not s.issuers_file:
        told.require("OIDC_ISSUER", s.issuer)
        told.require("OIDC_AUDIENCE", s.audience)
        for key, url in (("OIDC_ISSUER", s.issuer), ("OIDC_JWKS_URL", s.jwks_url)):
            if url and not _safe(url, s.env):
                invalid.append((key, _WANT_URL))
        clients = (s.client_id,) if s.client_id else ()
        return (Issuer(s.issuer, (s.audience,), s.jwks_url, clients, roles=s.role_map, platform=True),)
    if s.issuer:
        invalid.append(("OIDC_ISSUERS_FILE", "either OIDC_ISSUER or OIDC_ISSUERS_FILE"))
        return ()
    for key, given in (("OIDC_AUDIENCE", s.audience), ("OIDC_JWKS_URL", s.jwks_url), ("OIDC_ROLE_MAP", s.role_map)):
        if given:
            invalid.append((key, "stands in the file that OIDC_ISSUERS_FILE names, for each issuer"))
    try:
        body = read(s.issuers_file)
    except (OSError, ValueError):
        invalid.append(("OIDC_ISSUERS_FILE", "the file cannot be read"))
        return ()
    reader = _File(s.env)
    found = reader.read(body)
    invalid.extend(("OIDC_ISSUERS_FILE", problem) for problem in reader.problems)
    return tuple(found)


def _safe(url: str, env: str) -> bool:
    """Without HTTPS from this machine alone, but during development."""
    return trusted(url) or env == "dev" and is_web(url)


@dataclass(slots=True)
class _File:
    """Reads OIDC_ISSUERS_FILE and tells every problem, by its place and never with what stands there."""

    env: str
    problems: list[str] = field(default_factory=list)

    def read(self, body: bytes) -> list[Issuer]:
        try:
            top = yaml.compose(body, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError, RecursionError) as fault:
            mark = getattr(fault, "problem_mark", None)
            self.problems.append("the file is not YAML" + (f" (line {mark.line + 1})" if mark else ""))
            return []
        want = "want issuers: a list of 1 to 50 issuers"
        if not isinstance(top, yaml.MappingNode):
            self.problems.append(want)
            return []
        listed = self._members(top, "issuers").get("issuers")
        if not isinstance(listed, yaml.SequenceNode) or not 1 <= len(listed.value) <= _MOST_ISSUERS:
            self.problems.append(want)
            return []
        found: list[Issuer] = []
        for n, node in enumerate(listed.value):
            at = f"issuers[{n}]"
            if not isinstance(node, yaml.MappingNode):
                self.problems.append(at + ": want a mapping")
                continue
            issuer = self._issuer(node, at)
            if issuer.url and any(other.url == issuer.url for other in found):
                self.problems.append(f"{at}.issuer: the same as another one's")
            found.append(issuer)
        return found

    def _issuer(self, node: yaml.MappingNode, at: str) -> Issuer:
        names = ("issuer", "jwks_url", "audiences", "client_ids", "tenants", "roles", "platform_admin")
        m = self._members(node, *names)
        urls = {"issuer": "", "jwks_url": ""}
        for name in urls:
            if name not in m and name == "jwks_url":
                continue
            text = _scalar(m.get(name))
            if text is not None and printable(text) and _safe(text, self.env):
                urls[name] = text
            else:
                self.problems.append(f"{at}.{name}: {_WANT_URL}")
        audiences = self._names(m.get("audiences"), at + ".audiences", _MOST_AUDIENCES, needed=True)
        clients = self._names(m.get("client_ids"), at + ".client_ids", _MOST_AUDIENCES)
        tenants = [t.lower() for t in self._names(m.get("tenants"), at + ".tenants", _MOST_TENANTS)]
        if not all(map(is_tenant, tenants)):
            self.problems.append(at + ".tenants: want UUIDs")
        roles = self._roles(m["roles"], at + ".roles") if "roles" in m else {}
        platform = _scalar(m["platform_admin"]) if "platform_admin" in m else "false"
        if platform not in ("true", "false"):
            self.problems.append(at + ".platform_admin: want true or false")
        return Issuer(
            urls["issuer"],
            tuple(audiences),
            urls["jwks_url"],
            tuple(clients),
            tuple(tenants),
            roles,
            platform == "true",
        )

    def _members(self, node: yaml.MappingNode, *allowed: str) -> dict[str, yaml.Node]:
        m: dict[str, yaml.Node] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.value not in allowed:
                self.problems.append(f"line {line}: unknown key")
            elif key.value in m:
                self.problems.append(f"line {line}: a key comes twice")
            else:
                m[key.value] = value
        return m

    def _names(self, node: yaml.Node | None, at: str, most: int, *, needed: bool = False) -> Sequence[str]:
        if node is None and not needed:
            return []
        if isinstance(node, yaml.SequenceNode) and 1 <= len(node.value) <= most:
            texts = [_scalar(item) for item in node.value]
            if all(text is not None and printable(text) for text in texts):
                return [text for text in texts if text is not None]
        self.problems.append(f"{at}: want a list of 1 to {most} texts")
        return []

    def _roles(self, node: yaml.Node, at: str) -> dict[str, str]:
        out: dict[str, str] = {}
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for key, value in pairs:
            theirs, ours = _scalar(key), _scalar(value)
            if theirs is None or theirs in out or not printable(theirs) or ours not in ROLES:
                break
            out[theirs] = ours
        if not out or len(out) != len(pairs):
            self.problems.append(f"{at}: want theirs: ours; ours is one of {', '.join(ROLES)}")
            return {}
        return out


def _scalar(node: yaml.Node | None) -> str | None:
    """The text of a single value."""
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        return None
    return str(node.value)
