"""The two lists that a company publishes about personal information, made from the policy.

MIIT asks for a list of what is collected and a list of what is shared with third parties, the
latter with the way of sharing (工信部信管函〔2021〕292号, 开展信息通信服务感知提升行动); Article 21
of the 网络数据安全管理条例 wants such lists from everybody. They are in Chinese because they are
published in China. With the ledger's sums at hand they also say what has really been sent.
"""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from integrations.policy._entries import Operation, Policy, Recipient
    from models.accounts import Traffic

__all__ = ["FORMATS", "PublicList", "collected_information", "third_party_sharing"]

_ROLES = {
    "entrusted": "委托处理",
    "independent": "向其他处理者提供",
    "own": "公司内部",
    "authority": "依法报告",
    "public": "向公众公告",
}
_BY_API = "服务器接口:逐次、只含所列字段、HTTPS 加密、境内传输"
_BY_SDK = "手机端 SDK 直接读取设备信息,不经过本系统"
_NOTHING = "无(本系统目前没有向其提供个人信息的操作)"
_STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;margin:2rem auto;max-width:80rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{border:1px solid #bbb;padding:.4rem .6rem;"
    "text-align:left;vertical-align:top}th{background:#f2f2f2}"
)


@dataclass(frozen=True, slots=True)
class PublicList:
    """A table with a title and a word about where it comes from."""

    name: str
    """File name without suffix."""
    title: str
    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As a Markdown document."""
        head = (f"# {self.title}", "", self.source, "")
        rule = "|" + " --- |" * len(self.columns)
        table = (_markdown_row(self.columns), rule, *map(_markdown_row, self.rows))
        return "\n".join((*head, *table)) + "\n"

    def html(self) -> str:
        """As a page of its own, without scripts or anything from elsewhere."""
        head = "".join(f"<th>{html.escape(column)}</th>" for column in self.columns)
        rows = "\n".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return (
            f'<!doctype html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width">\n'
            f"<title>{html.escape(self.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>{html.escape(self.title)}</h1>\n<p>{html.escape(self.source)}</p>\n"
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n"
            f"</body>\n</html>\n"
        )

    def csv(self) -> str:
        """As CSV; the byte order mark makes spreadsheets read it as UTF-8."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return "\ufeff" + text.getvalue()


FORMATS = {"md": PublicList.markdown, "html": PublicList.html, "csv": PublicList.csv}
"""Writers by file suffix."""


def third_party_sharing(policy: Policy, sums: Sequence[Traffic] | None = None) -> PublicList:
    """Who gets what, what for, and how; one row for each operation, and for each idle recipient.

    Args:
        sums: The ledger's, to add what has really been sent.
    """
    rows: list[tuple[str, ...]] = []
    for key, recipient in policy.recipients.items():
        operations = [each for each in policy.operations.values() if each.recipient == key]
        rows.extend(_sharing_row(policy, recipient, operation, sums) for operation in operations)
        if not operations:
            rows.append(_idle_row(recipient, sums))
    columns = (
        "第三方",
        "产品或服务",
        "个人信息种类",
        "使用目的",
        "使用场景",
        "共享方式",
        "关系",
        "政策条款",
        "政策中的名称",
        *(("实际次数与最近一次",) if sums is not None else ()),
    )
    return PublicList(
        "third-party-sharing", "个人信息第三方共享清单", _source(policy), columns, tuple(rows)
    )


def collected_information(policy: Policy) -> PublicList:
    """What the policy says is collected, where and what for, and whether it leaves."""
    gists = {clause.id: clause.gist for clause in policy.clauses}
    rows = []
    for key, category in policy.categories.items():
        leaving = [each for each in policy.operations.values() if key in each.categories]
        recipients = [policy.recipients[name] for name in {each.recipient: 0 for each in leaving}]
        purposes = dict.fromkeys(policy.purposes[each.purpose].title for each in leaving)
        rows.append(
            (
                category.title + ("(敏感个人信息)" if category.sensitive else ""),
                _joined(purposes) or "见使用场景",
                _joined(gists[clause] for clause in category.clauses),
                _joined(category.clauses, "、"),
                _joined(f"提供给{each.company}({each.product})" for each in recipients)
                or "本系统目前不对外提供",
            )
        )
    rows.extend(
        (
            denied.title,
            "见使用场景",
            _joined(gists[clause] for clause in denied.clauses),
            _joined(denied.clauses, "、"),
            f"不对外提供:{denied.reason}",
        )
        for denied in policy.denied.categories.values()
        if denied.clauses
    )
    columns = ("个人信息种类", "使用目的", "使用场景", "政策条款", "是否对外提供")
    return PublicList(
        "collected-information", "已收集个人信息清单", _source(policy), columns, tuple(rows)
    )


def _source(policy: Policy) -> str:
    return f"{policy.company};依据《{policy.title}》(版本 {policy.version})生成。联系方式:{policy.contact}。"


def _sharing_row(
    policy: Policy, recipient: Recipient, operation: Operation, sums: Sequence[Traffic] | None
) -> tuple[str, ...]:
    purpose = policy.purposes[operation.purpose]
    titles = (field.title for field in operation.fields.values() if field.category)
    return (
        recipient.company,
        recipient.product,
        _joined(titles, "、") or "无",
        purpose.title,
        operation.title,
        _BY_API,
        _ROLES[recipient.role],
        _joined(purpose.clauses, "、"),
        _named(recipient),
        *_happened(sums, operation.name),
    )


def _idle_row(recipient: Recipient, sums: Sequence[Traffic] | None) -> tuple[str, ...]:
    by_sdk = recipient.role == "independent" and recipient.named_in_policy and not recipient.hosts
    return (
        recipient.company,
        recipient.product,
        "设备信息" if by_sdk else _NOTHING,
        "—",
        recipient.note or "—",
        _BY_SDK if by_sdk else "—",
        _ROLES[recipient.role],
        _joined(recipient.clauses, "、"),
        _named(recipient),
        *(() if sums is None else ("—",)),
    )


def _happened(sums: Sequence[Traffic] | None, operation: str) -> tuple[str, ...]:
    if sums is None:
        return ()
    found = [each for each in sums if each.operation == operation]
    if not found:
        return ("0 次",)
    last = max(each.last for each in found)
    return (f"{sum(each.admitted for each in found)} 次,最近 {last:%Y-%m-%d}",)


def _named(recipient: Recipient) -> str:
    return recipient.named_as or f"政策未写明:{recipient.gap}"


def _joined(parts: Iterable[str], sign: str = ";") -> str:
    return sign.join(parts)


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
