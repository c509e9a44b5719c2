"""Muon for the two-dimensional hidden matrices, AdamW for everything else."""
import torch

import model as model_lib

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
HEAD_PROJECTIONS = ('a_proj', 'b_proj', 'lamb_proj')


def orthogonalize(gradients, dtype, iterations=5):
    """Newton-Schulz: pushes the singular values of [..., rows, columns] towards one."""
    a, b, c = NEWTON_SCHULZ
    X = gradients.to(dtype)
    X = X / (X.float().norm(dim=(-2, -1), keepdim=True).to(X.dtype) + 1e-7)
    tall = X.shape[-2] > X.shape[-1]
    if tall:
        X = X.transpose(-1, -2)
    for _ in range(iterations):
        gram = X @ X.transpose(-1, -2)
        X = a * X + (b * gram + c * (gram @ gram)) @ X
    return (X.transpose(-1, -2) if tall else X).to(gradients.dtype)


class Muon:
    """Momentum, orthogonalised; matrices of one shape are updated together."""

    def __init__(self, parameters, dtype, momentum=0.95):
        self.dtype, self.momentum = dtype, momentum
        self.groups = {}
        for parameter in parameters:
            self.groups.setdefault(tuple(parameter.shape), []).append(parameter)
        self.buffers = {shape: torch.zeros(len(group), *shape, device=group[0].device)
                        for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, rate, weight_decay):
        for shape, group in self.groups.items():
            gradients = torch.stack([parameter.grad for parameter in group])
            buffer = self.buffers[shape].lerp_(gradients, 1 - self.momentum)
            updates = orthogonalize(gradients.lerp(buffer, self.momentum), self.dtype)
            updates = updates * max(1, shape[0] / shape[1]) ** 0.5
            for parameter, update in zip(group, updates):
                parameter.mul_(1 - rate * weight_decay).add_(update, alpha=-rate)


class Optimizer:
    """Both optimisers, their rates scaled by the schedule's factor."""

    def __init__(self, model, matrix_rate, other_rate, weight_decay, product_dtype):
        matrices, others, vectors = split_parameters(model)
        self.matrix_rate, self.other_rate = matrix_rate, other_rate
        self.weight_decay = weight_decay
        self.matrices, self.rest = matrices, others + vectors
        self.muon = Muon(matrices, product_dtype)
        self.adamw = torch.optim.AdamW([{'params': others, 'weight_decay': weight_decay},
                                        {'params': vectors, 'weight_decay': 0.0}],
                                       lr=other_rate, betas=(0.9, 0.95), eps=1e-10)

    def clip(self):
        """Clips AdamW's gradients to norm 1; returns a number that is finite if all of them are."""
        clip = torch.nn.utils.clip_grad_norm_
        return clip(self.rest, 1.0) + clip(self.matrices, float('inf'))

    def step(self, factor):
        for group in self.adamw.param_groups:
            group['lr'] = self.other_rate * factor
        self.adamw.step()
        self.muon.step(self.matrix_rate * factor, self.weight_decay)


def split_parameters(model):
    """Hidden matrices (Muon), other matrices (AdamW), and all else (AdamW without decay)."""
    matrices, others, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.dim() != 2:
            vectors.append(parameter)
        elif model_lib.is_embedding(name) or any(part in name for part in HEAD_PROJECTIONS):
            others.append(parameter)
        else:
            matrices.append(parameter)
    return matrices, others, vectors
