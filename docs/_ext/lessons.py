"""What the book takes from the lessons: their order, what they print, what they draw.

The build writes all three into one folder, `lessons_output`:
`lessons.txt` (folder and title, a lesson a line), `NN_slug.txt` (captured output), `figures/*.svg`.
"""
import os
import pathlib

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.directives.other import TocTree
from sphinx.util.docutils import SphinxDirective


def output_folder(env):
    return pathlib.Path(env.config.lessons_output).resolve()


def table(env):
    lines = (output_folder(env) / "lessons.txt").read_text().splitlines()
    return [line.split(maxsplit=1)[0] for line in lines if line]


class RunOutput(SphinxDirective):
    """`{run-output} NN_slug`: what the lesson printed when the book was built."""

    required_arguments = 1

    def run(self):
        path = output_folder(self.env) / f"{self.arguments[0]}.txt"
        self.env.note_dependency(str(path))
        if not path.is_file():
            raise self.error(f"no lesson {self.arguments[0]} has been run")
        text = path.read_text()
        block = nodes.literal_block(text, text, language="text", classes=["run-output"])
        self.set_source_info(block)
        return [block]


class RunFigure(SphinxDirective):
    """`{run-figure} NAME.svg`: a picture that a lesson drew when the book was built."""

    required_arguments = 1
    option_spec = {"alt": directives.unchanged_required}

    def run(self):
        path = output_folder(self.env) / "figures" / self.arguments[0]
        if not path.is_file():
            raise self.error(f"no lesson has drawn {self.arguments[0]}")
        here = pathlib.Path(self.env.doc2path(self.env.docname)).parent
        image = nodes.image(uri=os.path.relpath(path, here), alt=self.options.get("alt", ""))
        self.set_source_info(image)
        return [image]


class Lessons(TocTree):
    """`{lessons} FIRST LAST`: the lessons with these numbers, as a table of contents."""

    required_arguments = 2

    def run(self):
        first, last = (int(text) for text in self.arguments)
        self.env.note_dependency(str(output_folder(self.env) / "lessons.txt"))
        here = [slug for slug in table(self.env) if first <= int(slug[:2]) <= last]
        if not here:
            return []
        for number, slug in enumerate(here):
            self.content.append(f"/lessons/{slug}", "lessons.txt", number)
        return super().run()


def setup(app):
    app.add_config_value("lessons_output", "", "env")
    app.add_directive("run-output", RunOutput)
    app.add_directive("run-figure", RunFigure)
    app.add_directive("lessons", Lessons)
    return {"version": "1", "parallel_read_safe": True}
