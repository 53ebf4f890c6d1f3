"""The key pair of the sandbox's own application at Jiguang. It opens nothing but the sandbox."""

from __future__ import annotations

import base64

__all__ = ["APP_KEY", "MASTER_SECRET", "PRIVATE_KEY"]

APP_KEY = "sandbox0app0key000000000"
MASTER_SECRET = "sandbox0master0secret000"  # noqa: S105  # opens nothing but the sandbox

PRIVATE_KEY = base64.b64decode(
    "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC1mZx7kX0+2FsWT20mkPleD0PSREkHgF4T4t6F"
    "u0AIY4GfHTDWjy6/LtcZ7S2isYUy3KTNbEM01SkyP4iqJeFqdZeTi0KewCSmBg31fXcycdpEf5A17u4nCKkW2U8+"
    "xHeDWkj6xq/nCiaPrAcn9GUST87uQzv3tZCXjEDZtyeDoLLoG9/Au/nBjGOpy6QORS0wpHbiuLfNrTlssf4FnsIy"
    "AxTqqUZ7OZkip109C3BIAk3t2XsAGhAos0jPgTvDE4wrjmoVSuPHwl+2VGFPrGoGaV4kq+3fHiIcOfgCaamIlyVE"
    "1awa++GOsW33D+yXGGFYBUFp8qXW6nXbtM97SmuRAgMBAAECgf8RyoZDQpbOCoQ9aQYPXukz4mr3IyvEbhXt/NLU"
    "sFguw1oIvuNej5GnJLZ70XnXFEifPnDduFtBxmBgjiacTed3mySAu2GtwrL5B9Ea2Za6xd76EmnVTIxM+PeqIxt+"
    "GrzIaHJCerk8ZwkJPJgkmMqgZ37uZn63On3pEdI/giIRd5vPP3NPs077NkuQdhfnP7cV++gcSeHiTJAIvYH4dOWf"
    "NF3MFMW07cJqczBnKBQB4VrIRkjU0v0uL5JfQK2Je06uXsTDiGbBFgH9nfmIvYhtbaIb4i9OLJy0TAh1lNrXQodt"
    "dkO079emfsz/HD6ZDWx1MAOe1iCt84mdD2sgRIECgYEA2kTbgZL/CCSksQMHr5pS/HM9QZ9MseRT/vEfWapYG7Md"
    "av2NE/5h39XEgNcmKDOczMFY+iPshVn3yHInQ11AciC/h9sNujvIEUZomiB/h8Ng2y2pc9mK2Y8Br2bHChCd4hcT"
    "+9Iijf6c5ZvVa9SrgeceCoWvk7iU1tWBrDWf+4ECgYEA1P4HfQQwjmzZNeQInG5D6hCU8We0o9HObU6mWx588+N6"
    "JvJLJuQktsknavozHzfoatOC1Cu5Q6zG9ldOV4C4tiLg5Q1UuIZdhYVW2cgXsZ0yudBJwRffxKRibS4bLbQ6YrZH"
    "VoZn/6XJY4ebkAqUwLcgjVWE+ywE2MfGuXnmuBECgYBXawyfMMiD8mkjnBsP8bca9Oyrw6lr9g7OJLRxrQ/syCgY"
    "GcTPJSr+AxfYolLd9w3t0+JXDNxF7GqZFV80U7zj+Mm9F7a/yAGxKYnrcOii71Vzcy5S/+XkjKoYHgnJti4Fx0hx"
    "qw+73yXnsCoiLeMi+/XEMRbJCzxRbuGonzGcAQKBgQCK5zATA8x21d3CG3jSK8b2uuGnna5ct9MbzhMHkZaDp3Je"
    "O91u+5JF8mFWjt0QGvHj2RSVMf6cd+05ci6ROk072vs35b2+qUIMdazyUl/BYXdXXtL6rossPthBw7PN1p/NCHr1"
    "nqnsOz5fPmzhP0VLeSItifwzob13crHS/ADPQQKBgQCAKw9NkTQiuw6Ev/mePcWldiGTcnRCHqiAvhueNj2RxJRZ"
    "oANzHbSeaHJqbruprHw4eBEAOXbqqES7Ir8lcl8/ubJWhmPvqhDddyLyTO502BO0wzoMNleiMXANes96TrmILS7K"
    "PrRX/VzFYmYC5X7L3CflK/3r9esYISTCgEKSvA=="
)
"""RSA, DER (PKCS #8)."""
