"""The configuration of the paper's study, and studies that change it."""

from typing import Any

import yaml

from histobench.core.plan import SCHEMA
from histobench.core.study import Study
from support.project import ROOT


def configuration() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))


def study(**changes: Any) -> Study:
    """Return the paper's study but for some top-level keys of its configuration."""
    return Study(configuration() | changes, SCHEMA)
