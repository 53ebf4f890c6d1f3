"""``zjj jobs``: enqueue, look, replay, cancel."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError

from models.errors import InvalidValue, NotFound
from models.jobs import JobView
from models.states import SETTLED, State
from tasks.registry import TASKS
from workers.cli import replay as operators
from workers.cli.exits import ENDED_BADLY
from workers.cli.filters import opened
from workers.cli.language import say_in as t
from workers.cli.listing import list_jobs
from workers.cli.show import print_job
from workers.cli.tables import terminal
from workers.entrance import Entrance

__all__ = ["app", "wait_for"]

app = typer.Typer(
    no_args_is_help=True,
    help=t("Jobs: enqueue, look, replay, cancel.", "任务：入队、查看、重放、取消。"),
)

_POLL_SECONDS = 0.02


@app.command("enqueue", help=t("Enqueue a job.", "创建任务。"))
def enqueue(
    kind: Annotated[
        str,
        typer.Argument(
            help=t(
                "Kind of job, such as sms_code; a wrong one lists them all.",
                "任务类型，如 sms_code；写错时列出全部类型。",
            )
        ),
    ],
    fields: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=VALUE…",
            help=t(
                "Fields of the job, such as phone=16400001234; NAME=- asks for the value without "
                "showing it.",
                "任务字段，如 phone=16400001234；NAME=- 则在终端隐藏输入。",
            ),
        ),
    ],
    key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", help=t("Same key, same job.", "幂等键：键相同即同一任务。")
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help=t("On whose behalf.", "所属后端。"))] = "cli",
    wait: Annotated[
        float,
        typer.Option(
            help=t("Seconds to wait for the end; 0 does not wait.", "等待秒数，0 不等待。")
        ),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help=t("Print JSON.", "输出 JSON。"))] = False,
) -> None:
    """Store a job and ring for it."""
    if kind not in TASKS:
        kinds = ", ".join(TASKS)
        raise InvalidValue(
            t(f"no such kind of job; there are {kinds}", f"没有该类型，可选：{kinds}")
        )
    payload_type = TASKS[kind].payload
    try:
        payload = payload_type.model_validate(dict(_pair(field) for field in fields))
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
        raise InvalidValue("; ".join(_fault(fault) for fault in faults)) from None
    with opened() as entrance:
        job = entrance.service.enqueue(payload, backend=backend, idempotency_key=key)
        view = wait_for(entrance, job.id, wait) if wait else entrance.service.find(job.id)
    if view is not None:
        _print(view, as_json=as_json)
        if wait and view.state is not State.SUCCEEDED:
            raise typer.Exit(ENDED_BADLY)


@app.command(
    "show",
    help=t("One job: timeline and disclosures.", "查看任务：时间线、对外提供记录。"),
)
def show(
    job_id: Annotated[str, typer.Argument(help=t("The job's id.", "任务编号。"))],
    as_json: Annotated[bool, typer.Option("--json", help=t("Print JSON.", "输出 JSON。"))] = False,
) -> None:
    """Show one job."""
    with opened() as entrance:
        view = entrance.service.find(job_id)
        masks = entrance.desk.masks(job_id)
    if view is None:
        raise NotFound(t("there is no such job", "没有该任务"))
    if as_json:
        document = TypeAdapter(JobView).dump_python(view, mode="json") | {"masks": masks}
        typer.echo(TypeAdapter(dict[str, Any]).dump_json(document, indent=2).decode())
    else:
        print_job(terminal(), view, masks)


app.command("list", help=t("List jobs; never a value.", "列出任务，不含具体内容。"))(list_jobs)
app.command(
    "replay",
    help=t(
        "Send failed jobs on their way again, under today's policy. Exits with 1 if one was refused.",
        "按现行政策重放失败的任务；有拒绝则退出码为 1。",
    ),
)(operators.replay)
app.command(
    "cancel",
    help=t("Cancel jobs that wait, and erase their payloads.", "取消等待中的任务并清除其内容。"),
)(operators.cancel)


def wait_for(entrance: Entrance, job_id: str, seconds: float) -> JobView | None:
    """Look at a job until it is settled or the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        view = entrance.service.find(job_id)
        if view is None or view.state in SETTLED or time.monotonic() > deadline:
            return view
        time.sleep(_POLL_SECONDS)


def _pair(field: str) -> tuple[str, str]:
    name, equals, value = field.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidValue(t("fields are written NAME=VALUE", "字段格式为 NAME=VALUE"))
    if value == "-":
        value = typer.prompt(name, hide_input=True)
    return name, value


def _fault(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    return f"{name if name.isidentifier() else '?'}: {fault['msg']}"


def _print(view: JobView, *, as_json: bool) -> None:
    if as_json:
        typer.echo(TypeAdapter(JobView).dump_json(view, indent=2).decode())
    else:
        print_job(terminal(), view)
