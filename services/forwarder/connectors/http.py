"""HTTP to partners: one request, its answer or a PartnerError. Addresses inside our own network are not called unless that is allowed."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import httpx2
import msgspec

from services.chassis.clock import Clock
from services.forwarder.domain.faults import Cause, PartnerError, of_status, tidy
from services.forwarder.domain.retry import retry_after

ANSWER_MAX_BYTES = 1_000_000
_USER_AGENT = "Muster-Forwarder/1"
# Where partners put the sentence for a person: here, or in an object that is here.
_WORD_KEYS = ("message", "error", "detail", "title", "description")
# NAT64 and 6to4 carry an IPv4 address, which may be one of ours.
_CARRIERS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class TargetRefused(Exception):
    """The host is, or resolves to, an address that is not public."""


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet: not loopback, private, link-local, reserved or multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in carrier for carrier in _CARRIERS):
            return False
    return address.is_global and not address.is_multicast


def literal_address(host: str) -> Address | None:
    """The address that a host is written as; None: it is a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


async def resolve_public(host: str, port: int) -> str:
    """An address of the host, all of whose addresses are public. Raises TargetRefused, or OSError where the name does not resolve."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]).split("%")[0] for entry in found]
    if not addresses or not all(is_public(ipaddress.ip_address(address)) for address in addresses):
        raise TargetRefused(host)
    return addresses[0]


class PublicOnly(httpx2.AsyncBaseTransport):
    """Resolves each host itself, refuses what is not public, and connects to the very address that it checked."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        address = await resolve_public(host, port)
        # The Host header was set from the name; the certificate is checked against the name too.
        request.url = request.url.copy_with(host=address)
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def new_client(*, allow_private: bool, timeout_seconds: float) -> httpx2.AsyncClient:
    """A client for one configuration. Redirects are not followed, and no proxy of the environment is used."""
    transport: httpx2.AsyncBaseTransport = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_connections=20, max_keepalive_connections=10))
    return httpx2.AsyncClient(
        transport=transport if allow_private else PublicOnly(transport),
        timeout=httpx2.Timeout(timeout_seconds, connect=min(5.0, timeout_seconds)),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": _USER_AGENT},
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class PartnerHttp:
    """The line to a partner, for one request at a time. `causes` says what its statuses mean."""

    def __init__(self, client: httpx2.AsyncClient, *, causes: Mapping[int, Cause], timeout_seconds: float, clock: Clock) -> None:
        self._client = client
        self._causes = causes
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str]) -> Reply:
        """The answer, if it is 2xx. Raises PartnerError otherwise."""
        try:
            # The client's own timeouts are for each step; an answer that drips must end as well.
            async with asyncio.timeout(self._timeout_seconds):
                async with self._client.stream("POST", url, content=content, headers=dict(headers)) as response:
                    body = await _body(response)
        except TargetRefused:
            raise PartnerError(Cause.REFUSED, "The address is not a public one, and is not called.", retry=False) from None
        except (httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise PartnerError(Cause.PARTNER_DOWN, "The partner cannot be reached: no connection in time.", retry=True) from None
        except (httpx2.ConnectError, httpx2.UnsupportedProtocol, OSError) as error:
            if isinstance(error, TimeoutError):
                raise PartnerError(Cause.PARTNER_DOWN, "The partner did not answer in time.", retry=True, in_doubt=True) from None
            raise PartnerError(Cause.PARTNER_DOWN, f"The partner cannot be reached: {tidy(str(error))}", retry=True) from None
        except httpx2.TimeoutException:
            raise PartnerError(Cause.PARTNER_DOWN, "The partner did not answer in time.", retry=True, in_doubt=True) from None
        except httpx2.HTTPError:
            raise PartnerError(Cause.PARTNER_DOWN, "The line was cut before the answer.", retry=True, in_doubt=True) from None
        if not 200 <= response.status_code < 300:
            wait = retry_after(response.headers.get("retry-after"), self._clock.now())
            raise of_status(response.status_code, _words(body), causes=self._causes, retry_after=wait)
        return Reply(response.status_code, response.headers, body)


async def _body(response: httpx2.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_bytes():
        size += len(part)
        parts.append(part[: max(0, ANSWER_MAX_BYTES - size + len(part))])
        if size > ANSWER_MAX_BYTES:
            break
    return b"".join(parts)


def _words(body: bytes) -> str:
    """What a person would read in an error's body: its message where it is JSON, else its text."""
    text = body[:10_000].decode("utf-8", "replace")
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return "" if text.lstrip().startswith("<") else text
    while isinstance(found, dict):
        values = [found[key] for key in _WORD_KEYS if found.get(key)]
        said = next((value for value in values if isinstance(value, str)), None)
        if said is not None:
            return said
        found = next((value for value in values if isinstance(value, dict)), None)
    return text
