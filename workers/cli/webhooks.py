"""``zjj webhooks``: where backends are told, and the secrets that sign what they are told."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.console import Console
from sqlalchemy import Connection

from models.api_keys import checked_backend
from models.audits import Audit, write_audits
from models.clock import utc_now
from models.database import writing
from models.errors import InvalidValue, NotFound
from models.webhooks import (
    Endpoint,
    add_endpoint,
    disable_endpoint,
    enable_endpoint,
    find_endpoint,
    list_endpoints,
    rotate_secret,
)
from tasks.webhook import Webhook
from workers.cli.filters import AsJson, Reason, actor, given, opened, say
from workers.cli.language import say_in as t
from workers.cli.tables import make_table
from workers.endpoints import EVENTS
from workers.outlet import open_own_hosts
from workers.replays import checked_reason
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help=t("Where backends are told by signed webhooks.", "签名回调：地址与密钥。"),
)

_Id = Annotated[str, typer.Argument(help=t("Id of the endpoint.", "回调地址编号。"))]


@app.command(
    "add",
    help=t(
        "Register an endpoint; its secret is shown once. Hosts: ZJJ_WEBHOOK_HOSTS.",
        "登记回调地址，密钥仅显示一次。主机须在 ZJJ_WEBHOOK_HOSTS 中。",
    ),
)
def add(
    backend: Annotated[str, typer.Option(help=t("The backend's name.", "后端名称。"))],
    url: Annotated[str, typer.Option(help="https://shop.example.com/zjj-webhooks")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            help=t(
                "An event such as payment.paid, or payment.*; may be repeated. Default: all.",
                "事件，如 payment.paid 或 payment.*；可重复，默认全部。",
            )
        ),
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Register an endpoint.

    Raises:
        InvalidValue: The URL must not be sent to, or an event does not exist.
    """
    settings, events = load_settings(), event or ["*"]
    open_own_hosts(settings).read(url)
    for each in events:
        if each not in EVENTS:
            raise InvalidValue(
                t("no such event; events: ", "没有该事件；事件：") + ", ".join(EVENTS)
            )
    why = checked_reason(given(reason))
    with opened() as entrance, writing(entrance.engine) as connection:
        endpoint, secret = add_endpoint(
            connection,
            settings.keys,
            backend=checked_backend(backend),
            url=url,
            events=events,
            now=utc_now(),
        )
        _audit(connection, endpoint.id, "webhook.add", why)
    _show_secret(endpoint, secret, as_json=as_json)


@app.command("list", help=t("List endpoints; never a secret.", "列出回调地址，不含密钥内容。"))
def list_all(as_json: AsJson = False) -> None:
    """List endpoints."""
    with opened() as entrance, entrance.engine.connect() as connection:
        endpoints = list_endpoints(connection)
    if as_json:
        typer.echo(TypeAdapter(list[Endpoint]).dump_json(endpoints, indent=2).decode())
        return
    table = make_table(
        t("Id", "编号"),
        t("Backend", "后端"),
        "URL",
        t("Events", "事件"),
        t("Key", "密钥编号"),
        t("State", "状态"),
    )
    for each in endpoints:
        table.add_row(
            each.id, each.backend, each.url, " ".join(each.events), each.key_id, _state(each)
        )
    Console(highlight=False).print(table)


@app.command(
    "rotate",
    help=t(
        "Make a new secret, shown once; the old one goes on signing beside it for a while.",
        "更换密钥，新密钥仅显示一次；旧密钥在一段时间内同时签名。",
    ),
)
def rotate(
    endpoint_id: _Id,
    hours: Annotated[
        int,
        typer.Option(min=0, max=720, help=t("How long both sign.", "新旧密钥并用的小时数。")),
    ] = 24,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Rotate an endpoint's secret.

    Raises:
        NotFound: There is no such endpoint.
    """
    settings, why = load_settings(), checked_reason(given(reason))
    with opened() as entrance, writing(entrance.engine) as connection:
        endpoint, secret = rotate_secret(
            connection,
            settings.keys,
            endpoint_id,
            previous_until=utc_now() + dt.timedelta(hours=hours),
        )
        _audit(connection, endpoint_id, "webhook.rotate", why)
    _show_secret(endpoint, secret, as_json=as_json)


@app.command(
    "disable",
    help=t("Send nothing there any more; what waits, fails.", "停用；等待中的回调将失败。"),
)
def disable(endpoint_id: _Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Disable an endpoint.

    Raises:
        NotFound: There is no such endpoint in use.
    """
    why = checked_reason(given(reason))
    with opened() as entrance, writing(entrance.engine) as connection:
        if not disable_endpoint(connection, endpoint_id, because="operator", now=utc_now()):
            raise NotFound(t("no such endpoint in use", "没有该回调地址，或已停用"))
        _audit(connection, endpoint_id, "webhook.disable", why)
    said = f"{endpoint_id}: " + t("disabled", "已停用")
    say(said, as_json=as_json, id=endpoint_id, enabled=False)


@app.command(
    "enable",
    help=t(
        "Send there again; `zjj jobs replay` repeats what failed meanwhile.",
        "重新启用；期间失败的回调可用 zjj jobs replay 重做。",
    ),
)
def enable(endpoint_id: _Id, reason: Reason = "", as_json: AsJson = False) -> None:
    """Enable an endpoint.

    Raises:
        NotFound: There is no such disabled endpoint.
        InvalidValue: Its URL must not be sent to any more.
    """
    why = checked_reason(given(reason))
    with opened() as entrance, writing(entrance.engine) as connection:
        endpoint = find_endpoint(connection, endpoint_id)
        if endpoint is None or not enable_endpoint(connection, endpoint_id):
            raise NotFound(t("no such disabled endpoint", "没有该停用的回调地址"))
        open_own_hosts(load_settings()).read(endpoint.url)
        _audit(connection, endpoint_id, "webhook.enable", why)
    said = f"{endpoint_id}: " + t("enabled", "已启用")
    say(said, as_json=as_json, id=endpoint_id, enabled=True)


@app.command(
    "test",
    help=t(
        "Send a webhook.test there, as any webhook is sent; prints the job's id.",
        "向该地址发送一条 webhook.test，输出任务编号。",
    ),
)
def send_test(endpoint_id: _Id, as_json: AsJson = False) -> None:
    """Enqueue a webhook that says nothing.

    Raises:
        NotFound: There is no such endpoint in use.
    """
    with opened() as entrance:
        with entrance.engine.connect() as connection:
            endpoint = find_endpoint(connection, endpoint_id)
        if endpoint is None or endpoint.disabled_at is not None:
            raise NotFound(t("no such endpoint in use", "没有该回调地址，或已停用"))
        webhook = Webhook(event="webhook.test", occurred_at=utc_now(), endpoint=endpoint_id)
        job = entrance.service.enqueue(webhook, backend=endpoint.backend)
    say(job.id, as_json=as_json, job_id=job.id)


def _audit(connection: Connection, endpoint_id: str, action: str, reason: str) -> None:
    entry = Audit(at=utc_now(), actor=actor(), action=action, target=endpoint_id, reason=reason)
    write_audits(connection, entry)


def _show_secret(endpoint: Endpoint, secret: str, *, as_json: bool) -> None:
    if as_json:
        shown = {"id": endpoint.id, "key_id": endpoint.key_id, "secret": secret}
        typer.echo(TypeAdapter(dict[str, str]).dump_json(shown).decode())
        return
    typer.echo(t(f"endpoint  {endpoint.id}", f"编号      {endpoint.id}"))
    typer.echo(t(f"key id    {endpoint.key_id}", f"密钥编号  {endpoint.key_id}"))
    typer.echo(t(f"secret    {secret}", f"密钥      {secret}"))


def _state(endpoint: Endpoint) -> str:
    if endpoint.disabled_at is not None:
        return t(f"disabled: {endpoint.disabled_because}", f"已停用：{endpoint.disabled_because}")
    until = endpoint.previous_until
    if until is not None and until > utc_now():
        moment = f"{until:%Y-%m-%d %H:%M}"
        return t(f"rotating until {moment} UTC", f"新旧密钥并用至 {moment} UTC")
    return t("in use", "使用中")
