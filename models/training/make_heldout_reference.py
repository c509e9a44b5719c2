"""Write the held-out log probabilities that tests compare the server with.

    python3 make_heldout_reference.py MODEL_FOLDER --text heldout.txt --out heldout_reference.json

The numbers come from reference.py in float64 over the stored weights, token by token, every
document from an empty state with <s> in front and </s> behind. The JSON holds model_sha256 (of
model.safetensors), nats_per_token, tokens (predicted ones) and, for each document in the order of
the text file, token_ids and logprobs, where logprobs[i] is log p(token_ids[i + 1] | the tokens up
to i), so there is one fewer of them.
"""
import argparse
import hashlib
import json
import pathlib

import numpy as np

import reference


def heldout_reference(folder, text_path, limit=None):
    """The JSON object described above."""
    model = reference.Model(folder, np.float64)
    documents = []
    for text in reference.read_documents(text_path, limit):
        ids = model.document_ids(text)
        logprobs = [round(value, 9) for value in model.logprobs(ids)]
        documents.append({'token_ids': ids, 'logprobs': logprobs})
    tokens = sum(len(document['logprobs']) for document in documents)
    total = sum(sum(document['logprobs']) for document in documents)
    weights = (pathlib.Path(folder) / 'model.safetensors').read_bytes()
    return {'model_sha256': hashlib.sha256(weights).hexdigest(),
            'nats_per_token': -total / tokens, 'tokens': tokens, 'documents': documents}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', help='exported model folder')
    parser.add_argument('--text', required=True, help='documents, each followed by <|endoftext|>')
    parser.add_argument('--out', required=True, type=pathlib.Path, help='JSON file to write')
    parser.add_argument('--documents', type=int, help='read only the first N documents')
    arguments = parser.parse_args()
    result = heldout_reference(arguments.folder, arguments.text, arguments.documents)
    arguments.out.write_text(json.dumps(result, separators=(',', ':')) + '\n')
    print(f'{len(result["documents"])} documents, {result["tokens"]} tokens, '
          f'{result["nats_per_token"]:.6f} nats/token')


if __name__ == '__main__':
    main()
