"""Bills as files: whole or not at all, whatever arrives."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.documents import read_document

TABLE = (
    "\ufeff商户订单号,订单金额,商品名称\r\n"
    "`order-000001,`129.00,`手镯,18K\r\n"
    "`order-000002,`0.01,`链\u2028坠\x85\r\n"
    "总交易单数,总金额\r\n"
    "`2,`129.01\r\n"
).encode()
ROWS = ["order-000001", "order-000002"]

DETAIL = (
    "#支付宝业务明细查询\r\n"
    "商户订单号,商品名称,金额\r\n"
    'order-000001\t,"手镯,18K",129.00\r\n'
    "order-000002\t,链坠,0.01\r\n"
    "#业务明细列表结束\r\n"
)
SUMS = "#支付宝业务汇总查询\r\n门店编号,总笔数\r\n合计,2\r\n"


def archive(*files: bytes, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}.csv", file)
    return made.getvalue()


ZIPPED = archive(SUMS.encode("gbk"), DETAIL.encode("gbk"))
BILLS = pytest.mark.parametrize(
    ("form", "bill"), [("table", TABLE), ("zipped_table", ZIPPED)], ids=["WeChat Pay", "Alipay"]
)


def numbers(form: str, bill: bytes) -> list[str] | None:
    read = read_document(form, bill)
    return None if read is None else [row["商户订单号"] for row in read["rows"]]


@BILLS
def test_every_row_is_read(form: str, bill: bytes) -> None:
    assert numbers(form, bill) == ROWS


@BILLS
def test_a_bill_that_was_cut_off_is_whole_or_none(form: str, bill: bytes) -> None:
    for length in range(len(bill)):
        assert numbers(form, bill[:length]) in (None, ROWS), length


@BILLS
@given(data=st.data())
def test_a_spoiled_bill_is_read_or_not_and_nothing_else(
    form: str, bill: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(bill)))
    end = data.draw(st.integers(at, len(bill)))
    spoiled = bill[:at] + data.draw(st.binary(max_size=20)) + bill[end:]
    read_document(form, spoiled)


@given(st.sampled_from(["table", "zipped_table"]), st.binary(max_size=200))
def test_whatever_else_arrives_is_no_bill(form: str, body: bytes) -> None:
    assert not numbers(form, body)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda bill: bill.replace(b"`2,`129.01", b"`3,`129.01"),
        lambda bill: bill.replace(b"`0.01,", b""),
        lambda bill: bill.replace(b"`order-000002", b"`order,`000002"),
        lambda bill: bill.replace("链".encode(), "链".encode("gbk")),
        gzip.compress,
        lambda _: b"",
        lambda _: b'{"code": "PARAM_ERROR"}',
    ],
    ids=["count", "a value less", "a value more", "encoding", "gzip", "empty", "json"],
)
def test_a_table_that_does_not_add_up_is_none(spoil: Callable[[bytes], bytes]) -> None:
    assert read_document("table", spoil(TABLE)) is None


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_may_be_packed_in_another_way(packing: int) -> None:
    bill = archive(SUMS.encode("gbk"), DETAIL.encode("gbk"), packing=packing)
    assert numbers("zipped_table", bill) == ROWS
    for at in range(30, len(bill) - 100):
        spoiled = bill[:at] + bytes([bill[at] ^ 0xFF]) + bill[at + 1 :]
        assert numbers("zipped_table", spoiled) in (None, ROWS), at


@pytest.mark.parametrize(
    "bill",
    [
        archive(),
        archive(b""),
        archive(SUMS.encode("gbk")),
        archive(DETAIL.replace("0.01\r\n", "0.01,more\r\n").encode("gbk")),
        archive(b"\xff" + DETAIL.encode("gbk")),
        archive(archive(DETAIL.encode("gbk"))),
        gzip.compress(ZIPPED),
        DETAIL.encode("gbk"),
    ],
    ids=["no file", "empty", "sums", "a value more", "encoding", "in another", "gzip", "bare"],
)
def test_an_archive_without_the_bill_is_none(bill: bytes) -> None:
    assert read_document("zipped_table", bill) is None


def test_an_archive_that_swells_is_not_unpacked() -> None:
    bill = archive(*[b"#" * 2**25] * 3, DETAIL.encode("gbk"))
    assert len(bill) < 2**20
    assert read_document("zipped_table", bill) is None
