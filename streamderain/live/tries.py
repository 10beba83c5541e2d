"""Counts wrong tokens by where they come from, so that guessing one takes longer than anybody lives."""
from __future__ import annotations

import ipaddress
from collections import OrderedDict

MOST_WRONG = 10
FORGIVEN_SECONDS = 6.0  # one wrong token is forgotten in this time: 10 guesses a minute in the long run
_KEPT = 1024  # neighbourhoods; a longer list would be a way to fill our memory


class Tries:
    """Who may still try; used by one thread.

    Args:
        most: so many wrong tokens, and nobody of this neighbourhood is listened to for a while.
        forgiven_seconds: one of them is forgotten in this time.
    """

    def __init__(self, most: int = MOST_WRONG, forgiven_seconds: float = FORGIVEN_SECONDS) -> None:
        self._most, self._forgiven = most, forgiven_seconds
        self._wrong: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wrong(self, address: str, now: float) -> None:
        """A wrong token came from this address, at a time in seconds that only rises."""
        place = neighbourhood(address)
        self._wrong[place] = (self._count(place, now) + 1, now)
        self._wrong.move_to_end(place)
        while len(self._wrong) > _KEPT:
            self._wrong.popitem(last=False)

    def exhausted(self, address: str, now: float) -> bool:
        """Whether no token from this address is looked at now, right or wrong: a right one would tell the guesser."""
        return self._count(neighbourhood(address), now) > self._most - 1

    def _count(self, place: str, now: float) -> float:
        count, at = self._wrong.get(place, (0.0, now))
        return max(0.0, count - (now - at) / self._forgiven)


def neighbourhood(address: str) -> str:
    """The address, or the /64 of an IPv6 one: whoever has one address of it has all."""
    try:
        number = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(number, ipaddress.IPv4Address) or number.is_loopback:
        return str(number)
    return str(number.ipv4_mapped or ipaddress.ip_network((number, 64), strict=False))
