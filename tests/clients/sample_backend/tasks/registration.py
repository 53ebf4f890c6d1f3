# mypy: ignore-errors
"""What happens when somebody registers."""

import zjj
from models import User


def send_code(client: zjj.Client, user: User, code: str) -> zjj.Job:
    """Have the code sent that proves the phone is the user's."""
    return client.sms_codes.send(
        phone=user.phone,
        code=code,
        scene="register",
        user=user.id,
        idempotency_key=f"register-{user.id}",
    )
