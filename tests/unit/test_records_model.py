"""Whatever is done to a folder of results, and whatever harms it, it agrees with a dictionary."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from protein_lab.errors import StoreError
from protein_lab.store.base import LifecycleClass
from protein_lab.store.blobs import LocalObjects
from protein_lab.store.maintenance import repair, verify
from protein_lab.store.moves import move
from protein_lab.store.records import Records
from protein_lab.testing.results import example_result

_NUMBERS = st.integers(0, 1)
_BASE = example_result()


class AgainstModel(RuleBasedStateMachine):
    """Random sequences of everything that can be done, and of harm, against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "store"
        self.model: dict[str, str] = {}
        self.held: set[str] = set()
        self.broken: set[str] = set()

    @property
    def records(self) -> Records:
        """Open the store anew, as another process does."""
        return Records(LocalObjects(self.root))

    @rule(number=_NUMBERS, outcome=st.sampled_from(["one", "two"]))
    def put(self, number: int, outcome: str) -> None:
        """Store one; the first stays."""
        identity = f"{number:064x}"
        if identity in self.broken:
            return
        item = dataclasses.replace(_BASE, request_id=identity, outcome=outcome)
        assert self.records.put(item) == (identity not in self.model)
        self.model.setdefault(identity, outcome)

    @rule(number=_NUMBERS, lifecycle=st.sampled_from(["hot", "warm", "cold"]))
    def move(self, number: int, lifecycle: LifecycleClass) -> None:
        """Another form, the same result; a damaged one stays as it is."""
        identity = f"{number:064x}"
        if identity in self.model and identity not in self.broken:
            move(self.records, identity, lifecycle)

    @rule(number=_NUMBERS)
    def hold(self, number: int) -> None:
        """Hold one; it cannot be deleted then."""
        identity = f"{number:064x}"
        if identity in self.model and identity not in self.broken:
            self.records.hold(identity, "case", "court")
            self.held.add(identity)

    @rule(number=_NUMBERS)
    def delete(self, number: int) -> None:
        """Gone, unless held."""
        identity = f"{number:064x}"
        if identity in self.held:
            with pytest.raises(StoreError, match="legal hold"):
                self.records.delete(identity)
            return
        self.records.delete(identity)
        self.model.pop(identity, None)
        self.broken.discard(identity)

    @rule(number=_NUMBERS, which=st.integers(0, 99), cut=st.booleans())
    def harm(self, number: int, which: int, cut: bool) -> None:
        """Cut or remove any file of a result."""
        identity = f"{number:064x}"
        files = sorted(path for path in (self.root / identity).rglob("*") if path.is_file())
        if identity in self.model and files:
            path = files[which % len(files)]
            if cut:
                path.write_bytes(path.read_bytes()[:-1])
            else:
                path.unlink()
            self.broken.add(identity)

    @rule(number=_NUMBERS)
    def mend(self, number: int) -> None:
        """Another tier has it."""
        identity = f"{number:064x}"
        if identity in self.broken:
            item = dataclasses.replace(_BASE, request_id=identity, outcome=self.model[identity])
            assert repair(self.records, identity, sources=[lambda _: item])
            self.broken.discard(identity)

    @invariant()
    def agrees(self) -> None:
        """Every result is the one that was stored first, or its damage is known."""
        records = self.records
        damages = {damage.path.split("/")[0] for damage in verify(records)}
        assert damages == self.broken
        for identity in self.model.keys() - self.broken:
            found = records.get(identity)
            assert found is not None
            assert found.outcome == self.model[identity]
        assert set(records.ids()) - self.broken == self.model.keys() - self.broken

    def teardown(self) -> None:
        """Remove the store."""
        self.folder.cleanup()


TestAgainstModel = AgainstModel.TestCase
TestAgainstModel.settings = settings(
    max_examples=6,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
