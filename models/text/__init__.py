"""Words to vectors: a registry of text models, and the texts that say what a label looks like."""
