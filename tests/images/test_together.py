"""Questions that are asked at once."""

from __future__ import annotations

import pytest

from provision.images.registry.together import together


def test_no_question_has_no_answer():
    assert together() == ()


def test_answers_come_in_the_order_of_the_questions_however_many_they_are():
    assert together(*[lambda number=number: number for number in range(20)]) == tuple(range(20))


def test_of_several_failures_the_first_question_s_is_told():
    def fail(text):
        raise ValueError(text)

    with pytest.raises(ValueError, match="one"):
        together(lambda: 0, lambda: fail("one"), lambda: fail("two"))
