"""The commands, put together."""

from __future__ import annotations

import sys

import orjson
import typer
from rich.console import Console

from models.database import address, answering
from models.errors import DatabaseUnavailable, ZjjError
from workers.cli import (
    database,
    jobs,
    keys,
    payments,
    privacy,
    pushes,
    queues,
    run,
    serve,
    sms,
    webhooks,
)
from workers.cli.exits import exit_code
from workers.cli.language import say_in as t
from workers.egress import lock_command
from workers.settings import load_settings

__all__ = ["app", "main"]

app = typer.Typer(
    name="zjj",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=t(
        "Zhongjiujiu Workers: background jobs that send no more personal data than the "
        "published policy allows.",
        "钟久久任务系统：后台任务只发送隐私政策允许的最少个人信息。",
    ),
    epilog=t(
        "Exit codes: 0 done; 1 a job ended otherwise than it should, or was refused; 2 wrong usage, or "
        "a request that can never succeed; 3 there is no such thing; 4 try again later; 5 the outcome "
        "is unknown; 6 refused by the gate. With --json an error is one JSON object on standard error.",
        "退出码：0 完成；1 任务未按预期结束或被拒绝；2 用法错误或请求永远不会成功；3 没有该对象；"
        "4 稍后再试；5 结果未知；6 被出口拦截。使用 --json 时，错误以一个 JSON 对象写到标准错误。",
    ),
)
app.command(
    "run",
    help=t(
        "Run everything on one machine: database, Redis, sandbox, gateway, workers.\n\n"
        "Sends one SMS code through the whole path, shows what happened, and serves until Ctrl-C.",
        "在一台机器上运行整个系统：数据库、Redis、沙箱、网关、执行进程。\n\n"
        "先发送一条短信验证码并打印全过程，然后持续运行，按 Ctrl-C 停止。",
    ),
)(run.run)
app.command(
    "gateway",
    help=t(
        "Serve the HTTP API for web backends (ZJJ_GATEWAY_HOST, ZJJ_GATEWAY_PORT).",
        "为业务后端提供 HTTP 接口（ZJJ_GATEWAY_HOST、ZJJ_GATEWAY_PORT）。",
    ),
)(serve.gateway)
app.command(
    "worker",
    help=t("Run jobs of some queues until SIGTERM.", "执行所列队列的任务，直至 SIGTERM。"),
)(serve.worker)
app.command(
    "sandbox",
    help=t(
        "Serve the provider sandbox on loopback, for development; --help lists its options.",
        "在本机回环地址扮演服务商，供开发使用；--help 列出选项。",
    ),
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(serve.sandbox)
app.add_typer(jobs.app, name="jobs")
app.add_typer(queues.app, name="queues")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(sms.app, name="sms")
app.add_typer(pushes.app, name="pushes")
app.add_typer(database.app, name="db")
app.add_typer(payments.app, name="payments")
app.add_typer(privacy.app, name="privacy")


_LEFT_OPEN = {"run", "sandbox", "gateway", "worker", "privacy prove"}
"""Who starts processes or plays the providers; gateway and worker lock themselves."""


def main() -> None:
    """Entry point of ``zjj``: an error of ours ends as one sentence and a telling exit code."""
    words = sys.argv[1:]
    # An option of zjj itself may look for the user's shell with ``ps``.
    is_command = bool(words) and not words[0].startswith("-")
    if is_command and not {words[0], " ".join(words[:2])} & _LEFT_OPEN:
        lock_command()
    # A pipe or a service's log gets each line at once, as a terminal does.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        with answering():
            app()
    except ZjjError as error:
        if "--json" in sys.argv:
            said = {"error": error.code, "message": error.message, "exit_code": exit_code(error)}
            typer.echo(orjson.dumps(said), err=True)
        else:
            _explain(error)
        sys.exit(exit_code(error))


def _explain(error: ZjjError) -> None:
    errors = Console(stderr=True, highlight=False)
    errors.print(f"[red]{t('Error', '错误')}:[/red] {error.message}", soft_wrap=True)
    if isinstance(error, DatabaseUnavailable):
        where = address(load_settings().database)
        errors.print(
            t(
                f"It was looked for at {where} (ZJJ_DATABASE_URL, ZJJ_DATA).\n"
                "Is it running, and does it have its tables? `zjj db migrate` makes them.",
                f"数据库地址：{where}（ZJJ_DATABASE_URL、ZJJ_DATA）。\n"
                "请确认数据库已启动并已建表；`zjj db migrate` 可建表。",
            ),
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
