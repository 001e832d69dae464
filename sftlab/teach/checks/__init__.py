"""The checks of all exercises: name -> function of the learner's answer. One module for each chapter, listed here."""

from . import c00, c01, c02, c03, c04, c05, c06, c07, c08, c14, c15, c16, c17, c18, c19, c20

_CHAPTERS = (c00, c01, c02, c03, c04, c05, c06, c07, c08, c14, c15, c16, c17, c18, c19, c20)
CHECKS = {name: check for chapter in _CHAPTERS for name, check in chapter.CHECKS.items()}
# Exercises whose check hands over, or gets back, live objects (models, plans) and not only numbers, texts and tensors:
# when a class is graded, their check has to run in the submission's own process. See sftlab/teach/grade.py.
INSIDE = {name for chapter in _CHAPTERS for name in chapter.INSIDE}
