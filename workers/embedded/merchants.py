"""The sandbox's merchants as ``ZJJ_MERCHANTS`` wants them: made once, kept in the data folder.

They are laid out as a real merchant's would be, one file for each key, so the file also serves as a
pattern. The keys open nothing but the sandbox.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from integrations.payments import Channel
from integrations.sandbox.merchants import MCHID, SELLER, TillKeys

__all__ = ["SandboxMerchants"]

_PATHS: dict[Channel, str] = {
    "wechat_pay_v3": f"wechat-pay/{MCHID}",
    "wechat_pay_v2": f"wechat-pay-v2/{MCHID}",
    "alipay": f"alipay/{SELLER}",
}
"""Of the gateway, below ``/v1/callbacks/``."""


@dataclass(frozen=True, slots=True)
class SandboxMerchants:
    """Files in a folder of their own."""

    folder: Path

    @property
    def keys(self) -> Path:
        """Every key of all parties, for the sandbox."""
        return self.folder / "sandbox.json"

    @property
    def file(self) -> Path:
        """For ``ZJJ_MERCHANTS``."""
        return self.folder / "merchants.toml"

    def lay_out(self, backend: str) -> None:
        """Make them, unless they are there.

        Args:
            backend: Whose payments these are.
        """
        if self.file.exists():
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        keys = TillKeys.made()
        shown = keys.shown()
        for name, text in {
            self.keys.name: keys.dump(),
            "apiclient_key.pem": shown["private_key"],
            "api_v3.key": shown["api_v3_key"],
            "api_v2.key": shown["api_v2_key"],
            "platform.pem": shown["platform_certificate"],
            "wechat_pay.pem": shown["public_key"],
            "app.pem": shown["alipay_private_key"],
            "alipay.pem": shown["alipay_public_key"],
            # The last one, so that the folder is whole wherever it exists.
            self.file.name: _FILE.format(backend=backend, **shown),
        }.items():
            self._write(name, text)

    @staticmethod
    def callback_urls(port: int) -> dict[Channel, str]:
        """Where the sandbox sends callbacks, if a gateway listens on that port."""
        return {
            channel: f"http://127.0.0.1:{port}/v1/callbacks/{path}"
            for channel, path in _PATHS.items()
        }

    def _write(self, name: str, text: str) -> None:
        draft = self.folder / f"{name}.tmp"
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(self.folder / name)


_FILE = """\
[[merchants]]
channel = "wechat_pay_v3"
merchant = "{mchid}"
app = "{appid}"
backend = "{backend}"
serial_no = "{serial_no}"
private_key_file = "apiclient_key.pem"
api_v3_key_files = ["api_v3.key"]
platform_certificate_files = ["platform.pem"]
public_key_files = {{ {public_key_id} = "wechat_pay.pem" }}

[[merchants]]
channel = "wechat_pay_v2"
merchant = "{mchid}"
app = "{appid}"
backend = "{backend}"
key_file = "api_v2.key"

[[merchants]]
channel = "alipay"
merchant = "{alipay_seller_id}"
app = "{alipay_app_id}"
backend = "{backend}"
private_key_file = "app.pem"
alipay_public_key_file = "alipay.pem"
"""
