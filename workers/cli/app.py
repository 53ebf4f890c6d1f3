"""The commands, put together."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from models.errors import ZjjError
from workers.cli import database, jobs, keys, payments, privacy, queues, run, serve, sms, webhooks
from workers.cli.exits import exit_code
from workers.cli.language import say_in as t

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
)
app.command("run")(run.run)
app.command("gateway")(serve.gateway)
app.command("worker")(serve.worker)
app.command(
    "sandbox",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(serve.sandbox)
app.add_typer(jobs.app, name="jobs")
app.add_typer(queues.app, name="queues")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(sms.app, name="sms")
app.add_typer(database.app, name="db")
app.add_typer(payments.app, name="payments")
app.add_typer(privacy.app, name="privacy")


def main() -> None:
    """Entry point of ``zjj``: an error of ours ends as one sentence and a telling exit code."""
    try:
        app()
    except ZjjError as error:
        Console(stderr=True, highlight=False).print(
            f"[red]{t('Error', '错误')}:[/red] {error.message}"
        )
        sys.exit(exit_code(error))


if __name__ == "__main__":
    main()
