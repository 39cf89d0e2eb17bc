"""A place in the tokens of a text, and what is read from there."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from .lexer import Kind, Token
from .places import Slip, Slips
from .words import JOINING, Phrases, nearest

V = TypeVar("V")
_WORDS_OF_PHRASE = 3  # what was written wrongly is compared with phrases by so many words
_SHOWN_MAX = 40


class Cursor:
    """Reads tokens from the first to the END. `opened` is how many brackets are open; `between` is whether the next `and` belongs to a
    `between`, and so joins no criteria; `criteria` is how many criteria were read."""

    def __init__(self, text: str, tokens: list[Token], slips: Slips) -> None:
        self._text = text
        self._tokens = tokens
        self._index = 0
        self.slips = slips
        self.opened = 0
        self.between = False
        self.criteria = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self._tokens[self._index]

    @property
    def ended(self) -> bool:
        """Whether all was read."""
        return self.token.kind is Kind.END

    @property
    def end(self) -> int:
        """Where the token before the next one ended."""
        return self._tokens[self._index - 1].end if self._index else 0

    def after(self, count: int) -> Token:
        """The token so many places after the next one; END behind the last."""
        return self._tokens[min(self._index + count, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next token, which is read with it."""
        token = self.token
        if token.kind is Kind.SYMBOL:
            self.opened += (token.text in "([") - (token.text in ")]")
        if token.kind is not Kind.END:
            self._index += 1
        return token

    def raw(self, token: Token) -> str:
        """A token as it stands in the text, in its case."""
        return self.text(token.start, token.end)

    def text(self, start: int, end: int) -> str:
        """What stands between two offsets."""
        return self._text[start:end]

    def sees(self, *words: str) -> bool:
        """Whether these words or signs come next."""
        for count, word in enumerate(words):
            token = self.after(count)
            if token.text != word or token.kind not in (Kind.WORD, Kind.SYMBOL):
                return False
        return True

    def accept(self, *words: str) -> bool:
        """Reads these words or signs if they come next."""
        if not self.sees(*words):
            return False
        for _ in words:
            self.take()
        return True

    def expect(self, sign: str, what: str) -> None:
        """Reads a sign or word that must come next. Raises Slip."""
        if not self.accept(sign):
            self.wrong(f"{what} is missing", f"write `{sign}`", (sign,))

    def expect_and(self, what: str) -> None:
        """Reads the `and` of a `between`, which must come next. Raises Slip."""
        self.between = False
        self.expect("and", what)

    def stop(self) -> None:
        """Goes to the END, and nothing more is told."""
        self._index = len(self._tokens) - 1
        self.slips.closed = True

    def phrase(self, phrases: Phrases[V]) -> V | None:
        """The meaning of the longest phrase that comes next, which is read; None when none does."""
        token = self.token
        if token.kind not in (Kind.WORD, Kind.SYMBOL):
            return None
        for words, meaning in phrases.beginning_with(token.text):
            if all(self._is(self.after(count), word) for count, word in enumerate(words)):
                for _ in words:
                    self.take()
                return meaning
        return None

    @staticmethod
    def _is(token: Token, word: str) -> bool:
        # The phrase `other 2` holds a number.
        return token.text == word and token.kind in (Kind.WORD, Kind.SYMBOL, Kind.NUMBER)

    def wrong(self, what: str, mend: str, phrases: tuple[str, ...] = (), *, unless: str = "") -> NoReturn:
        """Raises Slip at the next token: `what` is missing there, and `mend` says what to write. If one of the phrases was probably meant,
        that is said instead, and `unless`, what to do if it was not."""
        token = self.token
        if (slip := self.meant(phrases, unless)) is not None:
            raise slip
        where = "at the end" if token.kind is Kind.END else f"before {shown(self.raw(token))}"
        raise Slip(token.start, token.end, f"{what} {where}; {mend}.")

    def meant(self, phrases: tuple[str, ...], unless: str = "") -> Slip | None:
        """What is wrong with the next words, if one of the phrases was probably meant by them; `unless` is said behind it."""
        if self.token.kind is not Kind.WORD:
            return None
        words = self._words()
        count, phrase = nearest(tuple(word.text for word in words), phrases)
        if not phrase:
            return None
        start, end = self.token.start, words[count - 1].end
        said = f"{shown(self.text(start, end))} is not understood here; did you mean `{phrase}`?{unless and ' '}{unless}"
        return Slip(start, end, said, phrase)

    def _words(self) -> list[Token]:
        """The next words, of which one or several may be a phrase that was written wrongly."""
        words = [self.token]
        while len(words) < _WORDS_OF_PHRASE:
            word = self.after(len(words))
            if word.kind is not Kind.WORD or word.text in JOINING:
                break
            words.append(word)
        return words


def shown(text: str) -> str:
    """A piece of the text for a message: on one line, and not too long."""
    text = " ".join(text.split())
    return f"`{text}`" if len(text) <= _SHOWN_MAX else f"`{text[:_SHOWN_MAX]}...`"
