"""One-click login: the roads that tokens take, and the seal on what they bring home."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from integrations.aliyun.number_auth import AliyunNumberAuth
from integrations.jiguang import JiguangCredentials, JiguangLogin, PhoneCipher
from models.allowances import write_takes
from models.clock import Clock, utc_now
from models.database import answering, writing
from models.errors import ConfigurationError, GiveUpError
from models.group_commit import Transaction
from models.limits import Demand, Rule, Take
from models.login_phones import KeepPhone, SealedPhone, phone_identity
from models.pseudonyms import Pseudonyms
from models.sealing import Sealer, bucket_of
from workers.settings import Settings
from workers.sms_outlet import aliyun_credentials

if TYPE_CHECKING:
    from integrations.gate import Gate
    from models.attempts import Attempt
    from models.pii import Phone

__all__ = ["PHONE_KEPT", "LoginRoads", "open_login_roads"]

PHONE_KEPT = dt.timedelta(minutes=2)
"""For so long a number waits for its backend."""

_ONE_JOB = Rule(permits=1, seconds=3600)
"""No token lives half so long (help.aliyun.com, GetMobile: China Unicom's for 30 minutes)."""


class LoginRoads:
    """Spends tokens, and seals what comes of them.

    Args:
        number_auth: Aliyun.
        jiguang_login: Jiguang; None if it is not configured.
        engine: Where is kept which tokens have been here, as keyed digests.
        sealer: Seals the numbers.
    """

    def __init__(
        self,
        number_auth: AliyunNumberAuth,
        jiguang_login: JiguangLogin | None,
        engine: Engine,
        sealer: Sealer,
        pseudonyms: Pseudonyms,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._number_auth = number_auth
        self._jiguang_login = jiguang_login
        self._engine = engine
        self._sealer = sealer
        self._pseudonyms = pseudonyms
        self._clock = clock

    def aliyun(self, attempt: Attempt) -> Phone:
        """See :meth:`integrations.aliyun.number_auth.AliyunNumberAuth.phone_of`.

        Raises:
            GiveUpError: Another job, or an earlier run of this one, has brought the token.
        """
        self._spend(attempt)
        return self._number_auth.phone_of(attempt)

    def jiguang(self, attempt: Attempt) -> Phone:
        """See :meth:`integrations.jiguang.JiguangLogin.phone_of`.

        Raises:
            ConfigurationError: Jiguang is not configured.
            GiveUpError: As :meth:`aliyun`.
        """
        if self._jiguang_login is None:
            raise ConfigurationError("ZJJ_JIGUANG_APP_KEY is not set", code="login.road_closed")
        self._spend(attempt)
        return self._jiguang_login.phone_of(attempt)

    def is_own(self, attempt: Attempt) -> bool | None:
        """See :meth:`integrations.aliyun.number_auth.AliyunNumberAuth.is_own`.

        Raises:
            GiveUpError: As :meth:`aliyun`.
        """
        self._spend(attempt)
        return self._number_auth.is_own(attempt)

    def keep(self, attempt: Attempt, phone: Phone) -> KeepPhone:
        """Seal a number for the backend whose job it is.

        Raises:
            DatabaseUnavailable: There is no key to seal it with.
        """
        expires_at = self._clock() + PHONE_KEPT
        bucket = bucket_of(expires_at)
        with answering():
            sealed = self._sealer.seal(
                {"phone": phone}, identity=phone_identity(attempt.job_id), bucket=bucket
            )
        return KeepPhone(
            SealedPhone(
                job_id=attempt.job_id,
                backend=attempt.backend,
                sealed=sealed,
                bucket=bucket,
                expires_at=expires_at,
            )
        )

    def _spend(self, attempt: Attempt) -> None:
        """Let a token pass once, whichever jobs bring it and however many of them."""
        token = {"login_token": attempt.held["login_token"]}
        demand = Demand(self._pseudonyms.fingerprint("login token", token), (_ONE_JOB,))
        with answering(), writing(self._engine) as connection:
            take = Take(at=self._clock(), demands=(demand,))
            (refusal,) = write_takes(Transaction(connection), [take])
        if refusal is not None:
            raise GiveUpError("this token has been here before", code="login.token_spent")


def open_login_roads(gate: Gate, engine: Engine, settings: Settings) -> LoginRoads:
    """Assemble them from settings.

    Raises:
        ConfigurationError: A credential is missing or malformed.
    """
    return LoginRoads(
        AliyunNumberAuth(gate, aliyun_credentials(settings)),
        _jiguang(gate, settings),
        engine,
        Sealer(engine, settings.keys),
        Pseudonyms(settings.pseudonym),
    )


def _jiguang(gate: Gate, settings: Settings) -> JiguangLogin | None:
    if settings.uses_sandbox:
        from integrations.sandbox import jiguang_key

        credentials = JiguangCredentials(jiguang_key.APP_KEY, jiguang_key.MASTER_SECRET)
        return JiguangLogin(gate, credentials, PhoneCipher(jiguang_key.PRIVATE_KEY))
    secret, file = settings.jiguang_master_secret, settings.jiguang_private_key_file
    if settings.jiguang_app_key is None:
        return None
    if secret is None or file is None:
        raise ConfigurationError(
            "Jiguang needs ZJJ_JIGUANG_APP_KEY, ZJJ_JIGUANG_MASTER_SECRET and "
            "ZJJ_JIGUANG_PRIVATE_KEY_FILE together"
        )
    try:
        key = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"ZJJ_JIGUANG_PRIVATE_KEY_FILE cannot be read: {type(error).__name__}"
        ) from None
    credentials = JiguangCredentials(settings.jiguang_app_key, secret.get_secret_value())
    return JiguangLogin(gate, credentials, PhoneCipher(key))
