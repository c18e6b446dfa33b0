"""Runs `reelbeam classify` with the parameters of the Flex Template as its options; its launcher starts this file."""

from pipelines.commands.classify import command

if __name__ == "__main__":
    command()
