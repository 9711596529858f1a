"""Templates filled in. Whatever comes from outside is escaped, and the page forbids itself scripts and the network."""

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from decant.pages import words


def page(template: str, **parts: Any) -> str:
    """One HTML file out of templates/`template`."""
    return _environment().get_template(template).render(style=Markup(_read("page.css")), **parts)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"spread": words.spread, "value": words.value, "table": words.table}
    made.globals |= {"count": words.count}
    return made


def _read(name: str) -> str:
    return (files("decant.pages") / "templates" / name).read_text(encoding="utf-8")
