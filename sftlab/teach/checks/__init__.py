"""The checks of all exercises: name -> function of the learner's answer. One module for each chapter, listed here."""

from . import c00, c01, c03

CHECKS = {**c00.CHECKS, **c01.CHECKS, **c03.CHECKS}
# Exercises whose check hands over, or gets back, live objects (models, plans) and not only numbers, texts and tensors:
# when a class is graded, their check has to run in the submission's own process. See sftlab/teach/grade.py.
INSIDE = {*c00.INSIDE, *c01.INSIDE, *c03.INSIDE}
