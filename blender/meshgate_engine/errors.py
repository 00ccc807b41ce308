"""The failure of a conversion."""


class ConversionError(Exception):
    """A conversion that failed: ``code`` is one of ``ErrorCode`` in ``src/domain/error.rs``, ``detail`` one sentence.

    The sentence is lower case, has no trailing period, and names no path and no Python exception.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
