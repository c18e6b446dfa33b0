"""Finds the rows of a catalog that later runs superseded, in bounded memory."""

from collections.abc import Iterable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms.catalog.database import BoundedDatabase
from transforms.catalog.runs import Catalog

_TABLES: Final = """
CREATE TABLE runs (run INTEGER, rows_key INTEGER, thumbnails_key INTEGER);
CREATE TABLE outcomes (video_id VARCHAR, fingerprint VARCHAR, run INTEGER, failed BOOLEAN);
CREATE TABLE posters (video_id VARCHAR, fingerprint VARCHAR, run INTEGER);
"""

_JUDGE: Final = """
CREATE TABLE judged AS
WITH followed AS (
    SELECT outcomes.*, lead(run) OVER (PARTITION BY rows_key, video_id ORDER BY run) AS next_run
    FROM outcomes JOIN runs USING (run)
)
SELECT *, coalesce(next_run <= {until}, false) AS superseded FROM followed;

CREATE TABLE dropped AS
WITH shown AS (
    SELECT posters.*, lead(run) OVER (PARTITION BY thumbnails_key, video_id, fingerprint ORDER BY run) AS next_run
    FROM posters JOIN runs USING (run)
), still_shown AS (
    SELECT DISTINCT video_id, run FROM shown
    SEMI JOIN (SELECT * FROM judged WHERE NOT superseded AND NOT failed) AS staying USING (video_id, fingerprint)
    WHERE next_run IS NULL OR next_run > {until}
)
SELECT video_id, run, next_run FROM judged ANTI JOIN still_shown USING (video_id, run) WHERE superseded;
"""
"""A row is superseded if a run that makes rows in the same way had a newer outcome for its video. It stays with its
thumbnails where they are the newest of a file that a row of another model, which stays, stands for."""


class Superseded:
    """Tells which rows no reader needs that asks for what the catalog says now, or said at any run after `until`.

    Use it as a context manager. Every method raises `ComparisonError` if disk or memory runs out.

    Args:
        catalog: the catalog.
        until: id of a run; rows are superseded only by it or an earlier one.

    Raises:
        CatalogError: a file of the catalog is missing or damaged.
    """

    def __init__(self, catalog: Catalog, until: str) -> None:
        self._database = BoundedDatabase()
        self._runs = catalog.runs()
        self._numbers = pa.array([run.run_id for run in self._runs], pa.string())
        self._until = max((number for number, run in enumerate(self._runs) if run.run_id <= until), default=-1)
        try:
            self._read(catalog)
            self._database.execute(_JUDGE.format(until=self._until))
        except BaseException:
            self._database.close()
            raise

    def __enter__(self) -> "Superseded":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _read(self, catalog: Catalog) -> None:
        self._database.execute(_TABLES)
        keys = {"rows_key": lambda run: run.config.rows_key, "thumbnails_key": lambda run: run.config.thumbnails_key}
        columns = {name: _numbered(map(key, self._runs)) for name, key in keys.items()}
        self._database.insert("runs", {"run": pa.array(range(len(self._runs)), pa.int32()), **columns})
        for holder in catalog.holders():
            run_ids = [run.run_id for run in holder.runs]
            for table, failed in (("videos", False), ("failures", True)):
                for batch in catalog.holder_batches(table, holder, run_ids, ["video_id", "fingerprint"]):
                    self._database.insert("outcomes", self._columns(batch), failed=failed)
            for batch in catalog.holder_batches("thumbnails", holder, run_ids, ["video_id", "fingerprint", "poster"]):
                self._database.insert("posters", self._columns(batch.filter(batch["poster"])))

    def _columns(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        run = pc.index_in(batch["run_id"], self._numbers)
        return {"video_id": batch["video_id"], "fingerprint": batch["fingerprint"], "run": run}

    def count(self, run_ids: Iterable[str]) -> tuple[int, int]:
        """Returns the number of superseded outcomes of some runs, and of all their outcomes."""
        chosen = self._chosen(run_ids)
        counts = "(SELECT count(*) FROM {0} WHERE run IN (SELECT unnest($runs)))"
        statement = f"SELECT {counts.format('dropped')}, {counts.format('outcomes')}"
        ((dropped, outcomes),) = self._database.execute(statement, {"runs": chosen})
        return int(dropped), int(outcomes)

    def keys(self, run_ids: Iterable[str]) -> pa.Array:
        """Returns the superseded outcomes of some runs as texts (see `latest.keys_of`), sorted."""
        chosen = ", ".join(str(number) for number in self._chosen(run_ids))
        rows = self._database.batches(f"SELECT video_id, run FROM dropped WHERE run IN ({chosen}) ORDER BY ALL")
        keys = [pc.binary_join_element_wise(one["video_id"], self._numbers.take(one["run"]), "/") for one in rows]
        return pa.chunked_array(keys, pa.string()).combine_chunks()

    def whole_since(self, run_ids: Iterable[str]) -> str:
        """Returns the id of the newest run that superseded rows of some runs; empty if none did."""
        statement = "SELECT max(next_run) FROM dropped WHERE run IN (SELECT unnest($runs))"
        ((newest,),) = self._database.execute(statement, {"runs": self._chosen(run_ids)})
        return "" if newest is None else self._runs[newest].run_id

    def next_lists_gone(self, run_id: str) -> str:
        """Returns the id of the run whose list of gone videos supersedes that of a run; empty if none does."""
        after = self._numbers.index(run_id).as_py() + 1
        return self._runs[after].run_id if after <= self._until else ""

    def _chosen(self, run_ids: Iterable[str]) -> list[int]:
        numbers: list[int] = pc.index_in(pa.array(run_ids, pa.string()), self._numbers).to_pylist()
        return numbers


def _numbered(values: Iterable[object]) -> pa.Array:
    """Returns equal numbers for equal values."""
    seen: dict[object, int] = {}
    return pa.array([seen.setdefault(value, len(seen)) for value in values], pa.int32())
