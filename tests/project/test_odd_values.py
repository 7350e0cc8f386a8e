"""Whatever stands behind a key: the project loads, or every problem has its line. Never a traceback."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from provision.errors import DeclarationError
from provision.project import load
from provision.project.checks import Check
from provision.project.parts import Resources
from provision.project.rollout import Rollout
from provision.project.schema import Head, Prepare
from provision.project.service import Service
from provision.project.target import Target

SECTIONS = {
    "project": Head,
    "services.web": Service,
    "services.web.check": Check,
    "services.web.resources": Resources,
    "targets.vast": Target,
    "targets.vast.rollout": Rollout,
    "prepare": Prepare,
    "checks.batch": Check,
}
REQUIRED = {
    ("project", "name"): '"cres"',
    ("services.web", "command"): '["a"]',
    ("services.web", "port"): "8000",
    ("services.web.check", "tcp"): '"${port}"',
    ("targets.vast", "hosts"): '["h"]',
    ("targets.vast", "path"): '"/w"',
    ("prepare", "command"): '["a"]',
    ("checks.batch", "command"): '["a"]',
}
keys = st.sampled_from([(section, key) for section, model in SECTIONS.items() for key in model.model_fields])
texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["${", "${x}", "${port}", "${UNSET}", "${SECRET}", "$$", "..", "/", "1" * 400 + "s", "٣s", "-x", "a\0b", "*("]
)
values = st.recursive(
    st.one_of(
        texts.map(lambda text: json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")),
        st.integers(-(2**70), 2**70).map(str),
        st.sampled_from(["true", "false", "1.5", "inf", "nan", "-0.0", "1e308", "2025-01-01", "07:32:00"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["a", "http", '""', '"[key]"']), inner, max_size=2).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=4,
)


@given(st.dictionaries(keys, values, min_size=1, max_size=3))
@example({("project", '"[key]"'): "1"})
@example({("targets.vast", "hosts"): '["${port}"]'})
@example({("services.web", "env"): '{"[key]" = "1"}'})
def test_any_value_behind_any_key_loads_or_is_answered_with_its_line(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("odd")
    lines = {**REQUIRED, **changes}
    tables = [
        "\n".join([f"[{section}]", *(f"{key} = {value}" for (of, key), value in lines.items() if of == section)])
        for section in SECTIONS
        if not any(f"{of}.{key}" == section for of, key in lines)  # the change gives this whole table
    ]
    (folder / "deploy.toml").write_text("\n".join(tables))

    try:
        load(folder, environ={"SECRET": "hunter2"}, demand_secrets=False)
    except DeclarationError as error:
        assert all(problem.location.line for problem in error.problems)
        assert "hunter2" not in str(error)
        assert "pydantic" not in str(error)
