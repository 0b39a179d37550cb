"""Random eager programs, a few of them; `make fuzz` runs more."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pytest

from tests.fuzz.eager import compare
from tests.fuzz.eager.compare import program_problems, program_report, run
from tests.fuzz.eager.generator import program
from tests.fuzz.eager.statements import Block, Log, Program, parsed, smaller, with_looks
from tests.subset import count

FIRST = int(os.environ.get("MYNN_FUZZ_SEED", "0"))
COUNT = int(os.environ.get("MYNN_FUZZ_COUNT", count(200, 84))) // 12
BLOCKS = 4


@pytest.mark.one_in(3)
@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_programs(block: int) -> None:
    for seed in range(FIRST + block, FIRST + COUNT, BLOCKS):
        drawn = program(seed)
        problems = program_problems(drawn)
        if problems:
            pytest.fail(program_report(drawn, problems), pytrace=False)


def test_programs_print_as_programs() -> None:
    for seed in range(50):
        drawn = program(seed)
        assert drawn == program(seed)
        again = parsed(seed, drawn.dtype, 0, drawn.draws, drawn.text)
        assert again.text == drawn.text
        assert [type(one) for one in again.statements] == [type(one) for one in drawn.statements]
    scope: dict[str, Program] = {}
    exec(str(program(3)).rpartition("show_problems(")[0], scope)
    assert scope["program"] == parsed(3, program(3).dtype, 0, program(3).draws, program(3).text)


def test_a_wrong_mode_is_found_and_its_program_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(one: Program, how: str) -> Log:
        """The tape forgets what `clamp_` does."""
        if how == "tape":
            text = "\n".join(line for line in one.text.splitlines() if ".clamp_(" not in line)
            one = parsed(one.seed, one.dtype, one.data, one.draws, text)
        return run(one, how)

    monkeypatch.setattr(compare, "run", wrong)
    monkeypatch.setattr(compare, "ways", lambda one: ["tape"])
    drawn = next(one for one in map(program, range(500)) if len(_problems_of(one)) > 0)
    report = program_report(drawn, _problems_of(drawn))
    small = report.partition("'''\n")[2].partition("'''")[0]
    assert ".clamp_(" in small
    assert len(small.splitlines()) <= 8, small


def _problems_of(one: Program) -> list[str]:
    return program_problems(one) if ".clamp_(" in one.text else []


def test_smaller_programs_are_programs() -> None:
    drawn = program(5)
    found = list(smaller(drawn.statements))
    assert len(found) > 20
    for statements in found:
        one = replace(drawn, statements=statements)
        compile(one.text, "smaller", "exec")
        assert len(one.text) <= len(drawn.text)
        assert one.text != drawn.text
    sequential = smaller(("net = fill(nn.Sequential(nn.Linear(2, 3), nn.Tanh()), 100)",))
    assert ("net = fill(nn.Sequential(nn.Linear(2, 3)), 100)",) in sequential


def test_looks_stand_where_names_are_known() -> None:
    looked = [with_looks(program(seed), seed) for seed in range(40)]
    assert sum(one.text.count("peek()") for one in looked) > 100

    def functions(statements: tuple[str | Block, ...]) -> str:
        found = ""
        for one in statements:
            if isinstance(one, Block):
                whole = one.head.startswith(("class", "def", "@"))
                found += replace(program(0), statements=(one,)).text if whole else ""
                found += functions(one.body)
        return found

    assert not any("peek()" in functions(one.statements) for one in looked)


def test_what_people_write_occurs() -> None:
    text = "".join(program(seed).text for seed in range(300))
    for written in (
        *("zero_grad()", "set_to_none=False", "loss.backward()", ".step()", ".item()", ".tolist()"),
        *("with no_grad():", ".detach()", "requires_grad_(False)", ".eval()", "['lr']", "del "),
        *("copy.deepcopy(", "pickle.dumps(", "in_thread(", "expected():", "raise ValueError"),
        *("fit(", "predict(", "@compiled", "@interpreted", ".data", ".assign(", "load_state_dict"),
        *("SGD(", "Adam(", "AdamW(", "nesterov=True", "BatchNorm1d", "BatchNorm2d", "Dropout"),
        *("Conv2d", "MaxPool2d", "LayerNorm", "class Net1(nn.Module):", "F.cat(", "F.stack("),
        *("held1.append(loss)", "if float(", "i == 1", "x.grad", "[...]", "averag", "given("),
        *("in_threads(", "states.append(h)", "side2.step()", "target1", "right +=", "range(400)"),
        *("create_graph=True", "hessian(", "jacobian(", "hvp(", "list(net1.parameters())"),
    ):
        assert written in text, written


@pytest.mark.wide
def test_most_programs_raise_seldom() -> None:
    """Programs that stop at once would compare nothing."""
    kinds: Counter[str] = Counter()
    for seed in range(12):
        kinds.update(entry[1] for entry in run(program(seed), "at once"))
    assert kinds["raised"] < 0.05 * sum(kinds.values())
    assert min(kinds["tensor"], kinds["array"], kinds["number"]) > 60
