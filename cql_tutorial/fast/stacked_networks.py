"""Networks of many agents stacked into one, with their gradients by hand, and the step of Adam on the stacks.

Used by `fused`, where the letters in the shapes are explained.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

relu_backward = torch.ops.aten.threshold_backward


class Networks:
    """G stacked ReLU networks: parameters ``[M, E, in, out]`` seen as ``[G, in, out]``, and their gradients.

    Activations lie in buffers that are made once: memory that is asked for anew costs as much as the multiplication.
    """

    def __init__(self, weights: list[Tensor], biases: list[Tensor], matmul_dtype: torch.dtype | None) -> None:
        self.parameters = [*weights, *biases]  # in the order of the module's own
        self.gradients = [torch.zeros_like(p) for p in self.parameters]
        flat = [p.flatten(0, 1) for p in (*self.parameters, *self.gradients)]
        depth = len(weights)
        self.weights, self.biases, self.dw, self.db = (flat[i : i + depth] for i in range(0, 4 * depth, depth))
        self.dw_parts: list[Tensor] = []  # of the first layer's rows, see `split`
        self.matmul_dtype = matmul_dtype or weights[0].dtype
        self.buffers: dict[str, Tensor] = {}

    def split(self, rows: int) -> None:
        """Let `add` take the first layer's gradient in two parts, at its first ``rows`` inputs and at the others.

        `baddbmm_` makes one call of the library only for a contiguous output, which a slice of rows is not.
        """
        groups, inputs, outputs = self.dw[0].shape
        self.dw_parts = [self.dw[0].new_zeros(groups, part, outputs) for part in (rows, inputs - rows)]

    def zero(self) -> None:
        """Set the gradients to zero."""
        torch._foreach_zero_([*self.gradients, *self.dw_parts])

    def buffer(self, name: str, *shape: int) -> Tensor:
        """Memory of that name and shape, made when first asked for; what it holds is left from before."""
        size, found = math.prod(shape), self.buffers.get(name)
        if found is None or found.numel() < size:
            found = self.buffers[name] = self.weights[0].new_empty(size, dtype=self.matmul_dtype)
        return found[:size].view(shape)

    def layer(self, number: int, inputs: Tensor, columns: slice = slice(None), name: str = "layer") -> Tensor:
        """A layer before its ReLU, from (some of) its inputs: ``[G, R, in] -> [G, R, out]``."""
        weight, bias = self.weights[number][:, columns].to(self.matmul_dtype), self.biases[number].to(self.matmul_dtype)
        out = self.buffer(f"{name} {number}", *inputs.shape[:2], weight.shape[2])
        return torch.bmm(inputs.to(self.matmul_dtype), weight, out=out).add_(
            bias
        )  # less work than baddbmm, which copies it

    def hidden(self, first: Tensor) -> list[Tensor]:
        """The hidden layers after their ReLU, from the first before it; without hidden layers the output as it is."""
        layers = [first]
        for number in range(1, len(self.weights)):
            inputs = layers[-1].relu_()
            if number < len(self.weights) - 1:
                layers.append(self.layer(number, inputs))
        return layers

    def value(self, layers: list[Tensor]) -> Tensor:
        """The one output of each network, ``[G, R]``, from its hidden layers."""
        if len(self.weights) == 1:
            return layers[0].squeeze(2).to(self.biases[0].dtype)
        weight, bias = self.weights[-1].to(self.matmul_dtype), self.biases[-1]
        return torch.bmm(layers[-1], weight).squeeze(2).to(bias.dtype) + bias[:, 0]

    def scaled(self) -> list[Tensor]:
        """The weights below the last layer, the topmost times the last layer's ``w``: see `back_from_value`."""
        if len(self.weights) == 1:
            return [self.weights[0].to(self.matmul_dtype)]
        below = [*self.weights[:-2], self.weights[-2] * self.weights[-1].transpose(1, 2)]
        return [weight.to(self.matmul_dtype) for weight in below]

    def back_from_value(self, layers: list[Tensor], grad_q: Tensor, scaled: list[Tensor], keep: bool = True) -> Tensor:
        """From the gradient at the one output, ``[G, R]``, down to the first layer's before its ReLU.

        The last layer's ``w`` multiplies whole columns of what flows back: it is left out of every row, and comes in
        with the weights `scaled` by it and at last with `finish`.
        """
        grad_q = grad_q[..., None].to(self.matmul_dtype)
        if len(self.weights) == 1:
            return grad_q
        top = layers[-1]
        gradient = relu_backward.grad_input(grad_q.expand_as(top), top, 0, grad_input=top)
        return self.back(layers, gradient, scaled, keep)

    def back(self, layers: list[Tensor], gradient: Tensor, weights: list[Tensor], keep: bool = True) -> Tensor:
        """From the gradient at the last of these layers down to the first's; with ``keep`` adds the parameters'."""
        for number in range(len(layers) - 1, 0, -1):
            below = layers[number - 1]
            if keep:
                self.add(number, below, gradient)
            out = self.buffer(f"back {number}", *below.shape)
            torch.bmm(gradient, weights[number].transpose(1, 2), out=out)
            gradient = relu_backward.grad_input(out, below, 0, grad_input=out)
        return gradient

    def finish(self, grad_q: Tensor) -> None:
        """Once all rows are added, with their ``grad_q [G, R]``: the factor ``w``, and the last layer's gradients.

        ReLU is homogeneous, so that is ``sum_i W_ij G_ij`` of the layer below, G its gradient without w.
        """
        if self.dw_parts:
            torch.cat(self.dw_parts, 1, out=self.dw[0])
        if len(self.weights) > 1:
            dw, db, w = self.dw[-2], self.db[-2], self.weights[-1].transpose(1, 2)
            own = (self.weights[-2] * dw).sum(1, keepdim=True) + self.biases[-2] * db
            self.dw[-1].copy_(own.transpose(1, 2))
            torch.sum(grad_q, 1, keepdim=True, out=self.db[-1][:, 0])
            torch._foreach_mul_([dw, db], [w, w])

    def add(self, number: int, inputs: Tensor, gradient: Tensor, part: int | None = None) -> None:
        """Add to a layer's gradients: the weight's, or a part of a `split` first layer's; the bias' with the first."""
        target = self.dw[number] if part is None else self.dw_parts[part]
        inputs = inputs.to(self.matmul_dtype).transpose(1, 2)
        if self.matmul_dtype == target.dtype:
            target.baddbmm_(inputs, gradient)
        else:
            target += torch.bmm(inputs, gradient)
        if part != 1:
            self.db[number] += gradient.sum(1, keepdim=True, dtype=target.dtype)


class Adam(NamedTuple):
    """One call of torch's fused Adam, on slices of the stacks; the same call that ``torch.optim.Adam`` makes."""

    parameters: list[Tensor]
    gradients: list[Tensor]
    averages: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    options: dict[str, Any]

    def step(self) -> None:
        """Move the parameters against their gradients."""
        (beta1, beta2), names = self.options["betas"], ("lr", "weight_decay", "eps", "amsgrad", "maximize")
        torch._foreach_add_(self.steps, 1)
        torch._fused_adam_(*self[:4], [], self.steps, beta1=beta1, beta2=beta2, **{n: self.options[n] for n in names})
