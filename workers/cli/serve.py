"""``zjj gateway`` and ``zjj worker``: the two long-running processes."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from models.errors import InvalidValue
from tasks.task import QUEUES
from workers.cli.language import say_in as t
from workers.embedded.lifeline import hold_lifeline
from workers.logs import configure_logs
from workers.settings import Settings, load_settings

__all__ = ["gateway", "sandbox", "worker"]


def _prepared() -> Settings:
    settings = load_settings()
    configure_logs(level=settings.log_level, style=settings.log_format)
    hold_lifeline()
    return settings


def gateway() -> None:
    """Serve the HTTP API for web backends (ZJJ_GATEWAY_HOST, ZJJ_GATEWAY_PORT)."""
    from models.api_keys import ApiKeys
    from models.database import is_current
    from workers.deliveries import DeliveryReports
    from workers.dispatch import connect_redis
    from workers.egress import lock_network
    from workers.endpoints import EndpointRegister
    from workers.entrance import open_entrance
    from workers.faces import FaceCallbacks
    from workers.gateway import create_gateway, gateway_server
    from workers.gateway.health import Dependency
    from workers.gateway.logins import LoginDoor
    from workers.gateway.sms_receipts import SmsReceipts
    from workers.merchants import open_merchants
    from workers.outlet import open_own_hosts
    from workers.payments import PaymentService
    from workers.promptness import spare_what_stays, take_short_turns

    take_short_turns()
    settings = _prepared()
    lock_network(settings)
    entrance = open_entrance(settings)
    redis = connect_redis(settings.redis)
    secret = settings.aliyun_sms_receipt_secret
    receipts = DeliveryReports(entrance.commits, entrance.pseudonyms)
    try:
        app = create_gateway(
            entrance.service,
            ApiKeys(entrance.engine),
            consents=entrance.consents,
            codes=entrance.codes,
            login_door=LoginDoor(entrance.phones, settings.china_mobile_road),
            desk=entrance.desk,
            payments=PaymentService.behind(
                entrance, open_merchants(settings), pause=settings.payment_query_seconds
            ),
            dependencies=(
                Dependency("database", lambda: is_current(entrance.engine), needed=True),
                Dependency("redis", lambda: bool(redis.ping()), needed=False),
            ),
            endpoints=EndpointRegister(entrance.engine, settings.keys, open_own_hosts(settings)),
            sms_receipts=SmsReceipts(receipts, secret.get_secret_value()) if secret else None,
            faces=FaceCallbacks(entrance.engine, entrance.pseudonyms)
            if settings.face_verification
            else None,
            version=importlib.metadata.version("zhongjiujiu-workers"),
        )
        server = gateway_server(app, host=settings.gateway_host, port=settings.gateway_port)
        spare_what_stays()
        server.run()
    finally:
        entrance.close()


def sandbox(context: typer.Context) -> None:
    """Serve the provider sandbox on loopback, for development; --help lists its options."""
    from integrations.sandbox.__main__ import main

    hold_lifeline()
    main(context.args)


def worker(
    queues: Annotated[
        str,
        typer.Option(help=t("Comma-separated: ", "逗号分隔：") + ", ".join(QUEUES)),
    ] = ",".join(QUEUES),
) -> None:
    """Run jobs of some queues until SIGTERM."""
    from workers.process import run_worker

    settings = _prepared()
    names = [name for name in queues.replace(" ", "").split(",") if name]
    unknown = set(names) - set(QUEUES)
    if unknown or not names:
        raise InvalidValue(t("--queues takes some of: ", "--queues 可选：") + ", ".join(QUEUES))
    raise typer.Exit(run_worker(settings, names))
