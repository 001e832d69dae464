"""What a learner and a teacher touch; so far: executing chapters and keeping their text form in line."""
