"""Reference reader of an exported model folder: numpy only, one token at a time, no blocks.

It states the Q-Delta (and Gated DeltaNet) recurrence literally and is what the server is compared
with. Per head, with d_k x d_v state S and x_t = k_t + lambda_t q_t (Gated DeltaNet: x_t = k_t):

    S <- a_t S
    S <- S + k_t (beta_t (v_t - S^T x_t))^T
    o_t = S^T q_t / sqrt(d_k)

    python3 reference.py ppl    FOLDER --text held_out.txt --documents 50
    python3 reference.py recall FOLDER --questions 200
    python3 reference.py sample FOLDER --prompt 'Once upon a time' --seed 1

A text file holds documents, each followed by a line <|endoftext|>.
"""
import argparse
import collections
import json
import math
import pathlib
import struct

import numpy as np

DOCUMENT_END = '\n<|endoftext|>\n'
SHORT_CONVOLUTIONS = ('q', 'k', 'v')
SAFETENSORS_TYPES = {'F64': np.float64, 'F32': np.float32, 'F16': np.float16, 'BF16': np.uint16}


def read_safetensors(path):
    """All tensors of a .safetensors file as {name: array}; bfloat16 is widened to float32."""
    data = pathlib.Path(path).read_bytes()
    header_bytes = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + header_bytes])
    header.pop('__metadata__', None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + header_bytes + offset for offset in entry['data_offsets'])
        values = np.frombuffer(data[begin:end], SAFETENSORS_TYPES[entry['dtype']])
        if entry['dtype'] == 'BF16':
            values = (values.astype(np.uint32) << 16).view(np.float32)
        tensors[name] = values.reshape(entry['shape'])
    return tensors


def read_documents(path, limit=None):
    """The first `limit` documents of a text file."""
    text = pathlib.Path(path).read_text(encoding='utf-8')
    documents = [piece.strip('\n') for piece in text.split(DOCUMENT_END) if piece.strip()]
    return documents[:limit]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.logaddexp(0, x)


def l2_normalize(x):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)


def rms_normalize(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def log_softmax(logits):
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


class Layer:
    """Weights of one layer and the step that reads one token."""

    def __init__(self, config, tensors, index):
        prefix = f'model.layers.{index}.'
        self.weights = {name[len(prefix):].removesuffix('.weight'): values
                        for name, values in tensors.items() if name.startswith(prefix)}
        self.key_heads = config['num_heads']
        self.value_heads = config.get('num_v_heads') or config['num_heads']
        self.key_dim = config['head_dim']
        self.value_dim = int(config['head_dim'] * config['expand_v'])
        self.conv_size = config.get('conv_size', 4)
        self.epsilon = config['norm_eps']
        self.is_qdelta = config['model_type'] == 'qdelta'
        self.lambda_bias = config.get('lamb_bias', 0.9)
        self.dtype = next(iter(tensors.values())).dtype

    def empty_state(self):
        """Zero recurrent state S [value heads, key dim, value dim] and convolution windows."""
        key_channels = self.key_heads * self.key_dim
        value_channels = self.value_heads * self.value_dim
        shape = (self.value_heads, self.key_dim, self.value_dim)
        state = {'S': np.zeros(shape, self.dtype)}
        for name, channels in zip(SHORT_CONVOLUTIONS, (key_channels, key_channels, value_channels)):
            state[name] = np.zeros((channels, self.conv_size), self.dtype)
        return state

    def step(self, x, state):
        """Residual stream after this layer; updates `state`."""
        weights = self.weights
        x = x + self.mix(rms_normalize(x, weights['attn_norm'], self.epsilon), state)
        h = rms_normalize(x, weights['mlp_norm'], self.epsilon)
        gate = silu(weights['mlp.gate_proj'] @ h)
        return x + weights['mlp.down_proj'] @ (gate * (weights['mlp.up_proj'] @ h))

    def mix(self, h, state):
        """The sequence mixer: short convolutions, one delta-rule step, gated norm, projection."""
        q = l2_normalize(self.convolve('q', h, state).reshape(self.key_heads, self.key_dim))
        k = l2_normalize(self.convolve('k', h, state).reshape(self.key_heads, self.key_dim))
        v = self.convolve('v', h, state).reshape(self.value_heads, self.value_dim)
        group = self.value_heads // self.key_heads  # value head j reads key head j // group
        o = self.delta_step(np.repeat(q, group, 0), np.repeat(k, group, 0), v, h, state)
        gate = self.project('g_proj', h).reshape(o.shape)
        o = rms_normalize(o, self.weights['attn.o_norm'], self.epsilon) * silu(gate)
        return self.project('o_proj', o.reshape(-1))

    def project(self, name, h):
        return self.weights['attn.' + name] @ h

    def convolve(self, name, h, state):
        """Causal depthwise convolution over the last `conv_size` projections, then SiLU."""
        window = np.concatenate([state[name][:, 1:], self.project(name + '_proj', h)[:, None]], 1)
        state[name] = window
        return silu((window * self.weights[f'attn.{name}_conv1d'][:, 0]).sum(-1))

    def delta_step(self, q, k, v, h, state):
        """One step of the recurrence in the module's docstring; all heads at once."""
        beta = sigmoid(self.project('b_proj', h))[:, None]
        rate = np.exp(self.weights['attn.A_log'])
        decay = np.exp(-rate * softplus(self.project('a_proj', h) + self.weights['attn.dt_bias']))
        x = k
        if self.is_qdelta:
            x = k + sigmoid(self.project('lamb_proj', h) - self.lambda_bias)[:, None] * q
        S = state['S'] * decay[:, None, None]
        error = beta * (v - np.einsum('hkv,hk->hv', S, x))
        S = S + k[:, :, None] * error[:, None, :]
        state['S'] = S
        return np.einsum('hkv,hk->hv', S, q) * self.key_dim ** -0.5


class Model:
    """An exported folder: weights, and the tokenizer unless `tokenizer` is false."""

    def __init__(self, folder, dtype=np.float32, tokenizer=True):
        folder = pathlib.Path(folder)
        self.config = json.loads((folder / 'config.json').read_text())
        if self.config['model_type'] not in ('qdelta', 'gated_deltanet'):
            raise ValueError(f'{folder}: model_type {self.config["model_type"]} is not supported')
        tensors = {name: np.ascontiguousarray(values, dtype) for name, values
                   in read_safetensors(folder / 'model.safetensors').items()}
        self.layers = [Layer(self.config, tensors, index)
                       for index in range(self.config['num_hidden_layers'])]
        self.embeddings = tensors['model.embeddings.weight']
        self.final_norm = tensors['model.norm.weight']
        self.lm_head = tensors.get('lm_head.weight', self.embeddings)
        self.bos = self.config['bos_token_id']
        self.stop_ids = {self.config['eos_token_id']}
        if tokenizer:
            self.load_tokenizer(folder)

    def load_tokenizer(self, folder):
        import sentencepiece
        path = str(folder / 'tokenizer.model')
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=path)
        generation = json.loads((folder / 'generation_config.json').read_text())
        eos = generation['eos_token_id']
        self.stop_ids = set(eos) if isinstance(eos, list) else {eos}

    def empty_state(self):
        return [layer.empty_state() for layer in self.layers]

    def step(self, token, state):
        """Logits of the next token after reading `token`; updates `state`."""
        x = self.embeddings[token]
        for layer, layer_state in zip(self.layers, state):
            x = layer.step(x, layer_state)
        return self.lm_head @ rms_normalize(x, self.final_norm, self.config['norm_eps'])

    def document_ids(self, text):
        """<s>, the tokens of the text, </s>: how a document looks in training."""
        return [self.bos] + self.tokenizer.encode(text) + [self.config['eos_token_id']]

    def logprobs(self, ids):
        """log p(ids[i + 1] | ids[0..i]) for every i, from an empty state."""
        state = self.empty_state()
        return [float(log_softmax(self.step(token, state))[following])
                for token, following in zip(ids, ids[1:])]

    def generate(self, prompt, max_tokens, choose):
        """Text after `prompt` (<s> is put in front), token by token as `choose(logits)` says."""
        state = self.empty_state()
        for token in [self.bos] + self.tokenizer.encode(prompt):
            logits = self.step(token, state)
        output = []
        while len(output) < max_tokens:
            token = choose(logits)
            if token in self.stop_ids:
                break
            output.append(token)
            logits = self.step(token, state)
        return self.tokenizer.decode(output)


def greedy(logits):
    return int(logits.argmax())


class Sampler:
    """Temperature, then top-k, then top-p. Temperature 0 is greedy."""

    def __init__(self, temperature, top_k, top_p, seed):
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.random = np.random.default_rng(seed)

    def __call__(self, logits):
        if self.temperature <= 0:
            return greedy(logits)
        best = np.argsort(-logits, kind='stable')[:self.top_k or None]
        probabilities = np.exp(log_softmax(logits[best].astype(np.float64) / self.temperature))
        before = np.cumsum(probabilities) - probabilities
        probabilities = np.where(before < self.top_p, probabilities, 0)
        return int(self.random.choice(best, p=probabilities / probabilities.sum()))


def perplexity(model, documents):
    """Summed negative log-likelihood in nats, tokens predicted, bytes of text."""
    nats = tokens = text_bytes = 0
    for document in documents:
        logprobs = model.logprobs(model.document_ids(document))
        nats -= sum(logprobs)
        tokens += len(logprobs)
        text_bytes += len(document.encode('utf-8'))
    return nats, tokens, text_bytes


def recall_questions(count, seed):
    """`count` pairs (kind, prompt, answer) of the generator's recall tasks."""
    import stories
    generator = stories.Generator(seed)
    while count:
        text = generator.recall_task()
        prompt, answer = text.split('<|assistant|>')[:2]
        kind = recall_kind(prompt)
        if kind:
            count -= 1
            yield kind, prompt + '<|assistant|>', answer.split('<|end|>')[0]


def recall_kind(prompt):
    """needle, association or list; None for the small talk that the generator mixes in."""
    if 'special magic number' in prompt:
        return 'needle'
    if 'Repeat these words' in prompt or 'in this list' in prompt:
        return 'list'
    return None if 'my name is' in prompt else 'association'


def run_perplexity(arguments):
    model = Model(arguments.folder, arguments.dtype)
    documents = read_documents(arguments.text, arguments.documents)
    nats, tokens, text_bytes = perplexity(model, documents)
    print(f'{len(documents)} documents, {tokens} tokens, {text_bytes} bytes: '
          f'{nats / tokens:.4f} nats/token, perplexity {math.exp(nats / tokens):.3f}, '
          f'{nats / math.log(2) / text_bytes:.4f} bits/byte')


def run_recall(arguments):
    model = Model(arguments.folder, arguments.dtype)
    asked, right = collections.Counter(), collections.Counter()
    for kind, prompt, answer in recall_questions(arguments.questions, arguments.seed):
        asked[kind] += 1
        right[kind] += model.generate(prompt, 40, greedy).strip() == answer.strip()
    print('exact match:', ', '.join(f'{kind} {right[kind]}/{asked[kind]}' for kind in asked))


def run_sample(arguments):
    model = Model(arguments.folder, arguments.dtype)
    sampler = Sampler(arguments.temperature, arguments.top_k, arguments.top_p, arguments.seed)
    prompt = arguments.prompt.replace('\\n', '\n')
    print(model.generate(prompt, arguments.max_tokens, sampler))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')

    def add_command(name, function, text):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        command.add_argument('folder', help='exported model folder')
        command.add_argument('--dtype', choices=('float32', 'float64'), default='float32',
                             help='arithmetic (default: %(default)s)')
        return command

    ppl = add_command('ppl', run_perplexity, 'perplexity of a text file, document by document')
    ppl.add_argument('--text', required=True, help='documents, each followed by <|endoftext|>')
    ppl.add_argument('--documents', type=int, help='read only the first N documents')

    recall = add_command('recall', run_recall, 'exact match of greedy answers to recall questions')
    recall.add_argument('--questions', type=int, default=200, help='(default: %(default)s)')
    recall.add_argument('--seed', type=int, default=99, help='(default: %(default)s)')

    sample = add_command('sample', run_sample, 'continue a prompt; <s> is put in front of it')
    sample.add_argument('--prompt', required=True, help=r'text; \n is a newline')
    sample.add_argument('--max-tokens', type=int, default=200, help='(default: %(default)s)')
    sample.add_argument('--temperature', type=float, default=0.7, help='(default: %(default)s)')
    sample.add_argument('--top-k', type=int, default=40, help='0: all (default: %(default)s)')
    sample.add_argument('--top-p', type=float, default=1.0, help='(default: %(default)s)')
    sample.add_argument('--seed', type=int, default=1, help='(default: %(default)s)')
    return parser.parse_args()


if __name__ == '__main__':
    parsed = parse_arguments()
    parsed.function(parsed)
