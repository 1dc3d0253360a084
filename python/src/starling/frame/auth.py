"""Who a request comes from, by the rules of gateway/auth: testdata/tokens holds both to them."""

import base64
import binascii
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jwt.algorithms import get_default_algorithms
from prometheus_client import CollectorRegistry, Counter

from starling.frame import jwks, oidc
from starling.frame.jwks import RemoteKeys, UnavailableError, UnknownKeyError
from starling.frame.log import Log

_MAX_TOKEN = 16 << 10
_MAX_DEPTH = 16
_MAX_TEXT = 255
_MAX_NAMED = 1000
_HEADER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9_.-]+)")
_PART = re.compile(r"[A-Za-z0-9_-]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_REFUSED_HEADERS = frozenset(
    ["crit", "jku", "jwk", "x5u", "x5c", "zip", "b64", "cty", "enc", "epk", "apu", "apv", "p2s", "p2c", "iv", "tag"]
)
_TYPES = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")


class UnauthenticatedError(Exception):
    """No, bad or expired token; why is for metrics and the log at debug level alone."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ForbiddenError(Exception):
    """Role or tenant does not allow it."""


@dataclass(slots=True)
class Identity:
    """Who asks."""

    subject: str
    issuer: str
    expires: int
    roles: list[str]
    tenants: list[str]
    claims: dict[str, Any]
    email: str = ""
    name: str = ""
    robot_id: str = ""
    fleet: str = ""
    tenant: str = ""
    """The one in force, "" = none chosen."""
    token_id: str = ""
    """Recognises the token, reveals nothing of it."""

    def choose(self, ids: Sequence[str], slugs: Sequence[str]) -> None:
        """Puts a tenant in force, from the values of X-Tenant-ID and X-Tenant-Slug. Slugs nobody knows here."""
        if slugs or any(not i or i.lower() != ids[0].lower() for i in ids):
            raise ForbiddenError
        if ids:
            if ids[0].lower() not in self.tenants:
                raise ForbiddenError
            self.tenant = ids[0].lower()
        elif len(self.tenants) == 1:
            self.tenant = self.tenants[0]


def bearer(headers: Sequence[bytes]) -> str:
    """The token of a request's Authorization headers: exactly one, the scheme in letters of either case, one blank."""
    found = _HEADER.fullmatch(headers[0].decode("latin-1")) if len(headers) == 1 else None
    if not found or len(found[1]) > _MAX_TOKEN:
        raise UnauthenticatedError("header")
    return found[1]


@dataclass(slots=True)
class _Token:
    """A compact JWS taken apart, nothing of it checked yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signing: bytes
    signature: bytes


def _parse(token: str) -> _Token:
    if not token or len(token) > _MAX_TOKEN:
        raise UnauthenticatedError("size")
    parts = token.split(".")
    if len(parts) != 3:
        raise UnauthenticatedError("form")
    header, claims, signature = (_decode(part) for part in parts)
    return _Token(_object(header), _object(claims), f"{parts[0]}.{parts[1]}".encode(), signature)


def _decode(part: str) -> bytes:
    """Base64url without padding, blanks or stray bits."""
    if not _PART.fullmatch(part):
        raise UnauthenticatedError("form")
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as fault:
        raise UnauthenticatedError("form") from fault
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise UnauthenticatedError("form")
    return raw


def _object(raw: bytes) -> dict[str, Any]:
    """One JSON object, strictly: valid UTF-8, no member twice at any depth, nothing behind it."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = {_text(name): _clean(value) for name, value in pairs}
        if len(whole) != len(pairs):
            raise ValueError("a member comes twice")
        return whole

    def constant(_: str) -> Any:
        raise ValueError("no JSON")

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("a number is out of range")
        return value

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=members, parse_constant=constant, parse_float=number)
        if isinstance(value, dict) and _depth(value) <= _MAX_DEPTH:
            return value
    except (ValueError, RecursionError) as fault:
        raise UnauthenticatedError("form") from fault
    raise UnauthenticatedError("form")


def _text(text: str) -> str:
    """Half a surrogate is no character; it would break whoever writes it down."""
    return _SURROGATES.sub("\ufffd", text)


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _head(header: dict[str, Any]) -> tuple[str, str]:
    """Algorithm and key id."""
    if _REFUSED_HEADERS & header.keys():
        raise UnauthenticatedError("header")
    if "typ" in header and str(header["typ"]).lower() not in _TYPES:
        raise UnauthenticatedError("type")
    alg, kid = header.get("alg"), header.get("kid")
    if not isinstance(alg, str) or alg not in jwks.ALGORITHMS:
        raise UnauthenticatedError("algorithm")
    if not isinstance(kid, str) or not 0 < len(kid.encode()) <= jwks.MAX_KID or oidc.has_controls(kid):
        raise UnauthenticatedError("key_id")
    return alg, kid


def _seconds(claims: dict[str, Any], name: str, reason: str) -> int | None:
    """A time of the claims: seconds since 1970, of which a fraction (RFC 7519 allows one) is passed over."""
    if name not in claims:
        return None
    at = claims[name]
    if type(at) not in (int, float) or not 0 <= at < 10**11:
        raise UnauthenticatedError(reason)
    return int(at)


def _names(claim: object, *, split: bool, reason: str) -> list[str]:
    """A claim that is a list of texts, or one text (split: with blanks between several)."""
    if claim is None:
        return []
    if isinstance(claim, str):
        out = [part for part in re.split(r"\s+", claim) if part] if split else [claim]
    elif isinstance(claim, list) and all(isinstance(item, str) for item in claim):
        out = [str(item) for item in claim]
    else:
        raise UnauthenticatedError(reason)
    if len(out) > _MAX_NAMED:
        raise UnauthenticatedError(reason)
    return out


def _hold(claims: dict[str, Any], issuer: oidc.Issuer, now: float, skew_s: float) -> int:
    """Checks what every access token must say, and returns when it ends."""
    expires = _seconds(claims, "exp", "expiry")
    if expires is None:
        raise UnauthenticatedError("expiry")
    if now >= expires + skew_s:
        raise UnauthenticatedError("expired")
    early = (_seconds(claims, "nbf", "times"), _seconds(claims, "iat", "times"))
    if any(at is not None and at > now + skew_s for at in early):
        raise UnauthenticatedError("early")
    if not set(issuer.audiences) & set(_names(claims.get("aud"), split=False, reason="audience")):
        raise UnauthenticatedError("audience")
    typ = claims.get("typ")
    if typ is not None and (not isinstance(typ, str) or typ.lower() not in ("", "bearer")):
        raise UnauthenticatedError("type")
    if any(claims.get(name) is not None for name in ("at_hash", "c_hash", "s_hash", "events")):
        raise UnauthenticatedError("type")
    if claims.get("cnf") is not None:
        raise UnauthenticatedError("bound")
    return expires


def _string(claims: dict[str, Any], name: str, longest: int = _MAX_TEXT) -> str:
    value = claims.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value.encode()) > longest or oidc.has_controls(value):
        raise UnauthenticatedError("claims")
    return value


def _shown(claims: dict[str, Any], name: str) -> str:
    """A claim that is only shown to people: what is too long or cannot be shown is cut away, not refused."""
    value = claims.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnauthenticatedError("claims")
    clean = "".join(c for c in value if c >= " " and c != "\x7f")
    return clean.encode("utf-8", "replace")[:_MAX_TEXT].decode("utf-8", "ignore")


def _identity(claims: dict[str, Any], issuer: oidc.Issuer, expires: int) -> Identity:
    subject = _string(claims, "sub")
    if not subject:
        raise UnauthenticatedError("claims")
    other = _shown(claims, "preferred_username")
    return Identity(
        subject=subject,
        issuer=issuer.url,
        expires=expires,
        email=_shown(claims, "email"),
        name=_shown(claims, "name") or other,
        robot_id=_string(claims, "robot_id", 36).lower(),
        fleet=_string(claims, "fleet"),
        roles=_roles(claims, issuer),
        tenants=_tenants(claims, issuer),
        claims=claims,
    )


def _roles(claims: dict[str, Any], issuer: oidc.Issuer) -> list[str]:
    """Roles from where issuers put them; of clients, those of the ones that stand for us alone."""

    def member(of: object) -> object:
        if of is not None and not isinstance(of, dict):
            raise UnauthenticatedError("roles")
        return of.get("roles") if of else None

    lists = [claims.get("roles"), claims.get("scope"), member(claims.get("realm_access"))]
    clients = claims.get("resource_access")
    if clients is not None and not isinstance(clients, dict):
        raise UnauthenticatedError("roles")
    lists += [
        member(access) for c, access in (clients or {}).items() if c in issuer.audiences or c in issuer.client_ids
    ]
    theirs = [role for claim in lists for role in _names(claim, split=True, reason="roles")]
    ours = {issuer.roles.get(role, role) for role in theirs} & set(oidc.ROLES)
    if not issuer.platform:
        ours.discard("platform_admin")
    return sorted(ours)


def _tenants(claims: dict[str, Any], issuer: oidc.Issuer) -> list[str]:
    out: list[str] = []
    for claim in (claims.get("tenant_id"), claims.get("tenants")):
        for name in _names(claim, split=True, reason="tenants"):
            tenant = name.lower()
            if not oidc.is_tenant(tenant):
                raise UnauthenticatedError("tenants")
            if tenant not in out and (not issuer.tenants or tenant in issuer.tenants):
                out.append(tenant)
    return out


@dataclass(slots=True)
class Verifier:
    """Checks tokens."""

    issuers: dict[str, tuple[oidc.Issuer, RemoteKeys]]
    skew_s: float
    log: Log
    refused: Counter
    now: Callable[[], float] = time.time
    _checks: dict[str, Any] = field(default_factory=get_default_algorithms)

    @property
    def sources(self) -> list[RemoteKeys]:
        """The keys of each issuer, to be run in the background."""
        return [keys for _, keys in self.issuers.values()]

    async def verify(self, headers: Sequence[bytes]) -> Identity:
        """Who sent these Authorization headers. UnauthenticatedError, or UnavailableError where that is not known."""
        try:
            return await self._verify(bearer(headers))
        except UnauthenticatedError as fault:
            self.refused.labels(fault.reason).inc()
            self.log.write("debug", "token refused", "auth.refused", reason=fault.reason)
            raise

    async def _verify(self, token: str) -> Identity:
        parsed = _parse(token)
        alg, kid = _head(parsed.header)
        iss = parsed.claims.get("iss")
        if not isinstance(iss, str) or iss not in self.issuers:
            raise UnauthenticatedError("issuer")
        issuer, keys = self.issuers[iss]
        expires = _hold(parsed.claims, issuer, self.now(), self.skew_s)
        issued = parsed.claims.get("iat")
        try:
            key = await keys.find(kid, alg, issued + self.skew_s if issued is not None else None)
        except UnknownKeyError as fault:
            raise UnauthenticatedError("key") from fault
        try:
            good = self._checks[alg].verify(parsed.signing, key, parsed.signature)
        except (ValueError, TypeError) as fault:
            raise UnauthenticatedError("signature") from fault
        if not good:
            raise UnauthenticatedError("signature")
        who = _identity(parsed.claims, issuer, expires)
        who.token_id = hashlib.sha256(token.encode()).hexdigest()[:32]
        return who


def verifier(
    issuers: Sequence[oidc.Issuer], ttl_s: float, skew_s: float, log: Log, registry: CollectorRegistry
) -> Verifier:
    """A verifier for the configured issuers; nothing is fetched until its keys run, or the first token comes."""
    refused = Counter("starling_auth_refused", "Tokens refused, by reason.", ["reason"], registry=registry)
    fetches = Counter(
        "starling_auth_key_fetches",
        "Fetches of an issuer's keys, by outcome.",
        ["issuer", "outcome"],
        registry=registry,
    )

    def keys(issuer: oidc.Issuer) -> RemoteKeys:
        return RemoteKeys(issuer, ttl_s, log, lambda outcome: fetches.labels(issuer.url, outcome).inc())

    return Verifier({i.url: (i, keys(i)) for i in issuers}, skew_s, log, refused)


__all__ = ["ForbiddenError", "Identity", "UnauthenticatedError", "UnavailableError", "Verifier", "bearer", "verifier"]
