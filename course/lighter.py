"""Take out of the built pages what the theme ships and no reader needs: icon scripts, fonts of icons, source maps."""

import re
from pathlib import Path

from sphinx.application import Sphinx

UNUSED = ["*.map", "scripts/fontawesome.js*", "vendor/fontawesome/webfonts/*"]
ICON_SCRIPT = re.compile(r'\s*<(?:script|link)\b[^>]*fontawesome[^>]*>(?:\s*</script>)?')


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Icons are drawn by `pages/icons.css`: no page loads the theme's script for them, and no folder holds it."""
    if exception or app.builder.format != "html" or app.builder.name == "epub":
        return
    out = Path(app.outdir)
    for pattern in UNUSED:
        for path in out.glob(f"_static/**/{pattern}"):
            path.unlink()
    for path in out.rglob("*.html"):
        if "_static" in path.parts:
            continue
        page = path.read_text(encoding="utf-8")
        lighter = ICON_SCRIPT.sub("", page)
        if lighter != page:
            path.write_text(lighter, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
