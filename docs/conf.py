import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "_ext"))

project = "libmp"
author = "the libmp authors"
copyright = author

extensions = ["myst_parser", "sphinx_copybutton", "lessons", "conformance", "faults"]
exclude_patterns = ["_ext"]
html_theme = "furo"
html_title = "libmp"
html_show_sphinx = False
highlight_language = "cpp"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Prompts are shown, not copied.
copybutton_prompt_text = "$ "
