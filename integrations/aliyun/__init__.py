"""Aliyun: text messages (Dysmsapi 2017-05-25)."""

from integrations.aliyun.signing import AliyunCredentials
from integrations.aliyun.sms import AliyunSms, Delivery, DeliveryState

__all__ = ["AliyunCredentials", "AliyunSms", "Delivery", "DeliveryState"]
