"""Turn the expected.npz of a reference run into expected/model.safetensors, which C++ can read.

    python3 make_golden.py FOLDER [FOLDER ...] [--out DIR]

Each FOLDER holds config.json, model.safetensors and expected.npz. The result is DIR/<name of
FOLDER> with config.json, model.safetensors (both copied) and expected/model.safetensors. README.md
in this folder says what the tensors mean. Needs numpy only.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

LENGTHS = (1, 2, 63, 64, 65, 130, 200)


def tensor_name(npz_name):
    """'T65_released/final/0/S' -> 'T65_released.final.0.S'."""
    return npz_name.replace('/', '.')


def case_length(name):
    """'T65_released.ids' -> 65; the greedy case comes last."""
    if name.startswith('greedy.'):
        return LENGTHS[-1] + 1
    return int(name[1:].split('.')[0].split('_')[0])


def is_state(name, config):
    """Whether a model with this config carries the tensor; the reference keeps every sum of keys."""
    conditioning = config.get('ccq') or {}
    mean = conditioning.get('norm', 'mean') == 'mean'
    if name.endswith('.ccq_z'):
        return mean
    if name.endswith('.ccq_m'):
        return mean and conditioning.get('center', False)
    return True


def read_expected(path, config):
    """The wanted arrays of an expected.npz as {tensor name: float32 array}, sorted by name."""
    tensors = {}
    with np.load(path) as archive:
        for npz_name in archive.files:
            name = tensor_name(npz_name)
            if case_length(name) not in (*LENGTHS, LENGTHS[-1] + 1) or not is_state(name, config):
                continue
            values = archive[npz_name]
            as_float = np.ascontiguousarray(values, np.float32)
            if name.endswith('.ids') and not np.array_equal(as_float, values):
                raise ValueError(f'{name}: a token id is not exact in float32')
            if not np.isfinite(as_float).all():
                raise ValueError(f'{name}: not finite')
            tensors[name] = as_float
    return dict(sorted(tensors.items(), key=lambda item: (case_length(item[0]), item[0])))


def write_safetensors(path, tensors, metadata):
    """Write float32 tensors in the given order; the data part begins at a multiple of 8 bytes."""
    header, offset = {'__metadata__': metadata}, 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {'dtype': 'F32', 'shape': list(values.shape), 'data_offsets': [offset, end]}
        offset = end
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for values in tensors.values():
            file.write(values.astype('<f4').tobytes())


def convert(source, target):
    """Write one golden folder."""
    (target / 'expected').mkdir(parents=True, exist_ok=True)
    for name in ('config.json', 'model.safetensors'):
        if (source / name).resolve() != (target / name).resolve():
            shutil.copyfile(source / name, target / name)
    config = json.loads((source / 'config.json').read_text())
    tensors = read_expected(source / 'expected.npz', config)
    write_safetensors(target / 'expected' / 'model.safetensors', tensors,
                      {'computed_in': 'float64'})
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='+', type=pathlib.Path, metavar='FOLDER',
                        help='config.json, model.safetensors and expected.npz')
    parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path(__file__).parent,
                        help='where the golden folders go (default: beside this script)')
    arguments = parser.parse_args()
    for folder in arguments.folders:
        tensors = convert(folder, arguments.out / folder.name)
        size = sum(values.nbytes for values in tensors.values())
        print(f'{folder.name}: {len(tensors)} tensors, {size} bytes')


if __name__ == '__main__':
    main()
