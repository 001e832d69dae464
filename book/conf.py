"""Sphinx configuration of the book. Build it with `python book/build.py`, which prepares what this file expects.

The source folder is the root of the repository, so that the notebooks are pages where they stand. The built book
loads nothing from outside: MathJax and mermaid are copied to _static/vendor by build.py.
"""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

REPOSITORY = "https://github.com/example/sftlab"  # the one place to change: repository and launch buttons follow

project = html_title = "SFT Lab"
author = "the SFT Lab authors"
language = "en"

root_doc = "book/index"
# Only these are pages; the paired text forms of the notebooks, for one, are not.
include_patterns = ["book/*.md", "book/_generated/cards/*.md", "notebooks/*.ipynb"]
exclude_patterns = [".*", "**/.*", "**/_build", "**/node_modules"]  # not searched at all

extensions = [
    "myst_nb",
    "sphinx.ext.githubpages",  # an empty .nojekyll, without which GitHub Pages drops _static
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.mermaid",
]
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["mermaid"]  # the plain fence, which JupyterLab and GitHub draw as well
myst_heading_anchors = 3
# Links to a heading are those that JupyterLab follows, `03_losses.ipynb#cell-id=the-gradient-step-by-step`.
myst_heading_slug_func = "sftlab.teach.chapters.fragment"
myst_heading_anchors_html_ids = False  # in the built page they become Sphinx's own
nb_execution_mode = "off"  # the book shows the outputs that the tests executed
nb_merge_streams = True
nb_render_markdown_format = "myst"  # Markdown outputs have tables and mathematics, too
nb_ipywidgets_js = {"widget-host.js": {"defer": "defer"}}  # replaces require.js and html-manager from a CDN

# MathJax 3 in one SVG file; version 4 asks a CDN for its fonts.
mathjax_path = "vendor/mathjax/tex-svg-full.js"
mathjax3_config = {"options": {"processHtmlClass": "tex2jax_process|mathjax_process|math|output_area"}}
mermaid_use_local = "vendor/mermaid/mermaid.esm.min.mjs"
mermaid_init_config = {"startOnLoad": False, "flowchart": {"useMaxWidth": False}}  # see pre.mermaid in sftlab.css
mermaid_height = "auto"
mermaid_fullscreen = False

html_theme = "sphinx_book_theme"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_extra_path = ["_root"]
html_css_files = ["sftlab.css"]
html_context = {"default_mode": "auto"}
html_show_copyright = False
html_theme_options = {
    "repository_url": REPOSITORY,
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_source_button": True,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
    "logo": {"text": project},
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "max_navbar_depth": 1,  # deeper entries fold with a mark that has no name for a screen reader
    "navbar_persistent": [],  # otherwise a second search box in an empty top bar
}


class KeepStaticForm(SphinxPostTransform):
    """Keep the picture or table that was stored beside a widget.

    MyST-NB shows one form of an output and would take the widget alone. The reader then sees nothing when the widget
    cannot start. widget-host.js hides the static form once the widget stands.
    """

    default_priority = 3  # before MyST-NB's own choice, which has 4

    def run(self, **kwargs):
        for bundle in self.document.findall(nodes.container):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            forms = {child["mime_type"]: child for child in bundle.children}
            widget = forms.get("application/vnd.jupyter.widget-view+json")
            static = next((forms[m] for m in ("image/svg+xml", "image/png", "text/html") if m in forms), None)
            if widget is not None and static is not None:
                widget.insert(0, nodes.container("", *static.children, classes=["widget-static"]))


class FoldSolutions(SphinxPostTransform):
    """A code cell with the tag `solution` stays closed until the reader opens it, like a solution in Markdown."""

    default_priority = 3

    def run(self, **kwargs):
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") == "cell_code" and "tag_solution" in cell["classes"]:
                cell.insert(0, nodes.raw("", "<details><summary>Solution</summary>", format="html"))
                cell.append(nodes.raw("", "</details>", format="html"))


def setup(app):
    app.add_post_transform(KeepStaticForm)
    app.add_post_transform(FoldSolutions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
