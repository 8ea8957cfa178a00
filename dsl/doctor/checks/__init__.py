"""The checks, one a file: each takes a subject and says what it found."""
