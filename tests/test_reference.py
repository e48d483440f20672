"""Our PyTorch references against upstream's stored values and published sizes."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests import golden
from tests.reference import MODELS

DATA = Path(__file__).parent / "data"

# parameters, state_dict keys and num_batches_tracked among them, of upstream's models of these names
SIZES = {
    "resnet18": (11_689_512, 122, 20),
    "resnet34": (21_797_672, 218, 36),
    "resnet50": (25_557_032, 320, 53),
    "resnet101": (44_549_160, 626, 104),
    "resnet152": (60_192_808, 932, 155),
    "resnext50_32x4d": (25_028_904, 320, 53),
    "resnext101_32x8d": (88_791_336, 626, 104),
    "wide_resnet50_2": (68_883_240, 320, 53),
    "wide_resnet101_2": (126_886_696, 626, 104),
    "hrnet_w18_small": (13_187_464, 552, 91),
    "hrnet_w18_small_v2": (15_597_464, 990, 164),
    "hrnet_w18": (21_299_004, 1956, 325),
    "hrnet_w30": (37_712_220, 1956, 325),
    "hrnet_w32": (41_232_680, 1956, 325),
    "hrnet_w40": (57_557_160, 1956, 325),
    "hrnet_w44": (67_064_984, 1956, 325),
    "hrnet_w48": (77_469_864, 1956, 325),
    "hrnet_w64": (128_059_944, 1956, 325),
    "hrnet_seg_w18": (9_641_119, 1839, 306),
    "hrnet_seg_w18_small_v1": (1_540_819, 435, 72),
    "hrnet_seg_w18_small_v2": (3_939_579, 873, 145),
    "hrnet_seg_w48": (65_859_379, 1839, 306),
    "hrnet_ocr_w48": (70_372_678, 1890, 314),
    "hrnet_pose_w32": (28_536_113, 1754, 292),
    "hrnet_pose_w48": (63_595_745, 1754, 292),
    "higherhrnet_w32": (28_645_331, 1810, 301),
    "higherhrnet_w48": (63_827_139, 1810, 301),
    "openpose_body": (52_311_446, 184, 0),
    "openpose_hand": (36_832_324, 104, 0),
    "fastpose_res50": (40_577_745, 348, 55),
    "fastpose_res50_dcn": (41_158_587, 374, 55),
    "pose_resnet50": (33_999_697, 338, 56),
    "pose_resnet101": (52_991_825, 644, 107),
    "pose_resnet152": (68_635_473, 950, 158),
    "yolov5n": (1_872_157, 349, 57),
    "yolov5s": (7_235_389, 349, 57),
    "yolov5m": (21_190_557, 481, 79),
    "yolov5l": (46_563_709, 613, 101),
    "yolov5x": (86_749_405, 745, 123),
    "yolov5n6": (3_246_940, 459, 75),
    "yolov5s6": (12_626_620, 459, 75),
    "yolov5m6": (35_731_932, 627, 103),
    "yolov5l6": (76_770_172, 795, 131),
    "yolov5x6": (140_794_780, 963, 159),
    "yolov5n-seg": (1_991_549, 367, 60),
    "yolov5s-seg": (7_621_277, 367, 60),
    "yolov5m-seg": (21_990_397, 499, 82),
    "yolov5l-seg": (47_924_957, 631, 104),
    "yolov5x-seg": (88_819_517, 763, 126),
    "yolov5n-cls": (2_493_000, 194, 32),
    "yolov5s-cls": (5_453_480, 194, 32),
    "yolov5m-cls": (12_957_640, 278, 46),
    "yolov5l-cls": (26_552_680, 362, 60),
    "yolov5x-cls": (48_097_160, 446, 74),
    "yolov5nu": (2_654_816, 427, 69),
    "yolov5su": (9_153_152, 427, 69),
    "yolov5mu": (25_111_456, 559, 91),
    "yolov5lu": (53_225_024, 691, 113),
    "yolov5xu": (97_276_448, 823, 135),
    "yolov5n6u": (4_334_896, 563, 91),
    "yolov5s6u": (15_309_328, 563, 91),
    "yolov5m6u": (41_222_064, 731, 119),
    "yolov5l6u": (86_099_920, 899, 147),
    "yolov5x6u": (155_544_432, 1067, 175),
    "yolov8n": (3_157_200, 355, 57),
    "yolov8s": (11_166_560, 355, 57),
    "yolov8m": (25_902_640, 475, 77),
    "yolov8l": (43_691_520, 595, 97),
    "yolov8x": (68_229_648, 595, 97),
    "yolov8n-seg": (3_409_968, 417, 66),
    "yolov8s-seg": (11_821_056, 417, 66),
    "yolov8m-seg": (27_285_968, 537, 86),
    "yolov8l-seg": (45_997_728, 657, 106),
    "yolov8x-seg": (71_827_888, 657, 106),
    "yolov8n-pose": (3_295_470, 397, 63),
    "yolov8s-pose": (11_626_046, 397, 63),
    "yolov8m-pose": (26_464_462, 517, 83),
    "yolov8l-pose": (44_489_196, 637, 103),
    "yolov8x-pose": (69_491_724, 637, 103),
    "yolov8n-obb": (3_085_440, 397, 63),
    "yolov8s-obb": (11_427_584, 397, 63),
    "yolov8m-obb": (26_425_600, 517, 83),
    "yolov8l-obb": (44_490_240, 637, 103),
    "yolov8x-obb": (69_493_056, 637, 103),
    "yolov8n-cls": (2_719_288, 158, 26),
    "yolov8s-cls": (6_361_736, 158, 26),
    "yolov8m-cls": (17_053_336, 230, 38),
    "yolov8l-cls": (37_480_744, 302, 50),
    "yolov8x-cls": (57_422_840, 302, 50),
    "yolo11n": (2_624_080, 499, 81),
    "yolo11s": (9_458_752, 499, 81),
    "yolo11m": (20_114_688, 649, 106),
    "yolo11l": (25_372_160, 1015, 167),
    "yolo11x": (56_966_176, 1015, 167),
    "yolo11n-seg": (2_876_848, 561, 90),
    "yolo11s-seg": (10_113_248, 561, 90),
    "yolo11m-seg": (22_420_896, 711, 115),
    "yolo11l-seg": (27_678_368, 1077, 176),
    "yolo11x-seg": (62_142_656, 1077, 176),
    "yolo11n-pose": (2_874_462, 541, 87),
    "yolo11s-pose": (9_918_238, 541, 87),
    "yolo11m-pose": (20_912_364, 691, 112),
    "yolo11l-pose": (26_169_836, 1057, 173),
    "yolo11x-pose": (58_798_636, 1057, 173),
    "yolo11n-obb": (2_664_432, 541, 87),
    "yolo11s-obb": (9_719_776, 541, 87),
    "yolo11m-obb": (20_913_408, 691, 112),
    "yolo11l-obb": (26_170_880, 1057, 173),
    "yolo11x-obb": (58_800_256, 1057, 173),
    "yolo11n-cls": (2_812_104, 236, 39),
    "yolo11s-cls": (6_724_008, 236, 39),
    "yolo11m-cls": (11_634_216, 296, 49),
    "yolo11l-cls": (14_115_624, 494, 82),
    "yolo11x-cls": (29_637_064, 494, 82),
    "yolo12n": (2_602_288, 691, 113),
    "yolo12s": (9_284_096, 691, 113),
    "yolo12m": (20_199_168, 751, 123),
    "yolo12l": (26_450_784, 1245, 205),
    "yolo12x": (59_210_784, 1245, 205),
    "yolo12n-seg": (2_855_056, 753, 122),
    "yolo12s-seg": (9_938_592, 753, 122),
    "yolo12m-seg": (22_505_376, 813, 132),
    "yolo12l-seg": (28_756_992, 1307, 214),
    "yolo12x-seg": (64_387_264, 1307, 214),
    "yolo12n-pose": (2_852_670, 733, 119),
    "yolo12s-pose": (9_743_582, 733, 119),
    "yolo12m-pose": (20_996_844, 793, 129),
    "yolo12l-pose": (27_248_460, 1287, 211),
    "yolo12x-pose": (61_043_244, 1287, 211),
    "yolo12n-obb": (2_642_640, 733, 119),
    "yolo12s-obb": (9_545_120, 733, 119),
    "yolo12m-obb": (20_997_888, 793, 129),
    "yolo12l-obb": (27_249_504, 1287, 211),
    "yolo12x-obb": (61_044_864, 1287, 211),
    "yolo12n-cls": (2_999_496, 350, 58),
    "yolo12s-cls": (7_385_512, 350, 58),
    "yolo12m-cls": (13_261_608, 410, 68),
    "yolo12l-cls": (16_737_160, 736, 122),
    "yolo12x-cls": (35_351_112, 736, 122),
    "yolo26n": (2_572_280, 708, 114),
    "yolo26s": (10_009_784, 708, 114),
    "yolo26m": (21_896_248, 768, 124),
    "yolo26l": (26_299_704, 1092, 178),
    "yolo26x": (58_993_368, 1092, 178),
    "yolo26n-seg": (3_126_280, 844, 134),
    "yolo26s-seg": (11_505_800, 844, 134),
    "yolo26m-seg": (27_112_072, 904, 144),
    "yolo26l-seg": (31_515_528, 1228, 198),
    "yolo26x-seg": (70_693_800, 1228, 198),
    "yolo26n-pose": (3_679_464, 879, 126),
    "yolo26s-pose": (11_809_352, 879, 126),
    "yolo26m-pose": (24_222_664, 939, 136),
    "yolo26l-pose": (28_626_120, 1263, 190),
    "yolo26x-pose": (62_731_860, 1263, 190),
    "yolo26n-obb": (2_652_984, 792, 126),
    "yolo26s-obb": (10_531_832, 792, 126),
    "yolo26m-obb": (23_493_688, 852, 136),
    "yolo26l-obb": (27_897_144, 1176, 190),
    "yolo26x-obb": (62_661_528, 1176, 190),
    "yolo26n-cls": (2_812_104, 236, 39),
    "yolo26s-cls": (6_724_008, 236, 39),
    "yolo26m-cls": (11_634_216, 296, 49),
    "yolo26l-cls": (14_115_624, 494, 82),
    "yolo26x-cls": (29_637_064, 494, 82),
    "yolov2": (50_962_889, 134, 22),
    "yolov3": (61_949_149, 438, 72),
    "yolov3-spp": (62_998_749, 444, 73),
    "yolov3-tiny": (8_852_366, 70, 11),
    "yolov3-ultralytics": (61_949_149, 439, 72),
    "yolov4": (64_363_101, 648, 107),
    "yolov4-darknet": (64_363_101, 648, 107),
    "yolov4-wongkinyiu": (64_363_101, 648, 107),
    "yolov4-tiny": (6_056_606, 118, 19),
    "yolov4-csp": (52_921_437, 678, 112),
    "yolox_nano": (912_159, 642, 104),
    "yolox_tiny": (5_055_855, 462, 74),
    "yolox_s": (8_968_255, 462, 74),
    "yolox_m": (25_326_495, 606, 98),
    "yolox_l": (54_208_895, 750, 122),
    "yolox_x": (99_071_455, 894, 146),
    "yolox_darknet53": (63_724_767, 528, 85),
    "lenet5": (61_706, 10, 0),
    "inception_v3": (27_161_264, 580, 96),
    "inception_v4": (42_679_816, 896, 149),
    "ghostnet_100": (5_182_508, 512, 80),
    "googlenet": (13_004_888, 364, 59),
    "shufflenet_v2_x0_5": (1_366_792, 338, 56),
    "shufflenet_v2_x1_0": (2_278_604, 338, 56),
    "shufflenet_v2_x1_5": (3_503_624, 338, 56),
    "shufflenet_v2_x2_0": (7_393_996, 338, 56),
    "densenet121": (7_978_856, 727, 121),
    "densenet161": (28_681_000, 967, 161),
    "densenet169": (14_149_480, 1015, 169),
    "densenet201": (20_013_928, 1207, 201),
    "seresnet50": (28_088_024, 384, 53),
    "convnext_tiny": (28_589_128, 182, 0),
    "convnext_small": (50_223_688, 344, 0),
    "convnext_base": (88_591_464, 344, 0),
    "convnext_large": (197_767_336, 344, 0),
    "vit_b_16": (86_567_656, 152, 0),
    "vit_b_32": (88_224_232, 152, 0),
    "vit_l_16": (304_326_632, 296, 0),
    "vit_l_32": (306_535_400, 296, 0),
    "vit_b_16_hf": (86_567_656, 200, 0),
    "alexnet": (61_100_840, 16, 0),
    "vgg11": (132_863_336, 22, 0),
    "vgg13": (133_047_848, 26, 0),
    "vgg16": (138_357_544, 32, 0),
    "vgg19": (143_667_240, 38, 0),
    "vgg11_bn": (132_868_840, 62, 8),
    "vgg13_bn": (133_053_736, 76, 10),
    "vgg16_bn": (138_365_992, 97, 13),
    "vgg19_bn": (143_678_248, 118, 16),
    "squeezenet1_0": (1_248_424, 52, 0),
    "squeezenet1_1": (1_235_496, 52, 0),
    "mobilenet_v2": (3_504_872, 314, 52),
    "mobilenet_v3_large": (5_483_032, 312, 46),
    "mobilenet_v3_small": (2_542_856, 244, 34),
    "mnasnet0_5": (2_218_512, 314, 52),
    "mnasnet0_75": (3_170_208, 314, 52),
    "mnasnet1_0": (4_383_312, 314, 52),
    "mnasnet1_3": (6_282_256, 314, 52),
    "efficientnet_b0": (5_288_548, 360, 49),
    "efficientnet_b1": (7_794_184, 508, 69),
    "efficientnet_b2": (9_109_994, 508, 69),
    "efficientnet_b3": (12_233_232, 574, 78),
    "efficientnet_b4": (19_341_616, 706, 96),
    "efficientnet_b5": (30_389_784, 854, 116),
    "efficientnet_b6": (43_040_704, 986, 134),
    "efficientnet_b7": (66_347_960, 1200, 163),
    "retinaface_mnet025": (426_608, 300, 47),
    "retinaface_r50": (27_293_600, 456, 73),
    "centernet_res18": (15_820_372, 150, 23),
    "centernet_resdcn18": (14_437_349, 177, 26),
    "centernet_dla34": (19_675_892, 398, 55),
    "iresnet18": (24_025_600, 187, 31),
    "iresnet34": (34_139_328, 331, 55),
    "iresnet50": (43_590_848, 475, 79),
    "iresnet100": (65_156_160, 925, 154),
    "deepsort_reid": (11_493_743, 130, 21),
    "osnet_x1_0": (2_682_508, 567, 80),
    "crnn": (8_331_301, 49, 3),
    "dbnet_resnet18": (13_378_474, 162, 24),
    "dbnet_resnet50": (27_983_274, 360, 57),
    "dbnet_deformable_resnet18": (13_814_092, 174, 24),
    "dbnet_deformable_resnet50": (28_854_537, 386, 57),
    "superpoint": (1_300_865, 24, 0),
    "repvgg_a0": (9_108_968, 351, 61),
    "repvgg_a1": (14_092_264, 351, 61),
    "repvgg_a2": (28_210_600, 351, 61),
    "repvgg_b0": (15_817_960, 453, 79),
    "repvgg_b1": (57_415_016, 453, 79),
    "repvgg_b1g2": (45_782_376, 453, 79),
    "repvgg_b1g4": (39_966_056, 453, 79),
    "repvgg_b2": (89_022_376, 453, 79),
    "repvgg_b2g4": (61_758_376, 453, 79),
    "repvgg_b3": (123_085_288, 453, 79),
    "repvgg_b3g4": (83_825_128, 453, 79),
    "unet": (31_037_698, 118, 18),
    "unet_bilinear": (17_263_042, 110, 18),
    "swin_t": (28_288_354, 185, 0),
    "swin_s": (49_606_258, 353, 0),
    "swin_b": (87_768_224, 353, 0),
    "realesrgan_x4plus": (16_697_987, 702, 0),
    "realesrgan_x4plus_anime_6b": (4_467_779, 192, 0),
}


def run(network: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's outputs, and those of all modules that give one tensor and are called once."""
    captured: dict[str, Tensor] = {}
    calls: Counter[str] = Counter()

    def capture(name: str, output: Tensor) -> None:
        calls[name] += 1
        captured[name] = output.clone()  # an in-place ReLU is about to overwrite it

    def hook(name: str):
        return lambda module, args, output: capture(name, output) if isinstance(output, Tensor) else None

    handles = [module.register_forward_hook(hook(name)) for name, module in network.named_modules() if name]
    with torch.no_grad():
        outputs = network(x)
    for handle in handles:
        handle.remove()
    outputs = outputs if isinstance(outputs, dict) else {"logits": outputs}
    return outputs, {name: value for name, value in captured.items() if calls[name] == 1}


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "hrnet_w18_small_v2",
        "hrnet_seg_w48",
        "hrnet_pose_w32",
        "higherhrnet_w32",
        "openpose_body",
        "fastpose_res50",
        "yolov2",
        "yolov3",
        "yolov4",
        "yolox_s",
        "lenet5",
        "inception_v3",
        "iresnet50",
        "deepsort_reid",
        "retinaface_mnet025",
        "centernet_res18",
        "centernet_resdcn18",
    ],
)
def test_agrees_with_upstream_in_every_module(name):
    g = golden.load(name, folder=DATA)
    network = MODELS[name]().eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in g.state_dict.items()}, strict=True)
    outputs, modules = run(network, torch.from_numpy(g.input))

    assert outputs.keys() >= g.outputs.keys()
    assert modules.keys() == g.modules.keys()
    wrong = {key: error for key in g.outputs if (error := g.check(key, outputs[key])) > 2e-5}
    assert not wrong
    wrong = {key: error for key in g.modules if (error := g.check_module(key, modules[key])) > 1e-4}
    assert not wrong


def test_sizes_cover_every_model():
    assert SIZES.keys() == MODELS.keys()


@pytest.mark.parametrize("name", SIZES)
def test_has_the_published_size(name):
    with torch.device("meta"):
        network = MODELS[name]()
    keys = network.state_dict().keys()
    found = (
        sum(parameter.numel() for parameter in network.parameters()),
        len(keys),
        sum(key.endswith("num_batches_tracked") for key in keys),
    )
    assert found == SIZES[name]


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "hrnet_w18_small", "lenet5"])
def test_takes_another_class_count(name):
    with torch.device("meta"):
        network = MODELS[name](num_classes=7)
    *_, (key, weight) = network.named_parameters()
    assert key.endswith(".bias") and weight.shape == (7,)


@pytest.mark.parametrize("name", ["resnet18", "hrnet_w18_small"])
def test_takes_images_that_are_not_square(name):
    with torch.device("meta"):
        logits = MODELS[name]().eval()(torch.empty(2, 3, 96, 160))
    assert logits.shape == (2, 1000)
