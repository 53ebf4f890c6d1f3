"""Where a backend is told, as it says itself: only among the deployment's own hosts.

Which hosts may be named is not the backend's to say (:mod:`integrations.destinations`). Whatever
changes is audited, with the name of whoever changed it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import get_args

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from integrations.destinations import OwnHosts
from models.audits import Audit, write_audits
from models.clock import Clock, utc_now
from models.database import answering, writing
from models.errors import InvalidValue, NotFound, RetryError
from models.keys import MasterKeys
from models.webhooks import (
    Endpoint,
    add_endpoint,
    change_endpoint,
    disable_endpoint,
    find_endpoint,
    list_endpoints,
    rotate_secret,
)
from tasks.announcements import EventType

__all__ = ["EVENTS", "MOST_ENDPOINTS", "EndpointRegister"]

_TYPES = get_args(EventType)
EVENTS: tuple[str, ...] = (
    "*",
    *_TYPES,
    *sorted({f"{each.partition('.')[0]}.*" for each in _TYPES}),
)
"""What an endpoint may ask to hear of."""
MOST_ENDPOINTS = 10
"""Of one backend."""


class EndpointRegister:
    """A backend's own endpoints. Every method may raise DatabaseUnavailable.

    Args:
        own_hosts: Where webhooks may be sent at all.
    """

    def __init__(
        self,
        engine: Engine,
        master_keys: MasterKeys,
        own_hosts: OwnHosts,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._engine = engine
        self._master_keys = master_keys
        self._own_hosts = own_hosts
        self._clock = clock

    def of(self, backend: str) -> list[Endpoint]:
        """All endpoints of a backend, also disabled ones, oldest first."""
        with answering(), self._engine.connect() as connection:
            return list_endpoints(connection, backend=backend)

    def put(
        self, url: str, events: Sequence[str], *, backend: str, reason: str
    ) -> tuple[Endpoint, str | None]:
        """Have a backend told there of these events from now on.

        Returns:
            The endpoint, and its secret if it is new; one that was there keeps its secret, hears of
            these events and no others, and is in use again if it was disabled.

        Raises:
            InvalidValue: The URL must not be sent to, or the backend has too many endpoints.
            RetryError: Somebody else put the same at this moment.
        """
        self._own_hosts.read(url)
        now = self._clock()
        # Named after what it is, so that two who put the same at once cannot make it twice.
        endpoint_id = hashlib.sha256(f"{backend}\n{url}".encode()).hexdigest()[:32]
        with answering(), writing(self._engine) as connection:
            known = list_endpoints(connection, backend=backend)
            found = next((each for each in known if each.url == url), None)
            if found is not None:
                changed = change_endpoint(connection, found.id, events=events)
                if changed != found:
                    self._note(connection, found.id, "webhook.change", backend, reason)
                return changed, None
            if len(known) >= MOST_ENDPOINTS:
                raise InvalidValue(f"a backend has at most {MOST_ENDPOINTS} endpoints")
            try:
                added, secret = add_endpoint(
                    connection,
                    self._master_keys,
                    backend=backend,
                    url=url,
                    events=events,
                    now=now,
                    endpoint_id=endpoint_id,
                )
            except IntegrityError:
                raise RetryError("the endpoint is being registered", code="webhook.busy") from None
            self._note(connection, added.id, "webhook.add", backend, reason)
            return added, secret

    def rotate(
        self, endpoint_id: str, hours: int, *, backend: str, reason: str
    ) -> tuple[Endpoint, str]:
        """Make a new secret; the old one signs beside it for so many hours.

        Raises:
            NotFound: The backend has no such endpoint.
        """
        until = self._clock() + dt.timedelta(hours=hours)
        with answering(), writing(self._engine) as connection:
            self._find(connection, endpoint_id, backend)
            rotated = rotate_secret(
                connection, self._master_keys, endpoint_id, previous_until=until
            )
            self._note(connection, endpoint_id, "webhook.rotate", backend, reason)
            return rotated

    def disable(self, endpoint_id: str, *, backend: str, reason: str) -> Endpoint:
        """Send nothing there any more; what was disabled before stays so.

        Raises:
            NotFound: The backend has no such endpoint.
        """
        with answering(), writing(self._engine) as connection:
            self._find(connection, endpoint_id, backend)
            if disable_endpoint(connection, endpoint_id, because="backend", now=self._clock()):
                self._note(connection, endpoint_id, "webhook.disable", backend, reason)
            return self._find(connection, endpoint_id, backend)

    def _find(self, connection: Connection, endpoint_id: str, backend: str) -> Endpoint:
        found = find_endpoint(connection, endpoint_id)
        if found is None or found.backend != backend:
            raise NotFound("there is no such webhook endpoint")
        return found

    def _note(
        self, connection: Connection, endpoint_id: str, action: str, backend: str, reason: str
    ) -> None:
        actor = f"api:{backend}"[:64]
        entry = Audit(
            at=self._clock(), actor=actor, action=action, target=endpoint_id, reason=reason
        )
        write_audits(connection, entry)
