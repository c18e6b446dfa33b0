"""What the Flex Template's launcher runs: `reelbeam classify` with the template's parameters as its options."""

from pipelines.classify import command

if __name__ == "__main__":
    command()
