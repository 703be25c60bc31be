"""The part of `Cluster` about what it keeps under names: values, and the services among them."""

from __future__ import annotations

from roundhouse._processes import DEFAULT_PROCESS, Processes
from roundhouse.exceptions import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class _Nothing:
    """Stands for a default that was not given."""

    def __repr__(self) -> str:
        return "None"


_NOTHING: Any = _Nothing()


class Objects(Processes):
    def put(self, key: str, obj: Any, process: str | None = None) -> str:
        """Keeps a copy of a value on the cluster, and returns its key. An idle value of that key is replaced.

        It lives in ``process`` (``default_process``, which is made when it is needed), and dies with it. NameTaken when
        the key is the name of a function, a class or an instance.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> box.put("limits", {"low": 1, "high": 9})
        'limits'
        >>> box.get("limits")
        {'low': 1, 'high': 9}
        >>> box.delete("limits")
        """
        from roundhouse import _deploy

        process = DEFAULT_PROCESS if process is None else process
        self.ensure_process_created(process)
        _deploy.deploy(self._self(), "object", obj, _deploy.Placement(name=key, process=process))
        return key

    def put_resource(
        self, resource: Any, state: dict[str, Any] | None = None, dryrun: bool = False, process: str | None = None
    ) -> str:
        """``put`` of something that has a ``name``, under that name."""
        key = getattr(resource, "name", None)
        if not isinstance(key, str):
            raise ValueError(f"{resource!r} has no name to be kept under. Try: put('a-key', ...)")
        return self.put(key, resource, process)

    def get(self, key: str, default: Any = _NOTHING, remote: bool = False) -> Any:
        """The value of that key, copied here; a function, a class or an instance is returned as something to call.

        With ``remote`` a value stays where it is too, and what returns is a stub of it. Where nothing has that name the
        result is ``default``; with ``default=KeyError``, and with ``remote`` and no default, it is NotFound, which
        names what is there.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> numbers = box.get(box.put("numbers", [3, 1, 2]), remote=True)
        >>> numbers.sort()
        >>> box.get("numbers"), box.get("no such thing", default=())
        ([1, 2, 3], ())
        >>> box.delete("numbers")
        """
        from roundhouse import _stubs

        try:
            description = self._ask("describe", {"name": key})
        except NotFound as error:
            from roundhouse import _secret

            secret = None if remote else _secret.sent(self._self(), key)
            if secret is not None:
                return secret
            if default is _NOTHING:
                if remote:
                    raise
                return None
            if isinstance(default, type) and issubclass(default, LookupError):
                if isinstance(error, default):
                    raise
                raise default(error.message) from None
            if isinstance(default, BaseException):
                raise default from None
            return default
        _add_builtin(description)
        if description["kind"] == "object" and not remote:
            from roundhouse._options import DEFAULT
            from roundhouse._service import Service

            return Service(self._self(), description).call("@fetch", DEFAULT, (), {})
        return _stubs.stub_of(self._self(), description)

    def keys(self, process: str | None = None) -> list[str]:
        """The names of everything that is there, sorted; with ``process`` of what lives in that process."""
        if process is None:
            return sorted(service["name"] for service in self._ask("status", {})["services"])
        processes = self._ask("processes", {})
        if process not in processes and process != DEFAULT_PROCESS:
            raise NotFound(
                f"cluster {self.name!r} has no process {process!r}; it has "
                f"{', '.join(sorted({*processes, DEFAULT_PROCESS}))}",
                name=process,
            )
        return sorted(processes.get(process, {}).get("services", ()))

    def delete(self, keys: str | Iterable[str]) -> None:
        """Removes what has that name, or each of those names; a process's name ends the process.

        NotFound, a KeyError, for a name that nothing has."""
        names = [keys] if isinstance(keys, str) else list(keys)
        processes: dict[str, Any] | None = None
        for name in names:
            try:
                self._ask("delete", {"name": name})
            except NotFound:
                if processes is None:
                    processes = self._ask("processes", {})
                if name not in processes:
                    raise
                self.kill_process(name)

    def clear(self) -> None:
        """Removes every function, class, instance and value. Processes with names stay."""
        self._ask("clear", {})

    def call(
        self,
        module_name: str,
        method_name: str,
        *args: Any,
        stream_logs: bool = True,
        run_name: str | None = None,
        remote: bool = False,
        run_async: bool = False,
        save: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Calls a method of whatever has that name, plain values included; a property or attribute gives its value.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> box.call(box.put("numbers", [3, 1, 2]), "__len__")
        3
        >>> box.call(box.put("point", 3 + 4j), "imag")
        4.0
        >>> box.delete(["numbers", "point"])
        """
        from roundhouse._options import DEFAULT
        from roundhouse._service import Service

        service = Service(self._self(), _add_builtin(self._ask("describe", {"name": module_name})))
        given = {"stream_logs": stream_logs, "run_name": run_name, "remote": remote, "run_async": run_async or None}
        usual = {"stream_logs": True, "run_name": None, "remote": False, "run_async": None}
        options = DEFAULT if given == usual else DEFAULT.merged(given)
        described = service.description
        is_value = method_name in described.get("properties", ()) or method_name in described.get("attributes", ())
        if is_value and not args and not kwargs and method_name not in service.kinds:
            return service.invoke("@get", options, (method_name,), {})
        return service.invoke(method_name, options, args, kwargs)

    def _rename_object(self, old: str, new: str, replace: bool) -> None:
        self._ask("rename", {"name": old, "to": new, "replace": replace})


def _add_builtin(description: dict[str, Any]) -> dict[str, Any]:
    """Of a list, a dict or its like the node tells the class only: both sides know what that has."""
    import builtins

    kind = getattr(builtins, description.get("class") or "", None)
    if description["kind"] != "object" or not isinstance(kind, type):
        return description
    methods = description.setdefault("methods", {})
    for name in dir(kind):
        if name.startswith("_"):
            continue
        if callable(getattr(kind, name)):
            told = {"signature": "(...)", "doc": "", "kind": "sync", "binding": "instance", "sends": False}
            methods.setdefault(name, told)
        else:
            description.setdefault("properties", []).append(name)
    return description
