"""The HTML templates beside this module, and what all of their pages format in the same way."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tagscale.evaluation.metrics import METRICS
from tagscale.runtime.words import counted


def templates() -> Environment:
    """The templates, which escape what they are given and refuse a name that nobody defines.

    Filters: `code` shows `text in backquotes` as code; `counted` says how many of a thing; `label` is a metric's name
    for readers, from its key.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["counted"] = counted
    environment.filters["label"] = lambda key: METRICS[key].label
    environment.filters["code"] = lambda text: Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
    return environment
