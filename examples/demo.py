"""What `make demo` runs: from PyTorch checkpoints to checked engines, on a machine with no GPU.

    python examples/demo.py [--checkpoint hrnet_w18_small_v2.pth]

Everything it makes goes to demo_output/. Without a checkpoint HRNet gets seeded weights: the layers are checked just as
strictly, only the class it sees in the photograph means nothing.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from skimage import data
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))  # the examples are no installed package
from examples.hrnet_torch import hrnet_w18_small_v2
from examples.lenet_torch import LeNet5
from examples.seeded import seed_weights

OUT = Path("demo_output")
HRNET = "hrnet_w18_small_v2"
MODULE = f"examples/hrnet_torch.py:{HRNET}"
PLANTED = "stage3.1.branches.1.0.bn2"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def run(command: str, expect: int = 0) -> str:
    """Shows and runs a command of the README; its output is shown too. The demo ends where one goes wrong."""
    console.print(f"\n[bold green]$[/bold green] [bold]{command}[/bold]", soft_wrap=True)
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    if words[0] == "netdefs":
        words[:1] = [sys.executable, "-m", "netdefs.cli"]
    environment = {**os.environ, "COLUMNS": str(console.width)}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    print(done.stdout, end="", flush=True)
    if done.returncode != expect:
        sys.exit(f"The demo stops: exit code {done.returncode}, expected {expect}, from: {command}")
    return done.stdout


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits as (N, 1, 32, 32) float32, split into training and test."""
    images, labels = load_digits(return_X_y=True)
    pictures = np.stack([cv2.resize(image.reshape(8, 8) / 16, (32, 32)) for image in images.astype(np.float32)])
    normalized = (pictures[:, None] - 0.1307) / 0.3081  # what netdefs.lenet declares
    train_x, test_x, train_y, test_y = train_test_split(normalized, labels, test_size=0.25, random_state=0)
    return train_x, test_x, train_y, test_y


def lenet() -> None:
    """Trains LeNet-5 on real digits, rebuilds it, and evaluates both."""
    console.rule("[bold]1. LeNet-5: train, export, rebuild, evaluate")
    train_x, test_x, train_y, test_y = digits()
    torch.manual_seed(0)
    module = LeNet5()
    x, y = torch.from_numpy(train_x), torch.from_numpy(train_y)
    epochs, batches = 20, -(-len(x) // 64)
    optimizer = torch.optim.AdamW(module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=epochs * batches)
    for epoch in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(module(x[batch])["logits"], y[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 5 == 4:
            console.print(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    torch.save({"state_dict": module.state_dict(), "epoch": epochs}, OUT / "lenet5.pth")

    run("python tools/gen_wts.py demo_output/lenet5.pth -o demo_output/lenet5.wts --force")
    with netdefs.lenet.build_engine(OUT / "lenet5.wts", input_shape=((1, 64, 512), 1, 32, 32), target="cpu") as engine:
        classes = engine.run({"input": test_x})["prob"].argmax(1)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(test_x))["prob"].argmax(1).numpy()
    ours, theirs = float((classes == test_y).mean()), float((expected == test_y).mean())
    console.print(f"accuracy on {len(test_y)} test digits: PyTorch {theirs:.4f}, engine {ours:.4f}")
    if ours != theirs or ours < 0.95:
        sys.exit("The demo stops: the engine's accuracy must equal PyTorch's and be over 0.95.")


def hrnet(checkpoint: str | None) -> None:
    """Takes HRNet-W18-C-Small-v2 from a checkpoint to engines, and proves every layer."""
    console.rule("[bold]2. HRNet-W18-C-Small-v2: export, rebuild, compile, run, prove")
    if checkpoint is None:
        checkpoint = str(OUT / f"{HRNET}.pth")
        console.print(
            "No CKPT=file was given: making seeded weights, with batch norm statistics measured on the network."
        )
        module = seed_weights(hrnet_w18_small_v2())
        torch.save({"state_dict": {f"module.{key}": value for key, value in module.state_dict().items()}}, checkpoint)
    checkpoint = shlex.quote(checkpoint)
    cv2.imwrite(str(OUT / "astronaut.jpg"), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))

    wts, photo = f"demo_output/{HRNET}.wts", "demo_output/astronaut.jpg"
    run(f"python tools/gen_wts.py {checkpoint} -o {wts} --force")
    run(f"netdefs build {HRNET} --weights {wts} --target cpu -o demo_output/hrnet.engine --force")
    run(
        f"netdefs build {HRNET} --weights {wts} --target tensorrt_rtx --compute-capability 8.6 8.9 "
        "-o demo_output/hrnet_rtx.engine --force"
    )
    run(f"netdefs run demo_output/hrnet.engine --image {photo}")
    run(f"netdefs diff demo_output/hrnet.engine {MODULE} --checkpoint {checkpoint} --image {photo}")

    console.rule("[bold]3. The same with one wrong number in it")
    planted = OUT / "planted.wts"
    shutil.copyfile(wts, planted)
    known = json.loads(Path(f"{wts}.json").read_text(encoding="utf-8"))
    known["eps"][PLANTED] = 1e-3
    Path(f"{planted}.json").write_text(json.dumps(known), encoding="utf-8")
    console.print(f"planted.wts says that the batch norm {PLANTED} has eps 1e-3. It has 1e-5. Which layer is it?")
    said = run(
        f"netdefs diff {HRNET} {MODULE} --weights {planted} --checkpoint {checkpoint} --image {photo} "
        "--report demo_output/planted.json --force",
        expect=1,
    )
    if PLANTED not in said:
        sys.exit(f"The demo stops: the diff did not name {PLANTED}.")


def main() -> None:
    """Runs all three parts."""
    parser = argparse.ArgumentParser(description="From PyTorch checkpoints to checked engines, with no GPU.")
    parser.add_argument("--checkpoint", help="weights of hrnet_w18_small_v2; by default seeded ones")
    arguments = parser.parse_args()
    started = time.perf_counter()
    OUT.mkdir(exist_ok=True)
    lenet()
    hrnet(arguments.checkpoint)
    console.rule("[bold]Done")
    console.print(f"It took {time.perf_counter() - started:.0f} s. The files are in {OUT.resolve()}.\n\nTry next:")
    for hint in (
        f"netdefs onnx demo_output/hrnet.engine -o demo_output/{HRNET}.onnx   (then look at it with Netron)",
        f"netdefs build {HRNET} --weights demo_output/{HRNET}.wts --precision fp16 -o demo_output/half.engine",
        f"netdefs diff demo_output/half.engine {MODULE} --checkpoint {checkpoint_hint(arguments.checkpoint)}",
        "make demo CKPT=your_hrnet_w18_small_v2.pth",
    ):
        console.print(f"  {hint}", soft_wrap=True)


def checkpoint_hint(checkpoint: str | None) -> str:
    """The checkpoint that the demo ran with."""
    return checkpoint or f"demo_output/{HRNET}.pth"


if __name__ == "__main__":
    main()
