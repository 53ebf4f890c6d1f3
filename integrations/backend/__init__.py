"""The company's own web backends: what has become of something, told by signed webhooks."""

from integrations.backend.webhooks import BackendWebhooks, EndpointBook

__all__ = ["BackendWebhooks", "EndpointBook"]
