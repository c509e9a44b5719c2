"""Says what pyproject.toml cannot: the wheel is for one kind of machine, and for every Python 3."""

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel


class ProgramWheel(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class ProgramDistribution(Distribution):
    def has_ext_modules(self):
        return True


setup(distclass=ProgramDistribution, cmdclass={"bdist_wheel": ProgramWheel})
