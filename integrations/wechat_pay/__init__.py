"""WeChat Pay: callbacks verified and opened, orders and refunds asked for through the gate."""
