"""What is said to a person: whole, on one line, without anything that could steer the terminal."""
from __future__ import annotations


def one_line(text: str) -> str:
    """The text on one line; control characters, which a file's name may hold, are shown instead of obeyed."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in joined)


def sentence(text: str) -> str:
    """The text on one line that ends as a sentence does."""
    line = one_line(text)
    return line if line.endswith((".", "!", "?")) else f"{line}."
