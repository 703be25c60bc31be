"""Roundhouse runs ordinary functions and classes on compute outside your own process.

>>> import roundhouse as rh
>>> box = rh.compute("example").up_if_not()
>>> def add(a: int, b: int) -> int:
...     return a + b
>>> rh.function(add).to(box)(2, 3)
5

Names are loaded when they are first used, so that the import costs next to nothing, here and in every worker.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from roundhouse._call import Call
    from roundhouse._call import Call as FutureModule
    from roundhouse._cluster import Cluster, compute
    from roundhouse._cluster import Cluster as OnDemandCluster
    from roundhouse._cluster import compute as cluster
    from roundhouse._cluster import compute as ondemand_cluster
    from roundhouse._configs import configs
    from roundhouse._engine import version as __version__
    from roundhouse._function import Function, function
    from roundhouse._function import function as fn
    from roundhouse._handle import Handle, handle
    from roundhouse._image import Image, images
    from roundhouse._instance import Instance
    from roundhouse._many import as_completed, gather
    from roundhouse._memory import is_out_of_memory, on_larger
    from roundhouse._method import Method
    from roundhouse._module import RemoteClass, cls
    from roundhouse._module import cls as module
    from roundhouse._module_base import Module
    from roundhouse._packages import Package, package
    from roundhouse._program import Program, program
    from roundhouse._readonly import readonly
    from roundhouse._registry import exists, load
    from roundhouse._run_store import RunStore, StoredRun, run_store
    from roundhouse._runs import Run
    from roundhouse._secret import ProviderSecret, Secret, provider_secret, secret
    from roundhouse._stream import Stream
    from roundhouse._stream import Stream as AsyncGeneratorModule
    from roundhouse._stream import Stream as GeneratorModule
    from roundhouse.exceptions import (
        CallCancelled,
        CallTimeout,
        CodeSyncError,
        HostError,
        InternalError,
        InvalidName,
        LaunchError,
        LimitExceeded,
        NameTaken,
        NodeLost,
        NotAllowed,
        NotFound,
        NotSerializable,
        OutOfMemory,
        ProtocolError,
        RecordDamaged,
        RemoteError,
        RoundhouseError,
        RunConflict,
        SetupError,
        Unsupported,
        WorkerDied,
        WrongArguments,
    )

__all__ = [
    "AsyncGeneratorModule",
    "Call",
    "CallCancelled",
    "CallTimeout",
    "Cluster",
    "CodeSyncError",
    "Function",
    "FutureModule",
    "GeneratorModule",
    "Handle",
    "HostError",
    "Image",
    "Instance",
    "InternalError",
    "InvalidName",
    "LaunchError",
    "LimitExceeded",
    "Method",
    "Module",
    "NameTaken",
    "NodeLost",
    "NotAllowed",
    "NotFound",
    "NotSerializable",
    "OnDemandCluster",
    "OutOfMemory",
    "Package",
    "Program",
    "ProtocolError",
    "ProviderSecret",
    "RecordDamaged",
    "RemoteClass",
    "RemoteError",
    "RoundhouseError",
    "Run",
    "RunConflict",
    "RunStore",
    "Secret",
    "SetupError",
    "StoredRun",
    "Stream",
    "Unsupported",
    "WorkerDied",
    "WrongArguments",
    "__version__",
    "as_completed",
    "cls",
    "cluster",
    "compute",
    "configs",
    "exists",
    "fn",
    "function",
    "gather",
    "handle",
    "here",
    "images",
    "is_out_of_memory",
    "load",
    "module",
    "on_larger",
    "ondemand_cluster",
    "package",
    "program",
    "provider_secret",
    "readonly",
    "run_store",
    "secret",
]

# Where a name is found, if not in `exceptions` under the same name.
_WHERE = {
    "AsyncGeneratorModule": "_stream.Stream",
    "Call": "_call.Call",
    "Cluster": "_cluster.Cluster",
    "Function": "_function.Function",
    "FutureModule": "_call.Call",
    "GeneratorModule": "_stream.Stream",
    "Handle": "_handle.Handle",
    "Image": "_image.Image",
    "Instance": "_instance.Instance",
    "Method": "_method.Method",
    "Module": "_module_base.Module",
    "OnDemandCluster": "_cluster.Cluster",
    "Package": "_packages.Package",
    "Program": "_program.Program",
    "ProviderSecret": "_secret.ProviderSecret",
    "RemoteClass": "_module.RemoteClass",
    "Run": "_runs.Run",
    "RunStore": "_run_store.RunStore",
    "StoredRun": "_run_store.StoredRun",
    "Secret": "_secret.Secret",
    "Stream": "_stream.Stream",
    "__version__": "_engine.version",
    "as_completed": "_many.as_completed",
    "cls": "_module.cls",
    "cluster": "_cluster.compute",
    "compute": "_cluster.compute",
    "configs": "_configs.configs",
    "exists": "_registry.exists",
    "fn": "_function.function",
    "function": "_function.function",
    "gather": "_many.gather",
    "handle": "_handle.handle",
    "images": "_image.images",
    "is_out_of_memory": "_memory.is_out_of_memory",
    "load": "_registry.load",
    "module": "_module.cls",
    "on_larger": "_memory.on_larger",
    "ondemand_cluster": "_cluster.compute",
    "package": "_packages.package",
    "program": "_program.program",
    "provider_secret": "_secret.provider_secret",
    "readonly": "_readonly.readonly",
    "run_store": "_run_store.run_store",
    "secret": "_secret.secret",
}


def __getattr__(name: str) -> object:
    if name == "here":
        from roundhouse import _here

        # Not kept: it is the cluster inside of which whoever asks runs just now.
        return _here.here()
    if name not in __all__:
        if name.startswith("_"):  # Also a submodule that is about to be imported.
            raise AttributeError(f"module 'roundhouse' has no attribute {name!r}")
        from roundhouse import _missing

        raise AttributeError(_missing.text(name))
    from importlib import import_module

    module, _, called = _WHERE.get(name, f"exceptions.{name}").partition(".")
    found: object = getattr(import_module(f"roundhouse.{module}"), called)
    globals()[name] = found
    return found


def load_ipython_extension(shell: object) -> None:
    """What `%load_ext roundhouse` calls, in a notebook: from then on it has `%%roundhouse`."""
    from roundhouse import _magic

    _magic.load(shell)


def __dir__() -> list[str]:
    return __all__
