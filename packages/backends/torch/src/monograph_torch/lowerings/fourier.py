"""Fourier transforms."""

from __future__ import annotations

import torch
from monograph import ops

from .common import call

_FFT = {
    "FFT": torch.fft.fftn, "IFFT": torch.fft.ifftn, "RFFT": torch.fft.rfftn, "IRFFT": torch.fft.irfftn,
}  # fmt: skip


def _fft(x: torch.Tensor, *, fft_type: str, fft_length: tuple[int, ...]) -> torch.Tensor:
    axes = tuple(range(-len(fft_length), 0))
    if x.numel():
        return _FFT[fft_type](x, fft_length, axes)
    # an empty batch, which torch refuses: of one element it has the shape and dtype
    lead = x.ndim - len(fft_length)
    one = _FFT[fft_type](x.new_zeros(x.shape[lead:]), fft_length, axes)
    return one.expand(*x.shape[:lead], *one.shape).clone()


TABLE = {ops.fft: call(_fft)}
