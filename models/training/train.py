"""Train a small Q-Delta language model on a CPU or a GPU.

    CPU: OPENBLAS_NUM_THREADS=1 python3 train.py --tokens tokens --out runs/s --minutes 300
    GPU: python3 train.py --device cuda --precision bfloat16 --config M --batch 128 \\
             --chunk 64 --tokens tokens --out runs/m --steps 9000

The run lasts --steps or --minutes; the learning rate warms up, stays, and decays to zero over the
last part of that length. Averaged weights (EMA) are what is evaluated and exported. The run folder
gets log.txt and ckpt.pt; --resume RUN/ckpt.pt goes on where it stopped, --init FOLDER starts from
the weights of an exported folder with a fresh optimiser.
"""
import argparse
import contextlib
import dataclasses
import json
import pathlib
import time

import numpy as np
import torch

import model as model_lib
import optimizer as optimizer_lib
import reference

EVALUATION_LENGTH = 512
EVALUATION_BATCH = 4
EVALUATION_WINDOWS = 32
MAX_BAD_STEPS = 20
SAMPLE_PROMPTS = (
    'Once upon a time, there was a little girl named',
    '<|user|>Tell me a story about a bear named Bruno.<|assistant|>',
    '<|user|>The key is under the bed. The ball is in the mud. The book is on a high shelf.\n'
    'Where is the ball?<|assistant|>',
)


class Windows:
    """Batches of token windows. Half of them start at a document start, as in serving; half
    anywhere."""

    def __init__(self, folder, length, batch, device, seed):
        self.tokens = np.fromfile(folder / 'train.bin', np.uint16)
        starts = np.fromfile(folder / 'train.idx', np.int64)
        self.last_start = len(self.tokens) - length - 1
        self.starts = starts[starts < self.last_start]
        self.length, self.batch, self.device = length, batch, device
        self.random = np.random.default_rng(seed)
        self.order, self.position = self.random.permutation(len(self.starts)), 0

    def next(self):
        """Token ids [batch, length + 1]."""
        starts = [self.next_document() if row % 2 == 0 else self.random.integers(0, self.last_start)
                  for row in range(self.batch)]
        windows = np.stack([self.tokens[start:start + self.length + 1] for start in starts])
        return torch.from_numpy(windows.astype(np.int64)).to(self.device)

    def next_document(self):
        if self.position >= len(self.order):
            self.order, self.position = self.random.permutation(len(self.starts)), 0
        start = self.starts[self.order[self.position]]
        self.position += 1
        return start


@dataclasses.dataclass
class Schedule:
    """Learning-rate factor over a run that is given in steps or, if that is 0, in minutes."""
    steps: int
    minutes: float
    warmup_steps: int
    decay: float  # share of the run over which the rate falls to zero

    def remaining(self, step, minutes):
        """Share of the run that is left."""
        return 1 - (step / self.steps if self.steps else minutes / self.minutes)

    def factor(self, step, minutes):
        warmup = min(1, (step + 1) / self.warmup_steps)
        return warmup * min(1, max(0, self.remaining(step, minutes) / self.decay))


class WeightAverage:
    """Exponential moving average of the weights."""

    def __init__(self, model, decay):
        self.decay = decay
        self.weights = {name: values.detach().clone().float()
                        for name, values in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model, step):
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, values in model.state_dict().items():
            self.weights[name].lerp_(values.float(), 1 - decay)

    @contextlib.contextmanager
    def applied_to(self, model):
        """The model has the averaged weights inside this block."""
        own = {name: values.clone() for name, values in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)


class Trainer:
    """The model, its optimiser and average, and the progress of the run."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.device = arguments.device
        self.dtype = getattr(torch, arguments.precision)
        self.is_mixed = self.dtype == torch.bfloat16
        self.config = model_lib.ModelConfig(**model_lib.CONFIGURATIONS[arguments.config])
        self.model = model_lib.QDeltaLM(self.config, arguments.chunk,
                                        self.dtype if self.is_mixed else None).to(self.device)
        self.optimizer = optimizer_lib.Optimizer(self.model, arguments.matrix_rate,
                                                 arguments.other_rate, arguments.weight_decay,
                                                 self.dtype)
        self.schedule = Schedule(arguments.steps, arguments.minutes, arguments.warmup_steps,
                                 arguments.decay)
        if arguments.init:
            tensors = reference.read_safetensors(pathlib.Path(arguments.init) / 'model.safetensors')
            self.model.load_state_dict({name: torch.from_numpy(np.array(values, np.float32))
                                        for name, values in tensors.items()})
        self.average = WeightAverage(self.model, arguments.average)
        self.step, self.tokens, self.minutes_before, self.bad_steps = 0, 0, 0.0, 0
        if arguments.resume:
            self.load(arguments.resume)
        self.started = time.time()

    @property
    def minutes(self):
        """Minutes trained, those before a resume included."""
        return self.minutes_before + (time.time() - self.started) / 60

    @property
    def is_finished(self):
        return self.schedule.remaining(self.step, self.minutes) <= 0

    def autocast(self):
        return torch.autocast('cuda' if self.device.startswith('cuda') else 'cpu',
                              dtype=torch.bfloat16, enabled=self.is_mixed)

    def loss(self, windows):
        with self.autocast():
            return self.model(windows[:, :-1], windows[:, 1:])

    def train_step(self, windows):
        """One update; returns the loss. A step with a non-finite gradient changes nothing."""
        factor = self.schedule.factor(self.step, self.minutes)
        loss = self.loss(windows)
        for parameter in self.model.parameters():
            parameter.grad = None
        loss.backward()
        self.step += 1
        if not torch.isfinite(self.optimizer.clip()):
            self.bad_steps += 1
            if self.bad_steps > MAX_BAD_STEPS:
                raise SystemExit('too many steps with a non-finite gradient')
            return loss.detach()
        self.optimizer.step(factor)
        self.average.update(self.model, self.step - 1)
        self.tokens += windows[:, 1:].numel()
        return loss.detach()

    def save(self, path):
        partial = path.with_suffix('.partial')
        torch.save({'model': self.model.state_dict(), 'ema': self.average.weights,
                    'opt': self.optimizer.adamw.state_dict(),
                    'muon': self.optimizer.muon.buffers, 'step': self.step, 'tokens': self.tokens,
                    'spent': self.minutes, 'cfg': dataclasses.asdict(self.config)}, partial)
        partial.replace(path)

    def load(self, path):
        saved = torch.load(path, map_location=self.device)
        self.model.load_state_dict(saved['model'])
        self.average.weights = saved['ema']
        self.optimizer.adamw.load_state_dict(saved['opt'])
        self.optimizer.muon.buffers = saved['muon']
        self.step, self.tokens = saved['step'], saved['tokens']
        self.minutes_before = saved['spent']


class Evaluation:
    """Held-out loss in windows, and samples."""

    def __init__(self, folder, trainer):
        self.trainer = trainer
        self.texts = {path.stem.removeprefix('heldout_'): np.fromfile(path, np.uint16)
                      for path in sorted(folder.glob('heldout_*.bin'))}
        import sentencepiece
        self.tokenizer = sentencepiece.SentencePieceProcessor(
            model_file=str(folder / 'tokenizer.model'))

    @torch.no_grad()
    def losses(self, max_windows=EVALUATION_WINDOWS):
        """Nats a token by text, over windows that start anywhere."""
        return {name: round(self.loss(tokens, max_windows), 4)
                for name, tokens in self.texts.items()}

    def loss(self, tokens, max_windows):
        starts = range(0, len(tokens) - EVALUATION_LENGTH - 1, EVALUATION_LENGTH)
        windows = [tokens[start:start + EVALUATION_LENGTH + 1] for start in starts][:max_windows]
        total = 0.0
        for first in range(0, len(windows), EVALUATION_BATCH):
            batch = np.stack(windows[first:first + EVALUATION_BATCH]).astype(np.int64)
            batch = torch.from_numpy(batch).to(self.trainer.device)
            total += self.trainer.loss(batch).item() * len(batch)
        return total / len(windows)

    @torch.no_grad()
    def sample(self, prompt, max_tokens=110, temperature=0.7, top_k=40):
        """The prompt and its continuation; recomputes everything for every token."""
        ids = [self.tokenizer.bos_id(), *self.tokenizer.encode(prompt)]
        stop_ids = {self.tokenizer.eos_id(), self.tokenizer.piece_to_id('<|end|>')}
        generator = torch.Generator().manual_seed(1)
        for _ in range(max_tokens):
            with self.trainer.autocast():
                logits = self.trainer.model(torch.tensor([ids], device=self.trainer.device))
            values, tokens = (logits[0, -1].float().cpu() / temperature).topk(top_k)
            choice = torch.multinomial(values.softmax(0), 1, generator=generator)
            ids.append(tokens[choice].item())
            if ids[-1] in stop_ids:
                break
        return self.tokenizer.decode(ids[1:])


class Log:
    """Prints lines and keeps them in the run folder; smooths the loss."""

    def __init__(self, path):
        self.file = open(path, 'a', buffering=1, encoding='utf-8')
        self.smooth_loss = None
        self.mark()

    def __call__(self, *words):
        line = ' '.join(map(str, words))
        print(line, flush=True)
        self.file.write(line + '\n')

    def mark(self, tokens=0):
        self.marked_time, self.marked_tokens = time.time(), tokens

    def add_loss(self, loss):
        before = loss if self.smooth_loss is None else self.smooth_loss
        self.smooth_loss = 0.98 * before + 0.02 * loss

    def progress(self, trainer):
        speed = (trainer.tokens - self.marked_tokens) / (time.time() - self.marked_time)
        factor = trainer.schedule.factor(trainer.step, trainer.minutes)
        self(f'step {trainer.step} loss {self.smooth_loss:.4f} tokens {trainer.tokens / 1e6:.3f}M '
             f'tok/s {speed:.0f} min {trainer.minutes:.1f} rate factor {factor:.3f}')
        self.mark(trainer.tokens)


def evaluate(trainer, evaluation, log):
    with trainer.average.applied_to(trainer.model):
        log('EVAL', trainer.step, f'tokens {trainer.tokens / 1e6:.2f}M',
            json.dumps(evaluation.losses()))
        for prompt in SAMPLE_PROMPTS:
            log('SAMPLE', json.dumps(evaluation.sample(prompt)))
    log.mark(trainer.tokens)


def train(trainer, windows, evaluation, log):
    arguments = trainer.arguments
    checkpoint = arguments.out / 'ckpt.pt'
    saved_at, bad_steps = time.time(), 0
    loss_every = 25 if trainer.device.startswith('cuda') else 1  # reading it waits for the GPU
    finished = trainer.is_finished
    while not finished:
        loss = trainer.train_step(windows.next())
        finished = trainer.is_finished
        if trainer.bad_steps > bad_steps:
            bad_steps = trainer.bad_steps
            log('skipped step', trainer.step, 'with a non-finite gradient')
        elif trainer.step % loss_every == 0 or log.smooth_loss is None:
            log.add_loss(loss.item())
        if trainer.step % 50 == 0 and log.smooth_loss is not None:
            log.progress(trainer)
        if trainer.step % arguments.evaluate_every == 0 or finished:
            evaluate(trainer, evaluation, log)
        if time.time() - saved_at > arguments.save_minutes * 60 or finished:
            trainer.save(checkpoint)
            saved_at = time.time()


def parse_arguments(command_line=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)

    def add(name, default=None, text='', **keywords):
        if default is not None:
            keywords.setdefault('type', type(default))
        parser.add_argument(name, default=default, **keywords,
                            help=f'{text} (default: %(default)s)' if default else text)

    add('--tokens', pathlib.Path('tokens'), 'folder made by build_corpus.py', type=pathlib.Path)
    add('--out', pathlib.Path('run'), 'run folder', type=pathlib.Path)
    add('--config', 'S', 'model size', choices=list(model_lib.CONFIGURATIONS))
    add('--device', 'cpu', 'cpu or cuda')
    add('--threads', 1, 'CPU threads')
    add('--precision', 'float32', 'of matrix products', choices=('float32', 'bfloat16'))
    add('--batch', 4, 'windows a step')
    add('--length', 512, 'tokens a window')
    add('--chunk', 32, 'tokens a block of the recurrence')
    add('--steps', 0, 'length of the run in steps')
    add('--minutes', 0.0, 'length of the run in minutes, when --steps is not given')
    add('--warmup-steps', 100, 'steps until the full learning rate')
    add('--decay', 0.25, 'share of the run in which the rate falls to zero')
    add('--matrix-rate', 0.02, 'learning rate of Muon')
    add('--other-rate', 3e-3, 'learning rate of AdamW')
    add('--weight-decay', 0.01, 'of all matrices')
    add('--average', 0.998, 'decay of the weight average')
    add('--evaluate-every', 500, 'steps between evaluations')
    add('--save-minutes', 10.0, 'minutes between checkpoints')
    add('--seed', 0, 'seed of weights and batches')
    add('--resume', None, 'checkpoint to go on from')
    add('--init', None, 'exported folder to start from')
    arguments = parser.parse_args(command_line)
    if arguments.steps <= 0 and arguments.minutes <= 0:
        parser.error('give --steps or --minutes')
    return arguments


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = Log(arguments.out / 'log.txt')
    trainer = Trainer(arguments)
    parameters, hidden = model_lib.count_parameters(trainer.model)
    log(f'{parameters} parameters, {hidden} without embeddings;', vars(arguments))
    # A resumed run reads on in a new order, not the same documents again.
    windows = Windows(arguments.tokens, arguments.length, arguments.batch, arguments.device,
                      [arguments.seed, trainer.step])
    train(trainer, windows, Evaluation(arguments.tokens, trainer), log)


if __name__ == '__main__':
    main()
