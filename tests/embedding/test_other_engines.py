"""In one process with other libraries that have a C++ engine, protobuf and threads of their own, in both orders."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Script = Callable[..., CompletedProcess[str]]

# Roundhouse is not only imported but used before the other is imported, or after it was used: both bring up all of it.
ROUNDHOUSE = """
import sys, threading
import roundhouse as rh

def twice(value):
    return value + value

box = rh.compute("shared")
remote = rh.function(twice).to(box, name=sys.argv[1])

def use_roundhouse():
    assert remote(21) == 42
    assert remote.submit("ab").result() == "abab"
    try:
        remote(None)
    except TypeError:
        pass
    else:
        raise AssertionError

use_roundhouse()
"""

PROTOBUF = """
from google.protobuf import json_format, struct_pb2
from google.protobuf.internal import api_implementation
assert api_implementation.Type() == "upb"

message = struct_pb2.Struct()
message.update({"name": "digits", "rates": [0.1, 0.01], "deep": {"er": True}})

def use_protobuf():
    again = struct_pb2.Struct.FromString(message.SerializeToString())
    assert again == message
    assert json_format.MessageToDict(again)["deep"] == {"er": True}

use_protobuf()
"""
# A message as argument and result.
PROTOBUF_BOTH = """
def passed(message, rate):
    message["rates"].append(rate)
    return message
made = rh.function(passed).to(box, name=sys.argv[1] + "-message")(message, 0.5)
assert type(made) is struct_pb2.Struct
assert list(made["rates"]) == [0.1, 0.01, 0.5] and list(message["rates"]) == [0.1, 0.01]
"""

GRPC = """
import os, tempfile
from concurrent.futures import ThreadPoolExecutor
os.environ["GRPC_VERBOSITY"] = "ERROR"  # It notes now and then that its server is leaving.
import grpc

answer = lambda request: request[::-1]
class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer(request))

folder = tempfile.TemporaryDirectory(prefix="rh-grpc-")
address = f"unix:{folder.name}/socket"
server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
assert server.add_insecure_port(address)
server.start()
channel = grpc.insecure_channel(address)
ask = channel.unary_unary("/service/method")

def use_grpc():
    assert ask(b"abc", timeout=15) == answer(b"abc")

use_grpc()
"""
# A gRPC service that asks a remote function, asked by several at once.
GRPC_BOTH = """
answer = lambda request: remote(request)
with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(lambda n: ask(b"%d" % n, timeout=15), range(100))) == [b"%d%d" % (n, n) for n in range(100)]
def asks(address):
    import grpc
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary("/service/method")(b"from there", timeout=15)
# A worker that asks this process, which asks another worker.
assert rh.function(asks).to(box, name=sys.argv[1] + "-asks")(address) == b"from therefrom there"
"""
GRPC_END = """
use_grpc()
channel.close()
assert server.stop(None).wait(15)
folder.cleanup()
"""

TORCH = """
import torch

def use_torch():
    # Large enough for torch to use its threads.
    left = torch.ones(300, 300)
    assert torch.equal(left @ left, torch.full((300, 300), 300.0))
    weight = torch.ones(3, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad.tolist() == [2.0, 2.0, 2.0]

use_torch()
"""
TORCH_BOTH = """
assert rh.function(torch.neg).to(box, name=sys.argv[1] + "-neg")(torch.ones(3)).tolist() == [-1, -1, -1]
tensor = torch.arange(100_000, dtype=torch.float32)
made = remote(tensor)
assert type(made) is torch.Tensor and made.dtype is torch.float32
assert torch.equal(made, tensor * 2)
# What came is the caller's own to write to.
made.zero_()
assert tensor[-1] == 99_999

class Model:
    def __init__(self):
        import torch
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 2)
    def forward(self, batch): return self.model(batch).detach()
    def state(self): return self.model.state_dict()
    def fails(self): return self.model("no tensor")

model = rh.cls(Model).to(box, name=sys.argv[1] + "-model")()
local = torch.nn.Linear(4, 2)
local.load_state_dict(model.state())
batch = torch.rand(8, 4)
assert torch.allclose(model.forward(batch), local(batch))
assert model.forward(batch.to(torch.float32)).shape == (8, 2)
try:
    model.fails()
except TypeError as error:
    assert "linear" in str(error)
else:
    raise AssertionError
assert torch.equal(remote(torch.tensor([1, 2])), torch.tensor([2, 4]))
"""

END = "\nprint('fine')\n"


@pytest.mark.parametrize("order", ["roundhouse-first", "roundhouse-last"])
class TestBothOrders:
    def test_protobuf(self, script: Script, order: str) -> None:
        both = [ROUNDHOUSE, PROTOBUF] if order == "roundhouse-first" else [PROTOBUF, ROUNDHOUSE]
        last = PROTOBUF_BOTH + "use_protobuf()\nuse_roundhouse()\n"
        assert script("".join(both) + last + END, f"pb-{order}").stdout == "fine\n"

    def test_grpc(self, script: Script, order: str) -> None:
        both = [ROUNDHOUSE, GRPC] if order == "roundhouse-first" else [GRPC, ROUNDHOUSE]
        last = GRPC_BOTH + "use_roundhouse()\n" + GRPC_END
        assert script("".join(both) + last + END, f"grpc-{order}").stdout == "fine\n"

    @pytest.mark.skipif(
        importlib.util.find_spec("torch") is None, reason="torch is big: `tools/setup.sh venv torch` installs it"
    )
    def test_all_of_them_with_torch(self, script: Script, order: str) -> None:
        others = TORCH + PROTOBUF + GRPC
        both = [ROUNDHOUSE, others] if order == "roundhouse-first" else [others, ROUNDHOUSE]
        last = TORCH_BOTH + PROTOBUF_BOTH + GRPC_BOTH + "use_torch()\nuse_protobuf()\nuse_roundhouse()\n" + GRPC_END
        assert script("".join(both) + last + END, f"torch-{order}").stdout == "fine\n"
