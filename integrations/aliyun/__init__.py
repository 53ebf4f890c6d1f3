"""Aliyun: text messages (Dysmsapi)."""
