"""Every fault, through the official libraries of three formats, before upstreams of three formats,
streamed and whole (of the Responses API a sample): before the first words somebody else answers, after them the library raises."""

import pytest

from llmrouterd.selftest.faults import FAULTS, Fault
from tests.e2e.faults.matrix import Matrix, named

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_alone_the_client_is_told_and_the_log_names_what_it_was(
    matrix: Matrix, fault: Fault
) -> None:
    wrong = matrix.wrong(fault, alone=True)
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_with_another_one_left_it_answers_whatever_came_before_the_first_words(
    matrix: Matrix, fault: Fault
) -> None:
    wrong = matrix.wrong(fault, alone=False)
    assert not wrong, "\n" + "\n".join(wrong)
