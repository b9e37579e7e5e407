"""The errors a user can cause. Each says what was wrong, where, what is allowed, and the nearest match."""

DONE, USAGE, FAILED, OTHERS, INTERRUPTED = 0, 2, 3, 4, 130
"""Exit codes: done, usage or configuration, some runs failed or differ, others are at work on some, interrupted."""


class InductiveError(Exception):
    """Bad input or a state of affairs the user must resolve; shown without a traceback, exit code 2."""


class ConfigError(InductiveError):
    """A configuration (study file, flag, record) that is refused: `place` is the file, `key` the key in it."""

    def __init__(self, key: str, message: str, place: str = ""):
        self.key, self.message, self.place = key, message, place
        super().__init__(": ".join(part for part in (place, key, message) if part))

    def at(self, place: str) -> "ConfigError":
        """The same error, said of the file or command line it came from."""
        return type(self)(self.key, self.message, place)


class ImpossibleError(ConfigError):
    """Values that are each allowed but cannot be together; a study may leave such a cell out."""


class UnpreparedError(ConfigError):
    """A published data set that nobody has prepared: only what `inductive prepare` makes of its files declares it, so
    until then it is not known what runs there are. `dataset` is its name."""

    def __init__(self, dataset: str, message: str, place: str = ""):
        self.dataset = dataset
        super().__init__("dataset", message, place)

    def at(self, place: str) -> "UnpreparedError":
        return UnpreparedError(self.dataset, self.message, place)


class RecordError(InductiveError):
    """A record that cannot be read: torn, foreign, made by a newer version, or not as its configuration says."""


class OwnedError(InductiveError):
    """The run is being worked on by a live attempt elsewhere; the message says by whom and since when."""


class StaleError(InductiveError):
    """The sources a run depends on have changed since it was recorded; the message says which."""
