"""Dataset files: read from the buckets, parsed once, shared by all jobs that use the same contents."""

from . import preference
from .buckets import Buckets, StoredObject
from .dataset import DatasetError, parse, statistics
from .errors import GoogleError
from .learner import Corpus
from .records import LoadedFile, Store


class Files:
    """Loads dataset files."""

    def __init__(self, store: Store, buckets: Buckets) -> None:
        self._store = store
        self._buckets = buckets

    def load(self, uri: str, *, is_preference: bool = False) -> LoadedFile:
        """Read a ``gs://bucket/object`` file.

        :param is_preference: whether it holds preference examples.
        :raises DatasetError: it is missing or not a valid dataset; the message names the file.
        """
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        try:
            return self._parsed(self._buckets.read(bucket, name), is_preference)
        except GoogleError as error:
            raise DatasetError(f"Failed to read the dataset {uri}: {error.message}") from error
        except DatasetError as error:
            raise DatasetError(f"Failed to process the dataset {uri}: {error}") from error

    def _parsed(self, stored: StoredObject, is_preference: bool) -> LoadedFile:
        digest = (
            f"preference {stored.md5}" if is_preference else stored.md5
        )  # the bucket has it already, and nobody attacks an emulator with collisions
        if digest not in self._store.files:
            dataset = parse(stored.content, preference.parse_example if is_preference else None)
            corpus = Corpus(dataset.exchanges)
            stats = preference.statistics(dataset) if is_preference else statistics(dataset)
            self._store.files[digest] = LoadedFile(digest, corpus, len(dataset.examples), stats)
        return self._store.files[digest]
