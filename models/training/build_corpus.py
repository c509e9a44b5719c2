"""Mix the corpus, tokenise it and hold texts out for evaluation.

    python3 build_corpus.py --corpus corpus --out tokens

reads the .txt files of the corpus folder and writes

    train.bin              token ids (uint16), every document as <s> ids </s>, in random order
    train.idx              where each document begins in train.bin (int64)
    heldout_NAME.bin       the same for text that is never trained on
    heldout_NAME.txt       that text itself, for reference.py
    tokenizer.model        the sentencepiece model used
"""
import argparse
import dataclasses
import pathlib
import random
import re
import shutil

import numpy as np

import reference

HELDOUT_STORYBOOKS = 35
HELDOUT_DOCUMENTS = 400
CHAT_MARKS = ('<|user|>', '<|assistant|>', '<|end|>')
BUNDLED_TOKENIZER = pathlib.Path(__file__).parent.parent / 'bundled' / 'tokenizer.model'


@dataclasses.dataclass
class Source:
    file: str
    repeats: int  # times a pass reads it


SOURCES = {
    'stories': Source('synth_train.txt', 1),
    'tinystories': Source('tinystories_train_slice.txt', 4),
    'storybooks': Source('storybooks_ccby.txt', 2),
    'fairytales': Source('fairytales_pd.txt', 1),
    'books': Source('children_books_pd.txt', 1),
}
SHUFFLE_SEED = 5  # decides which storybooks are held out


def read_corpus(folder):
    """Training documents by source name, and held-out documents by name."""
    def read(file):
        path = folder / file
        if not path.exists():
            raise SystemExit(f'{path} is missing: README.md says how to make the corpus')
        return reference.read_documents(path)

    train = {name: read(source.file) for name, source in SOURCES.items()}
    shuffle = random.Random(SHUFFLE_SEED)
    shuffle.shuffle(train['storybooks'])
    storybooks = train['storybooks'][:HELDOUT_STORYBOOKS]
    train['storybooks'] = train['storybooks'][HELDOUT_STORYBOOKS:]
    heldout = {'tinystories': read('tinystories_valid_slice.txt')[:HELDOUT_DOCUMENTS],
               'stories': read('synth_valid.txt')[:HELDOUT_DOCUMENTS],
               'storybooks': storybooks}
    return train, heldout, shuffle


def train_tokenizer(train, vocabulary, out):
    """A new sentencepiece BPE model. Models trained with another tokenizer do not fit it."""
    import sentencepiece
    text = out / 'tokenizer_input.txt'
    with open(text, 'w', encoding='utf-8') as file:
        for name, documents in train.items():
            if name == 'stories':
                documents = documents[:12000]
            else:
                documents = documents * SOURCES[name].repeats
            for document in documents:
                for line in re.split(r'\n|<\|user\|>|<\|assistant\|>|<\|end\|>', document):
                    if line.strip():
                        file.write(line.strip() + '\n')
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(out / 'tokenizer'), vocab_size=vocabulary,
        model_type='bpe', byte_fallback=True, split_digits=True, character_coverage=0.9999,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, user_defined_symbols=[*CHAT_MARKS, '\n'],
        normalization_rule_name='identity', remove_extra_whitespaces=False,
        add_dummy_prefix=False, allow_whitespace_only_pieces=True, max_sentence_length=20000,
        input_sentence_size=400000, shuffle_input_sentence=True, minloglevel=1)
    text.unlink()


def encode(tokenizer, documents):
    """All documents as <s> ids </s> in one array, and where each begins."""
    pieces = [np.array([tokenizer.bos_id(), *ids, tokenizer.eos_id()], np.uint16)
              for ids in tokenizer.encode(documents)]
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    return np.concatenate(pieces), np.cumsum(lengths) - lengths


def report(name, documents, tokens):
    size = sum(len(document.encode('utf-8')) for document in documents)
    print(f'{name}: {len(documents)} documents, {len(tokens)} tokens, {size} bytes, '
          f'{size / len(tokens):.3f} bytes/token')


def write_heldout(tokenizer, heldout, out):
    for name, documents in heldout.items():
        tokens, _ = encode(tokenizer, documents)
        tokens.tofile(out / f'heldout_{name}.bin')
        text = ''.join(document + reference.DOCUMENT_END for document in documents)
        (out / f'heldout_{name}.txt').write_text(text, encoding='utf-8')
        report('held out ' + name, documents, tokens)


def write_train(tokenizer, train, shuffle, out):
    documents = []
    for name, source in SOURCES.items():
        documents += train[name] * source.repeats
        print(f'{name}: {len(train[name])} documents, read {source.repeats} times')
    shuffle.shuffle(documents)
    tokens, starts = encode(tokenizer, documents)
    tokens.tofile(out / 'train.bin')
    starts.tofile(out / 'train.idx')
    report('train', documents, tokens)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--corpus', type=pathlib.Path, default=pathlib.Path('corpus'),
                        help='folder with the .txt files (default: %(default)s)')
    parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('tokens'),
                        help='folder to write (default: %(default)s)')
    parser.add_argument('--tokenizer', type=pathlib.Path, default=BUNDLED_TOKENIZER,
                        help='sentencepiece model (default: that of the bundled model)')
    parser.add_argument('--train-tokenizer', type=int, metavar='PIECES',
                        help='train a new tokenizer of this size instead')
    parser.add_argument('--repeat', action='append', default=[], metavar='SOURCE=TIMES',
                        help='read a source that often a pass; sources: ' + ', '.join(
                            f'{name}={source.repeats}' for name, source in SOURCES.items()))
    return parser.parse_args()


def main():
    import sentencepiece
    arguments = parse_arguments()
    for option in arguments.repeat:
        name, times = option.split('=')
        SOURCES[name].repeats = int(times)
    arguments.out.mkdir(parents=True, exist_ok=True)
    train, heldout, shuffle = read_corpus(arguments.corpus)
    if arguments.train_tokenizer:
        train_tokenizer(train, arguments.train_tokenizer, arguments.out)
    else:
        shutil.copyfile(arguments.tokenizer, arguments.out / 'tokenizer.model')
    tokenizer = sentencepiece.SentencePieceProcessor(
        model_file=str(arguments.out / 'tokenizer.model'))
    write_heldout(tokenizer, heldout, arguments.out)
    write_train(tokenizer, train, shuffle, arguments.out)


if __name__ == '__main__':
    main()
