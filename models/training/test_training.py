"""Tests of the training kit; needs torch and sentencepiece. Run: python3 test_training.py"""
import hashlib
import pathlib
import tempfile
import unittest

import numpy as np
import torch

import export
import model as model_lib
import reference
import train
from stories import Generator

GOLDEN = pathlib.Path(__file__).parent.parent.parent / 'tests' / 'golden'
SMALL = dict(vocab_size=300, hidden_size=32, num_hidden_layers=2, num_heads=2, head_dim=12,
             intermediate_size=64)
torch.manual_seed(0)


def random_inputs(time=128, heads=3, key_dim=16, value_dim=32, correlation=0.0):
    """q, k, v, log_decay, beta, lambda_; a large `correlation` makes all keys nearly equal, which
    is the hard case for the inverse inside a chunk."""
    def unit():
        return torch.nn.functional.normalize(
            torch.randn(2, time, heads, key_dim) + correlation, dim=-1)

    def fraction():
        return torch.rand(2, time, heads)

    log_decay = -fraction() * torch.tensor([0.01, 0.5, 8.0])  # slow, middling and fast heads
    inputs = [unit(), unit(), torch.randn(2, time, heads, value_dim), log_decay, fraction(),
              fraction()]
    return [x.requires_grad_() for x in inputs]


def relative_error(x, y):
    return ((x - y).norm() / y.norm()).item()


class RecurrenceTest(unittest.TestCase):
    def check_chunk_equals_loop(self, chunk, correlation):
        inputs = random_inputs(correlation=correlation)
        state = torch.randn(2, 3, 16, 32)
        loop, loop_state = model_lib.qdelta_loop(*inputs, state=state)
        blocks, blocks_state = model_lib.qdelta_chunk(*inputs, chunk=chunk, state=state)
        self.assertLess((loop - blocks).abs().max().item(), 2e-5)
        self.assertLess((loop_state - blocks_state).abs().max().item(), 2e-5)
        weight = torch.randn_like(loop)
        loop_gradients = torch.autograd.grad((loop * weight).sum(), inputs)
        block_gradients = torch.autograd.grad((blocks * weight).sum(), inputs)
        for expected, gradient in zip(loop_gradients, block_gradients):
            self.assertLess(relative_error(gradient, expected), 5e-5)

    def test_chunk_equals_loop(self):
        for chunk in (16, 32, 64):
            for correlation in (0, 3):
                with self.subTest(chunk=chunk, correlation=correlation):
                    self.check_chunk_equals_loop(chunk, correlation)

    def test_inverse_with_correlated_keys(self):
        for size in (2, 16, 64):
            _, k, _, _, beta, _ = random_inputs(time=size, correlation=3)
            keys = k[0, :, 0].detach().double()
            A = (beta[0, :, 0, None].detach().double() * (keys @ keys.T)).tril(-1)
            exact = torch.linalg.inv(torch.eye(size, dtype=torch.float64) + A)
            error = relative_error(model_lib.invert_unit_lower(A.float()).double(), exact)
            self.assertLess(error, 1e-5)

    def test_convolution_gradient(self):
        x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
        weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        self.assertTrue(torch.autograd.gradcheck(model_lib.CausalConvolution.apply, (x, weight)))


class ExportTest(unittest.TestCase):
    def check_round_trip(self, dtype, **changes):
        """The exported folder, read token by token, gives the logits of the chunked model."""
        config = model_lib.ModelConfig(**SMALL, **changes)
        model = model_lib.QDeltaLM(config, chunk=16)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
                if dtype == 'bfloat16' and parameter.dim() > 1:
                    parameter.copy_(parameter.bfloat16())
        for layer in model.model.layers:  # norms are rounded, too, but A_log and dt_bias are not
            for norm in (layer.attn_norm, layer.mlp_norm, layer.attn.o_norm):
                norm.weight.data = norm.weight.data.bfloat16().float()
        model.model.norm.weight.data = model.model.norm.weight.data.bfloat16().float()
        ids = torch.randint(0, config.vocab_size, (37,))
        with tempfile.TemporaryDirectory() as folder:
            export.export(config, model.state_dict(), pathlib.Path(folder), dtype=dtype)
            reader = reference.Model(folder, np.float64)
        state = reader.empty_state()
        logits = np.stack([reader.step(token, state) for token in ids.tolist()])
        with torch.no_grad():
            expected = model(ids[None])[0].numpy()
        self.assertLess(np.abs(logits - expected).max(), 2e-5 * np.abs(expected).max())

    def test_round_trip(self):
        for dtype in ('float32', 'bfloat16'):
            with self.subTest(dtype=dtype):
                self.check_round_trip(dtype)

    def test_tied_embeddings(self):
        self.check_round_trip('float32', tie_word_embeddings=True)

    def test_stop_ids(self):
        with tempfile.TemporaryDirectory() as folder:
            config = model_lib.ModelConfig(**SMALL)
            weights = model_lib.QDeltaLM(config).state_dict()
            export.export(config, weights, pathlib.Path(folder))
            model = reference.Model(folder)
        end = model.tokenizer.piece_to_id('<|end|>')
        self.assertEqual(model.stop_ids, {2, end})
        self.assertEqual(model.tokenizer.encode('<|user|>Hi!\n<|end|>')[-1], end)


class ReferenceTest(unittest.TestCase):
    def check_golden(self, name, variant):
        folder = GOLDEN / name
        expected = reference.read_safetensors(folder / 'expected' / 'model.safetensors')
        model = reference.Model(folder, np.float64, tokenizer=False)
        for length in (1, 2, 65):
            case = f'T{length}{variant}.'
            state = model.empty_state()
            ids = expected[case + 'ids'].astype(int)
            logits = np.stack([model.step(token, state) for token in ids])
            wanted = np.concatenate([expected[case + 'prefill_logits'],
                                     expected[case + 'decode_logits']])
            np.testing.assert_allclose(logits, wanted, atol=1e-6)
            for index, layer in enumerate(state):
                S = expected[f'{case}final.{index}.S']
                np.testing.assert_allclose(layer['S'], S, atol=1e-6)

    @unittest.skipUnless(GOLDEN.exists(), 'no golden models')
    def test_golden_models(self):
        self.check_golden('qdelta', '_canonical')
        self.check_golden('gated_deltanet', '')

    def test_sampler(self):
        logits = np.array([0.0, 3.0, 2.0, -1.0])
        self.assertEqual(reference.Sampler(0, 0, 1, seed=1)(logits), 1)
        draws = {reference.Sampler(1.0, 2, 1.0, seed)(logits) for seed in range(50)}
        self.assertEqual(draws, {1, 2})
        draws = {reference.Sampler(1.0, 0, 0.5, seed)(logits) for seed in range(50)}
        self.assertEqual(draws, {1})


class StoriesTest(unittest.TestCase):
    def test_same_seed_same_documents(self):
        """The held-out text of corpus/synth_valid.txt.zst begins with these documents."""
        generator = Generator(7)
        text = '\n'.join(generator.document() for _ in range(100))
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.assertEqual(
            digest, '4e9299cf531132a96b6eb3800d66107a4225f34a03180b2d0d0ab43420a18304')

    def test_recall_questions_have_answers(self):
        for kind, prompt, answer in reference.recall_questions(200, seed=1):
            self.assertTrue(prompt.startswith('<|user|>') and prompt.endswith('<|assistant|>'))
            self.assertTrue(answer)
            if kind == 'needle':
                number = answer.rstrip('.').split(': ')[1]
                self.assertIn(number, prompt)


class TrainingTest(unittest.TestCase):
    def test_schedule(self):
        steps = train.Schedule(steps=100, minutes=0, warmup_steps=10, decay=0.25)
        self.assertAlmostEqual(steps.factor(0, 0), 0.1)
        self.assertEqual(steps.factor(50, 1e9), 1)
        self.assertAlmostEqual(steps.factor(90, 0), 0.4)
        minutes = train.Schedule(steps=0, minutes=10, warmup_steps=1, decay=0.5)
        self.assertAlmostEqual(minutes.factor(10 ** 6, 7.5), 0.5)
        self.assertEqual(minutes.factor(5, 11), 0)
        self.assertLess(minutes.remaining(5, 11), 0)

    def test_average_is_applied_and_taken_back(self):
        model = model_lib.QDeltaLM(model_lib.ModelConfig(**SMALL))
        average = train.WeightAverage(model, 0.5)
        before = model.lm_head.weight.detach().clone()
        with torch.no_grad():
            model.lm_head.weight.add_(1)
        changed = model.lm_head.weight.detach().clone()
        with average.applied_to(model):
            self.assertTrue(torch.equal(model.lm_head.weight, before))
        self.assertTrue(torch.equal(model.lm_head.weight, changed))

    def test_learns_and_resumes(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            write_counting_tokens(folder)
            command = ['--tokens', name, '--out', name, '--config', 'XS', '--batch', '4',
                       '--length', '64', '--warmup-steps', '2']
            trainer, losses = run(folder, command + ['--steps', '12'])
            self.assertLess(losses[-1], losses[0] - 1)
            trainer.save(folder / 'ckpt.pt')
            resumed = train.Trainer(train.parse_arguments(
                command + ['--steps', '13', '--resume', str(folder / 'ckpt.pt')]))
            self.assertEqual((resumed.step, resumed.tokens), (12, 12 * 4 * 64))
            self.assertFalse(resumed.is_finished)
            window = torch.arange(100, 165)[None]
            self.assertEqual(resumed.loss(window).item(), trainer.loss(window).item())

    def test_bad_step_changes_nothing(self):
        with tempfile.TemporaryDirectory() as name:
            write_counting_tokens(pathlib.Path(name))
            trainer = train.Trainer(train.parse_arguments(
                ['--tokens', name, '--config', 'XS', '--steps', '2']))
            before = trainer.model.model.norm.weight.detach().clone()
            trainer.model.lm_head.weight.data[0, 0] = float('inf')
            trainer.train_step(torch.arange(65)[None])
            self.assertEqual((trainer.bad_steps, trainer.tokens), (1, 0))
            self.assertTrue(torch.equal(trainer.model.model.norm.weight, before))


def write_counting_tokens(folder):
    """Token t is followed by t + 1."""
    (np.arange(4096, dtype=np.uint16) % 512).tofile(folder / 'train.bin')
    np.arange(0, 4096, 512, dtype=np.int64).tofile(folder / 'train.idx')


def run(folder, command):
    """A short run; returns the trainer and the loss of every step."""
    arguments = train.parse_arguments(command)
    trainer = train.Trainer(arguments)
    windows = train.Windows(folder, arguments.length, arguments.batch, 'cpu', 0)
    losses = []
    while not trainer.is_finished:
        losses.append(trainer.train_step(windows.next()).item())
    return trainer, losses


if __name__ == '__main__':
    torch.set_num_threads(1)
    unittest.main()
