"""Aliyun: text messages (Dysmsapi), codes of number authentication (Dypnsapi), identity (Cloudauth)."""

from integrations.aliyun.identity import AliyunIdentity, CheckedIdentity, IdentityVerdict
from integrations.aliyun.signing import AliyunCredentials
from integrations.aliyun.sms import AliyunSms, Delivery, DeliveryState
from integrations.aliyun.sms_auth import AliyunSmsAuth

__all__ = [
    "AliyunCredentials",
    "AliyunIdentity",
    "AliyunSms",
    "AliyunSmsAuth",
    "CheckedIdentity",
    "Delivery",
    "DeliveryState",
    "IdentityVerdict",
]
