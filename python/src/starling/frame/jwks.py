"""An issuer's keys: which are taken, and how they are fetched and kept, by the rules of gateway/auth/keys.go."""

import asyncio
import contextlib
import json
import random
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException as BrokenAnswer
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from starling.frame import answer, oidc
from starling.frame.log import Log

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_KID = 256
"""Bytes of a key's id."""

_ASK_EVERY_S = 2.0
_MAX_WAITING = 256
_WAIT_S = 10.0
_MAX_ABSENT = 1024
_FETCH_S = 5.0
_MAX_ANSWER = 1 << 20
_MAX_KEYS = 100
_RSA_BITS = (2048, 8192)
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class UnknownKeyError(Exception):
    """The issuer has no such key, or not for this algorithm."""


class UnavailableError(Exception):
    """The issuer's keys cannot be had: nobody is let in."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and what it may check."""

    public: Any
    algorithms: tuple[str, ...]


KeySet = dict[str, list[Key]]


def read_keys(body: bytes) -> KeySet:
    """The keys of a JWKS that can check a signature here; the others are left out. ValueError where it is none."""
    document = json.loads(body)
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise ValueError(f"want 0..{_MAX_KEYS} keys")
    found: KeySet = {}
    for members in keys:
        key = _key(members) if isinstance(members, dict) else None
        if key:
            found.setdefault(members["kid"], []).append(key)
    return found


def _key(members: dict[str, Any]) -> Key | None:
    kid, alg = members.get("kid"), members.get("alg")
    if not isinstance(kid, str) or not 0 < len(kid.encode("utf-8", "replace")) <= MAX_KID:
        return None
    if members.get("use", "sig") != "sig" or any(secret in members for secret in ("d", "k", "p", "q")):
        return None
    if "key_ops" in members and (not isinstance(members["key_ops"], list) or "verify" not in members["key_ops"]):
        return None
    if alg is not None and alg not in ALGORITHMS:
        return None
    try:
        public = PyJWK({name: v for name, v in members.items() if name != "alg"}).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    fit = _fit(public)
    if alg is not None:
        fit = (alg,) if alg in fit else ()
    return Key(public, fit) if fit else None


def _fit(public: object) -> tuple[str, ...]:
    """The algorithms that a key may check by its kind and size."""
    match public:
        case RSAPublicKey() if _RSA_BITS[0] <= public.key_size <= _RSA_BITS[1]:
            return ALGORITHMS[:6]
        case EllipticCurvePublicKey() if public.curve.name in _CURVES:
            return (_CURVES[public.curve.name],)
        case Ed25519PublicKey():
            return ("EdDSA",)
    return ()


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Goes where an issuer leads on its own host alone."""

    max_redirections = 3

    def redirect_request(  # noqa: PLR0913,PLR0917 // urllib's own signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise OSError("the issuer leads to another host")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _get(url: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 // oidc.py sees to that
    try:
        with urllib.request.build_opener(_SameHost).open(request, timeout=_FETCH_S) as response:
            status, body = response.status, response.read(_MAX_ANSWER + 1)
    except HTTPError as fault:
        with fault:
            return fault.code, b""
    if len(body) > _MAX_ANSWER:
        raise OSError("the answer is too large")
    return status, body


def fetch(issuer: oidc.Issuer) -> KeySet:
    """Asks for an issuer's keys, for their place first where that is not known. OSError or ValueError."""
    base = issuer.url.removesuffix("/")
    place = issuer.jwks_url
    if not place:
        status, body = _get(base + "/.well-known/openid-configuration")
        if status not in (200, 404):
            raise OSError(f"fetch the discovery document: status {status}")
        document = answer.read_json(body) if status == 200 else {"issuer": issuer.url}
        if not isinstance(document, dict) or document.get("issuer") != issuer.url:
            raise ValueError("the discovery document is another issuer's")
        place = document.get("jwks_uri") or base + "/.well-known/jwks.json"
        if not isinstance(place, str) or not oidc.trusted(place) and not issuer.url.startswith("http://"):
            raise ValueError("the discovery document leads to keys without HTTPS")
    status, body = _get(place)
    if status != 200:
        raise OSError(f"fetch the key set: status {status}")
    return read_keys(body)


def _apart(work: Callable[[], KeySet]) -> asyncio.Future[KeySet]:
    """Does work in a thread of its own, which holds up neither the loop nor the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[KeySet] = loop.create_future()

    def settle(keys: KeySet | None, fault: Exception | None) -> None:
        if future.done():
            return
        if fault:
            future.set_exception(fault)
        else:
            future.set_result(keys or {})

    def run() -> None:
        keys, fault = None, None
        try:
            keys = work()
        except Exception as problem:
            fault = problem
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, keys, fault)

    threading.Thread(target=run, daemon=True).start()
    return future


@dataclass(slots=True)
class RemoteKeys:
    """Keys that are kept for ttl_s and fetched anew by run after three quarters of it.

    A token with an unknown id makes all requests together ask, no more often than every_s. It is refused only where a
    set says so that was asked for after the token was made, by its own word, or after the request came: so a rotation
    refuses nobody. Until the issuer may be asked again such requests wait, up to a bound. While the issuer is down the
    kept keys serve until their time is over; after it nobody is let in.
    """

    issuer: oidc.Issuer
    ttl_s: float
    log: Log
    fetched: Callable[[str], None] = lambda _: None
    """Told "ok" or "failed" after each fetch."""
    now: Callable[[], float] = time.monotonic
    every_s: float = _ASK_EVERY_S
    work: Callable[[oidc.Issuer], KeySet] = fetch
    keys: KeySet | None = None
    asked: float = 0
    """When the set in force was asked for, by now."""
    asked_at: float = 0
    """The same by the clock."""
    _tried: float | None = None
    _flight: asyncio.Task[bool] | None = None
    _waiting: int = 0
    _absent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.every_s = min(self.every_s, max(self.ttl_s / 4, 0.001))

    async def run(self) -> None:
        """Fetches the keys at once and ahead of their end, until it is cancelled."""
        failed = 0
        while True:
            if not self._fresh(0.75) and self._may_ask():
                await asyncio.shield(self._ask())
            if self._fresh(0.75):
                failed, wait = 0, self.ttl_s * 0.75 - (self.now() - self.asked)
            else:  # again and again, each time later
                failed = min(failed + 1, 5)
                wait = min(self.every_s * 2 ** (failed - 1), 30)
            await asyncio.sleep(wait + random.random() * self.every_s / 4)  # noqa: S311 // not all processes at once

    async def find(self, kid: str, alg: str, issued: float | None) -> Any:
        """The key of an id for an algorithm. issued is when the token says that it was made, the skew added."""
        came = self.now()
        try:
            async with asyncio.timeout(_WAIT_S):
                while True:
                    key = await self._look(kid, alg, issued, came)
                    if key is not None:
                        return key
        except TimeoutError as fault:
            raise UnavailableError from fault

    async def _look(self, kid: str, alg: str, issued: float | None, came: float) -> Any:
        """The key, or None after having waited for another set."""
        fresh, flight = self._fresh(1), self._flight
        listed = (self.keys or {}).get(kid, [])
        if fresh and listed:
            if not self._fresh(0.75) and self._may_ask():
                self._ask()  # ahead of time; nobody waits for it
            for key in listed:
                if alg in key.algorithms:
                    return key.public
            raise UnknownKeyError
        if fresh and self.asked >= came:
            self._remember(kid)
            raise UnknownKeyError
        if flight is None and self._may_ask():
            flight = self._ask()
        if flight is None and not fresh:  # the issuer was asked just now and did not answer
            raise UnavailableError
        if flight is None and issued is not None and issued < self.asked_at:
            self._remember(kid)
            raise UnknownKeyError
        if fresh and self._waiting >= _MAX_WAITING:
            raise UnknownKeyError if kid in self._absent else UnavailableError
        self._waiting += 1
        try:
            if flight is None:
                await asyncio.sleep(max(0, (self._tried or 0) + self.every_s - self.now()))
            elif not await asyncio.shield(flight):
                raise UnavailableError  # nothing is known of this key
        finally:
            self._waiting -= 1
        return None

    def _fresh(self, part: float) -> bool:
        return self.keys is not None and self.now() - self.asked < self.ttl_s * part

    def _may_ask(self) -> bool:
        return self._flight is None and (self._tried is None or self.now() - self._tried >= self.every_s)

    def _remember(self, kid: str) -> None:
        if len(self._absent) >= _MAX_ABSENT:
            self._absent.clear()
        self._absent.add(kid)

    def _ask(self) -> asyncio.Task[bool]:
        self._tried = self.now()
        self._flight = asyncio.create_task(self._fetch(self._tried, time.time()))
        return self._flight

    async def _fetch(self, began: float, began_at: float) -> bool:
        try:
            async with asyncio.timeout(_FETCH_S * 2):
                keys = await _apart(lambda: self.work(self.issuer))
        except (OSError, ValueError, TimeoutError, BrokenAnswer, RecursionError) as fault:
            self.fetched("failed")
            self.log.write(
                "warn",
                "the issuer's keys cannot be fetched",
                "auth.keys",
                issuer=self.issuer.url,
                error=f"{type(fault).__name__}: {fault}",
            )
            return False
        else:
            self.keys, self.asked, self.asked_at = keys, began, began_at
            self._absent.clear()
            self.fetched("ok")
            return True
        finally:
            self._flight = None
