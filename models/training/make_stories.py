"""Write documents of the story generator, each followed by a line <|endoftext|>.

    python3 make_stories.py --seed 1001 --megabytes 44 --out corpus/synth_train.txt

The same seed gives the same file. Use another seed for held-out text.
"""
import argparse

import reference
from stories import Generator


def write_documents(seed, characters, path):
    generator = Generator(seed)
    written = 0
    with open(path, 'w', encoding='utf-8') as file:
        while written < characters:
            document = generator.document() + reference.DOCUMENT_END
            file.write(document)
            written += len(document)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, required=True)
    parser.add_argument('--megabytes', type=float, required=True, help='about 3 a second')
    parser.add_argument('--out', required=True, help='text file to write')
    arguments = parser.parse_args()
    write_documents(arguments.seed, arguments.megabytes * 1e6, arguments.out)


if __name__ == '__main__':
    main()
