# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Sphinx builds the documentation site from what antsibull-docs has written: `make docs`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes

project = "community.paperspace"
author = "The community.paperspace authors"
project_copyright = f"2026, {author}"
html_title = "Paperspace collection"

extensions = ["sphinx_antsibull_ext"]
# Its colours in dark mode follow the reader's system, as those of the theme do.
antsibull_ext_color_scheme = "default-autodark"
html_theme = "furo"
html_copy_source = False
html_show_sourcelink = False
html_use_index = False
highlight_language = "YAML+Jinja"
default_role = "any"
nitpicky = True

# What the pages refer to in Ansible's own documentation. Its list of all labels would have to be downloaded.
ANSIBLE = "https://docs.ansible.com/ansible/latest/"
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
ANSIBLE_PLUGIN = re.compile(r"ansible_collections\.ansible\.builtin\.(?P<name>\w+_(?:module|lookup|filter|strategy))")


def ansible_address(kind: str, target: str) -> str | None:
    """Where Ansible's documentation has what is referred to, or None when it is nothing of Ansible's."""
    if kind == "envvar" and target.startswith("ANSIBLE_"):
        return f"{ANSIBLE}reference_appendices/config.html#envvar-{target}"
    if match := ANSIBLE_PLUGIN.fullmatch(target):
        return f"{ANSIBLE}collections/ansible/builtin/{match['name']}.html"
    return ANSIBLE + ANSIBLE_PAGES[target] if target in ANSIBLE_PAGES else None


def refer_to_ansible(_app: Any, _env: Any, reference: nodes.Element, content: nodes.Element) -> nodes.Element | None:
    address = ansible_address(reference["reftype"], reference["reftarget"])
    return nodes.reference("", "", content, refuri=address, internal=False) if address else None


def drop_contents(_app: Any, doctree: nodes.document) -> None:
    """Drop the tables of contents within pages: the theme has one beside each page, and refuses a second one."""
    for topic in list(doctree.findall(nodes.topic)):
        if "contents" in topic["classes"]:
            topic.parent.remove(topic)


def find_pictures(app: Any, doctree: nodes.document) -> None:
    """Take pictures from where the guides point to: antsibull-docs copies the guides without them."""
    guides = Path(__file__).parents[1] / "docsite" / "rst"
    for picture in doctree.findall(nodes.image):
        picture["uri"] = "/" + os.path.relpath(guides / picture["uri"], app.srcdir)


def setup(app: Any) -> dict[str, Any]:
    app.connect("doctree-read", drop_contents)
    # Before Sphinx looks for them.
    app.connect("doctree-read", find_pictures, priority=400)
    app.connect("missing-reference", refer_to_ansible)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
