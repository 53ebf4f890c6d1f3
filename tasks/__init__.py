"""What is done: one module for each kind of job, with its payload, handler and retry rule."""

from tasks.identity_check import IdentityCheck
from tasks.phone_login import JiguangLogin, PhoneCheck, PhoneLogin
from tasks.push import Push
from tasks.sms_code import SmsCode

__all__ = ["IdentityCheck", "JiguangLogin", "PhoneCheck", "PhoneLogin", "Push", "SmsCode"]
