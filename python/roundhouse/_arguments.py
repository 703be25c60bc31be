"""What `rh.compute` may be given, and what it means."""

from __future__ import annotations

from roundhouse.exceptions import LaunchError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZES = ("num_cpus", "gpus", "memory")
# Of the TCP port that a cluster on this machine listens on once it is up.
LISTENS = ("server_port", "server_host", "server_connection_type", "ssl_keyfile", "ssl_certfile", "domain")
# How to reach one that somebody else launched.
REACHES = ("host", "ips", "server_port", "client_port", "server_connection_type", "pin", "token")
# Runhouse's, which changed nothing that matters here.
IGNORED = ("den_auth", "load_from_den", "dryrun")
# What a configuration has besides, which says nothing that is asked for.
DESCRIBED = ("name", "resource_type", "resource_subtype", "state_folder", "autostop_mins", "ips")

# Arguments that ask for compute elsewhere, by the launcher that they mean.
_LAUNCHERS = {
    "SSH": "host ips ssh_creds ssh_port client_port",
    "a cloud": "instance_type num_nodes provider pool region use_spot autostop_mins open_ports vpc_name disk_size "
    "sky_kwargs",
    "Kubernetes": "kube_namespace kube_config_path kube_context",
    "another launcher": "launcher",
}
_LAUNCHED = {argument: meant for meant, arguments in _LAUNCHERS.items() for argument in arguments.split()}
_CONNECTIONS = ("tls", "none")


class NoSuchArgument(TypeError, ValueError):
    """Python's exception for an unknown argument, and Runhouse's."""


def variable_for(name: str) -> str:
    """The environment variable by which another process finds a cluster of that name."""
    return "ROUNDHOUSE_CLUSTER_" + "".join(c if c.isalnum() else "_" for c in name).upper()


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those that ask for something."""
    return {argument: value for argument, value in arguments.items() if value is not None and argument not in IGNORED}


def is_reached(asked: dict[str, Any]) -> bool:
    """True for a cluster that answers at a host and a port, by TLS ("tls") or in the clear ("none")."""
    return ("host" in asked or "ips" in asked) and asked.get("server_connection_type") in _CONNECTIONS


def _check_image(name: str, image: Any) -> None:
    from roundhouse import _prepared
    from roundhouse._image import Image

    if isinstance(image, dict):
        image = Image.from_config(image)
    if not isinstance(image, Image):
        raise TypeError(f"rh.compute({name!r}, image=...) takes an rh.Image, not {type(image).__name__}")
    _prepared.check(image)


def check(name: str, asked: dict[str, Any]) -> None:
    """Refuses what this version does not act on."""
    reached = is_reached(asked)
    connection = asked.get("server_connection_type")
    if connection is not None and connection not in _CONNECTIONS:
        raise LaunchError(
            f"rh.compute({name!r}, server_connection_type={connection!r}) is not yet supported by this version. "
            'Try: "tls", or "none" on this machine and at the end of an SSH tunnel'
        )
    for argument, value in asked.items():
        if argument in SIZES or (argument, value) == ("launcher", "local"):
            continue
        if argument in (REACHES if reached else LISTENS):
            continue
        if argument == "image" and not reached:
            _check_image(name, value)
            continue
        if argument == "image":
            raise Unsupported(
                f"rh.compute({name!r}, image=...) of a cluster that is reached by TCP is not yet supported by this "
                "version. Try: give the image to whoever launches it"
            )
        if argument in _LAUNCHED:
            raise LaunchError(
                f"rh.compute({name!r}, {argument}=...) means {_LAUNCHED[argument]}, "
                f"which is not yet supported by this version. Try: rh.compute({name!r}) for a cluster on this machine"
                + (', or server_connection_type="tls" for a node that listens there' if argument == "host" else "")
            )
        if argument in REACHES or argument in LISTENS:
            raise NoSuchArgument(
                f"rh.compute({name!r}, {argument}=...) goes with "
                + ("server_port= and without host=" if reached else 'host= and server_connection_type="tls" or "none"')
            )
        from difflib import get_close_matches

        close = get_close_matches(argument, [*_LAUNCHED, *SIZES, *LISTENS, *REACHES, "image"], 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise NoSuchArgument(f"rh.compute() has no argument {argument!r}.{hint}")
