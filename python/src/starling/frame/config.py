"""Configuration: defaults < file < environment, with the names, bounds and words of config.go.

A file serves all processes of a machine, so the keys of the Go processes are known here and passed over.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from starling.frame import oidc

ENVS = ("dev", "staging", "prod")
LOG_LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True, slots=True)
class Config:
    """What is set from outside; each field is the key of its name in capitals."""

    env: str
    service_name: str
    log_level: str
    config_path: str
    """"" = deploy/config/<env>.yaml, if there is one."""
    http_host: str
    http_port: int
    """0 = any free one."""
    request_timeout_ms: int
    shutdown_timeout_ms: int
    metrics_port: int
    """0 = /metrics on the HTTP port."""
    jwks_cache_ttl_seconds: int = 300
    jwt_clock_skew_seconds: int = 30
    issuers: tuple[oidc.Issuer, ...] = ()
    """Whose tokens are taken."""


@dataclass(slots=True)
class Faults:
    """Everything that is wrong with a configuration: what /readyz shows as details. No value is in it."""

    missing: list[str] = field(default_factory=list)
    invalid: list[tuple[str, str]] = field(default_factory=list)
    """(key, problem)."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.invalid)


class _UnusableError(ValueError):
    """Why a value cannot be used, in words that do not contain it."""


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    parse: Callable[[str], object]
    fallback: str = ""
    dev: str = ""
    """Default under ENV=dev; "" = fallback."""


def _text(longest: int) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if len(value.encode("utf-8", "surrogateescape")) > longest or re.search(r"[\x00-\x1f\x7f]", value):
            raise _UnusableError(f"want at most {longest} printable characters")
        return value

    return parse


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in choices:
            raise _UnusableError("want one of " + ", ".join(choices))
        return value

    return parse


def _number(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        # int() takes more than it should (1_000, digits of other scripts); twenty digits are out of every bound.
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", value) or not least <= int(value) <= most:
            raise _UnusableError(f"want a whole number {least}..{most}")
        return int(value)

    return parse


def _web(value: str) -> str:
    if value and not oidc.is_web(value):
        raise _UnusableError("want a URL http(s)://host…")
    return value


def _role_map(value: str) -> Mapping[str, str]:
    roles = oidc.role_map(value) if value else {}
    if roles is None:
        raise _UnusableError(
            "want theirs=ours, separated by commas; ours is one of " + ", ".join(oidc.ROLES),
        )
    return roles


def _flag(value: str) -> bool | None:
    if not value:
        return None
    if value not in ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"):
        raise _UnusableError("want true or false")
    return value[0] in "1tT"


def _keys(service_name: str) -> list[_Key]:
    """The keys that are read here, ENV first: later defaults depend on it."""
    return [
        _Key("ENV", _one_of(ENVS), "dev"),
        _Key("SERVICE_NAME", _text(64), service_name),
        _Key("LOG_LEVEL", _one_of(LOG_LEVELS), "info"),
        _Key("CONFIG_PATH", _text(4096)),
        _Key("HTTP_HOST", _text(253), "0.0.0.0", dev="127.0.0.1"),  # noqa: S104 // in production others call us
        _Key("HTTP_PORT", _number(0, 65535), "8080"),
        _Key("REQUEST_TIMEOUT_MS", _number(1, 600_000), "10000"),
        _Key("SHUTDOWN_TIMEOUT_MS", _number(100, 600_000), "15000"),
        _Key("METRICS_PORT", _number(0, 65535), "0"),
        _Key("OIDC_ISSUER", _web),
        _Key("OIDC_AUDIENCE", _text(256)),
        _Key("OIDC_JWKS_URL", _web),
        _Key("OIDC_ISSUERS_FILE", _text(4096)),
        _Key("OIDC_ROLE_MAP", _role_map),
        _Key("OIDC_CLIENT_ID", _text(256), "starling-page"),
        _Key("JWKS_CACHE_TTL_SECONDS", _number(1, 86_400), "300"),
        _Key("JWT_CLOCK_SKEW_SECONDS", _number(0, 300), "30"),
        _Key("DEV_ISSUER_ENABLED", _flag),
    ]


# What the Go processes alone read. A test there compares this list with theirs.
_GO_KEYS = frozenset(
    [
        *("CORS_ALLOWED_ORIGINS", "LINK_HOST", "LINK_PORT"),
        *("DATABASE_URL", "DB_MAX_CONNS", "DB_MIN_CONNS", "DB_CONN_MAX_IDLE_SECONDS", "DB_CONN_MAX_LIFETIME_SECONDS"),
        *("DB_AUTO_MIGRATE", "ROLE_OVERRIDE_ENABLED"),
        *("HTTP_TLS_CERT_FILE", "HTTP_TLS_KEY_FILE", "LINK_TLS_CERT_FILE", "LINK_TLS_KEY_FILE"),
        *("LINK_TLS_CLIENT_CA_FILE", "LINK_TRUST_DOMAIN", "REDIS_URL"),
        *(
            "TRUSTED_PROXIES",
            "WEBHOOK_NETWORKS",
            "HTTP_MAX_CONNS",
            "LINK_MAX_CONNS",
            "MAX_CONNS_PER_IP",
            "DATABASE_URL_FILE",
            "REDIS_URL_FILE",
        ),
        *("AUDIT_ENABLED", "AUDIT_READS", "AUDIT_DIR", "AUDIT_RETENTION_MONTHS"),
        *("INFLUX_URL", "INFLUX_ORG", "INFLUX_TOKEN", "INFLUX_TOKEN_FILE"),
        *("INFLUX_BUCKET", "INFLUX_DIR", "INFLUX_SPOOL_MB"),
        *("KAFKA_TLS", "KAFKA_TLS_CA_FILE", "KAFKA_USER", "KAFKA_PASSWORD", "KAFKA_PASSWORD_FILE"),
        *("KAFKA_BROKERS", "KAFKA_TOPIC_PREFIX", "KAFKA_REPLICATION", "KAFKA_JSON", "OUTBOX_RETENTION_DAYS"),
        *("LEASE_MS", "LEASE_RENEW_MS", "ZONE_TICK_MS", "DISPATCH_INTERVAL_MS"),
    ]
)


def load(environ: Mapping[str, str], read: Callable[[str], bytes], service_name: str) -> tuple[Config, Faults]:
    """Reads the configuration; read returns a file's content or raises OSError, service_name is SERVICE_NAME's default.

    An empty variable counts as not set. Unknown variables are no fault, unknown keys in the file are. With faults the
    Config still holds what could be read and defaults for the rest: enough to log and to serve /healthz.
    """
    faults = Faults()
    keys = _keys(service_name)
    merged = _read_file(environ, read, {k.name for k in keys}, faults)
    merged |= {k.name: environ[k.name] for k in keys if environ.get(k.name)}
    values: dict[str, Any] = {}
    for key in keys:
        values[key.name.lower()] = _value(key, merged, values.get("env", ""), faults)
    settings = oidc.Settings(
        values["env"],
        values.pop("oidc_issuer"),
        values.pop("oidc_audience"),
        values.pop("oidc_jwks_url"),
        values.pop("oidc_issuers_file"),
        values.pop("oidc_role_map"),
        values.pop("oidc_client_id"),
        values.pop("dev_issuer_enabled"),
    )
    issuers = oidc.issuers(settings, read, faults.missing, faults.invalid)
    config = Config(**values, issuers=issuers)
    faults.missing.sort()
    taken = any(key == "METRICS_PORT" for key, _ in faults.invalid)
    if config.metrics_port == config.http_port != 0 and not taken:
        faults.invalid.append(("METRICS_PORT", "the same as HTTP_PORT"))
    faults.invalid.sort(key=lambda fault: fault[0])
    return config, faults


def _value(key: _Key, merged: Mapping[str, object], env: str, faults: Faults) -> object:
    """The value of a key: what is set, else its default."""
    default = key.dev if env == "dev" and key.dev else key.fallback
    try:
        text = _as_text(merged.get(key.name))
        return key.parse(text or default)
    except _UnusableError as problem:
        faults.invalid.append((key.name, str(problem)))
    if key.name == "ENV":
        return "prod"  # the safe side: no stacks in the log, and reachable for whoever asks what is wrong
    return key.parse(default)


def _as_text(value: object) -> str:
    """A value of the file or the environment as text; lists become comma-separated."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(_as_text(item) for item in value)
    if not isinstance(value, str):
        raise _UnusableError("want a single value")
    return value.strip()


def _read_file(
    environ: Mapping[str, str], read: Callable[[str], bytes], known: set[str], faults: Faults
) -> dict[str, object]:
    """The keys of the file that CONFIG_PATH or ENV selects."""
    env = environ.get("ENV") or "dev"
    asked = environ.get("CONFIG_PATH") or ""
    if not asked and env not in ENVS:
        return {}  # ENV is reported; its value must not become a path
    path = asked or f"deploy/config/{env}.yaml"
    try:
        body = read(path)
    except (OSError, ValueError) as fault:  # a path with a zero byte is a ValueError
        if asked or not isinstance(fault, FileNotFoundError):
            faults.invalid.append(("CONFIG_PATH", "the file cannot be read" if asked else f"{path} cannot be read"))
        return {}
    try:
        loader = _Loader(body)
        node = loader.get_single_node()
        if node is None or node.tag == "tag:yaml.org,2002:null":
            return {}
        if isinstance(node, yaml.MappingNode):
            return _known(loader.construct_document(node), known, faults)
        mark = node.start_mark
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        mark = getattr(fault, "problem_mark", None)
    line = f" (line {mark.line + 1})" if mark else ""
    faults.invalid.append(("CONFIG_PATH", "the file is not a YAML mapping of keys to values" + line))
    return {}


def _known(values: dict[object, object], known: set[str], faults: Faults) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in values.items():
        if name == "CONFIG_PATH":
            faults.invalid.append(("CONFIG_PATH", "is read from the environment alone"))
        elif name in known:
            kept[str(name)] = value
        elif name not in _GO_KEYS:
            faults.invalid.append((str(name), "unknown key in the configuration file"))
    return kept


class _Loader(yaml.SafeLoader):
    """YAML whose scalars are the texts that stand there (or null), as the environment has them; no key comes twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 // pyyaml's own way
        first: [
            (tag, shape) for tag, shape in resolvers if tag in ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, "a key comes twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
