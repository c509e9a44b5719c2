"""lm-eval: log-likelihoods and rolling ones of the bundled model, against the server's own."""

import json
import urllib.request

import driving

SCRIPTS = None
TEXT = ("Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day she saw "
        "a big, red ball. She wanted to play with it, but it was too high.")


def own_sum(url, model, ids, behind):
    """The log-probabilities of all ids behind the first `behind`, summed."""
    body = {"model": model, "prompt": ids, "max_tokens": 0, "echo": True, "logprobs": 0}
    request = urllib.request.Request(url + "/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return sum(json.load(reply)["choices"][0]["logprobs"]["token_logprobs"][behind:])


def drive(url, model, report):
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    lm = LocalCompletionsAPI(base_url=url + "/completions", model=model, tokenizer_backend="remote", max_length=2048)

    def ask(kind, *arguments):
        return getattr(lm, kind)([Instance(kind, {}, arguments, 0)])[0]

    ids = lm.tok_encode(TEXT)
    rolling = ask("loglikelihood_rolling", TEXT)
    own = own_sum(url, model, [lm.prefix_token_id, *ids], 1)
    report.check("loglikelihood_rolling", abs(rolling - own) < 1e-4 * len(ids), (rolling, own))
    context, rest = TEXT[:60], TEXT[60:]
    likelihood, _ = ask("loglikelihood", context, rest)
    own = own_sum(url, model, ids, len(lm.tok_encode(context)))
    report.check("loglikelihood", abs(likelihood - own) < 1e-4 * len(ids), (likelihood, own))
    text = ask("generate_until", TEXT, {"until": ["."], "max_gen_toks": 20, "temperature": 0})
    report.check("generate_until", len(text) > 0 and "." not in text, text)


if __name__ == "__main__":
    driving.main(drive, "lm-eval")
