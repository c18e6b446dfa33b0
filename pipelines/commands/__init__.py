"""The commands of `reelbeam`: each has a module of the same name."""
