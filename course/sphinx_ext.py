"""What the rendered book needs beyond jupyter-book: boxes, drawings, live widgets, links, buttons of a repository."""

import html
import json
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

from course.export import give_model
from course.orientation import number_of
from course.svg import caption_of, inline

LIVE = Path("pages/live")  # the widgets' scripts; in the rendered book they are in _static/live
BOXES = {"two-views": "Two views", "why-it-works": "Why it works", "why-it-might": "Why it might"}


class Box(Directive):
    """An admonition whose name is also its CSS class and gives its title: `:::{why-it-works}`."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.assert_has_content()
        box = nodes.admonition(classes=["book-box", self.name])
        box += nodes.title("", BOXES[self.name])
        self.state.nested_parse(self.content, self.content_offset, box)
        return [box]


class live(nodes.General, nodes.Element):
    """The place of a widget: its picture and sentence, which the widget's script brings to life."""


class AnyOption(dict):
    """The options of a directive whose names are not the directive's business; all are strings."""

    def __bool__(self) -> bool:
        return True

    def __missing__(self, name: str) -> Callable[[str | None], str]:
        return directives.unchanged


class Live(Directive):
    """`:::{live} name` around a picture with its alt text and a sentence; the options are the widget's.

    The widget is the function that `pages/live/name.js` registers by `Live.widget("name", ...)`. Of the
    options, `:id:` is the place's name in the page's address (the widget's own name, if not given).
    """

    has_content = True
    required_arguments = 1
    option_spec = AnyOption()

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        folder = Path(self.state.document.settings.env.srcdir) / LIVE
        known = sorted(
            path.stem for path in folder.glob("*.js")
            if f'Live.widget("{path.stem}"' in path.read_text(encoding="utf8")
        )
        if name not in known:
            raise self.error(f"no live widget {name!r}; there is {', '.join(known) or 'none'}")
        identifier = self.options.pop("id", name)
        taken = self.state.document.ids
        if identifier in taken:
            raise self.error(f"the id {identifier!r} is taken in this page; give another one as :id:")
        place = live("", ids=[identifier], widget=name, options=self.options)
        taken[identifier] = place
        self.state.nested_parse(self.content, self.content_offset, place)
        parts = [part.children[0] if len(part.children) == 1 else part for part in place.children]
        if len(parts) != 2 or not isinstance(parts[0], nodes.image) or not parts[0].get("alt"):
            raise self.error("a live widget needs a picture with an alternative text, and then a sentence")
        for part, role in zip(place.children, ("live-picture", "live-sentence")):
            part["classes"].append(role)
        return [place]


class drawing(nodes.General, nodes.Element):
    """One of the book's drawings, in a page as a part of it, so that it has the page's colors."""


class Drawn(Directive):
    """`:::{drawing}` around the picture of a drawing, with its alt text, and then its caption."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        place = nodes.figure(classes=["drawn"])
        self.state.nested_parse(self.content, self.content_offset, place)
        picture, *rest = [*place.findall(nodes.image)], *place.children[1:]
        image = picture[0] if picture else None
        if image is None or not image.get("alt") or len(rest) != 1 or not isinstance(rest[0], nodes.paragraph):
            raise self.error("a drawing needs a picture with an alternative text, and then its caption")
        path = Path(self.state.document.settings.env.srcdir) / "pages/drawings" / Path(image["uri"]).name
        if not path.is_file():
            raise self.error(f"there is no drawing {path.name}; `python -m course.drawings` writes them")
        self.state.document.settings.env.note_dependency(str(path))
        caption = nodes.caption("", "", *rest[0].children)
        place.children = []
        label = html.escape(image["alt"], quote=True)
        svg = path.read_text(encoding="utf8").replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
        place += [drawing("", svg=svg), caption]
        return [place]


def visit_drawing(self: HTML5Translator, node: drawing) -> None:
    self.body.append(node["svg"])
    raise nodes.SkipNode


class Figures(SphinxTransform):
    """Make a numbered figure of each SVG that a cell gives, and give figures and drawings their names by number."""

    default_priority = 205  # before Sphinx numbers figures

    def apply(self, **kwargs) -> None:
        for bundle in plots(self.document):
            figure = nodes.figure(classes=["plot"])
            bundle.replace_self(figure)
            caption = nodes.caption("", caption_of(svg_of(bundle, self.env)))
            caption.source, caption.line = bundle.source, bundle.line
            figure += [bundle, caption]
        chapter = number_of(self.env.docname)
        first = f"fig-{int(chapter)}-" if chapter else "fig-"
        counted = (figure for figure in self.document.findall(nodes.figure) if figure.next_node(nodes.caption))
        for i, figure in enumerate(counted, start=1):
            if not figure["ids"]:
                figure["ids"].append(f"{first}{i}")
                self.document.ids[f"{first}{i}"] = figure


class InlineFigures(SphinxPostTransform):
    """In a page an SVG is a part of it; elsewhere a figure is an image."""

    default_priority = 3  # before MyST-NB chooses among the forms of an output
    formats = ("html",)

    def run(self, **kwargs) -> None:
        if self.app.builder.name == "epub":
            return
        for bundle in plots(self.document):
            alt = bundle.next_node(nodes.image).get("alt", "")
            svg = inline(svg_of(bundle, self.env), bundle.parent["ids"][0], alt)
            bundle.replace_self(drawing("", svg=svg))


def form_of(bundle: nodes.Node) -> nodes.image | None:
    """The image that is an SVG among the forms that an output has."""
    forms = bundle.children if bundle.get("nb_element") == "mime_bundle" else []
    found = (form[0] for form in forms if form.get("mime_type") == "image/svg+xml")
    return next((image for image in found if isinstance(image, nodes.image)), None)


def plots(document: nodes.document) -> list[nodes.container]:
    return [node for node in document.findall(nodes.container) if form_of(node) is not None]


def svg_of(bundle: nodes.container, env: BuildEnvironment) -> str:
    return Path(env.srcdir, form_of(bundle)["uri"].lstrip("/")).read_text(encoding="utf8")


def visit_live(self: HTML5Translator, node: live) -> None:
    data = {"data-widget": node["widget"], "data-options": json.dumps(node["options"])}
    self.body.append(self.starttag(node, "div", CLASS="live", **data))


def depart_live(self: HTML5Translator, node: live) -> None:
    self.body.append("</div>\n")


def pass_by(self: nodes.NodeVisitor, node: live) -> None:
    """On paper and in plain text a widget is its picture and its sentence."""


def bring_to_life(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Give a page with widgets their scripts, and no other page any."""
    widgets = sorted({place["widget"] for place in doctree.findall(live)}) if doctree else []
    if widgets:
        app.add_css_file("live/live.css")
    for name in ["live", *widgets] if widgets else []:
        app.add_js_file(f"live/{name}.js", loading_method="defer")


def set_buttons(app: Sphinx, config: Config) -> None:
    """Show the buttons that lead to the repository if there is one; the theme fails on an empty address."""
    options = config.html_theme_options
    if options["repository_url"]:
        options["use_repository_button"] = True
    else:
        del options["launch_buttons"]


def link_pages(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Lead from page to page where a cell's output leads from notebook to notebook."""

    def link(found: re.Match) -> str:
        other = posixpath.normpath(posixpath.join(posixpath.dirname(page), found[1]))
        return f'href="{app.builder.get_relative_uri(page, other)}"' if other in app.env.all_docs else found[0]

    if "body" in context:
        context["body"] = re.sub(r'href="(\.\./[^":]+)\.ipynb"', link, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    for name in BOXES:
        app.add_directive(name, Box)
    app.add_directive("live", Live)
    app.add_directive("drawing", Drawn)
    others = dict.fromkeys(["latex", "text", "man", "texinfo"], (pass_by, pass_by))
    app.add_node(live, html=(visit_live, depart_live), **others)
    app.add_node(drawing, html=(visit_drawing, None), **others)
    app.add_transform(Figures)
    app.add_post_transform(InlineFigures)
    app.connect("config-inited", set_buttons)
    app.connect("html-page-context", link_pages)
    app.connect("html-page-context", bring_to_life)
    app.connect("build-finished", give_model)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
