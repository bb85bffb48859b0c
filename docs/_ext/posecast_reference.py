"""Generated parts of the reference: commands with their options, settings, recipes.

In: the Cyclopts application, the configuration's dataclasses and the recipes. Out: MyST Markdown in place of the
comments `<!-- generated: NAME -->` of a page. Next: `../reference/commands.md` and `../reference/settings.md`.
"""

from __future__ import annotations

import inspect
import posixpath
import re
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from cyclopts import App
from cyclopts.argument import Argument
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from posecast.cli.main import app as posecast_app
from posecast.config.recipes import RECIPES
from posecast.config.schema import SECTIONS, Anchored, Bound, Budget, Config, Lab4, Training, settings_of

MARKER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
OWN_GROUPS = ("Arguments", "Parameters")
"""Groups of a command's own options; the other groups hold the settings, which have their own page."""
METAVARS = {bool: "", int: "INT", float: "FLOAT", str: "TEXT"}
TYPES_IN_WORDS = {int: "whole number", float: "number", str: "text"}
TITLES = {
    Config: "Run",
    Budget: "Budget: exactly one of the three",
    Training: "Training",
    Bound: "Objective",
    Anchored: "Networks of `anchored`, `people` and `stationary`",
    Lab4: "Networks of `lab4`",
}
"""Headings of the groups of settings, in the order of the page."""
LANGUAGES = {"zh-TW": "zh-Hant-TW"}
"""Language of the pages in a folder."""


def fill_in(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the markers of a page by the generated parts."""
    source[0] = MARKER.sub(lambda marker: link_pages(GENERATED[marker[1]](), page), source[0])


def pages_with_markers(app: Sphinx, env: BuildEnvironment, *_: object) -> list[str]:
    """Return the pages with generated parts; they are outdated whenever the code has changed."""
    return [page for page in env.found_docs if MARKER.search(Path(env.doc2path(page)).read_text(encoding="utf-8"))]


def set_language(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Declare the language of a translated page."""
    folder = page.partition("/")[0]
    context["language"] = LANGUAGES.get(folder, context["language"])


# Commands ---------------------------------------------------------------------------------------------------------


def command_sections() -> str:
    """Return a section for each command."""
    return "\n\n".join(map(command_section, command_paths()))


def command_overview() -> str:
    """Return a definition list of the commands with the first sentence of each."""
    entries = []
    for path in command_paths():
        name, summary = full_name(path), path[-1].help.splitlines()[0]
        entries.append(f"[`{name}`](#{anchor(name)})\n: {as_markdown(summary)}")
    return "\n\n".join(entries)


def command_paths(path: tuple[App, ...] = (posecast_app,)) -> Iterator[tuple[App, ...]]:
    """Yield the path of applications to each command, in the order of the help."""
    for name in path[-1]:
        if name.startswith("-"):
            continue
        inner = (*path, path[-1][name])
        if inner[-1].default_command:
            yield inner
        else:
            yield from command_paths(inner)


def full_name(path: tuple[App, ...]) -> str:
    return " ".join(app.name[0] for app in path)


def anchor(name: str) -> str:
    return name.replace(" ", "-")


def command_section(path: tuple[App, ...]) -> str:
    """Return a command's heading, usage, description and options."""
    name, command = full_name(path), path[-1]
    with posecast_app.app_stack(path):
        arguments = [
            argument for argument in command.assemble_argument_collection(parse_docstring=True) if argument.show
        ]
    own = [argument for argument in arguments if argument.parameter.group[0].name in OWN_GROUPS]
    positional = [signature(argument) for argument in own if not argument.name.startswith("-")]
    required = [signature(argument) for argument in own if argument.required and argument.name.startswith("-")]
    usage = " ".join([name, *positional, *required, "[options]"])
    parts = [
        f"({anchor(name)})=",
        f"## {name}",
        f"```text\n{usage}\n```",
        as_markdown(inspect.cleandoc(command.help)),
        f"```{{program}} {name}\n```",
        *map(option_entry, own),
    ]
    if len(own) < len(arguments):
        parts.append("Every [setting](settings.md) is an option, too: `batch_size` is `--batch-size`.")
    return "\n\n".join(parts)


def signature(argument: Argument) -> str:
    """Return an option with the kind of its value, such as `--minutes FLOAT`, or the name of a positional argument."""
    if argument.name.startswith("-"):
        return f"{argument.name} {metavar(argument.hint)}".strip()
    takes_several = argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL
    return argument.name + " ..." * takes_several


def option_entry(argument: Argument) -> str:
    """Return the entry of an option: signature, help, default."""
    default, text = argument.field_info.default, as_markdown(argument.parameter.help or "")
    if argument.required:
        text += " Required."
    elif argument.name.startswith("-") and not isinstance(default, bool | None) and default != ():
        text += f" Default: `{as_typed(default)}`."
    return f"```{{option}} {signature(argument)}\n{text}\n```"


def metavar(hint: Any) -> str:
    """Return the kind of an option's value; nothing for a switch."""
    hint = without_none(hint)
    members = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return "{" + ",".join(map(str, members)) + "}"
    if typing.get_origin(hint) is tuple:
        return f"{metavar(members[0])} ..."
    if is_union(hint):
        return "|".join(map(metavar, members))
    return METAVARS.get(hint, "PATH")


def without_none(hint: Any) -> Any:
    """Return `X` for `X | None`."""
    members = [member for member in typing.get_args(hint) if member is not types.NoneType]
    return members[0] if is_union(hint) and len(members) == 1 else hint


def is_union(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Union or isinstance(hint, types.UnionType)


# Settings ---------------------------------------------------------------------------------------------------------


def setting_sections() -> str:
    """Return a section for each group of settings."""
    parts, described = [], set()
    for section, title in TITLES.items():
        parts.append(f"## {title}")
        for name, hint, field in settings_of(section):
            no_index = ":no-index:\n" * (name in described)  # a name that both kinds of networks have
            described.add(name)
            parts.append(
                f"```{{confval}} {name}\n:type: {type_in_words(hint, field.metadata)}\n"
                f":default: {default_by_recipe(section, name)}\n{no_index}\n{as_markdown(field.metadata['help'])}\n```"
            )
    return "\n\n".join(parts)


def type_in_words(hint: Any, limits: Mapping[str, Any]) -> str:
    """Return a setting's type and range."""
    hint, least, most = without_none(hint), limits["ge"], limits["le"]
    members = typing.get_args(hint)
    range_text = "" if least is None else f" from {limit_in_words(least)} to {limit_in_words(most)}"
    if typing.get_origin(hint) is Literal:
        return " or ".join(f"`{choice}`" for choice in members)
    if typing.get_origin(hint) is tuple:
        return f"list, each {TYPES_IN_WORDS[members[0]]}{range_text}"
    if is_union(hint):
        choices = type_in_words(members[1], {"ge": None, "le": None})
        return f"{TYPES_IN_WORDS[members[0]]}{range_text}, or {choices}"
    return TYPES_IN_WORDS[hint] + range_text


def limit_in_words(limit: float) -> str:
    """Return a limit in a readable form, such as 10⁹ for 1000000000."""
    digits = f"{limit:.0f}"
    if limit == 2**63 - 1:
        return "2⁶³ - 1"
    if limit >= 10**6 and digits.strip("0") == "1":
        return "10" + str(len(digits) - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{limit:,}" if isinstance(limit, int) else as_typed(limit)


def default_by_recipe(section: type, name: str) -> str:
    """Return a setting's default, with the names of the recipes where they differ."""
    recipes: dict[str, list[str]] = {}
    for recipe in RECIPES:
        value = value_in(recipe, name, section)
        if value is not None or section is Budget:
            recipes.setdefault("none" if value is None else f"`{as_typed(value)}`", []).append(recipe)
    if len(recipes) == 1:
        return next(iter(recipes))
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in recipes.items())


def recipe_table() -> str:
    """Return a table of the settings in which the recipes differ."""
    rows = ["| setting |" + "".join(f" `{recipe}` |" for recipe in RECIPES), "|---" * (1 + len(RECIPES)) + "|"]
    names = dict.fromkeys(name for section in TITLES for name, _, _ in settings_of(section))
    budget = {name for name, _, _ in settings_of(Budget)}
    for name in names:
        values = [value_in(recipe, name) for recipe in RECIPES]
        distinct = set(values) if name in budget else set(values) - {None}
        if len(distinct) > 1:
            cells = (" |" if value is None else f" {as_typed(value)} |" for value in values)
            rows.append(f"| {{confval}}`{name}` |" + "".join(cells))
    return "\n".join(rows)


def value_in(recipe: str, name: str, section: type | None = None) -> Any:
    """Return a recipe's value of a setting; None if it has no such setting, or not in that section."""
    config = RECIPES[recipe]
    for owner in (config, *(getattr(config, entry) for entry in SECTIONS)):
        names = {entry for entry, _, _ in settings_of(type(owner))}
        if name in names and section in (None, type(owner)):
            return getattr(owner, name)
    return None


# Text -------------------------------------------------------------------------------------------------------------


def as_typed(value: Any) -> str:
    """Return a value as a user types it."""
    if isinstance(value, tuple):
        return " ".join(map(as_typed, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def as_markdown(text: str) -> str:
    """Return a text of the program with Markdown's special characters escaped and options as code."""
    text = re.sub(r"([*_<\[\]`])", r"\\\1", text)
    return re.sub(r"(?<![\w-])--[a-zA-Z][\w\\-]*", lambda option: "`" + option[0].replace("\\", "") + "`", text)


def link_pages(text: str, page: str) -> str:
    """Return a text with the paths of pages in it, such as docs/glossary.md, as links from another page."""

    def link(path: re.Match[str]) -> str:
        target = posixpath.relpath(path[1], posixpath.dirname(page))
        return f"[{posixpath.basename(path[1])}]({target}.md)"

    return re.sub(r"\bdocs/([\w/-]+)\.md", link, text)


GENERATED = {
    "commands": command_sections,
    "command-overview": command_overview,
    "settings": setting_sections,
    "recipes": recipe_table,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the generated parts and the languages of pages."""
    app.connect("env-get-outdated", pages_with_markers)
    app.connect("source-read", fill_in)
    app.connect("html-page-context", set_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
