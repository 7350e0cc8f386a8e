"""Values pass templates unharmed."""

from hypothesis import example, given
from hypothesis import strategies as st

from provision.project.template import Ref, Template, parse

names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
places = st.sampled_from(
    ["port", "listen", "model", "binary", "cpus", "path", "project", "services.llama.port", "services.llama.host"]
)


@given(st.text())
@example("${port}")
@example("$${")
@example("$")
def test_any_literal_comes_back_once_its_dollars_are_doubled(literal):
    assert parse(literal.replace("$", "$$"), {}) == Template((literal,))


@given(st.text().filter(lambda text: "$" not in text))
def test_text_without_dollars_is_taken_as_it_is(literal):
    assert parse(literal, {}).text == literal


@given(names, st.text())
@example("A", "${port}")
@example("A", "$$ ${A} $")
def test_a_value_from_the_environment_is_never_interpreted(name, value):
    assert parse(f"<${{{name}}}>", {name: value}) == Template((f"<{value}>",))


@given(names, st.text(alphabet=st.characters(exclude_characters="{}")))
def test_a_default_stands_for_a_variable_that_is_unset_or_empty(name, default):
    written = f"${{{name}:-{default}}}"

    assert parse(written, {}).text == parse(written, {name: ""}).text == default


@given(st.lists(st.one_of(st.text(), places.map(Ref))))
def test_literals_and_places_come_back_in_their_order(parts):
    written = "".join(part.replace("$", "$$") if isinstance(part, str) else f"${{{part.name}}}" for part in parts)
    expected = "".join(part if isinstance(part, str) else f"<{part.name}>" for part in parts)

    assert parse(written, {}).resolve(lambda ref: f"<{ref.name}>") == expected


@given(st.lists(st.one_of(st.text(), places.map(Ref))), st.dictionaries(places, st.text()))
def test_filling_what_is_known_first_changes_nothing_in_the_end(parts, known):
    template = Template(tuple(parts))
    everything = {**dict.fromkeys(places.elements, "?"), **known}

    filled = template.fill(known)

    assert filled.resolve(lambda ref: everything[ref.name]) == template.resolve(lambda ref: everything[ref.name])
    assert not {ref.name for ref in filled.refs} & set(known)
