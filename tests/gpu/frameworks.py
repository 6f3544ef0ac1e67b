"""What others' programs do in a slice, one word each; the last line begins with "ok", or says what was wrong.

usage: frameworks.py torch-memory | torch-train | torch-graph | cupy | jax | NAME-installed
"""
import importlib.util
import sys
import time


def torch_memory():
    import torch
    total = torch.cuda.get_device_properties(0).total_memory
    if torch.cuda.mem_get_info()[1] != total:
        return f"mem_get_info says {torch.cuda.mem_get_info()[1]}, the device has {total}"
    try:
        torch.empty(total + 1, dtype=torch.uint8, device="cuda")
    except torch.cuda.OutOfMemoryError:
        torch.ones(1000, device="cuda").sum().item()
        return "ok"
    return "more than the slice was given"


def model(torch):
    torch.manual_seed(1)
    layers = [torch.nn.Linear(1024, 1024), torch.nn.ReLU()] * 8
    return torch.nn.Sequential(*layers).cuda()


def torch_train():
    import torch
    net, x = model(torch), torch.randn(256, 1024, device="cuda")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for step in range(550):
        if step == 50:
            torch.cuda.synchronize()
            began = time.monotonic()
        optimizer.zero_grad()
        loss = (net(x) - x).square().mean()
        loss.backward()
        optimizer.step()
    if not torch.isfinite(loss):
        return "the loss is not a number"
    return f"ok {500 / (time.monotonic() - began):.2f}"


def torch_graph():
    import torch
    net, x = model(torch), torch.randn(64, 1024, device="cuda")
    with torch.no_grad():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                net(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = net(x)
        for _ in range(1000):
            x.normal_()
            graph.replay()
        torch.cuda.synchronize()
        return "ok" if torch.allclose(y, net(x), atol=1e-3) else "another result than without a graph"


def cupy():
    import cupy as cp
    total = cp.cuda.Device().mem_info[1]
    if int(cp.arange(1000000, dtype=cp.int64).sum()) != 499999500000:
        return "a wrong sum"
    try:
        cp.empty(total + 1, dtype=cp.uint8)
    except cp.cuda.memory.OutOfMemoryError:
        return "ok"
    return "more than the slice was given"


def jax():
    import jax as j
    total = j.devices("gpu")[0].memory_stats()["bytes_limit"]
    if float(j.numpy.ones((1000, 1000)).sum()) != 1e6:
        return "a wrong sum"
    return f"ok, takes {total >> 20} MiB"


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word.endswith("-installed"):
        print("installed" if importlib.util.find_spec(word[:-len("-installed")]) else "not installed")
        return 0
    words = {"torch-memory": torch_memory, "torch-train": torch_train, "torch-graph": torch_graph, "cupy": cupy, "jax": jax}
    if word not in words:
        sys.exit(__doc__)
    print(words[word]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
