"""Runs that take turns, a step each: a moment in which the machine is slow meets all of them alike.

Every run has a thread of its own, because a library calls the model from inside its loop and cannot be left in any
other way; but only one of them ever moves.
"""

import threading
from collections.abc import Callable, Sequence


class Turns:
    """Who may move. A run waits for its turn, hands over when it has done a step, and leaves at its end."""

    def __init__(self, count: int):
        self.mine = [threading.Semaphore(0) for _ in range(count)]
        self.there = list(range(count))

    def hand_over(self, me: int) -> None:
        """Let the others do a step each; returns when it is this run's turn again."""
        self._next(me)
        self.mine[me].acquire()

    def leave(self, me: int) -> None:
        """The run is over."""
        if len(self.there) > 1:
            self._next(me)
        self.there.remove(me)

    def _next(self, me: int) -> None:
        after = self.there[(self.there.index(me) + 1) % len(self.there)]
        self.mine[after].release()


def together(jobs: Sequence[Callable[[Callable[[], None]], None]]) -> None:
    """Run all jobs to their ends, in turn from the first; each gets a function that hands over to the next.

    Raises:
        BaseException: what a job raised, the first one in the order of the jobs, when all have ended.

    >>> def count(name):
    ...     def job(hand_over):
    ...         for step in range(2):
    ...             seen.append(f"{name}{step}")
    ...             hand_over()
    ...     return job
    >>> seen = []
    >>> together([count("a"), count("b")])
    >>> seen
    ['a0', 'b0', 'a1', 'b1']
    """
    turns, errors = Turns(len(jobs)), {}

    def run(me: int) -> None:
        turns.mine[me].acquire()
        try:
            jobs[me](lambda: turns.hand_over(me))
        except BaseException as error:
            errors[me] = error
        finally:
            turns.leave(me)

    threads = [threading.Thread(target=run, args=(me,), daemon=True) for me in range(len(jobs))]
    for thread in threads:
        thread.start()
    if jobs:
        turns.mine[0].release()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
