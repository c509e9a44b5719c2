"""Export a training checkpoint as a model folder in the official layout.

    python3 export.py RUN/ckpt.pt FOLDER

writes config.json, generation_config.json, tokenizer_config.json (with the chat template),
tokenizer.model and model.safetensors (the averaged weights). A_log and dt_bias stay float32, as the
decay is computed in float32.
"""
import argparse
import json
import pathlib
import shutil
import struct

import torch

import model as model_lib

BUNDLED_TOKENIZER = pathlib.Path(__file__).parent.parent / 'bundled' / 'tokenizer.model'
FLOAT32_TENSORS = ('A_log', 'dt_bias')
CHAT_MARKS = ['<|user|>', '<|assistant|>', '<|end|>']
CHAT_TEMPLATE = (
    "{{ bos_token }}{% if tools %}{{ '<|user|>You may call these functions:\\n<tools>\\n' }}"
    "{% for tool in tools %}{{ tool | tojson }}{{ '\\n' }}{% endfor %}"
    "{{ '</tools>\\nA call is written like this:\\n<tool_call>\\n"
    '{"name": "NAME", "arguments": {"KEY": "VALUE"}}'
    "\\n</tool_call>' }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|assistant|>' + m['content'] }}{% for call in m['tool_calls'] or [] %}"
    "{{ '\\n<tool_call>\\n{\"name\": ' }}{{ call.function.name | tojson }}"
    "{{ ', \"arguments\": ' }}{{ call.function.arguments | tojson }}"
    "{{ '}\\n</tool_call>' }}{% endfor %}{{ '<|end|>' }}"
    "{% elif m['role'] == 'tool' %}"
    "{{ '<|user|><tool_response>\\n' + m['content'] + '\\n</tool_response>' }}"
    "{% else %}{{ '<|user|>' + m['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def write_safetensors(path, tensors, dtype):
    """Tensors by name, in alphabetical order, in `dtype` (bfloat16 or float32)."""
    header, blobs, offset = {'__metadata__': {'format': 'pt'}}, [], 0
    for name in sorted(tensors):
        values = tensors[name].float().contiguous()
        if dtype == 'bfloat16' and not name.endswith(FLOAT32_TENSORS):
            type_name, blob = 'BF16', values.to(torch.bfloat16).view(torch.int16).numpy().tobytes()
        else:
            type_name, blob = 'F32', values.numpy().tobytes()
        header[name] = {'dtype': type_name, 'shape': list(values.shape),
                        'data_offsets': [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        file.writelines(blobs)


def model_config(config, dtype):
    """config.json of the official implementation, plus qdelta_semantics."""
    return dict(
        architectures=['QDeltaForCausalLM'], model_type='qdelta', attn_mode='chunk',
        hidden_size=config.hidden_size, expand_v=config.expand_v, use_gate=True,
        use_short_conv=True, allow_neg_eigval=False, conv_size=config.conv_size,
        head_dim=config.head_dim, num_heads=config.num_heads, num_v_heads=None,
        hidden_ratio=config.hidden_ratio, intermediate_size=config.mlp_size, hidden_act='swish',
        num_hidden_layers=config.num_hidden_layers, norm_eps=config.norm_eps, attn=None,
        use_cache=True, bos_token_id=1, eos_token_id=2, pad_token_id=None,
        tie_word_embeddings=config.tie_word_embeddings,
        initializer_range=config.initializer_range, fuse_norm=True, fuse_swiglu=True,
        fuse_cross_entropy=True, vocab_size=config.vocab_size, lamb_bias=config.lamb_bias,
        qdelta_semantics='canonical', max_position_embeddings=2048, torch_dtype=dtype)


def generation_config(tokenizer_path):
    import sentencepiece
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_path))
    return dict(bos_token_id=1, eos_token_id=[2, tokenizer.piece_to_id('<|end|>')], do_sample=True,
                temperature=0.7, top_k=40, top_p=0.95, max_new_tokens=300)


def tokenizer_config():
    return dict(tokenizer_class='LlamaTokenizer', add_bos_token=True, add_eos_token=False,
                bos_token='<s>', eos_token='</s>', unk_token='<unk>', legacy=True,
                add_prefix_space=False, chat_template=CHAT_TEMPLATE,
                additional_special_tokens=CHAT_MARKS)


def export(config, weights, folder, tokenizer_path=BUNDLED_TOKENIZER, dtype='bfloat16'):
    """Writes a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if config.tie_word_embeddings:
        weights = {name: values for name, values in weights.items() if name != 'lm_head.weight'}
    write_safetensors(folder / 'model.safetensors', weights, dtype)
    for name, content in (('config.json', model_config(config, dtype)),
                          ('generation_config.json', generation_config(tokenizer_path)),
                          ('tokenizer_config.json', tokenizer_config())):
        (folder / name).write_text(json.dumps(content, indent=1))
    target = folder / 'tokenizer.model'
    if tokenizer_path.resolve() != target.resolve():
        shutil.copyfile(tokenizer_path, target)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='ckpt.pt of a run')
    parser.add_argument('folder', type=pathlib.Path, help='model folder to write')
    parser.add_argument('--dtype', choices=('bfloat16', 'float32'), default='bfloat16',
                        help='of the weights (default: %(default)s)')
    parser.add_argument('--tokenizer', type=pathlib.Path, default=BUNDLED_TOKENIZER,
                        help='tokenizer.model of the training tokens (default: the bundled one)')
    arguments = parser.parse_args()
    saved = torch.load(arguments.checkpoint, map_location='cpu')
    config = model_lib.ModelConfig(**saved['cfg'])
    export(config, saved['ema'], arguments.folder, arguments.tokenizer, arguments.dtype)
    print(f'{arguments.folder}: step {saved["step"]}, {saved["tokens"] / 1e6:.2f} M tokens')


if __name__ == '__main__':
    main()
