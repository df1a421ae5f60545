"""JSON laid out for people: over several lines, but no more than it needs."""

from __future__ import annotations

import json
from typing import Any

_WIDTH = 120


def pretty(value: Any, indent: str = "") -> str:
    """JSON over several lines, except that a small object inside another stays on one."""
    inner = f"{indent}  "
    if isinstance(value, dict) and value:
        members = [f"{json.dumps(key)}: {_member(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner + member for member in members) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _member(item, inner) for item in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def _member(value: Any, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    return line if len(indent) + len(line) <= _WIDTH else pretty(value, indent)
