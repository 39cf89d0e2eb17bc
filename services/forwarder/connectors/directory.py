"""The directory: every partner that this version can send to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.forwarder.connectors.base import Connector
from services.forwarder.connectors.webhook import Webhook

Connectors = Mapping[str, Connector[Any]]

CONNECTORS: Connectors = {connector.spec.key: connector for connector in (Webhook(),)}
