"""Jiguang: one-click login (极光认证, loginTokenVerify)."""

from integrations.jiguang.decryption import PhoneCipher
from integrations.jiguang.login import JiguangCredentials, JiguangLogin

__all__ = ["JiguangCredentials", "JiguangLogin", "PhoneCipher"]
