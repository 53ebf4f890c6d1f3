"""Jiguang: one-click login (极光认证, loginTokenVerify) and push notices (极光推送)."""

from integrations.jiguang.decryption import PhoneCipher
from integrations.jiguang.login import JiguangCredentials, JiguangLogin
from integrations.jiguang.notices import load_notices
from integrations.jiguang.push import JPush

__all__ = ["JPush", "JiguangCredentials", "JiguangLogin", "PhoneCipher", "load_notices"]
