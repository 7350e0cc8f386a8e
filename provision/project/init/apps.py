"""The program of a project: which it is, and how it is started, as its source tells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from provision.project.init.packages import Packages
from provision.project.init.sources import Source

_HEALTH = ("/health", "/healthz", "/health/", "/healthz/", "/api/health")
_VARIABLES = ("app", "application", "api")  # of several the likeliest first
_GETS = {"get", "route", "api_route"}
_SCRIPTS = ("main", "app", "server", "serve", "run", "bot")
_SETTINGS = re.compile(r"DJANGO_SETTINGS_MODULE['\"],\s*['\"](\w+)\.settings")
_TCP = '{ tcp = "${port}" }'


@dataclass(frozen=True)
class App:
    """A program of the project's own.

    Attributes:
        kind: what it is, for people.
        place: where, as who starts it calls it.
        command: as in deploy.toml.
        check: the check as TOML; empty for the preset's, or for none.
        needs: the package that starts it; empty for Python alone.
        listens: on `${port}`; else on no port.
        fixed: the port that its source says, so that no two can run on one machine; or 0.
        better: what would start it with gunicorn, where its own server for development does now.
    """

    kind: str
    place: str
    command: tuple[str, ...]
    check: str = ""
    needs: str = ""
    env: dict[str, str] = field(default_factory=dict)
    listens: bool = True
    fixed: int = 0
    better: tuple[str, ...] = ()


def app(directory: Path, sources: Sequence[Source], packages: Packages | None) -> App | None:
    """The first of: a Django project; an app of FastAPI, Starlette or Flask; a program of the project; a script."""
    names = packages.names if packages else frozenset()
    found = (
        *_django(sources, names),
        *_made_by(sources, "FastAPI", names),
        *_made_by(sources, "Starlette", names),
        *_made_by(sources, "Flask", names),
        *_programs(sources, packages),
        *_scripts(sources, directory),
    )
    return next(iter(found), None)


# --- frameworks -------------------------------------------------------------------------------------------------------


def _django(sources: Sequence[Source], names: frozenset[str]) -> Iterator[App]:
    for source in sources:
        found = source.path.name == "manage.py" and _SETTINGS.search(source.path.read_text(errors="replace"))
        if not found:
            continue
        env = {"PYTHONPATH": source.folder} if source.folder else {}
        has_asgi = (source.path.parent / found[1] / "asgi.py").is_file()
        if "gunicorn" not in names and "uvicorn" in names and has_asgi:
            yield App("Django project", found[1], _uvicorn(f"{found[1]}.asgi:application"), _TCP, "uvicorn", env)
        elif "gunicorn" in names:
            yield App("Django project", found[1], _gunicorn(f"{found[1]}.wsgi:application"), _TCP, "gunicorn", env)
        else:
            manage = f"{source.folder}/manage.py".removeprefix("/")
            command = ("python3", manage, "runserver", "--noreload", "${listen}:${port}")
            yield App("Django project", found[1], command, _TCP, "django", better=_gunicorn(f"{found[1]}.wsgi"))


def _made_by(sources: Sequence[Source], framework: str, names: frozenset[str]) -> Iterator[App]:
    """An app that a module has, else one that a function without arguments makes."""
    makers: dict[str, ast.Call] = {}
    apps: list[tuple[Source, str, ast.Call]] = []
    factories: list[tuple[Source, str, ast.Call]] = []
    for source in sources:
        for function in source.tree.body:
            if isinstance(function, ast.FunctionDef) and (call := _call_of(framework, ast.walk(function))):
                makers[function.name] = call
                if len(function.args.posonlyargs + function.args.args) == len(function.args.defaults):
                    factories.append((source, function.name, call))
    for source in sources:
        for name, value in _assigned(source.tree):
            if call := _call_of(framework, [value]) or makers.get(_called(value)):
                apps.append((source, name, call))
    if apps:
        beside = [found for found in apps if found[0] is apps[0][0]]
        found = min(beside, key=lambda each: _VARIABLES.index(each[1]) if each[1] in _VARIABLES else len(_VARIABLES))
        yield _served(framework, *found, names, makes=False)
    elif factories:
        yield _served(framework, *factories[0], names, makes=True)


def _served(framework: str, source: Source, name: str, call: ast.Call, names: frozenset[str], *, makes: bool) -> App:
    place = f"{source.module}:{name}"
    env = {"PYTHONPATH": source.folder} if source.folder else {}
    answers = {*_paths(source.tree, name)}
    known = next((f'{{ http = "{path}", timeout = "60s" }}' for path in _HEALTH if path in answers), "")
    if framework == "FastAPI":
        # What the preset asks for is the app's description; who moves that has its port at least.
        check = known or (_TCP if any(word.arg == "openapi_url" for word in call.keywords) else "")
        return App("FastAPI app", place, _uvicorn(place, makes=makes), check, "uvicorn", env)
    check = known or ('{ http = "/", timeout = "60s" }' if "/" in answers else _TCP)
    if framework == "Starlette":
        return App("Starlette app", place, _uvicorn(place, makes=makes), check, "uvicorn", env)
    with_gunicorn = _gunicorn(f"{place}()" if makes else place)
    if "gunicorn" in names:
        return App("Flask app", place, with_gunicorn, check, "gunicorn", env)
    if "waitress" in names:
        command = ("waitress-serve", "--listen=${listen}:${port}", *(["--call"] if makes else []), place)
        return App("Flask app", place, command, check, "waitress", env)
    command = ("python3", "-m", "flask", "--app", place, "run", "--host", "${listen}", "--port", "${port}")
    return App("Flask app", place, command, check, "flask", env, better=with_gunicorn)


def _uvicorn(place: str, *, makes: bool = False) -> tuple[str, ...]:
    factory = ["--factory"] if makes else []
    return ("python3", "-m", "uvicorn", place, *factory, "--host", "${listen}", "--port", "${port}")


def _gunicorn(place: str) -> tuple[str, ...]:
    return ("gunicorn", place, "--bind", "${listen}:${port}")


def _paths(tree: ast.Module, name: str) -> Iterator[str]:
    """What the routes of the app `name` in its own file answer to GET."""
    for node in ast.walk(tree):
        for call in [node, *getattr(node, "decorator_list", [])]:
            if not isinstance(call, ast.Call) or not call.args or not isinstance(call.args[0], ast.Constant):
                continue
            decorates = call is not node and _called(call) in _GETS and _receiver(call) == name
            if decorates or _called(call) == "Route":
                yield str(call.args[0].value)


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def _call_of(name: str, nodes: Iterable[ast.AST]) -> ast.Call | None:
    return next((node for node in nodes if isinstance(node, ast.Call) and _called(node) == name), None)


def _called(node: ast.AST) -> str:
    """The last name of what is called: FastAPI of `fastapi.FastAPI()`."""
    function = node.func if isinstance(node, ast.Call) else None
    return str(getattr(function, "id", getattr(function, "attr", "")))


def _receiver(call: ast.Call) -> str:
    return str(getattr(getattr(call.func, "value", None), "id", ""))


# --- programs without one ---------------------------------------------------------------------------------------------


def _programs(sources: Sequence[Source], packages: Packages | None) -> Iterator[App]:
    """What an installed project calls its programs."""
    for name, place in (packages.scripts if packages else {}).items():
        source = next((each for each in sources if each.module == place.partition(":")[0]), None)
        yield _program(f"program {name}", place, (name,), source)


def _scripts(sources: Sequence[Source], directory: Path) -> Iterator[App]:
    """A package that can be run, then a file that does something."""
    for source in sources:
        if source.path.name == "__main__.py" and source.path.parent != directory:
            yield _program("package", source.module, ("python3", "-m", source.module), source)
    acting = [source for source in sources if any(map(_acts, source.tree.body))]
    likely = [source for stem in _SCRIPTS for source in acting if source.path.stem == stem]
    for source in likely or (acting if len(acting) == 1 else []):
        script = source.path.relative_to(directory).as_posix()
        yield _program("script", script, ("python3", script), source, with_path=False)


def _acts(node: ast.stmt) -> bool:
    """Whether a statement of a module is one of a program: a call, a loop, or `if __name__ == "__main__"`."""
    if isinstance(node, ast.If):
        return any(isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test))
    return isinstance(node, ast.While) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))


def _program(kind: str, place: str, command: tuple[str, ...], source: Source | None, *, with_path: bool = True) -> App:
    env = {"PYTHONPATH": source.folder} if source and source.folder and with_path else {}
    nodes = [*ast.walk(source.tree)] if source else []
    said = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    path = next((path for path in _HEALTH if path in said), "")
    check = f'{{ http = "{path}" }}' if path else _TCP
    if "--port" in said:
        return App(kind, place, (*command, "--port", "${port}"), check, env=env)
    if "PORT" in said:
        return App(kind, place, command, check, env={**env, "PORT": "${port}"})
    words = {ast.unparse(node) for node in nodes if isinstance(node, ast.Call | ast.Subscript)}
    if "int(sys.argv[1])" in words:
        return App(kind, place, (*command, "${port}"), check, env=env)
    if {"sys.argv[1]", "int(sys.argv[2])"} <= words:
        return App(kind, place, (*command, "${listen}", "${port}"), check, env=env)
    if fixed := next(_ports(nodes), 0):
        return App(kind, place, command, check, env=env, fixed=fixed)
    return App(kind, place, command, env=env, listens=False)


def _ports(nodes: Iterable[ast.AST]) -> Iterator[int]:
    """Numbers that stand where a port does: `port=8080`, `("", 8080)`, `listen(8080)`."""
    for node in nodes:
        value: ast.AST | None = None
        if isinstance(node, ast.keyword) and node.arg == "port":
            value = node.value
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            value = node.elts[1]
        elif _called(node) == "listen" and isinstance(node, ast.Call) and node.args:
            value = node.args[0]
        if isinstance(value, ast.Constant) and type(value.value) is int and 1024 <= value.value < 1 << 16:
            yield value.value
