"""Dataset files: read from the buckets, parsed once, shared by all jobs that use the same contents."""

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

    def load(self, uri: str) -> LoadedFile:
        """Read a ``gs://bucket/object`` file.

        :raises DatasetError: it is missing or not a valid dataset; the message names the file.
        """
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        try:
            return self._parsed(self._buckets.read(bucket, name))
        except GoogleError as error:
            raise DatasetError(f"Failed to read the dataset {uri}: {error.message}") from error
        except DatasetError as error:
            raise DatasetError(f"Failed to process the dataset {uri}: {error}") from error

    def _parsed(self, stored: StoredObject) -> LoadedFile:
        digest = stored.md5  # the bucket has it already, and nobody attacks an emulator with collisions
        if digest not in self._store.files:
            dataset = parse(stored.content)
            corpus = Corpus(dataset.exchanges)
            self._store.files[digest] = LoadedFile(digest, corpus, len(dataset.examples), statistics(dataset))
        return self._store.files[digest]
