"""The stream generator in int8 on the CPU: half the time of bfloat16 where the processor has instructions for it.

Inputs and weights of all convolutions but the last are bytes, multiplied by oneDNN with sums in 32 bits (Jacob et al.,
CVPR 2018, describe the scheme); what residual blocks add up, and the last convolution, stay in bfloat16, so that small
numbers stay small. The ranges of the activations are measured once (calibrate) and travel with the weights.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import kernels_int8
from .companions import CHANNELS, COST_CAP, SLOT_CHANNELS, SLOTS, CodedForm
from .rounding import rounded
from .stream import BEFORE_CONTEXT, OUTPUTS, StreamGenerator, decoder_reach_px, reach_px

Ranges = dict[str, tuple[float, float]]
Meet = Callable[[Tensor], Tensor]  # the sum of one tensor from each of those that work on a frame

KEPT = 0.8  # of a measured range: rounding the many small values finely is worth clipping the few large ones
# but not where the last blocks find a thing of the scene in what was taken for rain: there the large ones say so
LAST_KEPT = {"first": 1.0, "second": 1.2}
DIFFERENCE_STEP = 1.5  # grey levels of a reference's difference for one code: clipped at 190 of 255
_ZERO = 128  # the input's code for no difference


@dataclass(frozen=True, slots=True)
class Scale:
    """How codes 0..255 stand for values: value = step * (code - zero)."""

    step: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float) -> Scale:
        """The scale that reaches from low, at most 0, to high."""
        step = max((high - low) / 255, 1e-8)
        return cls(step, round(-low / step))


def input_form() -> CodedForm:
    """How the first convolution wants its input: black, no difference and no cost around the picture."""
    scales = np.array([(1, 0), (1 / DIFFERENCE_STEP, _ZERO)], np.float32)
    edge = np.zeros((CHANNELS, 4), np.uint8)
    for slot in range(SLOTS):
        edge[3 + slot * SLOT_CHANNELS : 6 + slot * SLOT_CHANNELS] = _ZERO
    costs = np.rint(np.linspace(0, 255, COST_CAP + 1)).astype(np.uint8)
    return CodedForm(scales, np.repeat(costs[:, None], 4, 1), edge.reshape(-1))


def calibrate(model: StreamGenerator, inputs: Iterable[Tensor]) -> Ranges:
    """Measure the range of every convolution's input.

    Args:
        model: float32, eval mode.
        inputs: as StreamGenerator.from_blocks takes them, of pictures like those to come.

    Returns:
        Lowest (at most 0) and highest value before each convolution, by the convolution's name.
    """
    ranges: Ranges = {}

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(low, inputs[0].min().item()), max(high, inputs[0].max().item()))

        return hook

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    with torch.inference_mode():
        for blocks in inputs:
            model.from_blocks(blocks)
    for hook in hooks:
        hook.remove()
    return ranges


def scales_of(model: StreamGenerator, ranges: Ranges) -> dict[str, Scale]:
    """The scale of every convolution's input: its measured range without the ends, which are rare."""
    last = {f"decode2.{n}.{which}": share for n in range(len(model.decode2)) for which, share in LAST_KEPT.items()}
    kept = {name: last.get(name, KEPT) for name in ranges}
    return {name: Scale.of(kept[name] * low, kept[name] * high) for name, (low, high) in ranges.items()}


def cpu_has_int8() -> bool:
    """Whether the processor multiplies bytes natively."""
    checks = ("_is_avx512_vnni_supported", "_is_vnni_supported", "_is_amx_tile_supported")
    return any(check() for name in checks if (check := getattr(torch.cpu, name, None)))


def suits(model: StreamGenerator) -> bool:
    """Whether the network's shape can run in int8: blocks must follow where a smaller picture is added."""
    _, after, _, after4, _ = model.config.blocks
    return after > 0 and after4 > 0


class Int8Generator:
    """A stream generator's convolutions as oneDNN's int8 ones.

    Args:
        model: float32, of a shape that suits; it stays as it is.
        ranges: what calibrate measured with it.
    """

    def __init__(self, model: StreamGenerator, ranges: Ranges) -> None:
        self._scales = scales = scales_of(model, ranges)
        layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
        inner = [name for name in layers if name not in ("head", "tail")]
        self._layers = {name: _Convolution(layers[name], scales[name], relu=_has_relu(name)) for name in inner}
        self._layers["head"] = _head(model.head)
        for name in ("up4", "up2"):
            self._layers[name] = _Convolution(_by_place(layers[name]), scales[name])
        self._tail = deepcopy(model.tail).to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._depths = {
            name: len(getattr(model, name))
            for name in ("encode2", "encode4", "middle", "decode4", "decode2")
        }
        self._reach, self._decoder_reach = reach_px(model.config), decoder_reach_px(model.config)
        # in float64, so that its bfloat16 is the same however many threads or halves summed it
        self._context = deepcopy(model.context).double() if model.context is not None else None

    def rain(self, codes: Tensor, height: int, width: int) -> np.ndarray:
        """Estimate the rain layer.

        Args:
            codes: uint8 (1, 48, H / 2 + 2, W / 2 + 2) channels last, see companions.network_codes.
            height, width: of the frame, which H and W may exceed.

        Returns:
            (4, height, width) float32, rain in units of the 0..1 RGB and doubt.
        """
        rain = np.empty((OUTPUTS, height, width), np.float32)
        self.rows(codes, 0, height, rain)
        return rain

    @torch.inference_mode()
    def rows(self, codes: Tensor, top: int, bottom: int, rain: np.ndarray, meet: Meet = lambda alone: alone) -> None:
        """Fill the rows from top to bottom of the rain layer, the same as of the whole but for the rounding of oneDNN.

        Only what they depend on is computed: more than they are in the encoder, little more in the decoder.

        Args:
            codes: as in rain.
            top, bottom: multiples of 8, but for a bottom that is the frame's height.
            rain: (4, height, width) float32.
            meet: where other calls do the frame's other rows at the same time, it waits for them: what they all give
                is summed. It is called once, by networks with a context.
        """
        tall = 2 * (codes.shape[2] - 2)
        first, last = max(top - self._reach, 0), min(bottom + self._reach, tall)
        x2 = self._layers["head"](codes[:, :, first // 2 : last // 2 + 2])
        x4 = self._layers["down4"](self._encoded("encode2", x2, "down4"))
        x8 = self._layers["down8"](self._encoded("encode4", x4, "down8"))
        own = slice((top - first) // 8, -(-(bottom - first) // 8))
        codes = self._middle(x8, own, tall // 8, meet)
        near, until = max(top - self._decoder_reach, 0), min(bottom + self._decoder_reach, tall)
        codes, x4, x2 = (
            x[:, :, (near - first) // places : (until - first) // places]
            for x, places in ((codes, 8), (x4, 4), (x2, 2))
        )
        codes = self._enlarged(self._layers["up4"](codes), x4, "decode4.0.first")
        codes = self._blocks("decode4", x4, codes, "up2")
        codes = self._enlarged(self._layers["up2"](codes), x2, "decode2.0.first")
        self._blocks("decode2", x2, codes, "tail")
        blocks = self._tail(x2)[:, :, (top - near) // 2 : -(-(bottom - near) // 2)]
        kernels_int8.unblock(_bits(blocks).reshape(*blocks.shape[2:], 4 * len(rain)), top, rain)

    def _middle(self, x8: Tensor, own: slice, rows: int, meet: Meet) -> Tensor:
        """The blocks at an eighth of the resolution on x8, which is written into; the codes for what follows.

        Args:
            x8: of some rows of the frame.
            own: which of them count for the frame's means; each row of the frame counts once among those who meet.
            rows: of the whole frame.
            meet: see rows.
        """
        if self._context is None:
            return self._encoded("middle", x8, "up4")
        seen = min(BEFORE_CONTEXT, self._depths["middle"])
        after = f"middle.{seen}.first" if seen < self._depths["middle"] else "up4"
        scale = self._scales[after]
        codes = self._blocks("middle", x8, self._codes("middle.0.first" if seen else after, x8), after, until=seen)
        _, channels, _, width = x8.shape
        sums = np.zeros((2, channels))
        kernels_int8.squeeze(_bits(x8).reshape(-1, width, channels)[own].reshape(-1, channels), sums)
        said = self._context(meet(torch.from_numpy(sums.reshape(1, -1) / (rows * width))))
        everywhere = said.to(torch.bfloat16).expand_as(x8).contiguous(memory_format=torch.channels_last)
        kernels_int8.add(_bits(everywhere), _bits(x8), np.float32(1 / scale.step), scale.zero, _bits(codes))
        return self._blocks("middle", x8, codes, "up4", begin=seen)

    def _encoded(self, name: str, x: Tensor, following: str) -> Tensor:
        """Residual blocks on x, which is written into, if there are any; the codes for what follows."""
        codes = self._codes(f"{name}.0.first" if self._depths[name] else following, x)
        return self._blocks(name, x, codes, following)

    def _blocks(
        self, name: str, x: Tensor, codes: Tensor, following: str, *, begin: int = 0, until: int | None = None
    ) -> Tensor:
        """Residual blocks on x, which is written into; from its codes to those for what follows."""
        end = self._depths[name] if until is None else until
        for number in range(begin, end):
            first, second = (self._layers[f"{name}.{number}.{which}"] for which in ("first", "second"))
            change = second(first(codes, into=second.scale))
            scale = self._scales[f"{name}.{number + 1}.first" if number + 1 < end else following]
            kernels_int8.add(_bits(change), _bits(x), np.float32(1 / scale.step), scale.zero, _bits(codes))
        return codes

    def _codes(self, name: str, x: Tensor) -> Tensor:
        """The codes of a bfloat16 x, channels last, for the convolution of this name."""
        scale, out = self._scales[name], torch.empty_like(x, dtype=torch.uint8)
        kernels_int8.quantise(_bits(x), np.float32(1 / scale.step), scale.zero, _bits(out))
        return out

    def _enlarged(self, small: Tensor, skip: Tensor, following: str) -> Tensor:
        """Add a convolution's output, twice as large, to skip, and return the sum's codes for what follows."""
        scale, codes = self._scales[following], torch.empty_like(skip, dtype=torch.uint8)
        _, channels, height, width = skip.shape
        kernels_int8.add_enlarged(
            _bits(small).view(np.uint32).reshape(height // 2, width // 2, 2, channels),
            _bits(skip).reshape(height, width * channels),
            np.float32(1 / scale.step), scale.zero,
            _bits(codes).reshape(height, width * channels),
        )  # fmt: skip
        return codes


class _Convolution:
    """One int8 convolution, packed for oneDNN.

    Args:
        layer: weights, bias, stride and padding.
        scale: of its input.
        relu: whether a ReLU follows.
    """

    def __init__(self, layer: nn.Conv2d, scale: Scale, *, relu: bool = False) -> None:
        weight = layer.weight.detach().float()
        self.scale = scale
        self._steps = weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / 127
        whole = rounded(weight / self._steps[:, None, None, None])
        self.weight = whole * self._steps[:, None, None, None]  # as it is now
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)
        self.bias = layer.bias.detach().float().clone() if layer.bias is not None else torch.zeros(len(weight))
        self._shape = [list(layer.stride), list(layer.padding), [1, 1], 1]
        self._post = "relu" if relu else "none"
        self._packed = torch.ops.onednn.qconv_prepack(whole, self._steps, scale.step, scale.zero, *self._shape)

    def __call__(self, codes: Tensor, *, into: Scale | None = None) -> Tensor:
        """Convolve codes: to bfloat16, or to codes of another scale."""
        step, zero, dtype = (into.step, into.zero, torch.uint8) if into else (1.0, 0, torch.bfloat16)
        return torch.ops.onednn.qconv2d_pointwise(
            codes, self.scale.step, self.scale.zero, self._packed, self._steps, self._zeros, self.bias, *self._shape,
            step, zero, dtype, self._post, [], "",
        )  # fmt: skip


def _has_relu(name: str) -> bool:
    """Whether a ReLU follows the convolution of this name in StreamGenerator.from_blocks."""
    return name.endswith(".first") or name.startswith("down")


def _head(layer: nn.Conv2d) -> _Convolution:
    """The first convolution, for inputs whose channels have steps and zeros of their own (see input_form)."""
    steps, zeros = np.full((CHANNELS, 4), 1 / 255, np.float32), np.zeros((CHANNELS, 4), np.float32)
    for slot in range(SLOTS):
        difference = slice(3 + slot * SLOT_CHANNELS, 6 + slot * SLOT_CHANNELS)
        steps[difference], zeros[difference] = DIFFERENCE_STEP / 255, _ZERO
    scaled = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)  # type: ignore[arg-type]
    scaled.weight.data = layer.weight.detach().float() * torch.from_numpy(steps.reshape(1, -1, 1, 1))
    scaled.bias = layer.bias
    made = _Convolution(scaled, Scale(1.0, 0), relu=True)
    made.bias -= (made.weight * torch.from_numpy(zeros.reshape(1, -1, 1, 1))).sum((1, 2, 3))
    return made


def _by_place(layer: nn.Module) -> nn.Conv2d:
    """A convolution before a pixel shuffle, its outputs in the order (place, channel) instead of (channel, place)."""
    assert isinstance(layer, nn.Conv2d)
    ordered = nn.Conv2d(layer.in_channels, layer.out_channels, 1)
    shape = (-1, 4, *layer.weight.shape[1:])
    ordered.weight.data = layer.weight.detach().float().reshape(shape).transpose(0, 1).reshape(layer.weight.shape)
    ordered.bias.data = layer.bias.detach().float().reshape(-1, 4).T.reshape(-1)  # type: ignore[union-attr]
    return ordered


def _bits(x: Tensor) -> np.ndarray:
    """A channels-last tensor's memory, flat, as whole numbers."""
    assert x.is_contiguous(memory_format=torch.channels_last)
    flat = x.permute(0, 2, 3, 1).reshape(-1)
    return (flat.view(torch.uint16) if x.dtype == torch.bfloat16 else flat).numpy()
