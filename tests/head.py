"""What the tests of files need, and no torch."""

#: How the text of a chapter begins.
HEAD = """\
---
jupytext:
  formats: ipynb,md:myst
kernelspec: {display_name: Python 3, language: python, name: python3}
---
"""
