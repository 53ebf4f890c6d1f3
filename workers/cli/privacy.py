"""``zjj privacy``: what may leave, what has left, about whom, and the proof of both."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from integrations.policy import Policy, load_policy
from integrations.policy.lists import FORMATS, collected_information, third_party_sharing
from models.accounts import (
    Disclosed,
    disclosures_of,
    touched_by_leak,
    traffic,
)
from models.clock import BEIJING
from models.disclosures import Verdict
from models.errors import InvalidValue, NotFound
from models.people import kept_about
from models.pseudonyms import Pseudonyms
from workers.cli.consents import add_commands, rows_by_table
from workers.cli.exits import ENDED_BADLY
from workers.cli.language import say_in as t
from workers.cli.ledger import ledger, reading
from workers.cli.people import BackendOfUser, PhoneAsked, UserAsked, asked_person
from workers.cli.show_policy import print_policy
from workers.cli.tables import make_table
from workers.logs import configure_logs
from workers.proofs.report import Proof
from workers.published import open_policy
from workers.settings import load_settings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help=t(
        "Privacy: what may leave, what has left, and the proof.",
        "隐私：可以对外提供什么、实际提供了什么，以及证明。",
    ),
)
app.add_typer(ledger, name="ledger")
add_commands(app)


_AsJson = Annotated[bool, typer.Option("--json", help=t("Print JSON.", "输出 JSON。"))]


@app.callback()
def _group() -> None:
    """A group, even while it has one command."""


@app.command(
    "check",
    help=t(
        "Read the policy file and say in words what it allows, and what the published text lacks.",
        "检查政策文件，用文字列出允许的内容以及公开文本的缺口。",
    ),
)
def check(
    file: Annotated[
        Path | None,
        typer.Option(help=t("Instead of the configured one.", "指定文件，默认为当前配置。")),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help=t(
                "An earlier file: whatever is allowed beyond it is a fault.",
                "与较早的文件比较：凡放宽之处均视为错误。",
            )
        ),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """Check a policy; every fault is named with file, line and reason."""
    settings = load_settings() if file is None else load_settings(policy_file=file)
    policy = open_policy(settings)
    if against is not None:
        policy = load_policy(settings.policy_file, against=load_policy(against))
    if as_json:
        _print_json(_summary(policy))
    else:
        print_policy(Console(highlight=False), policy)


@app.command(
    "recipients",
    help=t(
        "Write the third-party sharing list and the collected-information list, in Chinese, as "
        "Markdown, HTML and CSV.",
        "生成《第三方共享清单》和《已收集个人信息清单》（Markdown、HTML、CSV）。",
    ),
)
def recipients(
    out: Annotated[
        Path | None,
        typer.Option(help=t("Folder; without it, Markdown is printed.", "输出目录，缺省则打印。")),
    ] = None,
    with_ledger: Annotated[
        bool,
        typer.Option(
            "--with-ledger",
            help=t("Add how often each thing was really sent.", "加上实际提供的次数。"),
        ),
    ] = False,
) -> None:
    """Write the lists that a company publishes."""
    settings = load_settings()
    policy = open_policy(settings)
    sums = None
    if with_ledger:
        with reading(settings) as connection:
            sums = traffic(connection)
    lists = (third_party_sharing(policy, sums), collected_information(policy))
    if out is None:
        typer.echo("\n".join(each.markdown() for each in lists), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for each in lists:
        for suffix, write in FORMATS.items():
            path = out / f"{each.name}.{suffix}"
            path.write_text(write(each), "utf-8", newline="\n")
            typer.echo(path)


@app.command(
    "subject",
    help=t(
        "One person's disclosures: who got which categories, when and why; and in which tables "
        "something about them is kept. Never a value.",
        "查询某人的信息对外提供记录（接收方、类别、时间、目的）及本系统保存的记录数；不含具体内容。",
    ),
)
def subject(
    phone: PhoneAsked = None,
    user: UserAsked = None,
    backend: BackendOfUser = None,
    as_json: _AsJson = False,
) -> None:
    """Answer a person's question (PIPL 44 and 45).

    What is typed becomes a keyed digest at once; it is not stored and not printed.
    """
    person = asked_person(phone, user, backend)
    settings = load_settings()
    pseudonym = person.pseudonym(Pseudonyms(settings.pseudonym))
    with reading(settings) as connection:
        found = disclosures_of(connection, [pseudonym])
        kept = kept_about(connection, pseudonym)
    if as_json:
        disclosed = [_plain(item) for item in found]
        _print_json({"subject": pseudonym, "disclosures": disclosed, "kept": kept})
        return
    if found:
        Console(highlight=False).print(_table(open_policy(settings), found))
    else:
        typer.echo(t("Nothing about this person was ever sent.", "没有关于此人的对外提供记录。"))
    if kept:
        typer.echo(t("Rows kept here: ", "本系统保存的记录数：") + rows_by_table(kept))


@app.command(
    "affected",
    help=t(
        "Whom a leak at one recipient touches, as pseudonyms.",
        "某接收方泄露时受影响的人（假名）。",
    ),
)
def affected(
    recipient: Annotated[
        str, typer.Option(help=t("The policy's key, such as aliyun_sms.", "接收方编号。"))
    ],
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="DATE",
            help=t("2026-11-01 or 2026-11-01T09:30; Beijing time.", "起始时间，北京时间。"),
        ),
    ],
    end: Annotated[
        str,
        typer.Option(
            "--to", metavar="DATE", help=t("A day counts to its end.", "截止时间，含当日。")
        ),
    ],
    as_json: _AsJson = False,
) -> None:
    """Count and name (by pseudonym) whom a leak at a recipient may touch."""
    settings = load_settings()
    if recipient not in open_policy(settings).recipients:
        raise NotFound(t("the policy has no such recipient", "政策中没有该接收方"))
    with reading(settings) as connection:
        found = touched_by_leak(
            connection, recipient, _instant(begin, "--from"), _instant(end, "--to", whole_day=True)
        )
    people = len(found.subjects)
    if as_json:
        _print_json({**asdict(found), "people": people, "band": _band(people)})
        return
    facts = Table.grid(padding=(0, 2))
    facts.add_row(t("Recipient", "接收方"), recipient)
    facts.add_row(t("People", "人数"), f"[bold]{people}[/] ({_band(people)})")
    facts.add_row(t("Disclosures", "提供次数"), str(found.disclosures))
    facts.add_row(t("Categories", "信息类别"), ", ".join(found.categories) or "-")
    if found.nobodys:
        facts.add_row(t("Without a person", "未关联到人"), str(found.nobodys))
    Console(highlight=False).print(facts)
    typer.echo(t("--json lists the pseudonyms.", "--json 列出假名。"))


@app.command(
    "prove",
    help=t(
        "Prove on this machine that nothing personal leaves beyond the policy: real processes, "
        "made-up people, every operation and kind of job, every mishap.",
        "在本机证明：除政策列明的内容外，没有任何个人信息离开系统。",
    ),
)
def prove(
    database_url: Annotated[
        str | None,
        typer.Option(
            help=t(
                "An empty PostgreSQL database to sweep as well.", "另外检查的空 PostgreSQL 数据库。"
            )
        ),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help=t("Vary more, for longer.", "更多变化，更久。"))
    ] = False,
    as_json: _AsJson = False,
) -> None:
    """Run the proofs; exit code 1 tells that one does not hold."""
    from workers import proofs

    configure_logs(level="error")
    console = Console(highlight=False)
    with Progress(transient=True, console=_errors()) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        found = proofs.prove(
            progress,
            policy_file=load_settings().policy_file,
            database_url=database_url,
            thorough=thorough,
        )
    if as_json:
        _print_json([{**asdict(proof), "holds": proof.holds} for proof in found])
    else:
        for proof in found:
            _print_proof(console, proof)
    if not all(proof.holds for proof in found):
        raise typer.Exit(ENDED_BADLY)


def _print_proof(console: Console, proof: Proof) -> None:
    verdict = (
        f"[green]{t('holds', '成立')}[/]" if proof.holds else f"[red]{t('FAILS', '不成立')}[/]"
    )
    console.print(f"{verdict}  [bold]{proof.name}[/]: {t(proof.claim, proof.claim_zh)}")
    facts = (t(f"{proof.cases} cases", f"{proof.cases} 例"), *proof.notes, f"{proof.seconds:.1f} s")
    console.print(f"       {' · '.join(facts)}", style="dim")
    for fault in proof.faults:
        console.print(f"       [red]{fault}[/]")


def _instant(text: str, option: str, *, whole_day: bool = False) -> dt.datetime:
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(
            t(f"{option} takes 2026-11-01 or 2026-11-01T09:30", f"{option} 的格式为 2026-11-01")
        ) from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=BEIJING)
    if whole_day and len(text) == len("2026-11-01"):
        instant += dt.timedelta(days=1)
    return instant.astimezone(dt.UTC)


def _band(people: int) -> str:
    """A power of ten, so that small numbers stay vague in what is passed on."""
    if people == 0:
        return "0"
    low = 10 ** (len(str(people)) - 1)
    return "1–9" if low == 1 else f"{low:,}–{low * 10 - 1:,}"


def _plain(item: Disclosed) -> dict[str, Any]:
    return {name: value for name, value in asdict(item).items() if name != "subject"}


def _table(policy: Policy, found: list[Disclosed]) -> Table:
    table = make_table(
        t("When (Beijing)", "时间（北京）"),
        t("Recipient", "接收方"),
        t("Categories", "信息类别"),
        t("Purpose", "目的"),
        t("Clause", "条款"),
        t("Result", "结果"),
    )
    for item in found:
        recipient = policy.recipients.get(item.recipient)
        purpose = policy.purposes.get(item.purpose)
        table.add_row(
            f"{item.at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}",
            f"{recipient.company} {recipient.product}" if recipient else item.recipient,
            ", ".join(_category(policy, key) for key in item.categories),
            purpose.title if purpose else item.purpose,
            ", ".join(item.clauses),
            _result(item),
        )
    return table


def _category(policy: Policy, key: str) -> str:
    return policy.categories[key].title if key in policy.categories else key


def _result(item: Disclosed) -> str:
    if item.verdict is Verdict.DENIED:
        return t(f"not sent: {item.reason}", f"未提供：{item.reason}")
    return item.result or t("begun, no end on record", "已开始，未见结果")


def _summary(policy: Policy) -> dict[str, Any]:
    return {
        "version": policy.version,
        "company": policy.company,
        "recipients": {
            key: {
                "company": each.company,
                "hosts": each.hosts,
                "region": each.region,
                "role": each.role,
                "named_in_policy": each.named_in_policy,
            }
            for key, each in policy.recipients.items()
        },
        "purposes": {key: each.title for key, each in policy.purposes.items()},
        "operations": {
            key: {"recipient": each.recipient, "categories": each.categories}
            for key, each in policy.operations.items()
        },
        "denied": {
            kind: {key: each.title for key, each in entries.items()}
            for kind, entries in policy.denied
        },
        "gaps": {key: each.title for key, each in policy.gaps.items()},
    }


def _errors() -> Console:
    return Console(stderr=True, highlight=False)


def _print_json(document: object) -> None:
    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
