from tests.integrations.paying import lab, tills

__all__ = ["lab", "tills"]
