"""A small Q-Delta language model in plain PyTorch (torch 1.13 on a CPU, torch 2 on a GPU).

Parameters have the official names, so state_dict() is what an exported checkpoint holds. Per head,
with d_k x d_v state S, keys and queries of unit length and x_t = k_t + lambda_t q_t:

    S_t = a_t S_{t-1} + k_t (beta_t (v_t - a_t S_{t-1}^T x_t))^T        a_t = exp(log_decay_t)
    o_t = S_t^T q_t / sqrt(d_k)

`qdelta_loop` is this literally; `qdelta_chunk` computes the same in blocks and is what training
uses. Shapes: q, k [batch, time, heads, d_k], v [batch, time, heads, d_v], log_decay, beta and
lambda_ [batch, time, heads], S [batch, heads, d_k, d_v].
"""
import dataclasses
import math

import torch
from torch import nn
from torch.nn import functional as F


@dataclasses.dataclass
class ModelConfig:
    """Field names are those of config.json."""
    vocab_size: int = 4096
    hidden_size: int = 192
    num_hidden_layers: int = 6
    num_heads: int = 3
    head_dim: int = 48
    expand_v: float = 2.0
    conv_size: int = 4
    hidden_ratio: int = 4
    intermediate_size: int = None
    norm_eps: float = 1e-6
    lamb_bias: float = 0.9
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02

    @property
    def mlp_size(self):
        if self.intermediate_size is not None:
            return self.intermediate_size
        size = int(self.hidden_size * self.hidden_ratio * 2 / 3)
        return 256 * math.ceil(size / 256)

    @property
    def value_dim(self):
        return int(self.head_dim * self.expand_v)


CONFIGURATIONS = {
    'XS': dict(hidden_size=128, num_hidden_layers=4, num_heads=2, intermediate_size=384),  # 2.0 M
    'S': dict(hidden_size=192, num_hidden_layers=6, num_heads=3),                          # 4.7 M
    'M': dict(hidden_size=256, num_hidden_layers=8, num_heads=4),                          # 10.0 M
    'L': dict(hidden_size=320, num_hidden_layers=8, num_heads=4, head_dim=64),             # 15.8 M
}


def l2_normalize(x, epsilon=1e-6):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) + epsilon)


# Short convolution.

class CausalConvolution(torch.autograd.Function):
    """Depthwise convolution over time as shifted multiply-adds; x [batch, time, channels],
    weight [channels, size], and weight[:, -1] multiplies the current token."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        size, time = weight.shape[1], x.shape[1]
        y = x * weight[:, size - 1]
        for shift in range(1, size):
            y[:, shift:].addcmul_(x[:, :time - shift], weight[:, size - 1 - shift])
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        size, time = weight.shape[1], x.shape[1]
        grad_x = grad * weight[:, size - 1]
        grad_weight = [(grad * x).sum((0, 1))]
        for shift in range(1, size):
            grad_x[:, :time - shift].addcmul_(grad[:, shift:], weight[:, size - 1 - shift])
            grad_weight.insert(0, (grad[:, shift:] * x[:, :time - shift]).sum((0, 1)))
        return grad_x, torch.stack(grad_weight, 1)


def short_convolution(x, weight):
    return F.silu(CausalConvolution.apply(x, weight.to(x.dtype)))


# The recurrence.

def qdelta_loop(q, k, v, log_decay, beta, lambda_, state=None):
    """Token by token: the reference of qdelta_chunk. Returns outputs and the final state."""
    batch, time, heads, key_dim = q.shape
    S = q.new_zeros(batch, heads, key_dim, v.shape[-1]) if state is None else state
    outputs = []
    for t in range(time):
        x = k[:, t] + lambda_[:, t, :, None] * q[:, t]
        S = S * log_decay[:, t].exp()[..., None, None]
        error = beta[:, t, :, None] * (v[:, t] - torch.einsum('bhkv,bhk->bhv', S, x))
        S = S + torch.einsum('bhk,bhv->bhkv', k[:, t], error)
        outputs.append(torch.einsum('bhkv,bhk->bhv', S, q[:, t]) * key_dim ** -0.5)
    return torch.stack(outputs, 1), S


MERGE_MASKS = {}


def merge_masks(size, device, dtype):
    """For s = 1, 2, 4, ...: where the lower left s x s block of every 2s x 2s diagonal block is."""
    key = (size, device, dtype)
    if key not in MERGE_MASKS:
        index = torch.arange(size, device=device)
        row, column, masks, s = index[:, None], index[None], [], 1
        while s < size:
            mask = (row // (2 * s) == column // (2 * s)) & (row // s != column // s)
            masks.append(mask.tril(-1).to(dtype))
            s *= 2
        MERGE_MASKS[key] = masks
    return MERGE_MASKS[key]


def invert_unit_lower(A):
    """(I + A)^-1 for strictly lower triangular A [..., size, size], by block doubling.

    X <- X - X (A o mask_s) X makes inverse blocks of size 2s from those of size s: matrix products
    only, as stable as substitution. The product (I - A)(I + A^2)(I + A^4)... is not: with
    correlated keys, which real text gives, its powers reach 1e10 and cancel.
    """
    size = A.shape[-1]
    first, *others = merge_masks(size, A.device, A.dtype)
    X = torch.eye(size, dtype=A.dtype, device=A.device) - A * first
    for mask in others:
        X = X - X @ ((A * mask) @ X)
    return X


def split_chunks(x, chunk):
    """[batch, time, heads, ...] -> [chunks, batch, heads, chunk, width]"""
    batch, time, heads = x.shape[:3]
    return x.reshape(batch, time // chunk, chunk, heads, -1).permute(1, 0, 3, 2, 4)


def qdelta_chunk(q, k, v, log_decay, beta, lambda_, chunk=32, state=None, product_dtype=None):
    """The same recurrence in blocks of `chunk` tokens; time must be a multiple of it.

    Inside a block, with cumulative log decay G and A_ij = beta_i (x_i . k_j) exp(G_i - G_j), j < i,
    the errors are U = (I + A)^-1 (beta v - beta exp(G) x S). `product_dtype` is the type of the
    matrix products; decays, A, its inverse and the state stay float32.
    """
    batch, time, heads, key_dim = q.shape
    dtype = product_dtype or q.dtype
    q, k, v = (split_chunks(x, chunk) for x in (q, k, v))
    G, beta, lambda_ = (split_chunks(x, chunk).float() for x in (log_decay, beta, lambda_))
    G = G.cumsum(-2)                                                  # [chunks, b, h, chunk, 1]
    lower = torch.ones(chunk, chunk, dtype=torch.bool, device=q.device).tril()
    decay = torch.exp((G - G.transpose(-1, -2)).masked_fill(~lower, float('-inf')))  # i >= j

    x = k + lambda_ * q
    k_transposed = k.to(dtype).transpose(-1, -2)
    A = ((x.to(dtype) @ k_transposed).float() * decay * beta).tril(-1)
    inverse = invert_unit_lower(A).to(dtype)
    from_values = inverse @ (beta * v).to(dtype)
    from_state = inverse @ (beta * G.exp() * x).to(dtype)

    q = q * key_dim ** -0.5
    scores = ((q.to(dtype) @ k_transposed).float() * decay).to(dtype)
    reads = (q * G.exp()).to(dtype)
    last = G[..., -1:, :]
    writes = (k * (last - G).exp()).to(dtype).transpose(-1, -2)

    S = state
    if S is None:
        S = q.new_zeros(batch, heads, key_dim, v.shape[-1], dtype=torch.float32)
    outputs = []
    for parts in zip(from_values.unbind(0), from_state.unbind(0), reads.unbind(0),
                     scores.unbind(0), writes.unbind(0), last.exp().unbind(0)):
        block_values, block_state, block_reads, block_scores, block_writes, block_decay = parts
        S_product = S.to(dtype)
        errors = block_values - block_state @ S_product
        outputs.append(block_reads @ S_product + block_scores @ errors)
        S = S * block_decay + (block_writes @ errors).float()
    o = torch.stack(outputs, 1)                                       # [b, chunks, h, chunk, d_v]
    return o.permute(0, 1, 3, 2, 4).reshape(batch, time, heads, -1), S


# The model.

def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class RMSNorm(nn.Module):
    def __init__(self, size, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return (wide * self.weight.float()).to(x.dtype)


class GatedRMSNorm(RMSNorm):
    def forward(self, x, gate):
        return (super().forward(x.float()) * F.silu(gate.float())).to(gate.dtype)


class ShortConvolution(nn.Module):
    """Holds the weight; Mixer runs the three convolutions of q, k and v as one."""

    def __init__(self, channels, size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, size))
        nn.init.normal_(self.weight, std=0.3)


class Mixer(nn.Module):
    """The Q-Delta sequence mixer ("attn" in the official names)."""

    def __init__(self, config, chunk, product_dtype):
        super().__init__()
        self.heads, self.key_dim, self.value_dim = (
            config.num_heads, config.head_dim, config.value_dim)
        self.lambda_bias, self.chunk, self.product_dtype = config.lamb_bias, chunk, product_dtype
        hidden, heads = config.hidden_size, config.num_heads
        keys, values = heads * self.key_dim, heads * self.value_dim
        self.q_proj, self.k_proj = linear(hidden, keys), linear(hidden, keys)
        self.v_proj = linear(hidden, values)
        self.a_proj, self.b_proj = linear(hidden, heads), linear(hidden, heads)
        self.lamb_proj = linear(hidden, heads)
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(0.01, 16).log())
        low, high = math.log(0.001), math.log(0.1)
        step = torch.exp(torch.rand(heads) * (high - low) + low).clamp(min=1e-4)
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus^-1(step)
        self.q_conv1d = ShortConvolution(keys, config.conv_size)
        self.k_conv1d = ShortConvolution(keys, config.conv_size)
        self.v_conv1d = ShortConvolution(values, config.conv_size)
        self.g_proj = linear(hidden, values)
        self.o_norm = GatedRMSNorm(self.value_dim, config.norm_eps)
        self.o_proj = linear(values, hidden)

    def forward(self, h):
        batch, time, _ = h.shape
        q, k, v = self.convolved_qkv(h)
        beta = self.b_proj(h).float().sigmoid()
        lambda_ = (self.lamb_proj(h).float() - self.lambda_bias).sigmoid()
        rate = self.A_log.float().exp()
        log_decay = -rate * F.softplus(self.a_proj(h).float() + self.dt_bias.float())
        if self.product_dtype is None:
            v = v.float()
        padding = -time % self.chunk
        padded = [F.pad(x, (0, 0) * (x.dim() - 2) + (0, padding)) if padding else x
                  for x in (q, k, v, log_decay, beta, lambda_)]
        o, _ = qdelta_chunk(*padded, chunk=self.chunk, product_dtype=self.product_dtype)
        gate = self.g_proj(h).view(batch, time, self.heads, self.value_dim)
        return self.o_proj(self.o_norm(o[:, :time], gate).reshape(batch, time, -1))

    def convolved_qkv(self, h):
        """q and k of unit length, and v, each [batch, time, heads, dim]."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        convolutions = (self.q_conv1d, self.k_conv1d, self.v_conv1d)
        qkv = F.linear(h, torch.cat([projection.weight for projection in projections]))
        weight = torch.cat([convolution.weight for convolution in convolutions])[:, 0]
        keys, values = self.heads * self.key_dim, self.heads * self.value_dim
        q, k, v = (x.reshape(*x.shape[:2], self.heads, -1)
                   for x in short_convolution(qkv, weight).split([keys, keys, values], -1))
        return l2_normalize(q), l2_normalize(k), v


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, size = config.hidden_size, config.mlp_size
        self.gate_proj, self.up_proj = linear(hidden, size), linear(hidden, size)
        self.down_proj = linear(size, hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config, chunk, product_dtype):
        super().__init__()
        self.attn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attn = Mixer(config, chunk, product_dtype)
        self.mlp_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = MLP(config)

    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Backbone(nn.Module):
    def __init__(self, config, chunk, product_dtype):
        super().__init__()
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, chunk, product_dtype)
                                    for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, ids):
        x = self.embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class QDeltaLM(nn.Module):
    """Logits of token ids, or the mean loss in nats if labels are given."""

    def __init__(self, config, chunk=32, product_dtype=None):
        super().__init__()
        self.config = config
        self.model = Backbone(config, chunk, product_dtype)
        self.lm_head = linear(config.hidden_size, config.vocab_size)
        self.initialize()
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embeddings.weight

    @torch.no_grad()
    def initialize(self):
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=self.config.initializer_range)
            if name.endswith(('o_proj.weight', 'down_proj.weight')):
                parameter /= math.sqrt(2 * self.config.num_hidden_layers)

    def forward(self, ids, labels=None):
        logits = self.lm_head(self.model(ids))
        if labels is None:
            return logits
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


def is_embedding(name):
    return 'embeddings' in name or 'lm_head' in name


def count_parameters(model):
    """All parameters, and those that are not embeddings."""
    named = list(model.named_parameters())
    return (sum(parameter.numel() for _, parameter in named),
            sum(parameter.numel() for name, parameter in named if not is_embedding(name)))
