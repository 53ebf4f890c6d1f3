"""What a mutation run found is kept, and nothing unexplained is shown as held."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.privacy.mutate import TESTS, mutants
from workers.proofs import mutation
from workers.proofs.mutation import ModuleRun, Survivor, digest_of, last_run, record

SURVIVOR = Survivor(line=7, at="if sure:", change="never: if sure", why="")
RUN = ModuleRun(
    module="integrations.gate",
    measured="2026-11-24",
    digest=digest_of("integrations.gate"),
    mutants=9,
    survivors=(SURVIVOR,),
)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mutation.json"
    path.write_text("[]")
    monkeypatch.setattr(mutation, "RECORD", path)
    return path


def test_a_survivor_is_a_fault_until_somebody_says_why_it_may_live(kept: Path) -> None:
    assert record(RUN) == [SURVIVOR]
    proof = mutation.mutation()
    assert proof.faults == ["integrations.gate:7: never: if sure"]
    assert not proof.holds

    kept.write_text(kept.read_text().replace('"why": ""', '"why": "it is sure"'))
    proof = mutation.mutation()
    assert proof.holds
    assert (proof.cases, proof.notes[0]) == (9, "8 killed")


def test_a_reason_is_found_again_when_the_line_has_moved(kept: Path) -> None:
    record(RUN)
    kept.write_text(kept.read_text().replace('"why": ""', '"why": "it is sure"'))
    moved = Survivor(line=70, at=SURVIVOR.at, change=SURVIVOR.change, why="")
    other = Survivor(line=71, at="if unsure:", change=SURVIVOR.change, why="")
    again = ModuleRun(
        module=RUN.module, measured="2026-12-01", digest="0", mutants=10, survivors=(moved, other)
    )

    assert record(again) == [other]
    (run,) = last_run()
    assert [each.why for each in run.survivors] == ["it is sure", ""]


def test_what_has_changed_since_is_named(kept: Path) -> None:
    record(RUN)
    assert not any(note.startswith("changed") for note in mutation.mutation().notes)

    record(ModuleRun(module=RUN.module, measured="", digest="0", mutants=9, survivors=()))
    assert "changed since: integrations.gate" in mutation.mutation().notes


def test_what_was_never_run_is_named(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(RUN)
    monkeypatch.setattr(mutation, "MODULES", ("integrations.gate", "integrations._wire"))
    assert mutation.mutation().notes[-1] == "not run yet: integrations._wire"
    monkeypatch.setattr(mutation, "MODULES", ("integrations.gate",))
    assert not any(note.startswith("not run") for note in mutation.mutation().notes)


def test_all_that_decides_what_leaves_can_be_weakened() -> None:
    assert {*mutation.MODULES} == TESTS.keys()


@pytest.mark.parametrize("module", ["integrations.consents", "integrations.leaves"])
def test_every_change_can_be_run(module: str) -> None:
    # What Python cannot even compile fails every test, and would count as noticed.
    for mutant in mutants(module):
        compile(mutant.tree, mutant.what, "exec")


def test_without_a_run_nothing_is_claimed() -> None:
    assert not mutation.mutation().holds


def test_the_kept_runs_are_of_modules_that_can_be_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    runs = last_run()

    assert {run.module for run in runs} <= TESTS.keys()
    assert [each for run in runs for each in run.survivors if not each.why] == []
