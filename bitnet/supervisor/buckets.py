"""Waiting jobs in buckets of like jobs, first come first served inside each.

Jobs that need the same are interchangeable but for their age, so only the first of each bucket is ever looked at.
Adding, taking and discarding cost the logarithm of the number of buckets, whatever the number of jobs.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Hashable

from bitnet.supervisor.job import Job

LOOK_AHEAD = 256
"""How many buckets are asked for one free slot. Beyond, jobs wait for the next one: the cost stays bounded even when
each job needs something else."""

Rank = tuple[float, int]
_Bucket = OrderedDict[int, Job]  # by job number; a plain dict is slow at losing its first entry again and again


class Buckets:
    """Jobs by `bucket_of`, the buckets in the order of `rank` of their first jobs."""

    def __init__(self, bucket_of: Callable[[Job], Hashable], rank: Callable[[Job], Rank]) -> None:
        self._bucket_of = bucket_of
        self._rank = rank
        self._buckets: dict[Hashable, _Bucket] = {}
        self._heap: list[tuple[Rank, int, _Bucket]] = []
        self._ties = itertools.count()

    def add(self, job: Job) -> None:
        """Put it behind the others of its bucket."""
        key = self._bucket_of(job)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = OrderedDict()
            bucket[job.number] = job
            self._push(bucket)
        else:
            bucket[job.number] = job

    def discard(self, job: Job) -> None:
        """Take it out; its place in the heap is corrected when somebody comes by."""
        key = self._bucket_of(job)
        bucket = self._buckets[key]
        del bucket[job.number]
        if not bucket:
            del self._buckets[key]
            if len(self._heap) > 2 * len(self._buckets) + LOOK_AHEAD:
                self._heap = [entry for entry in self._heap if entry[2]]
                heapq.heapify(self._heap)

    def take(self, accept: Callable[[Job], bool]) -> Job | None:
        """Take out the first job, in order, that `accept` wants."""
        looked_at: list[_Bucket] = []
        chosen: Job | None = None
        while self._heap and chosen is None and len(looked_at) < LOOK_AHEAD:
            rank, _, bucket = heapq.heappop(self._heap)
            if not bucket:
                continue
            head = next(iter(bucket.values()))
            if self._rank(head) != rank:  # the job that had this rank was discarded
                self._push(bucket)
                continue
            looked_at.append(bucket)
            if accept(head):
                chosen = head
        if chosen is not None:
            self.discard(chosen)
        for bucket in looked_at:
            if bucket:
                self._push(bucket)
        return chosen

    def _push(self, bucket: _Bucket) -> None:
        head = next(iter(bucket.values()))
        heapq.heappush(self._heap, (self._rank(head), next(self._ties), bucket))
