"""A preview as a pull request's comment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tools.comment import LONGEST, comment


@given(preview=st.text(alphabet=st.sampled_from("`~+- \nab"), max_size=200))
def test_nothing_in_a_preview_ends_its_fence(preview: str) -> None:
    lines = comment(preview, "mine").splitlines()
    fence = lines[2].removesuffix("diff")
    assert set(fence) == {"`"}
    assert [line for line in lines[3:] if line.strip() == fence] == [fence]


def test_a_long_preview_is_cut_and_says_so() -> None:
    text = comment("x" * (LONGEST + 5), "mine")
    assert len(text) < 65_536
    assert "5 more characters are in the job's log." in text
