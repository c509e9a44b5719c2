"""Draws documents: stories, chats about a story, questions about a story, recall tasks, small talk.

The same seed gives the same documents. Where draws look superfluous or oddly ordered, their order
is what keeps an existing corpus reproducible.
"""
import dataclasses
import random
import re

from stories import words
from stories.plots import read_plots
from stories.template import expand, plural, with_article
from stories.world import draw_world

USER, ASSISTANT, END = '<|user|>', '<|assistant|>', '<|end|>'


def turn(question, answer):
    return f'{USER}{question}{ASSISTANT}{answer}{END}'


@dataclasses.dataclass
class Story:
    text: str
    facts: list  # (question, answer)
    world: dict


class Generator:
    """All documents of one seed, one after another."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.choose = self.random.choice
        self.plots = read_plots()

    def document(self):
        """45 % stories, 25 % chats, 10 % story questions, 18 % recall, 2 % small talk."""
        draw = self.random.random()
        if draw < 0.45:
            return self.story().text
        if draw < 0.70:
            return self.chat()
        if draw < 0.80:
            return self.story_questions()
        if draw < 0.98:
            return self.recall_task()
        return self.small_talk()

    # Stories.

    def story(self):
        world = draw_world(self.random)
        plot = self.choose(self.plots)
        paragraphs = self.plot_paragraphs(plot, world)
        for food in ('food', 'food2'):
            world[food + 's'] = plural(world[food])
        opening = self.choose(words.OPENINGS) + self.introduction(plot)
        separator = self.choose(['\n', '\n', '\n', ' '])
        if self.random.random() < 0.6:
            paragraphs[0] = opening + paragraphs[0]
        else:
            paragraphs.insert(0, opening)
        paragraphs[-1] += self.moral(plot.moral) + self.choose(words.ENDINGS)
        text = separator.join(self.expand(paragraph, world) for paragraph in paragraphs)
        facts = [(self.expand(question, world), self.expand(answer, world))
                 for question, answer in plot.facts]
        return Story(text, facts, world)

    def expand(self, template, world):
        return expand(template, world, self.choose)

    def plot_paragraphs(self, plot, world):
        """The plot's paragraphs; what the plot draws goes into the world."""
        for names, rows in plot.draws:
            world |= dict(zip(names, self.choose(rows)))
        for name, minuend, subtrahend in plot.differences:
            world[name] = str(int(world[minuend]) - int(world[subtrahend]))
        return [paragraph.replace('{day}', self.choose(words.DAY_OPENINGS))
                if '{day}' in paragraph else paragraph for paragraph in plot.paragraphs]

    def introduction(self, plot):
        """A sentence about A, and one about B where the plot needs a friend."""
        sentence = self.choose(words.LIKES)
        needs_friend = plot.friend == 'introduced'
        if 'friend' not in sentence and self.random.random() < 0.5 and needs_friend:
            return sentence + '$A had a friend named $B, $who2. '
        if needs_friend and '$B' not in sentence:
            return '$Hes friend $B was $who2. '
        if plot.friend == 'met later' and '$B' in sentence:
            return ''
        return sentence

    def moral(self, kind):
        lesson = [self.choose(words.MORALS[kind]) for _ in range(4)]
        return self.choose([f'$A learned that {lesson[0]}. ',
                            f'"Now I know that {lesson[1]}," said $A. ',
                            f'"You see," said $B, "{lesson[2]}." ',
                            '',
                            f'The moral of the story is that {lesson[3]}. '])

    # Chats and questions about a story.

    def chat(self):
        """'Tell me a story about ...', the story, and often some questions about it."""
        story = self.story()
        asks = self.random.random() < 0.6
        subject = self.choose(story_subjects(story.world))
        request = self.choose(words.STORY_REQUESTS).replace('$X', subject)
        text = turn(request, story.text)
        if asks:
            count = min(len(story.facts), self.choose([1, 2, 3]))
            for question, answer in self.random.sample(story.facts, count):
                text += turn(question, answer)
        return text

    def story_questions(self):
        """A story told by the user, then questions about it."""
        story = self.story()
        opening = self.choose(['Read this story and answer my question.', 'Here is a story.',
                               'Listen to this story.'])
        facts = story.facts
        self.random.shuffle(facts)
        label = self.choose(['Question: ', ''])
        text = turn(f'{opening}\n{story.text}\n{label}{facts[0][0]}', facts[0][1])
        for question, answer in facts[1:self.random.randint(1, len(facts))]:
            text += turn(question, answer)
        return text

    def small_talk(self):
        count = self.random.randint(1, 3)
        return ''.join(turn(*pair) for pair in self.random.sample(words.SMALL_TALK, count))

    # Recall tasks.

    def recall_task(self):
        draw = self.random.random()
        if draw < 0.45:
            return self.needle_task()
        if draw < 0.75:
            return self.association_task()
        if draw < 0.9:
            return self.list_task()
        return self.name_task()

    def needle_task(self):
        """One to four numbers hidden in a text; one of them is asked for."""
        keys = self.random.sample(words.LIST_WORDS, self.choose([1, 1, 1, 2, 3, 4]))
        digits = self.choose([2, 3, 4, 4, 5, 7])
        values = [''.join(self.choose('0123456789') for _ in range(digits)) for _ in keys]
        sentences = self.haystack()
        count = min(len(keys), len(sentences) + 1)
        places = sorted(self.random.sample(range(len(sentences) + 1), count))
        for inserted, (place, key, value) in enumerate(zip(places, keys, values)):
            needle = f'One of the special magic numbers for {key} is: {value}. '
            sentences.insert(place + inserted, needle)
        asked = self.random.randrange(count)
        return turn('Some special magic numbers are hidden in the text. Remember them.\n'
                    f'{"".join(sentences).strip()}\n'
                    f'What is the special magic number for {keys[asked]}?',
                    f'The special magic number for {keys[asked]} is: {values[asked]}.')

    def haystack(self):
        """Sentences of filler or of a story."""
        if self.random.random() < 0.5:
            if self.random.random() < 0.3:
                return [self.choose(words.FILLER) for _ in range(self.random.randint(4, 60))]
            return list(words.FILLER) * self.random.randint(1, 14)
        text = self.story().text.replace('\n', ' ')
        return [sentence + ' ' for sentence in re.split(r'(?<=[.!?"]) (?=[A-Z"])', text)]

    def association_task(self):
        """Two to nine things with a place, an owner or a colour; some are asked for."""
        count = self.random.randint(2, 9)
        things = self.random.sample(words.THINGS, count)
        relation = self.choose('phc')
        if relation == 'p':
            values = [self.choose(words.HIDING_PLACES) for _ in things]
        elif relation == 'h':
            values = self.random.sample(words.GIRLS + words.BOYS, count)
        else:
            values = [self.choose(words.COLORS) for _ in things]
        form = '{1} has the {0}.' if relation == 'h' else 'The {0} is {1}.'
        facts = [form.format(*pair) for pair in zip(things, values)]
        asked = self.random.sample(range(count), self.random.randint(1, min(4, count)))
        text = ''
        for position, index in enumerate(asked):
            question = self.association_question(relation, things[index], values[index])
            before = ' '.join(facts) + '\n' if position == 0 else ''
            text += turn(before + question, facts[index])
        return text

    def association_question(self, relation, thing, value):
        if relation == 'p':
            return f'Where is the {thing}?'
        if relation == 'c':
            return f'What color is the {thing}?'
        return f'Who has the {thing}?' if self.random.random() < 0.6 else f'What does {value} have?'

    def list_task(self):
        """Repeat a list of words, or name its first or last word or the one after another."""
        count = self.random.randint(3, 8)
        chosen = self.random.sample(words.LIST_WORDS, count)
        listed = ', '.join(chosen)
        task = self.choose(['repeat', 'first', 'last', 'after'])
        if task == 'repeat':
            return turn(f'Repeat these words: {listed}.', f'{listed}.')
        if task == 'first':
            return turn(f'What is the first word in this list: {listed}?',
                        f'The first word is {chosen[0]}.')
        if task == 'last':
            return turn(f'What is the last word in this list: {listed}?',
                        f'The last word is {chosen[-1]}.')
        index = self.random.randrange(count - 1)
        return turn(f'Which word comes after {chosen[index]} in this list: {listed}?',
                    f'The word {chosen[index + 1]} comes after {chosen[index]}.')

    def name_task(self):
        """The user says a name and a colour and asks for one of them later."""
        name = self.choose(words.GIRLS + words.BOYS)
        color = self.choose(words.COLORS)
        animal = self.choose(list(words.ANIMAL_NAMES))
        greeting = self.choose(['Hi', 'Hello'])
        text = turn(f'{greeting}, my name is {name}. I like the color {color}.',
                    f'Hello {name}! {color.capitalize()} is a nice color.')
        if self.random.random() < 0.5:
            text += turn(f'I have {with_article(animal)}.',
                         f'How nice! I would like to meet your {animal}.')
        return text + self.choose([turn('What is my name?', f'Your name is {name}.'),
                                   turn('What color do I like?', f'You like the color {color}.')])


def story_subjects(world):
    """Ways to say what a story is about."""
    kind, kind2 = with_article(world['kind']), with_article(world['kind2'])
    name, name2 = world['A'], world['B']
    return [f'{kind} named {name}',
            f'{kind} and {kind2}' if world['kind'] != world['kind2'] else 'two friends',
            f'{kind} named {name} and {kind2} named {name2}',
            f'{name} and {name2}',
            kind]
