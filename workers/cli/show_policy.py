"""How a policy looks on a terminal: who, what for, which fields, and what the text lacks."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding

from integrations.policy import Operation, OutboundField, Policy
from workers.cli.language import say_in as t
from workers.cli.tables import record

__all__ = ["print_policy"]


def print_policy(console: Console, policy: Policy) -> None:
    """Everything that the policy allows, then everything that it should say and does not."""
    console.print(f"[bold]{policy.title}[/] {policy.version} · {policy.company}")
    _recipients(console, policy)
    _purposes(console, policy)
    console.print(f"\n[bold]{t('Operations', '对外操作')}[/]")
    for operation in policy.operations.values():
        _operation(console, policy, operation)
    _denials(console, policy)
    _gaps(console, policy)
    console.print(f"\n[green]{t('The policy file is valid.', '政策文件有效。')}[/]")


def _recipients(console: Console, policy: Policy) -> None:
    console.print(f"\n[bold]{t('Recipients', '接收方')}[/]")
    for key, recipient in policy.recipients.items():
        unnamed = f"[yellow]{t('not named', '未写明')}[/]"
        hosts = "\n".join(recipient.hosts) or (
            t("named at deployment", "部署时配置")
            if any(each.recipient == key for each in policy.operations.values())
            else t("none: nothing is sent", "无：不发送")
        )
        rows = (
            (t("company", "公司"), f"{recipient.company} {recipient.product}"),
            (t("role", "角色"), recipient.role),
            (t("region", "地域"), recipient.region),
            (t("named in the policy as", "政策中的名称"), recipient.named_as or unnamed),
            (t("hosts", "主机"), hosts),
        )
        console.print(record(f"[cyan]{key}[/]", rows))


def _purposes(console: Console, policy: Policy) -> None:
    console.print(f"\n[bold]{t('Purposes', '用途')}[/]")
    for key, purpose in policy.purposes.items():
        rows = (
            (t("clauses", "条款"), ", ".join(purpose.clauses)),
            (t("basis", "依据"), purpose.basis.law),
            (t("consent", "同意"), purpose.basis.consent),
        )
        console.print(record(f"[cyan]{key}[/] {purpose.title}", rows))


def _operation(console: Console, policy: Policy, operation: Operation) -> None:
    recipient = policy.recipients[operation.recipient]
    purpose = policy.purposes[operation.purpose]
    host = operation.host or t("named at deployment", "部署时配置")
    personal = {
        name: field
        for name, field in operation.fields.items()
        if field.category and not field.impersonal
    }
    others = (
        f"{name}: {field.title}" for name, field in operation.fields.items() if name not in personal
    )
    rows = [
        (t("to", "接收方"), f"{recipient.company} {recipient.product}, {host}"),
        (t("for", "目的"), f"{purpose.title} ({', '.join(purpose.clauses)})"),
        *(
            (
                t("personal", "个人信息"),
                f"{name}: {field.title} ({field.category}, {field.transform}, {_longest(field)})",
            )
            for name, field in personal.items()
        ),
        (t("other fields", "其他字段"), ", ".join(others) or "-"),
        (
            t("kept of the reply", "保留的回复"),
            ", ".join((*operation.reply.keep, *operation.reply.excerpts)) or "-",
        ),
    ]
    if told := ", ".join(operation.reply.personal):
        rows.append((t("told about a person", "回复中的个人信息"), told))
    console.print(record(f"[cyan]{operation.name}[/] {operation.title}", rows))


def _longest(field: OutboundField) -> str:
    return t(f"at most {field.max} characters", f"最多 {field.max} 个字符")


def _denials(console: Console, policy: Policy) -> None:
    denied = policy.denied
    console.print(f"\n[bold]{t('Never, stated', '明确不做')}[/]")
    for title, entries in (
        (t("Recipients", "接收方"), denied.recipients),
        (t("Purposes", "用途"), denied.purposes),
        (t("Categories", "信息类别"), denied.categories),
        (t("Kept of replies", "保留的回复"), denied.reply_fields),
    ):
        console.print(Padding(title, (0, 0, 0, 2)))
        for entry in entries.values():
            where = f" ({', '.join(entry.clauses)})" if entry.clauses else ""
            console.print(Padding(f"• {entry.title}: {entry.reason}{where}", (0, 0, 0, 4)))


def _gaps(console: Console, policy: Policy) -> None:
    unnamed = [each for each in policy.recipients.values() if each.gap]
    count = len(policy.gaps) + len(unnamed)
    console.print(
        f"\n[bold yellow]{t('Gaps of the published text', '公开文本的缺口')}[/] ({count})"
    )
    for recipient in unnamed:
        console.print(
            Padding(f"• {recipient.company} {recipient.product}: {recipient.gap}", (0, 0, 0, 2))
        )
    for gap in policy.gaps.values():
        where = f" ({', '.join(gap.clauses)})" if gap.clauses else ""
        console.print(Padding(f"• {gap.title}{where} → {gap.effect}", (0, 0, 0, 2)))
