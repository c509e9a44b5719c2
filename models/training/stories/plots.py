"""Reads plots.txt. One plot looks like this, and paragraphs are templates (template.py):

    == warn
    moral: care                    what the story teaches (words.MORALS)
    friend: any                    introduced: B is known before the plot begins; met later: B is
                                   not; any: either
    one of: danger, warn           draws one line and gives it to $danger and $warn
      the ice on the lake | The ice is too thin
      the mud | The mud is deep
    difference: n3 = n1 - n2       $n3, for numbers drawn before
    Q: Where did $A go?            a question about the story and
    A: $A went to $danger.         its answer

    {day} $A went out to play. ...

    The next paragraph; an empty line separates them. {day} is a drawn opening such as "One day,".

A plot's place in the file is its number: put new plots at the end.
"""
import dataclasses
import pathlib

PLOTS_FILE = pathlib.Path(__file__).with_name('plots.txt')


@dataclasses.dataclass
class Plot:
    name: str
    moral: str = ''
    friend: str = 'any'
    draws: list = dataclasses.field(default_factory=list)  # (names, rows)
    differences: list = dataclasses.field(default_factory=list)  # (name, minuend, subtrahend)
    facts: list = dataclasses.field(default_factory=list)  # (question, answer)
    paragraphs: list = dataclasses.field(default_factory=list)


def read_plots(path=PLOTS_FILE):
    """All plots of the file, in its order."""
    sections = pathlib.Path(path).read_text(encoding='utf-8').split('== ')[1:]
    return [parse_plot(section) for section in sections]


def parse_plot(section):
    header, *paragraphs = section.strip().split('\n\n')
    name, *lines = header.split('\n')
    plot = Plot(name)
    for line in lines:
        if line.startswith('  '):
            plot.draws[-1][1].append(line.strip().split(' | '))
        else:
            add_field(plot, *line.split(': ', 1))
    plot.paragraphs = [paragraph.replace('\n', ' ') + ' ' for paragraph in paragraphs]
    return plot


def add_field(plot, field, value):
    if field in ('moral', 'friend'):
        setattr(plot, field, value)
    elif field == 'one of':
        plot.draws.append((value.split(', '), []))
    elif field == 'difference':
        name, minuend, subtrahend = value.replace('=', '-').split(' - ')
        plot.differences.append((name, minuend, subtrahend))
    elif field == 'Q':
        plot.facts.append((value, ''))
    elif field == 'A':
        plot.facts[-1] = (plot.facts[-1][0], value)
    else:
        raise ValueError(f'plot {plot.name}: unknown field {field}')
