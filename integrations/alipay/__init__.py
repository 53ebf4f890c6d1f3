"""Alipay: callbacks verified, orders and refunds asked for through the gate."""
