"""Settings of a training: the papers' defaults, dotted names, kinds of values, TOML, and what is said of mistakes."""
import json
from dataclasses import dataclass, field, replace

import pytest

from streamderain.trainers import METHODS, method_class
from streamderain.trainers.cclgan import CCLGANConfig
from streamderain.trainers.config import OptimConfig, TrainConfig, as_dict, configured, read_toml, resolve
from streamderain.trainers.nlcl import PRESETS, NLCLConfig
from streamderain.trainers.nlcl_asym import NLCLAsymConfig
from streamderain.trainers.pictures import DataConfig
from streamderain.trainers.rdmc import RDMCConfig
from streamderain.trainers.rendered import RenderedConfig
from streamderain.trainers.stream import StreamTrainingConfig

ABSENT = object()
# The table of faithful defaults: nlcl, nlcl_asym, rdmc, cclgan
FAITHFUL = {
    "data.pairing": ("unpaired", "unpaired", "paired", "unpaired"),
    "data.range": ([-1, 1], [-1, 1], [0, 1], [-1, 1]),
    "data.crop_size": (256, 256, 128, 256),
    "data.preprocess": ("crop", "crop", "grid", "resize_crop"),
    "data.grid_stride": (80, 80, 80, 80),
    "data.load_size": (286, 286, 286, 286),
    "data.flip": (False, False, False, True),
    "data.rendered_share": (0, 0, 0, 0),
    "data.rain_brightness": ([0.06, 0.8],) * 4,
    "train.batch_size": (1, 1, 8, 1),
    "train.epochs": (200, 200, 150, 200),
    "train.decay_epochs": (10, 10, 0, 200),
    "train.schedule": ("linear", "linear", "steps", "linear"),
    "train.milestones": ([], [], [30, 50, 80], []),
    "train.factor": (0.2, 0.2, 0.2, 0.2),
    "train.ema": (0, 0, 0, 0),
    "train.clip": (0, 0, 0, 0),
    "train.bf16": (False, False, False, False),
    "optim.lr": (2e-4, 2e-4, 1e-3, 2e-4),
    "optim.betas": ([0.5, 0.999], [0.5, 0.999], [0.9, 0.999], [0.5, 0.999]),
    "optim.disc_lr": (None, None, None, None),
    "optim.head_lr": (None, None, None, 1e-3),  # None takes optim.lr, which is the paper's 2e-4 for NLCL
    "optim.arch_lr": (ABSENT, ABSENT, 3e-4, ABSENT),
    "optim.weight_decay": (0, 0, 0, 0),
    "gan.mode": ("lsgan", "lsgan", ABSENT, "hinge"),
    "gan.generator_form": (ABSENT, ABSENT, ABSENT, "hinge"),
    "gan.head_start": (0, 0, ABSENT, ABSENT),
    "loss.adv": (1, 1, ABSENT, 0.5),
    "loss.location": (1, 1, ABSENT, 2),
    "loss.layer": (1, 1, ABSENT, ABSENT),
    "loss.consistency": (1, 1, ABSENT, ABSENT),
    "loss.sparsity": (0.1, 0.1, ABSENT, ABSENT),
    "loss.sparsity_on": ("rain", "rain", ABSENT, ABSENT),
    "loss.identity_nce": (True, True, ABSENT, ABSENT),
    "loss.mse": (ABSENT, ABSENT, 0.1, ABSENT),
    "loss.ssim": (ABSENT, ABSENT, 1, ABSENT),
    "loss.contrast": (ABSENT, ABSENT, 0.1, ABSENT),
    "loss.ctr_layers": (ABSENT, ABSENT, "conv_count", ABSENT),
    "loss.ctr_negatives": (ABSENT, ABSENT, "self", ABSENT),
    "loss.identity": (ABSENT, ABSENT, ABSENT, 1),
    "loss.intra": (ABSENT, ABSENT, ABSENT, 1),
    "loss.inter": (ABSENT, ABSENT, ABSENT, 0.48),
    "contrast.temperature": (0.07, 0.07, ABSENT, 0.07),
    "contrast.dim": (256, 256, ABSENT, 256),
    "contrast.asymmetry": (ABSENT, "aggregation", ABSENT, ABSENT),
    "sampler.patch_size": (16, 16, ABSENT, ABSENT),
    "sampler.search_size": (40, 40, ABSENT, ABSENT),
    "sampler.stride": (1, 1, ABSENT, ABSENT),
    "sampler.min_distance": (0, 0, ABSENT, ABSENT),
    "sampler.num_anchors": (1, 1, ABSENT, ABSENT),
    "sampler.num_pos": (8, 64, ABSENT, ABSENT),
    "sampler.num_neg": (128, 128, ABSENT, ABSENT),
    "sampler.num_locations": (256, 256, ABSENT, 256),
    "sampler.num_loc_neg": (128, 128, ABSENT, ABSENT),
    "sampler.num_inter": (ABSENT, ABSENT, ABSENT, 64),
    "sampler.loc_sampling": ("reverse_nonlocal", "reverse_nonlocal", ABSENT, ABSENT),
    "features.disc_layers": ([0, 3, 7, 11], [0, 3, 7, 11], ABSENT, ["image", 3, 7]),
    "features.gen_layers": ([0, 2, 4, 8, 12], [0, 2, 4, 8, 12], ABSENT, [4, 8, 12]),
    "heads.frozen": ([], [], ABSENT, ABSENT),
    "heads.doubled": ([], [], ABSENT, ABSENT),
    "lcl.cycle_encoders": (ABSENT, ABSENT, ABSENT, "own"),
    "intra.encoders": (ABSENT, ABSENT, ABSENT, ["clip", "vgg16"]),
    "intra.encoder_norm": (ABSENT, ABSENT, ABSENT, "native"),
    "inter.train_heads": (ABSENT, ABSENT, ABSENT, True),
    "network.channels": (32, 32, ABSENT, ABSENT),
    "network.num_blocks": (16, 16, ABSENT, 9),
    "network.norm": ("instance", "instance", ABSENT, ABSENT),
    "network.skip": ("none", "none", ABSENT, ABSENT),
    "network.output": ("background", "background", ABSENT, ABSENT),
    "network.ndf": (64, 64, ABSENT, 64),
    "network.ngf": (ABSENT, ABSENT, ABSENT, 64),
    "network.stages": (ABSENT, ABSENT, 3, ABSENT),
    "network.widths": (ABSENT, ABSENT, [32, 64, 128, 256, 256], ABSENT),
    "network.dilations": (ABSENT, ABSENT, [1, 2, 3], ABSENT),
    "network.recruitment": (ABSENT, ABSENT, "learned", ABSENT),
}
KINDS = {"nlcl": NLCLConfig, "nlcl_asym": NLCLAsymConfig, "rdmc": RDMCConfig, "cclgan": CCLGANConfig}


@pytest.mark.parametrize("kind, key, value, told", [
    (StreamTrainingConfig, "max_motion", "0", "max_motion is 0.0; it must be at least 0.3"),
    (StreamTrainingConfig, "scales", "0,1", "scales is .*; it must be two rising numbers above 0"),
    (StreamTrainingConfig, "scales", "2,1", "scales is .*; it must be two rising numbers above 0"),
    *((kind, "contrast.dim", "0", "dim is 0; it must be at least 1") for kind in (NLCLConfig, CCLGANConfig)),
    *((kind, "temperature", value, f"temperature is {value}.0; it must be above 0")
      for kind in (NLCLConfig, NLCLAsymConfig, CCLGANConfig) for value in ("0", "-1")),
    *((kind, key, "", f"{key} is empty; it must name at least one")
      for kind in (NLCLConfig, CCLGANConfig) for key in ("disc_layers", "gen_layers")),
    (NLCLConfig, "steps", float("inf"), "steps is inf; it must be a whole number or none"),
    (NLCLConfig, "batch_size", float("inf"), "batch_size is inf; it must be a whole number"),
    (NLCLConfig, "seed", str(2**64 - 1), "seed is 18446744073709551615; it must be less than 2.63"),
    (NLCLConfig, "seed", 2**64, "seed is 18446744073709551616; it must be less than 2.63"),
    (NLCLConfig, "optim.lr", "nan", "optim.lr is 'nan'; it must be a number"),
    (NLCLConfig, "optim.lr", 10**400, "optim.lr is 10*; it must be a number"),
])
def test_a_value_that_would_break_a_training_later(kind, key, value, told):
    with pytest.raises(ValueError, match=told):
        configured(kind, {key: value})


def test_a_large_seed_is_kept_exactly():
    assert configured(NLCLConfig, {"seed": str(2**63 - 1)}).train.seed == 2**63 - 1


@pytest.mark.parametrize("kind, size, told", [
    (CCLGANConfig, 34, "a multiple of 4, such as 32"), (RDMCConfig, 100, "a multiple of 16, such as 96"),
])
def test_a_crop_that_the_network_cannot_halve(kind, size, told):
    with pytest.raises(ValueError, match=f"crop_size is {size}; it must be {told}"):
        configured(kind, {"crop_size": size})


@pytest.mark.parametrize("number, method", list(enumerate(KINDS)))
@pytest.mark.parametrize("key", FAITHFUL)
def test_defaults_are_the_papers(number, method, key):
    assert as_dict(KINDS[method]()).get(key, ABSENT) == FAITHFUL[key][number]


def test_the_weights_that_ship_were_made_with_these():
    found = as_dict(StreamTrainingConfig())
    expected = {"train.steps": 16_000, "train.batch_size": 2, "train.schedule": "cosine", "train.ema": 0.999,
                "optim.lr": 1e-3, "optim.betas": [0.9, 0.999], "optim.weight_decay": 1e-4, "data.crop_size": 192,
                "loss.squared_steps": 400, "loss.edges": 0.25, "network.profile": "realtime"}  # fmt: skip
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("method", METHODS)
def test_settings_survive_the_way_through_json(method):
    kind = method_class(method).config_type
    config = configured(kind, {"train.steps": 7, "optim.betas": (0.1, 0.2)})
    assert configured(kind, json.loads(json.dumps(as_dict(config)))) == config


@pytest.mark.parametrize("method", METHODS)
def test_presets_are_settings(method):
    kind = method_class(method)
    for preset in kind.presets.values():
        assert configured(kind.config_type, preset) != kind.config_type()


def test_the_released_preset_is_the_public_code():
    config = configured(NLCLConfig, PRESETS["nlcl_released"])
    default = NLCLConfig()
    assert config == replace(
        default,
        sampler=replace(default.sampler, loc_sampling="nonlocal"),
        features=replace(default.features, disc_layers=("image", 0, 3, 7)),
        loss=replace(default.loss, sparsity_on="residual", identity_nce=True),
        heads=replace(default.heads, frozen=("back", "loc"), doubled=("rain",)),
    )


# --- names ---
def test_the_last_part_is_enough_where_it_is_unambiguous():
    one, other = (configured(NLCLConfig, {key: 64}) for key in ("crop_size", "data.crop_size"))
    assert one == other and one.data.crop_size == 64


def test_later_sources_win():
    assert configured(NLCLConfig, {"lr": 1.0}, {"optim.lr": 2.0}, {"optim.lr": "3"}).optim.lr == 3.0


@dataclass(frozen=True)
class Twice:
    one: OptimConfig = field(default_factory=OptimConfig)
    two: OptimConfig = field(default_factory=OptimConfig)


def test_an_ambiguous_name():
    with pytest.raises(ValueError, match=r"lr is ambiguous; write one\.lr or two\.lr"):
        configured(Twice, {"lr": 1})
    assert configured(Twice, {"two.lr": 1}).two.lr == 1


@pytest.mark.parametrize("typed, meant", [
    ("optim.lrr", "optim.lr"), ("crop_sise", "crop_size"), ("trian.steps", "train.steps"),
    ("temprature", "temperature"),
])
def test_a_mistyped_name_tells_the_nearest(typed, meant):
    with pytest.raises(ValueError, match=f"^there is no setting {typed}; did you mean {meant}\\?$"):
        resolve(NLCLConfig, typed)


@pytest.mark.parametrize("key", ["qqq", "", "data", "loss.crop_size"])
def test_other_names_are_refused(key):
    with pytest.raises(ValueError, match=f"there is no setting {key}"):
        configured(NLCLConfig, {key: 1})


# --- values ---
@pytest.mark.parametrize("key, value, expected", [
    ("train.steps", "70", 70), ("train.steps", "none", None), ("train.steps", None, None), ("train.steps", 5.0, 5),
    ("optim.lr", "5e-4", 5e-4), ("optim.lr", 1, 1.0), ("optim.head_lr", "none", None), ("optim.head_lr", ".5", 0.5),
    ("optim.betas", "0.5,0.9", (0.5, 0.9)), ("optim.betas", [0, 0.9], (0.0, 0.9)),
    ("data.range", "0, 1", (0, 1)), ("data.flip", "TRUE", True), ("data.flip", False, False),
    ("train.milestones", "", ()), ("train.milestones", "3,4,", (3, 4)), ("train.milestones", [5], (5,)),
    ("features.disc_layers", "image,0,3", ("image", 0, 3)), ("features.disc_layers", ["image", 7], ("image", 7)),
    ("heads.frozen", "back,loc", ("back", "loc")), ("loss.sparsity_on", "residual", "residual"),
    ("train.device", "cuda:1", "cuda:1"), ("sampler.loc_sampling", "random", "random"),
])
def test_kinds_of_values(key, value, expected):
    config = configured(NLCLConfig, {key: value})
    section, _, name = key.partition(".")
    found = getattr(getattr(config, section), name)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("key, value, words", [
    ("train.steps", "2.5", "a whole number or none"), ("train.steps", True, "a whole number or none"),
    ("optim.lr", "fast", "a number"), ("optim.lr", "nan", "a number"), ("optim.lr", None, "a number"),
    ("optim.betas", "0.5", "2 times a number, with commas"), ("optim.betas", "1,2,3", "2 times a number, with commas"),
    ("optim.betas", 0.5, "2 times a number, with commas"), ("data.flip", "maybe", "true or false"),
    ("data.flip", 1, "true or false"), ("train.milestones", "a,b", "a list of a whole number"),
    ("features.disc_layers", "picture", "a list of a whole number or image"),
    ("features.gen_layers", "image", "a list of a whole number"), ("train.device", 3, "text"),
    ("loss.sparsity_on", "both", "rain or residual"), ("loss.sparsity_on", ["rain"], "rain or residual"),
    ("heads.frozen", "back,other", "a list of loc or back or rain"),
])
def test_wrong_kinds_of_values(key, value, words):
    with pytest.raises(ValueError) as caught:
        configured(NLCLConfig, {key: value})
    assert str(caught.value) == f"{key} is {value!r}; it must be {words}"


@pytest.mark.parametrize("key, value, problem", [
    ("train.steps", 0, "steps is 0; it must be at least 1"),
    ("train.batch_size", 0, "batch_size is 0; it must be at least 1"),
    ("train.epochs", 0, "epochs is 0; it must be at least 1"),
    ("train.checkpoint_every", 0, "checkpoint_every is 0; it must be at least 1"),
    ("train.workers", -1, "workers is -1; it must be at least 0"),
    ("train.seed", -1, "seed is -1; it must be at least 0"),
    ("train.clip", -0.5, "clip is -0.5; it must be at least 0"),
    ("train.ema", 1, "ema is 1.0; it must be 0 or more and less than 1"),
    ("data.crop_size", 16, "crop_size is 16; it must be at least 32"),
    ("data.range", "0,2", r"range is \(0, 2\); it must be -1,1 or 0,1"),
    ("data.rendered_share", 1.5, "rendered_share is 1.5; it must be 0 to 1"),
    ("sampler.num_pos", 1, "num_pos is 1; it must be at least 2"),
    ("sampler.num_anchors", 0, "num_anchors is 0; it must be at least 1"),
    ("gan.head_start", -1, "head_start is -1; it must be at least 0"),
])
def test_values_that_no_training_could_use(key, value, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        configured(NLCLConfig, {key: value})


def test_sections_that_do_not_fit_together():
    with pytest.raises(ValueError, match="load_size is 30; it must be at least crop_size, 32"):
        DataConfig(preprocess="resize_crop", crop_size=32, load_size=30)
    with pytest.raises(ValueError, match="num_inter is 0; it must be at least 1"):
        configured(CCLGANConfig, {"num_inter": 0})


@pytest.mark.parametrize("change, problem", [
    ({"crop_size": 24}, "crop_size is 24"),
    ({"crop_size": 36}, "crop_size is 36"),
    ({"case_shares": (0.5, 0.5)}, "it must be 3 shares"),
    ({"case_shares": (0.5, 0.5, 0.5)}, "that add up to 1"),
    ({"case_shares": (-1.0, 1.0, 1.0)}, "it must be 3 shares"),
    ({"frames": 0}, "frames is 0"),
    *(({name: value}, f"{name} is {value}; it must be a share, from 0 to 1")
      for name, value in (("standing", 5.0), ("rain_free", 2.0), ("structures", -1.0), ("compressed", 1.1))),
])
def test_bad_sample_configs(change, problem):
    with pytest.raises(ValueError, match=problem):
        RenderedConfig(**change)


def test_defaults_pass_their_own_checks():
    assert configured(NLCLConfig) == NLCLConfig()
    assert TrainConfig().steps is None


# --- files ---
def test_tables_and_dotted_keys_of_toml(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('crop_size = 64\n"optim.lr" = 1e-3\n[train]\nsteps = 9\nmilestones = [1, 2]\n'
                    '[features]\ndisc_layers = ["image", 0]\n[data]\nflip = true\n')  # fmt: skip
    found = read_toml(path)
    assert found == {"crop_size": 64, "optim.lr": 1e-3, "train.steps": 9, "train.milestones": [1, 2],
                     "features.disc_layers": ["image", 0], "data.flip": True}  # fmt: skip
    config = configured(NLCLConfig, found)
    assert (config.data.crop_size, config.data.flip, config.train.milestones) == (64, True, (1, 2))


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe\x00", b"[a\n"])
def test_a_file_that_is_no_toml(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.toml is no readable TOML file"):
        read_toml(tmp_path / "bad.toml")


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml is no readable TOML file"):
        read_toml(tmp_path / "none.toml")


def test_deeper_tables_are_no_settings(tmp_path):
    (tmp_path / "deep.toml").write_text("[optim.lr]\nhigh = 1\n")
    with pytest.raises(ValueError, match=r"optim\.lr is {'high': 1}; it must be a number"):
        configured(NLCLConfig, read_toml(tmp_path / "deep.toml"))
