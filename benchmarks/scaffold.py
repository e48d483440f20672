"""Drafts of timm's families: which are exported, written, clean, compiled. Makes a table in docs/scaffold.md.

pip install --no-deps --target timm_site timm torchvision huggingface_hub pyyaml safetensors

python benchmarks/scaffold.py --site timm_site            # those that benchmarks/scaffold.json lacks
python benchmarks/scaffold.py --site timm_site vit_tiny_patch16_224 ...    # these, again
python benchmarks/scaffold.py --site timm_site --unclean  # those that were not clean, again
python benchmarks/scaffold.py --write                     # measures nothing; puts the table into docs/scaffold.md

Each model is made with random weights in a process of its own, at its own input size, and given --limit seconds.
Without --site, the packages of this environment are used.
"""

import argparse
import datetime
import importlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import machine, peak
from netdefs.core.files import atomic_write
from netdefs.scaffold.check import TOLERANCE

MEASURED = Path(__file__).parent / "scaffold.json"
PAGE = Path(__file__).parent.parent / "docs" / "scaffold.md"
BEGIN, END = "<!-- benchmarks/scaffold.py writes from here -->", "<!-- to here -->"
LIMIT = 900  # seconds for one model
STEPS = ("exported", "written", "clean", "compiled")
TORCHVISION = (  # what its own Python code says more about
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# One or two of every module of timm's that has picture classifiers: the smallest of each architecture in it, but for
# those called test_*. Left out are deepseek_vit, gemma4_vit and qwen3_vit, which have 87 million weights and more and
# take pictures of 546 pixels and more.
MODELS: dict[str, str] = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1 eca_botnext26ts_256 lambda_resnet26t",
    "byobnet": "mobileone_s1 gernet_s repvgg_a0 regnetz_b16 gcresnext26ts bat_resnext26ts",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny coat_lite_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_atto convnextv2_atto",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s cspresnet50",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deit": "deit_tiny_patch16_224 deit_tiny_distilled_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c dla60_res2next",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "efficientnet_b0 mobilenetv2_035 mixnet_s tf_efficientnetv2_b0 efficientnet_cc_b0_4e tinynet_e",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224 vit_tiny_patch16_dinov3_qkvb vit_small_patch16_rope_mixed_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0 hgnet_tiny",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "hieradet_small",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s levit_conv_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "mambaout_femto",
    "maxxvit": "maxvit_pico_rw_256 coatnet_pico_rw_224 maxxvit_rmlp_nano_rw_256",
    "metaformer": "poolformer_s12 caformer_s18",
    "mlp_mixer": "mixer_s32_224 gmlp_ti16_224 resmlp_12_224",
    "mobilenetv3": "mobilenetv3_small_050 lcnet_035 mobilenetv4_hybrid_medium_075",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs mobilevitv2_050",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "nf_regnet_b0 eca_nfnet_l0",
    "pit": "pit_ti_224 pit_ti_distilled_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0 pvt_v2_b2_li",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002 regnety_002 regnetz_005",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2net50_14w_8s",
    "resnest": "resnest14d",
    "resnet": "resnet10t resnetblur18 ecaresnet26t",
    "resnetv2": "resnetv2_18 resnetv2_50x1_bit",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224 swin_s3_tiny_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small twins_pcpvt_small",
    "vgg": "vgg11_bn",
    "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224 vit_xsmall_patch16_clip_224 vit_pwee_patch16_reg1_gap_256",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "vit_relpos_small_patch16_224 vit_srelpos_small_patch16_224",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw vovnet39a",
    "xception": "legacy_xception",
    "xception_aligned": "xception41",
    "xcit": "xcit_nano_12_p16_224",
}
FAMILY = {name: family for family, names in MODELS.items() for name in names.split()}


def main() -> int:
    """Measures, or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="measure these, again")
    parser.add_argument("--site", help="the folder that timm and torchvision are in")
    parser.add_argument("--unclean", action="store_true", help="measure those again that were not clean")
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"seconds for one model (default {LIMIT})")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the drafts there")
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}, measuring nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    if options.one:
        print(json.dumps(measure(options.one, options.site, options.keep)))
        return 0
    if options.write:
        write(found)
        return 0
    if unknown := [name for name in options.models if name not in FAMILY]:
        parser.error(f"the list has no {', '.join(unknown)}")
    unclean = [name for name, each in found.items() if not each["clean"]] if options.unclean else []
    wanted = options.models or unclean or [name for name in FAMILY if name not in found]
    console = Console()
    for name in track(wanted, "Writing drafts"):
        found[name] = in_process(name, options)
        with atomic_write(MEASURED) as file:
            ordered = {name: found[name] for name in FAMILY if name in found}
            file.write((json.dumps(ordered, indent=1) + "\n").encode())
        console.print(f"{name}: {state(found[name])} {found[name]['reason'][:300]}", markup=False, highlight=False)
    console.print(summary(found), markup=False, highlight=False, soft_wrap=True)
    return 0


def in_process(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """What `measure` finds in a process of its own; a failed row if that takes too long, or dies."""
    arguments = [sys.executable, __file__, "--one", name]
    arguments += ["--site", options.site] if options.site else []
    arguments += ["--keep", options.keep] if options.keep else []
    started = time.perf_counter()
    failed = {**dict.fromkeys(STEPS, False), "date": datetime.date.today().isoformat()}
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=options.limit)
    except subprocess.TimeoutExpired:
        return {**failed, "reason": f"It took longer than {options.limit} s."}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {**failed, "reason": f"The process failed: {last}"}
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "seconds": round(time.perf_counter() - started, 1)}


def measure(name: str, site: str | None, keep: str | None) -> dict[str, Any]:
    """One model: how far its draft gets, and why no further."""
    import_torchvision(site)
    import torch

    from netdefs.scaffold.capture import ExportError
    from netdefs.scaffold.origin import open_origin
    from netdefs.scaffold.units import GapsError
    from netdefs.scaffold.writing import write as write_draft

    torch.set_num_threads(1)
    found: dict[str, Any] = {**dict.fromkeys(STEPS, False), "reason": "", "date": datetime.date.today().isoformat()}
    origin = open_origin(f"timm:{name}")
    found["parameters"] = sum(math.prod(parameter.shape) for parameter in origin.module.parameters())
    found["input"] = list(next(iter(origin.inputs.values())).shape[1:])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            verdict = write_draft({name: origin}, folder / f"{name}.py", force=True)
        except ExportError as error:
            return {**found, "reason": f"torch.export: {error}"}
        except GapsError as error:
            operators = Counter(f"{gap.operator} ({gap.reason.rstrip('.')})" for gap in error.gaps)
            return {**found, "exported": True, "reason": "; ".join(f"{n} {text}" for text, n in operators.items())}
        except Exception as error:  # a fault of the scaffold's is a result as well
            return {**found, "exported": True, "reason": f"{type(error).__name__}: {error}"}
    (checked,) = verdict.variants
    found |= {"exported": True, "written": True, "clean": verdict.clean, "compiled": bool(checked.compiled)}
    found |= {"lines": verdict.lines, "layers": verdict.layers, "error": checked.error}
    found |= {"rounding": checked.rounding, "also": checked.also}
    return {**found, "reason": " ".join(checked.problems)[:600], "memory": peak()}


def import_torchvision(site: str | None) -> None:
    """Makes timm's packages importable.

    The torchvision of PyPI is built for the torch of PyPI. Beside another one, such as that for the CPU alone, its
    library does not load; then the operators that its Python code adds to are only declared. No model here calls them.
    """
    if site:
        sys.path.insert(0, str(Path(site).resolve()))
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for module in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        library = torch.library.Library("torchvision", "DEF")
        for schema in TORCHVISION:
            library.define(schema)
        import_torchvision.library = library  # type: ignore[attr-defined]  # it declares them as long as it lives
        importlib.import_module("torchvision")


def state(found: Mapping[str, Any]) -> str:
    """How far a draft got, in a word."""
    reached = [step for step in STEPS if found[step]]
    if found["clean"]:
        return "clean" if found["compiled"] else "clean, not compiled"
    return f"{reached[-1]}, not clean" if reached else "not exported"


def summary(found: Mapping[str, Mapping[str, Any]]) -> str:
    """How many got how far."""
    count = len(found)
    parts = [f"{step} {sum(each[step] for each in found.values())}" for step in STEPS]
    clean = [each for each in found.values() if each["clean"]]
    share, near = (n / max(count, 1) for n in (len(clean), sum(each["error"] <= TOLERANCE for each in clean)))
    families = len({FAMILY[name] for name in found})
    said = f"Clean: {share:.1%}; {near:.1%} with outputs within {TOLERANCE:.0e}, the others off by what float32 rounds."
    return f"{count} models of {families} families: {', '.join(parts)}. {said}"


def write(found: Mapping[str, Mapping[str, Any]]) -> None:
    """Puts the table into the page, between its markers."""
    dates = sorted({each["date"] for each in found.values()})
    clean = [name for name in found if found[name]["clean"]]
    rest = [name for name in found if not found[name]["clean"]]
    lines = [f"{dates[0]} to {dates[-1]}, {machine()}. {summary(found)}", "", "Not clean:", ""]
    lines += ["| model | family | got to | reason |", "|---|---|---|---|"]
    lines += [f"| {name} | {FAMILY[name]} | {state(found[name])} | {escaped(found[name]['reason'])} |" for name in rest]
    lines += ["", "Clean:", "", "| model | family | layers | lines | error | compiled |", "|---|---|--:|--:|--:|---|"]
    lines += [row(name, found[name]) for name in clean]
    before, begin, behind = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    if not begin or END not in behind:
        raise SystemExit(f"{PAGE} lacks the lines\n{BEGIN}\n{END}")
    text = "\n".join(lines)
    with atomic_write(PAGE) as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{behind.partition(END)[2]}".encode())


def row(name: str, found: Mapping[str, Any]) -> str:
    """A line of the table of clean ones."""
    compiled = "yes" if found["compiled"] else "no"
    rounding = f" (PyTorch's own {found['rounding']:.1e})" if found["rounding"] else ""
    numbers: Sequence[Any] = (found["layers"], found["lines"], f"{found['error']:.1e}{rounding}", compiled)
    return f"| {name} | {FAMILY[name]} | {' | '.join(map(str, numbers))} |"


def escaped(text: str) -> str:
    """A text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())[:300]


if __name__ == "__main__":
    sys.exit(main())
