"""Going on with an answer that was begun."""


class Prefix:
    """The beginning of an answer, as the model is shown it.

    After a text that ends in a space the next word would have to begin without its own, which a
    model seldom saw: it is shown the text without, and the first space it writes is taken away.
    """

    def __init__(self, text: str) -> None:
        self.text = text.rstrip()
        self._space_given = self.text != text

    def continued(self, text: str) -> str:
        """What to add to the answer where the model went on with `text`."""
        if self._space_given:
            text = text.lstrip()
            self._space_given = not text
        return text
