from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import roundhouse as rh
from roundhouse import _engine, exceptions

PUBLIC = {
    "AsyncGeneratorModule", "Call", "CallCancelled", "CallTimeout", "Cluster", "CodeSyncError", "Function",
    "FutureModule", "GeneratorModule", "Handle", "HostError", "Image", "Instance", "InternalError", "InvalidName",
    "LaunchError", "LimitExceeded", "Method", "Module", "NameTaken", "NodeLost", "NotAllowed", "NotFound",
    "NotSerializable", "OnDemandCluster", "OutOfMemory", "Package", "Program", "ProtocolError", "ProviderSecret",
    "RecordDamaged", "RemoteClass", "RemoteError", "RoundhouseError", "Run", "RunConflict", "RunStore", "Secret",
    "SetupError", "StoredRun", "Stream", "Unsupported", "WorkerDied", "WrongArguments",
    "__version__", "as_completed", "cls", "cluster", "compute", "configs", "exists", "fn", "function", "gather",
    "handle", "here", "images", "is_out_of_memory", "load", "module", "on_larger", "ondemand_cluster", "package",
    "program", "provider_secret", "readonly", "run_store", "secret",
}  # fmt: skip


def test_names_that_are_not_there_say_what_to_do() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Folder'\. It is not in this version yet"):
        _ = rh.Folder  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Did you mean 'function'"):
        _ = rh.functon  # type: ignore[attr-defined]
    assert not hasattr(rh, "folder")


def test_exactly_these_names_are_public() -> None:
    assert set(rh.__all__) == PUBLIC == set(dir(rh))
    for name in PUBLIC:
        assert getattr(rh, name) is not None


def test_aliases_are_the_same() -> None:
    assert rh.fn is rh.function
    assert rh.module is rh.cls
    assert rh.cluster is rh.ondemand_cluster is rh.compute
    assert rh.OnDemandCluster is rh.Cluster


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rh.no_such_name  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__", "here"}))
def test_every_name_has_a_runnable_example(name: str) -> None:
    assert ">>> " in (inspect.getdoc(getattr(rh, name)) or "")


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    tree = exceptions.__doc__ or ""
    for name, kind in vars(exceptions).items():
        if isinstance(kind, type) and issubclass(kind, rh.RoundhouseError):
            builtin = [
                b.__name__ for b in kind.__bases__ if not issubclass(b, rh.RoundhouseError) and b is not Exception
            ]
            drawn = f"{name} ({builtin[0]})" if builtin else name
            assert f"── {drawn}" in tree or name == "RoundhouseError"


def test_every_code_of_the_engine_has_its_exception() -> None:
    for name, code in _engine.codes.items():
        error = exceptions.from_engine(code, "it failed", {"started": "no"})
        assert isinstance(error, rh.RoundhouseError)
        assert error.message == "it failed"
        assert error.started == "no"
        if name not in ("unknown", "io"):
            assert type(error) is not rh.RoundhouseError
            assert exceptions.code_of(error) == code
    assert type(exceptions.from_engine(60_000, "from a newer peer", {})) is rh.RoundhouseError


def test_import_is_cheap() -> None:
    """A worker imports the package: whatever comes with it is paid by every start."""
    heavy = [
        "asyncio",
        "cloudpickle",
        "concurrent.futures",
        "inspect",
        "json",
        "logging",
        "numpy",
        "re",
        "traceback",
        "typing",
    ]
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "import roundhouse._worker.runner, roundhouse._cluster, roundhouse._function, roundhouse._module\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    package = rh.__file__.rsplit("/", 2)[0]
    done = subprocess.run([sys.executable, "-I", "-c", code, package], capture_output=True, text=True, check=True)
    assert not set(heavy) & set(done.stdout.split())
