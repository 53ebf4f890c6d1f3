"""How a policy looks on a terminal: who, what for, which fields, and what the text lacks."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from integrations.policy import Operation, Policy
from workers.cli.language import say_in as t

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
    table = Table(title=t("Recipients", "接收方"), title_justify="left")
    for heading in (
        t("Key", "编号"),
        t("Company", "公司"),
        t("Role", "角色"),
        t("Named in the policy as", "政策中的名称"),
        t("Hosts", "主机"),
    ):
        table.add_column(heading)
    for key, recipient in policy.recipients.items():
        table.add_row(
            key,
            f"{recipient.company} {recipient.product}",
            recipient.role,
            recipient.named_as or f"[yellow]{t('not named', '未写明')}[/]",
            "\n".join(recipient.hosts) or t("none: nothing is sent", "无：不发送"),
        )
    console.print(table)


def _purposes(console: Console, policy: Policy) -> None:
    table = Table(title=t("Purposes", "用途"), title_justify="left")
    for heading in (
        t("Key", "编号"),
        t("Purpose", "用途"),
        t("Clauses", "条款"),
        t("Basis", "依据"),
        t("Consent", "同意"),
    ):
        table.add_column(heading)
    for key, purpose in policy.purposes.items():
        basis = purpose.basis
        table.add_row(key, purpose.title, ", ".join(purpose.clauses), basis.law, basis.consent)
    console.print(table)


def _operation(console: Console, policy: Policy, operation: Operation) -> None:
    recipient = policy.recipients[operation.recipient]
    purpose = policy.purposes[operation.purpose]
    console.print(f"[cyan]{operation.name}[/] {operation.title}")
    lines = Table.grid(padding=(0, 2))
    host = operation.host or t("named at deployment", "部署时配置")
    lines.add_row(t("to", "接收方"), f"{recipient.company} {recipient.product}, {host}")
    lines.add_row(t("for", "目的"), f"{purpose.title} ({', '.join(purpose.clauses)})")
    for name, field in operation.fields.items():
        if field.category:
            limits = t(f"at most {field.max} characters", f"最多 {field.max} 个字符")
            lines.add_row(
                t("personal", "个人信息"),
                f"{name}: {field.title} ({field.category}, {field.transform}, {limits})",
            )
    others = (
        f"{name}: {field.title}" for name, field in operation.fields.items() if not field.category
    )
    lines.add_row(t("other fields", "其他字段"), ", ".join(others) or "-")
    kept = ", ".join((*operation.reply.keep, *operation.reply.excerpts)) or "-"
    lines.add_row(t("kept of the reply", "保留的回复"), kept)
    console.print(Padding(lines, (0, 0, 0, 2)))


def _denials(console: Console, policy: Policy) -> None:
    denied = policy.denied
    console.print(f"\n[bold]{t('Never, stated', '明确不做')}[/]")
    for title, entries in (
        (t("Recipients", "接收方"), denied.recipients),
        (t("Purposes", "用途"), denied.purposes),
        (t("Categories", "信息类别"), denied.categories),
    ):
        names = ", ".join(entry.title for entry in entries.values())
        console.print(Padding(f"{title}: {names}", (0, 0, 0, 2)))


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
