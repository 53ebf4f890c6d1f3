"""A mutation run over the gate and the policy: does any test notice when they get weaker?

    python -m tests.privacy.mutate [--limit N] [--processes N] [--quick] [--record] [MODULE …]

Each mutant is one small change of one module (a check dropped or turned round, a boundary moved,
an element taken out). It lives in memory only: a forked process imports it in place of the
module and runs the tests of the gate until one fails. Ours instead of mutmut or cosmic-ray,
because those write mutants into the tree and start an interpreter for each, which takes ten times
as long.

``--record`` keeps the figures in ``workers/proofs/mutation.json``, which ``zjj privacy prove``
shows; the reason why a survivor lets nothing more out is written there by hand, once.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).parents[2]
GATE = "tests/integrations/gate"
POLICY = "tests/integrations/policy"
# The quickest to fail come first.
TESTS: dict[str, tuple[str, ...]] = {
    "integrations.minimize": (
        f"{GATE}/test_minimize.py",
        f"{GATE}/test_impersonal_fields.py",
        f"{GATE}/test_leaky_adapters.py",
    ),
    "integrations.admission": (
        f"{GATE}/test_signed_fields.py",
        f"{GATE}/test_encrypted_fields.py",
        f"{GATE}/test_places.py",
        f"{GATE}/test_admission.py",
        f"{GATE}/test_impersonal_fields.py",
        f"{GATE}/test_leaky_adapters.py",
    ),
    "integrations.gate": (
        f"{GATE}/test_encrypted_fields.py",
        f"{GATE}/test_places.py",
        f"{GATE}/test_signed_fields.py",
        f"{GATE}/test_impersonal_fields.py",
        f"{GATE}/test_own_hosts.py",
        f"{GATE}/test_gate.py",
        f"{GATE}/test_leaky_adapters.py",
        f"{GATE}/test_consents.py",
        f"{GATE}/test_wire.py",
    ),
    "integrations.reply": (f"{GATE}/test_reply.py", f"{GATE}/test_gate.py"),
    "integrations.disguises": (f"{GATE}/test_disguises.py", f"{GATE}/test_admission.py"),
    "integrations.detectors": (f"{GATE}/test_detectors.py", f"{GATE}/test_admission.py"),
    "integrations.leaves": (
        f"{GATE}/test_leaves.py",
        f"{GATE}/test_paths.py",
        f"{GATE}/test_admission.py",
    ),
    "integrations.flat_xml": (f"{GATE}/test_leaves.py", f"{GATE}/test_reply.py"),
    "integrations._wire": (
        "tests/integrations/test_public_addresses.py",
        f"{GATE}/test_connections.py",
        f"{GATE}/test_own_hosts.py",
        f"{GATE}/test_gate.py",
        f"{GATE}/test_wire.py",
    ),
    # Processes of their own import the module as it is.
    "integrations.egress_guard": (
        f"{GATE}/test_egress_guard.py",
        *("-k", "not around_the_gate and not closed_to_others"),
    ),
    "integrations.consents": (f"{GATE}/test_consents.py",),
    # Of PostgreSQL only what its locks decide: it takes longer to start than all the rest to run.
    "models.consents": (
        "tests/models/test_consents.py",
        *("-k", "sqlite or day_of_the_text or waits_for or who_reads"),
    ),
    "integrations.destinations": (
        "tests/integrations/test_destinations.py",
        f"{GATE}/test_own_hosts.py",
    ),
    "integrations.public_addresses": ("tests/integrations/test_public_addresses.py",),
    "integrations.policy._entries": (
        f"{POLICY}/test_published_policy.py",
        f"{POLICY}/test_loading.py",
        f"{POLICY}/test_contradictions.py",
        f"{POLICY}/test_widening.py",
        f"{GATE}/test_minimize.py",
        f"{GATE}/test_consents.py",
        f"{GATE}/test_gate.py",
        f"{GATE}/test_signed_fields.py",
        f"{GATE}/test_paths.py",
        f"{GATE}/test_own_hosts.py",
    ),
    "integrations.policy._contradictions": (
        f"{POLICY}/test_contradictions.py",
        f"{POLICY}/test_published_policy.py",
        f"{POLICY}/test_loading.py",
    ),
    "integrations.policy._widening": (f"{POLICY}/test_widening.py",),
    "integrations.policy._loading": (
        f"{POLICY}/test_loading.py",
        f"{POLICY}/test_published_policy.py",
        f"{POLICY}/test_widening.py",
    ),
    "integrations.policy._lines": (f"{POLICY}/test_loading.py",),
}
EVERYTHING = (GATE, POLICY, "tests/privacy/test_proofs.py")
"""What a survivor of its module's tests meets, after all of their files as a whole."""
SECONDS = 90
ALL_SECONDS = 600

_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module."""

    module: str
    line: int
    what: str
    tree: ast.Module


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module."""
    tree = ast.parse(_path(module).read_text("utf-8"))
    hidden = {id(part) for node in ast.walk(tree) for part in _without_effect(node)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        for what, field, index, new in _changes(node):
            twin = copy.deepcopy(tree)
            target = _same(tree, twin, node)
            if index is None:
                setattr(target, field, new)
            elif new is None:
                getattr(target, field).pop(index)
            else:
                getattr(target, field)[index] = new
            ast.fix_missing_locations(twin)
            yield Mutant(module, getattr(node, "lineno", 0), what, twin)


def _path(module: str) -> Path:
    return ROOT / (module.replace(".", "/") + ".py")


def _without_effect(node: ast.AST) -> Iterator[ast.AST]:
    """Types, and what decorators are told."""
    annotations = (getattr(node, name, None) for name in ("annotation", "returns", "slice"))
    for part in (*annotations, *getattr(node, "decorator_list", ())):
        if part is not None:
            yield from ast.walk(part)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        yield from ast.walk(node)


def _same(tree: ast.AST, twin: ast.AST, node: ast.AST) -> ast.AST:
    return next(b for a, b in zip(ast.walk(tree), ast.walk(twin), strict=True) if a is node)


_Change = tuple[str, str, int | None, Any]
"""In words; the field; the place in a list; and what comes there (None: taken out)."""


def _changes(node: ast.AST) -> Iterator[_Change]:
    yield from _conditions(node)
    yield from _operators(node)
    yield from _values(node)
    for field in ("body", "orelse"):
        block = getattr(node, field, None)
        for index, statement in enumerate(block if isinstance(block, list) else ()):
            if _is_action(statement):
                words = ast.unparse(statement).partition("\n")[0]
                yield f"dropped: {words}", field, index, ast.Pass()


def _conditions(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.If | ast.IfExp):
        words = ast.unparse(node.test)
        yield f"never: if {words}", "test", None, ast.Constant(value=False)
        yield f"always: if {words}", "test", None, ast.Constant(value=True)
    elif isinstance(node, ast.comprehension):
        for index, test in enumerate(node.ifs):
            yield f"unfiltered: {ast.unparse(test)}", "ifs", index, None


def _operators(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            yield f"turned: {ast.unparse(node)}", "ops", index, _TURNED[type(op)]()
    elif isinstance(node, ast.BoolOp):
        other = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield f"and/or: {ast.unparse(node)}", "op", None, other
        for index, value in enumerate(node.values):
            # Python compiles no operator with one side: "b and b" is what is left of "a and b".
            left = node.values[1 - index] if len(node.values) == 2 else None
            yield f"without {ast.unparse(value)}", "values", index, left
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        # Twice not is the same truth, turned.
        double = ast.UnaryOp(op=ast.Not(), operand=node.operand)
        yield f"turned: {ast.unparse(node)}", "operand", None, double


def _values(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} turned", "value", None, not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        for other in (node.value + 1, node.value - 1):
            yield f"{other} for {node.value}", "value", None, other
    elif isinstance(node, ast.Set | ast.Tuple):
        stored = isinstance(getattr(node, "ctx", None), ast.Store)
        for index, element in enumerate(() if stored else node.elts):
            yield f"without {ast.unparse(element)}", "elts", index, None


def _is_action(statement: ast.AST) -> bool:
    if isinstance(statement, ast.Raise | ast.AugAssign):
        return True
    return isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant)


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, mutant: Mutant, path: str) -> None:
        super().__init__(mutant.module, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.tree, self.get_filename(fullname), "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self,
        fullname: str,
        path: object,  # noqa: ARG002
        target: object = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        file = str(_path(fullname))
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Loader(self._mutant, file)
        )


def _start(mutant: Mutant, tests: Sequence[str], seconds: int) -> int:
    """Fork a process that runs the tests against a mutant; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.alarm(seconds)
    # A test's own timeout takes the alarm's place; what loops for ever is stopped by this one.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    code = 1
    try:
        sys.meta_path.insert(0, _Finder(mutant))
        code = _run(tests)
    finally:
        os._exit(code)


def _run(tests: Sequence[str], *plugins: object) -> int:
    """Run tests in silence; returns pytest's exit code."""
    import pytest

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-m", "not slow"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "--hypothesis-profile=hasty"]
    return int(pytest.main([*options, *tests], plugins=[_ExamplesFirst(), *plugins]))


class _ExamplesFirst:
    """A plugin: what tries many examples comes last, as it takes longest."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: getattr(item.obj, "is_hypothesis_test", False))


def _rehearse(tests: Sequence[str]) -> list[str] | None:
    """The modules that the tests import, by name; None if they fail without any change."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        code = 1
        try:
            code = _run(tests)
            os.write(writing, " ".join(sys.modules).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        names = pipe.read().split()
    return None if os.wait()[1] else names


def _import_ahead(names: Sequence[str], module: str) -> None:
    """Import what knows nothing of the module to be weakened, so that no child pays for it."""
    for name in names:
        package = name.partition(".")[0]
        # Hypothesis wants to be imported by its own plugin, and counts what is done before.
        later = package in {"tests", "schemathesis"} or "hypothesis" in package
        if not later and (package not in _OURS or module not in _reached(name)):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    assert module not in sys.modules


_OURS = ("models", "integrations", "tasks", "workers")


@functools.cache
def _imported(module: str) -> frozenset[str]:
    """Our modules that a module imports, with the packages that they are in."""
    found = {module}
    path = _path(module) if _path(module).exists() else _path(f"{module}.__init__")
    tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    parents = {name.rsplit(".", depth)[0] for name in found for depth in range(name.count(".") + 1)}
    return frozenset(name for name in found | parents if name.partition(".")[0] in _OURS)


def _reached(module: str) -> set[str]:
    """What importing a module imports of ours, however far, itself included."""
    reached, new = set[str](), {module}
    while new:
        reached |= new
        new = {further for name in new for further in _imported(name)} - reached
    return reached


def _skim(
    found: Sequence[Mutant], tests: Sequence[str], seconds: int, processes: int
) -> list[Mutant]:
    """The mutants that pass where they are put in place of what the tests have imported already.

    Much faster than to import everything anew for each. Not everything can be put in place
    afterwards: what passes here may be noticed all the same.
    """
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        grafting = _Grafting(found, seconds, processes)
        code = 1
        try:
            code = _run(["--capture=no", *tests], grafting)
            if not grafting.grafted:
                os.write(writing, " ".join(map(str, grafting.passed)).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        passed = [found[int(number)] for number in pipe.read().split()]
    os.wait()
    return passed


class _Grafting:
    """A plugin: the tests run once for each mutant, each time in a fork of what was collected.

    The test that noticed the last mutant comes first for the next, which often is its neighbour.
    """

    def __init__(self, found: Sequence[Mutant], seconds: int, processes: int) -> None:
        self._found, self._seconds, self._processes = found, seconds, processes
        self.passed: list[int] = []
        self.grafted = False
        """Whether this is such a fork."""
        self._hearing, self._telling = os.pipe()
        os.set_blocking(self._hearing, False)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.grafted and report.failed:
            os.write(self._telling, f"{report.nodeid}\0".encode())

    def pytest_runtestloop(self, session: Any) -> bool | None:
        left, running = [*range(len(self._found))], dict[int, int]()
        while left or running:
            while left and len(running) < self._processes:
                number = left.pop()
                self._heed(session.items)
                pid = os.fork()
                if not pid:
                    os.setsid()
                    resource.setrlimit(resource.RLIMIT_CPU, (self._seconds, self._seconds))
                    self.grafted = True
                    _graft(self._found[number])
                    return None  # the tests run
                running[pid] = number
            pid, status = os.wait()
            number = running.pop(pid)
            if status == 0:
                self.passed.append(number)
        return True  # nothing is left to be run

    def _heed(self, items: list[Any]) -> None:
        with contextlib.suppress(BlockingIOError):
            told = os.read(self._hearing, 1 << 16).decode().split("\0")
            for name in told[:-1]:
                items.sort(key=lambda item: item.nodeid != name)


def _graft(mutant: Mutant) -> None:
    """Put what a mutant defines in place of what stands in its imported module."""
    module = sys.modules[mutant.module]
    twin = types.ModuleType(mutant.module)
    twin.__dict__.update({name: vars(module)[name] for name in ("__file__", "__package__")})
    exec(compile(mutant.tree, str(module.__file__), "exec"), twin.__dict__)
    for name, new in vars(twin).items():
        old = vars(module).get(name)
        if isinstance(new, type) and new.__module__ == mutant.module:
            for part, inner in vars(new).items():
                _graft_function(vars(old).get(part), inner)
        elif not _graft_function(old, new) and isinstance(new, _PLAIN):
            words = repr(new)
            # What holds functions or objects of the twin would mix the two.
            if words != repr(old) and " at 0x" not in words and "<class" not in words:
                setattr(module, name, new)


_PLAIN = (int, str, bytes, tuple, list, set, frozenset, dict, re.Pattern)


def _graft_function(old: object, new: object) -> bool:
    """Give a function, however wrapped, the code of another; whether there was one."""
    for inside in ("__wrapped__", "__func__", "fget", "func"):
        if hasattr(new, inside) and hasattr(old, inside):
            return _graft_function(getattr(old, inside), getattr(new, inside))
    if not isinstance(new, types.FunctionType) or not isinstance(old, types.FunctionType):
        return False
    if new.__module__ == old.__module__ and len(new.__closure__ or ()) == len(
        old.__closure__ or ()
    ):
        old.__code__ = new.__code__
        old.__defaults__, old.__kwdefaults__ = new.__defaults__, new.__kwdefaults__
    return True


def survivors(
    found: Sequence[Mutant],
    tests: Mapping[str, tuple[str, ...]],
    seconds: int = SECONDS,
    processes: int = os.cpu_count() or 1,
) -> list[Mutant]:
    """The mutants that no test notices; one that hangs for ``seconds`` is noticed."""
    left, running, alive = [*found], dict[int, Mutant](), list[Mutant]()
    began, done = time.monotonic(), 0
    while left or running:
        while left and len(running) < processes:
            mutant = left.pop()
            running[_start(mutant, tests[mutant.module], seconds)] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        done += 1
        if status == 0:
            alive.append(mutant)
            print(f"\n  passes: {mutant.module}:{mutant.line} {mutant.what}", flush=True)
        print(f"\r{done}/{len(found)} {time.monotonic() - began:.0f} s", end="", flush=True)
    print()
    return alive


def main() -> int:
    """Run; exit code 1 tells that a mutant survived and nobody has said why it may."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=[*TESTS])
    parser.add_argument("--limit", type=int, help="at most so many mutants of each module")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="the module's own tests only")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    os.environ["CI"] = "1"
    sys.path.insert(0, str(ROOT))
    unexplained = 0
    for module in chosen.modules:
        # What is imported ahead for one module may be the next one.
        unexplained += _apart(functools.partial(_weaken, module, chosen))
    return 1 if unexplained else 0


def _weaken(module: str, chosen: argparse.Namespace) -> int:
    """Run one module; returns how many survivors nobody has explained."""
    names = _rehearse(TESTS[module])
    if names is None:
        print(f"The tests of {module} fail even without a change.")
        return _MANY
    _import_ahead(names, module)
    made = [*mutants(module)]
    for each in made:
        compile(each.tree, each.what, "exec")  # or it would count as killed
    if chosen.limit is not None and len(made) > chosen.limit:
        made = random.Random(1).sample(made, chosen.limit)
    nothing = Mutant(module, 0, "nothing", ast.parse(_path(module).read_text("utf-8")))
    alive = _skim([nothing, *made], TESTS[module], SECONDS, chosen.processes)
    assert nothing in alive
    alive.remove(nothing)
    print(f"{len(made)} mutants, {len(alive)} of them pass at first sight", flush=True)
    alive = survivors(alive, TESTS, processes=chosen.processes)
    # Whatever else might notice those, they count as survivors, each with its reason.
    reasons = _reasons(module)
    explained = [each for each in alive if (_line(each), each.what) in reasons]
    alive = [each for each in alive if each not in explained]
    if alive and not chosen.quick:
        print(f"{len(alive)} pass the quick tests; now all tests of gate, policy and proofs")
        own = [each for each in TESTS[module] if each.endswith(".py")]
        everything = {module: (*own, *EVERYTHING)}
        alive = survivors(alive, everything, ALL_SECONDS, chosen.processes)
    alive += explained
    alive.sort(key=lambda mutant: mutant.line)
    print(f"{module}: {len(made)} mutants, {len(made) - len(alive)} killed", flush=True)
    for mutant in alive:
        print(f"{module}:{mutant.line}: {mutant.what}", flush=True)
    return _keep(module, len(made), alive) if chosen.record else len(alive)


_MANY = 255


def _apart(action: Callable[[], int]) -> int:
    """Run in a process of its own, which answers with a small number."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    answer = _MANY
    try:
        answer = min(action(), _MANY)
    except Exception:  # noqa: BLE001 - it is said, and the next module has its turn
        traceback.print_exc()
    finally:
        os._exit(answer)


def _reasons(module: str) -> set[tuple[str, str]]:
    """The survivors that somebody has explained: what stands there, and the change."""
    # Read here, because what workers/proofs imports is what is weakened.
    record = json.loads((ROOT / "workers/proofs/mutation.json").read_text("utf-8"))
    runs = (run["survivors"] for run in record if run["module"] == module)
    return {(each["at"], each["change"]) for run in runs for each in run if each["why"]}


def _line(mutant: Mutant) -> str:
    """What stands there."""
    # What has no place of its own, such as a filter of a comprehension, is at line 0.
    lines = ["", *_path(mutant.module).read_text("utf-8").splitlines()]
    return lines[mutant.line].strip()


def _keep(module: str, made: int, alive: Sequence[Mutant]) -> int:
    """Record a run; returns how many survivors nobody has explained."""
    from workers.proofs.mutation import ModuleRun, Survivor, digest_of, record

    run = ModuleRun(
        module=module,
        measured=time.strftime("%Y-%m-%d"),
        digest=digest_of(module),
        mutants=made,
        survivors=tuple(
            Survivor(line=each.line, at=_line(each), change=each.what, why="") for each in alive
        ),
    )
    return len(record(run))


if __name__ == "__main__":
    sys.exit(main())
