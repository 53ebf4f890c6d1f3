"""What one SMS code costs: permits of its phone, its backend and whoever asked for it.

The windows' numbers are those of the provider (Aliyun, "SMS frequency limits": one a minute, five an
hour and ten a day for one number and signature; forty a day for one number). It counts all scenes
of a signature together, we count each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from models.clock import Clock, utc_now
from models.limits import Demand, Rule, Take, Watch, parse_rules
from models.pseudonyms import Pseudonyms
from tasks.payload import Payload
from tasks.sms_code import SmsCode
from workers.settings import Settings

__all__ = ["SmsLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsLimits:
    """The rules, and the digests under which they are counted.

    Attributes:
        phone_scene: For one phone and scene, over all backends.
        phone: For one phone over all scenes.
        backend: For one backend: a ceiling for its bill.
        client: For one caller-supplied key of a backend's own client (a device, a session, an
            address).
        alarm_backend: More new phones of one backend raise its alarm; None for no alarm.
        alarm_all: The same over all backends.
        alarm_pace: How many new phones may pass while an alarm is on.
        alarm_hold: Seconds without a refused new phone after which it is over.
    """

    pseudonyms: Pseudonyms = field(repr=False)
    phone_scene: tuple[Rule, ...]
    phone: tuple[Rule, ...]
    backend: tuple[Rule, ...]
    client: tuple[Rule, ...]
    alarm_backend: Rule | None
    alarm_all: Rule | None
    alarm_pace: Rule
    alarm_hold: int
    clock: Clock = utc_now

    @classmethod
    def from_settings(
        cls, settings: Settings, pseudonyms: Pseudonyms, *, clock: Clock = utc_now
    ) -> SmsLimits | None:
        """The rules of the settings; None when they are switched off."""
        if not settings.sms_limits:
            return None
        return cls(
            pseudonyms=pseudonyms,
            phone_scene=parse_rules(settings.sms_limit_phone_scene),
            phone=parse_rules(settings.sms_limit_phone),
            backend=parse_rules(settings.sms_limit_backend),
            client=parse_rules(settings.sms_limit_client),
            alarm_backend=next(iter(parse_rules(settings.sms_alarm_backend)), None),
            alarm_all=next(iter(parse_rules(settings.sms_alarm_all)), None),
            alarm_pace=parse_rules(settings.sms_alarm_pace)[0],
            alarm_hold=settings.sms_alarm_hold_seconds,
            clock=clock,
        )

    def take(self, payload: Payload, *, backend: str, client: str | None = None) -> Take | None:
        """What a job costs; None for a kind that costs nothing.

        Args:
            payload: Of the job.
            backend: Who enqueues.
            client: Names the backend's own client; kept as a keyed digest and never sent on.
        """
        if not isinstance(payload, SmsCode):
            return None
        digest = self.pseudonyms.limit
        subject = self.pseudonyms.subject(payload.phone)
        phone = Demand(digest("phone", subject), self.phone, "limit.phone")
        demands = [
            Demand(
                digest("phone and scene", subject, payload.scene),
                self.phone_scene,
                "limit.phone_scene",
            ),
            phone,
            Demand(digest("backend", backend), self.backend, "limit.backend"),
        ]
        if client is not None:
            key = digest("client", backend, client)
            demands.append(Demand(key, self.client, "limit.client"))
        return Take(
            at=self.clock(),
            demands=tuple(demands),
            person=phone.key,
            watches=self._watches(backend),
        )

    def _watches(self, backend: str) -> tuple[Watch, ...]:
        scopes = {f"backend:{backend}": self.alarm_backend, "all": self.alarm_all}
        digest = self.pseudonyms.limit
        return tuple(
            Watch(
                scope=scope,
                key=digest("new phones", scope),
                threshold=threshold,
                pace_key=digest("pace of new phones", scope),
                pace=self.alarm_pace,
                hold=self.alarm_hold,
            )
            for scope, threshold in scopes.items()
            if threshold is not None
        )
