"""lm-eval: a task of its own over the completions, whose rolling log-likelihood must be what the server says of the
whole text; a multiple choice; generation."""

import json
import math
import urllib.request


PACKAGE = "lm-eval"
SCRIPTS = []  # the bundled model
TEXTS = ["Once upon a time, there was a little girl named Lily. She loved to play outside.",
         "The dog barked at the cat, and the cat ran up a tree. Then it was dark. " * 4]


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


def own_log_likelihood(url, model, text):
    """The sum over all tokens of the text behind what the model wants in front of it."""
    reply = post(url, "/completions", {"model": model, "prompt": text, "echo": True, "logprobs": 0, "max_tokens": 0})
    return sum(one for one in reply["choices"][0]["logprobs"]["token_logprobs"] if one is not None)


def tasks():
    with open("texts.json", "w") as file:
        json.dump([{"text": text} for text in TEXTS], file)
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "texts.json"}}, "test_split": "test"}
    rolling = {"task": "own_rolling", "output_type": "loglikelihood_rolling", "doc_to_text": "",
               "doc_to_target": "{{text}}", "metric_list": [{"metric": "byte_perplexity"}], **data}
    choice = {"task": "own_choice", "output_type": "multiple_choice", "doc_to_text": "Once upon a",
              "doc_to_choice": [" time", " xylophone"], "doc_to_target": 0, "metric_list": [{"metric": "acc"}], **data}
    written = {"task": "own_generation", "output_type": "generate_until", "doc_to_text": "{{text}}",
               "doc_to_target": "x", "generation_kwargs": {"until": ["."], "max_gen_toks": 20},
               "metric_list": [{"metric": "exact_match"}], **data}
    return [rolling, choice, written]


def drive(url, model, report):
    import lm_eval

    arguments = {"model": model, "base_url": url + "/completions", "num_concurrent": 1, "max_retries": 1}
    results = lm_eval.simple_evaluate(model="local-completions", model_args=arguments, tasks=tasks(), log_samples=True)
    own = sum(own_log_likelihood(url, model, text) for text in TEXTS)
    perplexity = math.exp(-own / sum(len(text.encode()) for text in TEXTS))
    got = results["results"]["own_rolling"]["byte_perplexity,none"]
    report.check("perplexity of texts", abs(got - perplexity) < 1e-4 * perplexity, (got, perplexity))
    report.check("multiple choice", results["results"]["own_choice"]["acc,none"] == 1, results["results"])
    said = [sample["resps"][0][0] for sample in results["samples"]["own_generation"]]
    report.check("generation", len(said) == 2 and all("." not in one for one in said), said)
