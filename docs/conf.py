"""The site's settings, for Sphinx: ``nox -s docs`` builds it into ``build/site``.

In: the Markdown of docs/, the docstrings of the package, the scripts of examples/ (which are run: their pictures and
what they print are on their pages).   Out: a folder of HTML that asks nothing of other hosts.
Next: ``building/`` (links, inventories), ``index.md``, ``api/index.rst``.
"""

from __future__ import annotations

import sys
import tomllib
import warnings
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from building import inventories  # noqa: E402
from sphinx.ext.autodoc.mock import _MockObject  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project, author = "convpp", "the convpp authors"
release = version = PROJECT["version"]
copyright = author

extensions = [
    "myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.intersphinx",
    "sphinx_copybutton", "sphinx_gallery.gen_gallery", "building.equations", "building.links", "building.widgets",
]  # fmt: skip
root_doc = "index"
exclude_patterns = ["building", "inventories", "static", "gallery/**/*.ipynb", "gallery/*.py"]
nitpicky = True
default_role = "literal"

# ---------------------------------------------------------------- pages

myst_heading_anchors = 4  # as on a repository's page
myst_fence_as_directive = ["math"]
html_math_renderer = "mathml"

# ---------------------------------------------------------------- reference

# (Frameworks that are not installed: their modules' docstrings are read all the same.)
autodoc_mock_imports = ["jax", "jaxlib", "pytensor", "torch"]
_MockObject.__setitem__ = lambda self, key, value: None  # JAX's tables, in which convpp enters its rules
_MockObject.__or__ = lambda self, other: self  # types of arguments
_MockObject.__fspath__ = lambda self: "nowhere"  # PyTorch's own library
autodoc_typehints = "none"  # docstrings say it in words
autodoc_preserve_defaults = True
autoclass_content = "both"  # layers say their parameters where they take them
autodoc_member_order = "bysource"
autosummary_generate = False
numpydoc_show_class_members = False
intersphinx_mapping = inventories.write(ROOT / "build" / "inventories")
intersphinx_timeout = 1

# ---------------------------------------------------------------- gallery

#: Those that are run, in the order of the gallery; others are shown after them: they need a framework, or minutes.
RUN = [
    "edge_detection", "deblur", "denoise", "filter_a_recording", "missing_data", "larger_than_memory",
    "find_the_filter", "digits", "gradients_of_samples", "custom_layer_gradcheck",
]  # fmt: skip
sphinx_gallery_conf = {
    "examples_dirs": [str(ROOT / "examples")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": rf"/({'|'.join(RUN)})\.py$",
    "within_subsection_order": "building.gallery.Order",
    "copyfile_regex": "",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "reference_url": {"convpp": None},
    "doc_module": ("convpp",),
    "backreferences_dir": None,
    "reset_modules": ("matplotlib",),
    "image_srcset": ["2x"],
    "default_thumb_file": str(HERE / "static" / "mark.png"),
    "min_reported_time": 3600,
    "write_computation_times": False,
    "nested_sections": False,
    "abort_on_example_error": True,
}
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")
warnings.filterwarnings("ignore", message="convpp was built without XLA")

# ---------------------------------------------------------------- HTML

html_theme = "furo"
html_title = "convpp"
html_favicon = "static/mark.svg"
html_static_path = ["static"]
pygments_dark_style = "github-dark"
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0f5c8c", "color-brand-content": "#0f5c8c"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f0", "color-brand-content": "#7cc4f0"},
    "top_of_page_buttons": [],
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
