"""Aliyun: text messages (Dysmsapi 2017-05-25) and codes of number authentication (Dypnsapi)."""

from integrations.aliyun.signing import AliyunCredentials
from integrations.aliyun.sms import AliyunSms, Delivery, DeliveryState
from integrations.aliyun.sms_auth import AliyunSmsAuth

__all__ = ["AliyunCredentials", "AliyunSms", "AliyunSmsAuth", "Delivery", "DeliveryState"]
