"""Checkpoints that say given texts, token by token, for tests of what comes behind a model.

A prompt whose last trigger is "s0" is answered by script 0, and so on. There is one layer of delta_net and one MLP.
Head 0 is a register: its key is constant, and only a trigger writes to it. The other heads hold the tokens one, two
and three places before, which the taps of their convolutions pick. The MLP has a neuron for each place of a script,
which fires for that trigger and the tokens before the place, and adds the code of the next token; lm_head reads it.
A text is cut anew until its last four tokens tell its places apart.
"""

import array
import json
import os
import random
import struct

CODE, ONES, OVERLAP = 96, 8, 4  # bits of a token's code, ones among them, and how many two codes may share
HIDDEN, KEYS, TAPS = 640, 64, 4
TOKEN, SCRIPT, BEFORE, NEXT = 0, CODE, 2 * CODE, 5 * CODE  # places of codes in the hidden vector
CONSTANT, IS_TRIGGER = 6 * CODE, 6 * CODE + 1
HEADS = TAPS
STEEPNESS = 16.0


class Matrix:
    def __init__(self, *shape):
        self.shape = shape
        size = 1
        for length in shape:
            size *= length
        self.values = array.array("f", bytes(4 * size))

    def __setitem__(self, place, value):
        row, column = place
        self.values[row * (len(self.values) // self.shape[0]) + column] = value


def ones(size):
    made = Matrix(size)
    made.values = array.array("f", [1.0] * size)
    return made


def make_codes(count, rng):
    codes = []
    while len(codes) < count:
        code = set(rng.sample(range(CODE), ONES))
        if all(len(code & other) <= OVERLAP for other in codes):
            codes.append(code)
    return codes


def spelling():
    """The characters with which a tokenizer.json spells bytes."""
    printable = [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b if b in printable else next(others)) for b in range(256)]


def cut(text, markers, longest, rng):
    """The pieces of a script: markers that are tokens, and bytes between them."""
    pieces, at = [], 0
    data = text.encode()
    names = sorted((marker.encode() for marker in markers), key=len, reverse=True)
    while at < len(data):
        marker = next((name for name in names if data.startswith(name, at)), None)
        if marker is not None:
            pieces.append((True, marker))
            at += len(marker)
            continue
        end = min([len(data), at + rng.randint(1, longest)] +
                  [found for name in names if (found := data.find(name, at)) >= 0])
        pieces.append((False, data[at:end]))
        at = end
    return pieces


def places_are_told_apart(pieces):
    following = {}
    for i in range(len(pieces)):
        state = tuple(pieces[max(0, i - TAPS + 1):i + 1])
        after = pieces[i + 1] if i + 1 < len(pieces) else None
        if following.setdefault(state, after) != after:
            return False
    return True


def cut_apart(text, markers, longest, rng):
    for _ in range(1000):
        pieces = cut(text, markers, longest, rng)
        if places_are_told_apart(pieces):
            return pieces
    raise ValueError("no cut tells all places apart of %r" % text[:60])


class Vocabulary:
    def __init__(self, markers, eos, num_scripts):
        """markers: {text: whether it is a control token}"""
        self.ids = {(False, bytes([byte])): byte for byte in range(256)}
        self.added = []
        self.eos = self.add_special(eos, True)
        for marker, control in markers.items():
            self.add_special(marker, control)
        self.triggers = [self.add_special("s%d" % n, False) for n in range(num_scripts)]

    def add_special(self, text, control):
        known = self.ids.setdefault((True, text.encode()), len(self.ids))
        self.added.append({"id": known, "content": text, "special": control, "normalized": False,
                           "single_word": False, "lstrip": False, "rstrip": False})
        return known

    def id(self, piece):
        return self.ids.setdefault(piece, len(self.ids))

    def file(self):
        letters = spelling()
        vocabulary = {(data.decode() if special else "".join(letters[b] for b in data)): i
                      for (special, data), i in self.ids.items()}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": level,
                "decoder": level, "post_processor": None, "added_tokens": self.added,
                "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}


def rules_of(vocabulary, scripts):
    """{(trigger, last tokens): next token}"""
    rules = {}
    for trigger, pieces in zip(vocabulary.triggers, scripts):
        said = [vocabulary.id(piece) for piece in pieces] + [vocabulary.eos]
        for place, following in enumerate(said):
            rules[(trigger, tuple(said[max(0, place - TAPS):place]))] = following
    return rules


def make_weights(codes, vocabulary, rules):
    size, neurons = len(codes), -(-len(rules) // 64) * 64
    embeddings, head = Matrix(size, HIDDEN), Matrix(size, HIDDEN)
    for token, code in enumerate(codes):
        for bit in code:
            embeddings[token, TOKEN + bit] = 1
            head[token, NEXT + bit] = 3
        embeddings[token, CONSTANT] = 2
        embeddings[token, IS_TRIGGER] = 1 if token in vocabulary.triggers else -1
    head[vocabulary.eos, CONSTANT] = 3
    key, value, out = Matrix(KEYS, HIDDEN), Matrix(HEADS * CODE, HIDDEN), Matrix(HIDDEN, HEADS * CODE)
    beta, taps, last_tap = Matrix(HEADS, HIDDEN), Matrix(HEADS * CODE, 1, TAPS), Matrix(KEYS, 1, TAPS)
    for row in range(KEYS):
        last_tap[row, TAPS - 1] = 1
        if row % (KEYS // HEADS) == 0:
            key[row, CONSTANT] = 1
    for head_index in range(HEADS):
        beta[head_index, IS_TRIGGER if head_index == 0 else CONSTANT] = 8
        for bit in range(CODE):
            row = head_index * CODE + bit
            value[row, TOKEN + bit] = 2
            taps[row, TAPS - 1 - head_index] = 1
            place = SCRIPT if head_index == 0 else BEFORE + (head_index - 1) * CODE
            out[place + bit, row] = (ONES / CODE) ** 0.5
    gate, up, down = Matrix(neurons, HIDDEN), Matrix(neurons, HIDDEN), Matrix(HIDDEN, neurons)
    norm = (HIDDEN / ((1 + HEADS) * ONES + 5)) ** 0.5  # the norm before the MLP multiplies by it
    for neuron, ((trigger, tokens), following) in enumerate(rules.items()):
        parts = [(SCRIPT, trigger)]
        for before, token in enumerate(reversed(tokens)):
            parts.append((TOKEN if before == 0 else BEFORE + (before - 1) * CODE, token))
        for place, token in parts:
            for bit in codes[token]:
                gate[neuron, place + bit] = STEEPNESS / norm / ONES
        gate[neuron, CONSTANT] = -STEEPNESS / norm / 2 * (len(parts) - 0.25)
        up[neuron, CONSTANT] = 1 / norm / 2
        for bit in codes[following]:  # where two fire, the one that knows more of the text wins
            down[NEXT + bit, neuron] = 10 * 4.0 ** len(tokens)
    layer = "model.layers.0."
    return neurons, {
        "model.embeddings.weight": embeddings, layer + "attn_norm.weight": ones(HIDDEN),
        layer + "attn.q_proj.weight": key, layer + "attn.k_proj.weight": key, layer + "attn.v_proj.weight": value,
        layer + "attn.o_proj.weight": out, layer + "attn.q_conv1d.weight": last_tap,
        layer + "attn.k_conv1d.weight": last_tap, layer + "attn.v_conv1d.weight": taps,
        layer + "attn.o_norm.weight": ones(CODE), layer + "attn.b_proj.weight": beta,
        layer + "mlp_norm.weight": ones(HIDDEN), layer + "mlp.gate_proj.weight": gate,
        layer + "mlp.up_proj.weight": up, layer + "mlp.down_proj.weight": down,
        "model.norm.weight": ones(HIDDEN), "lm_head.weight": head}


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + 4 * len(tensor.values)
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.values.tobytes())


def write_model(folder, texts, template, markers, eos="</s>", longest=6, seed=1):
    """Writes a folder whose model says texts[n] after "s<n>". `longest`: of a piece, in bytes."""
    rng = random.Random(seed)
    vocabulary = Vocabulary(markers, eos, len(texts))
    scripts = [cut_apart(text, markers, longest, rng) for text in texts]
    rules = rules_of(vocabulary, scripts)
    neurons, tensors = make_weights(make_codes(len(vocabulary.ids), rng), vocabulary, rules)
    os.makedirs(folder)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    config = {"model_type": "delta_net", "hidden_size": HIDDEN, "num_hidden_layers": 1, "norm_eps": 1e-6,
              "vocab_size": len(vocabulary.ids), "intermediate_size": neurons, "num_heads": HEADS,
              "expand_k": KEYS / HIDDEN, "expand_v": HEADS * CODE / HIDDEN, "tie_word_embeddings": False,
              "eos_token_id": vocabulary.eos}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": eos, "chat_template": template}
    for name, value in (("config.json", config), ("tokenizer.json", vocabulary.file()),
                        ("tokenizer_config.json", settings)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file)
